"""`x[index] op= value` on a tensor whose index is known only when the program runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai import dtypes, ops
from kuai.compiler.capture.numbers import is_number
from kuai.core.base import TensorBase
from kuai.core.inplace import assign

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

Change = Callable[[Any, Any], Any]


def augment_item(session: Session, change: Change, x: Any, index: Any, value: Any) -> None:
    """Change an item of a tensor in place.

    Args:
        session: the capture.
        change: what `op=` does: changes its first argument, and returns it.
        x: the tensor.
        index: what stands between the brackets.
        value: the operand on the right.
    """
    if _is_mask(session, index) and _fits_any_number_of_rows(x, index, value):
        _change_masked(change, x, index, value)
    elif session.is_position(index):
        item = x[session.index(index)]  # the view that eager changes, which nobody else holds
        session.set_item(x, index, change(item, value))
    else:
        session.set_item(x, index, change(session.item(x, index), value))


def _is_mask(session: Session, index: Any) -> bool:
    return session.recorder.is_captured(index) and index.dtype is dtypes.bool_


def _fits_any_number_of_rows(x: Any, mask: Any, value: Any) -> bool:
    """Whether `value` broadcasts to `x[mask]`, however many rows that has."""
    rest = x._payload.shape[mask._payload.ndim :]
    if x._payload.shape[: mask._payload.ndim] != mask._payload.shape:
        return False
    return is_number(value) or (isinstance(value, TensorBase) and value._payload.ndim <= len(rest))


def _change_masked(change: Change, x: Any, mask: Any, value: Any) -> None:
    """Compute all elements, with ones in the place of those that stay: no shape depends on it."""
    rest = x._payload.ndim - mask._payload.ndim
    mask = ops.reshape(mask, (*mask._payload.shape, *(1,) * rest))
    new = change(ops.where(mask, x, ops.ones((), dtype=x.dtype)), value)
    assign(x, ops.where(mask, new, x))
