"""Items of lists, dicts and lists of blocks that a captured number chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from kuai import ops
from kuai.compiler.capture import trees
from kuai.compiler.capture.branches import described
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
    if not items:
        session.recorder.refuse(
            f"an item of a {type(owner).__name__} that the value of a tensor chooses",
            "use a list or a tuple, or stack the tensors into one, and index that",
        )
    place = _check_place(session, owner, items, index)
    return picked(session, items, place)


def picked(session: Access, items: Sequence[Any], place: Number) -> Any:
    """The item at a captured place, which may be negative."""
    return arranged(session, items, ops.reshape(as_tensor(place, int64), (1,)))[0]


def arranged(session: Access, items: Sequence[Any], places: Any) -> list[Any]:
    """The items at captured places.

    Args:
        session: the capture.
        items: tensors, numbers, known objects, or containers and objects made of such alike.
        places: int64, of shape (n,); each may be negative.
    """
    first, count = items[0], places._payload.shape[0]
    recorder = session.recorder
    if all(x is first for x in items):
        return [first] * count
    if all(is_number(x) for x in items):
        dtype = common_dtype(*items)
        table = ops.stack([as_tensor(x, dtype) for x in items])[places]
        return [number(table[i]) for i in range(count)]
    if all(isinstance(x, (TensorBase, bool, int, float)) for x in items):
        table = ops.stack(_alike(session, items))[places]
        return [table[i] for i in range(count)]
    if all(is_known(x) for x in items):
        inside = ops.remainder(places, len(items))
        return [_choice(list(items), number(inside[i])) for i in range(count)]
    opened = [recorder.opened(x) for x in items]
    found = [trees.parts(x) for x in opened]
    if any(f is None or found[0] is None or f[0] != found[0][0] for f in found):
        _refuse_items(session, items)
    columns = zip(*([part for _, part in f[1]] for f in found if f is not None), strict=True)
    parts = [arranged(session, column, places) for column in columns]
    results = [recorder.rebuilt(opened[0], [part[i] for part in parts]) for i in range(count)]
    for result in results:
        recorder.stands_for(result, *items)
    return results


def assign_at(session: Access, items: list[Any], index: Any, value: Any) -> None:
    """`items[index] = value`."""
    place = _inside(session, items, index)
    items[:] = [
        arranged(session, (old, value), ops.reshape(as_tensor(place == i, int64), (1,)))[0]
        for i, old in enumerate(items)
    ]


def take_out(session: Access, items: list[Any], index: Any) -> Any:
    """`items.pop(index)`."""
    if not items:
        raise IndexError("pop from empty list")
    place = as_tensor(_inside(session, items, index), int64)
    found = picked(session, items, number(place))
    kept = ops.arange(len(items) - 1)
    items[:] = arranged(session, items, kept + as_tensor(number(place) <= kept, int64))
    return found


def put_in(session: Access, items: list[Any], index: Any, value: Any) -> None:
    """`items.insert(index, value)`."""
    count = len(items)
    place = index if isinstance(index, Number) else to_kind(index, int)
    place = number(ops.where(as_tensor(place < 0, bool_), place + count, place))
    place = number(ops.clamp(as_tensor(place, int64), 0, count))
    places = ops.arange(count + 1)
    moved = places - as_tensor(place < places, int64)
    moved = ops.where(ops.eq(places, as_tensor(place, int64)), count, moved)
    items[:] = arranged(session, [*items, value], moved)


def _inside(session: Access, items: list[Any], index: Any) -> Number:
    """The index as a number that is not negative."""
    place = _check_place(session, items, items, index)
    return number(ops.remainder(as_tensor(place, int64), len(items)))


def _alike(session: Access, items: Sequence[Any]) -> list[Any]:
    """Tensors of one shape and type, and numbers that are to be such, too."""
    like = next(x for x in items if not is_number(x))
    for x in items:
        shape = () if is_number(x) else x._payload.shape
        if shape != like._payload.shape or not (is_number(x) or x.dtype is like.dtype):
            _refuse_items(session, items)
    return [as_tensor(x, like.dtype) if is_number(x) else x for x in items]


def _refuse_items(session: Access, items: Sequence[Any]) -> NoReturn:
    kinds = " and ".join(dict.fromkeys(map(described, items)))
    session.recorder.refuse(
        f"one of several things, as the value of a tensor chooses, that are not alike: {kinds}",
        "give them the same structure, shapes and types",
    )


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
