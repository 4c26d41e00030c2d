"""Sorting, extremes and comparisons of what has captured numbers in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kuai import ops as operations
from kuai.compiler.capture import numbers
from kuai.compiler.capture.choosing import arranged, picked, put_in, take_out
from kuai.compiler.capture.numbers import as_tensor, is_number, number
from kuai.core.base import TensorBase, wrap
from kuai.dtypes import bool_, float64, int64
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session
from kuai.compiler.capture.special import SPECIAL, has_captured, special

ops: Any = operations
_MISSING: Any = object()
_SEQUENCES = (tuple, list)


# -- what is sorted, and the extremes -------------------------------------------------------------


@special(sorted)
def ordered(session: Session, items: Any, *, key: Any = None, reverse: Any = False) -> Any:
    """`sorted(items, key=key, reverse=reverse)`."""
    return session.made(_in_order(session, list(session.iterable(items)), key, reverse))


def sort_list(session: Session, items: list[Any], key: Any = None, reverse: Any = False) -> None:
    """`items.sort(key=key, reverse=reverse)`."""
    items[:] = _in_order(session, list(items), key, reverse)


def _in_order(session: Session, items: list[Any], key: Any, reverse: Any) -> list[Any]:
    keys = _keys(session, items, key)
    if not has_captured(session, keys):
        order = sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)
        return [items[i] for i in order]
    places: Any = None
    for column in reversed(_columns(session, keys)):
        values = _stacked(column)
        step = ops.argsort(
            values if places is None else values[places], stable=True, descending=bool(reverse)
        )
        places = step if places is None else places[step]
    return items if places is None else arranged(session, items, places)


def _extreme(plain: Any, better: str) -> None:
    def choose(session: Session, *args: Any, key: Any = None, default: Any = _MISSING) -> Any:
        found = list(session.iterable(args[0])) if len(args) == 1 else list(args)
        if not found:
            return plain(found, **({} if default is _MISSING else {"default": default}))
        keys = _keys(session, found, key)
        if not has_captured(session, keys):
            return found[plain(range(len(found)), key=keys.__getitem__)]
        if key is None and all(map(_is_scalar, found)):
            best = found[0]
            for item in found[1:]:
                best = _one_of(less(session, item, best, better), item, best)
            return best
        columns = list(zip(*_columns(session, keys), strict=True))
        best, place = columns[0] if columns else (), as_tensor(0, int64)
        for i, column in enumerate(columns[1:], 1):
            won = _as_flag(less(session, column, best, better))
            best = tuple([_one_of(won, x, y) for x, y in zip(column, best, strict=True)])
            place = ops.where(won, as_tensor(i, int64), place)
        return picked(session, found, number(place))

    SPECIAL[plain] = choose


_extreme(min, "<")
_extreme(max, ">")


def _keys(session: Session, items: list[Any], key: Any) -> list[Any]:
    return items if key is None else [session.call(key, (x,), {}) for x in items]


def _columns(session: Session, keys: Sequence[Any]) -> list[list[Any]]:
    """The numbers by which things are ordered: by the first ones, then by the second ones..."""
    if all(map(_is_scalar, keys)):
        plain = not has_captured(session, list(keys))
        return [] if plain and len(set(keys)) == 1 else [list(keys)]
    first = keys[0]
    if all(type(x) in _SEQUENCES and len(x) == len(first) for x in keys):
        parts = zip(*keys, strict=True)
        return [column for part in parts for column in _columns(session, part)]
    if has_captured(session, list(keys)):
        session.recorder.refuse(
            "an order of things that are not compared by numbers alone",
            "give a key: a number, or a tuple of numbers, for each of them",
        )
    if all(x is first for x in keys):
        return []
    ranks = sorted(keys)  # of texts, for example
    return _columns(session, [ranks.index(x) for x in keys])


def _is_scalar(x: Any) -> bool:
    return is_number(x) or (isinstance(x, TensorBase) and x._payload.size == 1)


def _stacked(column: Sequence[Any]) -> Tensor:
    """Numbers and tensors of one element, as one tensor."""
    tensors = [x for x in column if isinstance(x, TensorBase) and not x._weak]
    dtype = tensors[0].dtype if tensors else numbers.common_dtype(*column)
    if any(x.dtype is not dtype for x in tensors):
        dtype = float64
    flat = [ops.reshape(as_tensor(x, dtype), ()) for x in column]
    stacked: Tensor = ops.stack(flat)
    return ops.cast(stacked, dtype=int64) if dtype is bool_ else stacked


def _one_of(condition: Any, a: Any, b: Any) -> Any:
    """`a if condition else b` for scalars, without a branch."""
    if not isinstance(condition, TensorBase):
        return a if condition else b
    if is_number(a) and is_number(b):
        dtype = numbers.common_dtype(a, b)
        flag = wrap(condition._payload)
        return number(ops.where(flag, as_tensor(a, dtype), as_tensor(b, dtype)))
    like = a if not is_number(a) else b
    a = as_tensor(a, like.dtype) if is_number(a) else a
    b = as_tensor(b, like.dtype) if is_number(b) else b
    return ops.where(wrap(condition._payload), a, b)


# -- comparisons ----------------------------------------------------------------------------------


def less(session: Any, x: Any, y: Any, symbol: str) -> Any:
    """`x symbol y` for numbers, and for sequences that are compared number by number.

    Args:
        session: the capture.
        x, y: numbers, tensors of one element, or tuples or lists of such.
        symbol: "<", "<=", ">" or ">=".
    """
    from kuai.compiler.capture.operators import operate

    if type(x) not in _SEQUENCES or type(x) is not type(y):
        return operate(session, symbol, x, y)
    shared = min(len(x), len(y))
    result: Any = operate(session, symbol, len(x), len(y))
    for i in reversed(range(shared)):
        same = equal(session, x[i], y[i])
        strict = less(session, x[i], y[i], symbol.removesuffix("="))
        result = _either(strict, _both(same, result))
    return result


def equal(session: Any, x: Any, y: Any) -> Any:
    """`x == y`, for numbers, or for sequences part by part."""
    from kuai.compiler.capture.operators import operate

    if x is y and not isinstance(x, float):
        return True
    if type(x) not in _SEQUENCES or type(x) is not type(y):
        return operate(session, "==", x, y)
    if len(x) != len(y):
        return False
    result: Any = True
    for a, b in zip(x, y, strict=True):
        result = _both(result, equal(session, a, b))
    return result


def _both(a: Any, b: Any) -> Any:
    if not isinstance(a, TensorBase):
        return b if a else False
    if not isinstance(b, TensorBase):
        return a if b else False
    return number(ops.logical_and(_as_flag(a), _as_flag(b)))


def _either(a: Any, b: Any) -> Any:
    if not isinstance(a, TensorBase):
        return True if a else b
    if not isinstance(b, TensorBase):
        return True if b else a
    return number(ops.logical_or(_as_flag(a), _as_flag(b)))


def _as_flag(x: Any) -> Tensor:
    """A bool as a tensor of no dimensions."""
    if not isinstance(x, TensorBase):
        return as_tensor(bool(x), bool_)
    plain = wrap(x._payload)
    if plain._payload.size != 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    plain = ops.reshape(plain, ()) if plain._payload.shape else plain
    return plain if plain.dtype is bool_ else ops.ne(plain, 0)


def compare(session: Any, symbol: str, x: Any, y: Any) -> Any:
    """`x symbol y`, for two sequences with captured numbers in them."""
    if symbol in ("==", "!="):
        found = equal(session, x, y)
        return found if symbol == "==" else session.negated(found)
    return less(session, x, y, symbol)


def place_in(session: Any, items: Sequence[Any], x: Any) -> Any:
    """`items.index(x)`, where values decide it."""
    matches = _matches(session, items, x)
    message = f"an element that the {type(items).__name__} does not have"
    session.recorder.check(ops.any(matches), ValueError, message)
    return number(ops.argmax(ops.cast(matches, dtype=int64)))


def remove(session: Session, items: list[Any], x: Any) -> None:
    """`items.remove(x)`."""
    take_out(session, items, place_in(session, items, x))


def count_in(session: Any, items: Sequence[Any], x: Any) -> Any:
    """`items.count(x)`, where values decide it."""
    return number(ops.sum(ops.cast(_matches(session, items, x), dtype=int64)))


def _matches(session: Any, items: Sequence[Any], x: Any) -> Tensor:
    """For each item, whether it equals `x`."""
    found: Tensor = ops.stack([_as_flag(equal(session, item, x)) for item in items])
    return found


ON_LISTS: dict[str, Any] = {
    "sort": sort_list,
    "pop": take_out,
    "insert": put_in,
    "remove": remove,
    "index": place_in,
    "count": count_in,
}
"""Methods of lists, where values decide what they do."""
