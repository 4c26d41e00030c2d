"""Items of lists, dicts and lists of blocks that a captured number chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kuai import ops
from kuai.compiler.capture.numbers import (
    Number,
    as_tensor,
    common_dtype,
    is_number,
    number,
    to_kind,
)
from kuai.compiler.capture.undecided import Choice, is_known
from kuai.core.base import TensorBase
from kuai.dtypes import bool_, int64
from kuai.nn.module import Module

if TYPE_CHECKING:
    from kuai.compiler.capture.access import Access


def chosen(session: Access, owner: Any, index: Any) -> Any:
    """`owner[index]`: an element of a stack of tensors or numbers, or one of several objects."""
    if isinstance(owner, Module):
        session.reads.block(owner)
    if isinstance(owner, dict):
        return _of_dict(session, owner, index)
    items = list(session.walked(owner)) if isinstance(owner, (list, tuple, Module)) else []
    if items and all(is_known(x) for x in items):
        return _object(session, owner, items, index)
    if not items or not all(isinstance(x, (TensorBase, bool, int, float)) for x in items):
        session.recorder.refuse(
            f"an item of a {type(owner).__name__} that the value of a tensor chooses",
            "stack the tensors into one, and index that",
        )
    _check_place(session, owner, items, index)
    if all(is_number(x) for x in items):
        dtype = common_dtype(*items)
        table = ops.stack([as_tensor(x, dtype) for x in items])
        return number(table[session.index(index)])
    return ops.stack(items)[session.index(index)]


def _object(session: Access, owner: Any, items: list[Any], index: Any) -> Any:
    recorder = session.recorder
    if session.rolled is not None and recorder.comes_from_round(index):
        recorder.refuse("an object for each round of a loop")  # the rounds run one by one then
    place = _check_place(session, owner, items, index)
    return _choice(items, number(ops.remainder(as_tensor(place, int64), len(items))))


def _check_place(session: Access, owner: Any, items: list[Any], index: Any) -> Number:
    """The index as a number, of which the program checks that the list has it."""
    place = index if isinstance(index, Number) else to_kind(index, int)
    inside = ops.logical_and(place >= -len(items), place < len(items))
    session.recorder.check(inside, IndexError, f"{type(owner).__name__} index out of range")
    return place


def _of_dict(session: Access, owner: dict[Any, Any], index: Any) -> Any:
    session.walked(owner)
    keys, items = list(owner), list(owner.values())
    numbers = all(type(k) in (int, bool) for k in keys) and isinstance(index, Number)
    if not keys or not numbers or not all(is_known(x) for x in items):
        session.recorder.refuse(
            f"an item of a {type(owner).__name__} that the value of a tensor chooses",
            "use numbers as keys and int(x) as the index, or a list of tensors",
        )
    matches = ops.stack([as_tensor(index == int(k), bool_) for k in keys])
    session.recorder.check(ops.any(matches), KeyError, "a key that the dict does not have")
    return _choice(items, number(ops.argmax(matches.to(int64))))


def _choice(items: list[Any], place: Any) -> Any:
    return items[0] if all(x is items[0] for x in items) else Choice(place, items)
