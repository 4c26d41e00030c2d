"""What a capture does in the place of some functions of kuai's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

import kuai
from kuai import ops as operations
from kuai.compiler.capture import trees
from kuai.compiler.capture.numbers import Number, as_tensor, number
from kuai.compiler.capture.whole import look_through
from kuai.core.base import TensorBase
from kuai.dtypes import int64
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session
from kuai.compiler.capture.special import SPECIAL, is_captured, special

ops: Any = operations


@special(ops.equal, kuai.equal)
def _equal(session: Session, input: Any, other: Any) -> Any:
    if not is_captured(session, input, other):
        return ops.equal(input, other)
    if input._payload.shape != other._payload.shape:
        return False
    return number(ops.all(ops.eq(input, other)))


@special(ops.allclose, kuai.allclose)
def _allclose(session: Session, input: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
    if not is_captured(session, input, other):
        return ops.allclose(input, other, *args, **kwargs)
    return number(ops.all(ops.isclose(input, other, *args, **kwargs)))


def _values(name: str) -> None:
    method = getattr(Tensor, name)

    def refuse(session: Session, x: Any, *args: Any, **kwargs: Any) -> Any:
        if is_captured(session, x):
            session.recorder.refuse(
                f".{name}() of a tensor whose values are known only when the program runs",
                "compute with the tensor itself; conditions and loops on it are compiled; or "
                f"return it, and call .{name}() on the result",
            )
        return method(x, *args, **kwargs)

    SPECIAL[method] = refuse


for _name in ("item", "numpy", "tolist", "__array__"):
    _values(_name)


@special(ops.tensor)
def _tensor(session: Session, data: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(data, np.ndarray) and session.reads.is_outside(data):
        shared = _sharing(data)
        data = data if shared is None else shared
    if not is_captured(session, *trees.leaves(data)) and not isinstance(data, TensorBase):
        look_through(session, data, objects=False)
        return ops.tensor(data, *args, **kwargs)
    from kuai.compiler.capture.creation import captured_tensor

    return captured_tensor(session, data, *args, **kwargs)


def _sharing(data: np.ndarray) -> Any:
    """A tensor on the memory of an array, which programs then read; `None` if it can be none."""
    try:
        return ops.from_numpy(data) if data.flags.writeable else None
    except TypeError:
        return None


@special(ops.as_tensor, ops.asarray, kuai.as_tensor, kuai.asarray)
def _as_tensor(session: Session, data: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(data, np.ndarray) and session.reads.is_outside(data):
        shared = _sharing(data)
        data = data if shared is None else shared
    if isinstance(data, TensorBase) and not isinstance(data, Number):
        return ops.as_tensor(data, *args, **kwargs)
    return _tensor(session, data, *args, **kwargs)


@special(Tensor.new_tensor)
def _new_tensor(session: Session, x: Any, data: Any, *, dtype: Any = None, **options: Any) -> Any:
    return _tensor(session, data, dtype=dtype or x.dtype, **options)


@special(ops.select, kuai.select, vars(Tensor)["select"])
def _select(session: Session, x: Any, dim: int, index: Any) -> Any:
    if not is_captured(session, index):
        return ops.select(x, dim, index)
    before = (slice(None),) * (dim % x.ndim)
    return session.item(x, (*before, index))


@special(ops.narrow, kuai.narrow, vars(Tensor)["narrow"])
def _narrow(session: Session, x: Any, dim: int, start: Any, length: int) -> Any:
    if not is_captured(session, start):
        return ops.narrow(x, dim, start, length)
    places = as_tensor(start, int64) + ops.arange(length)
    found = session.item(x, (*(slice(None),) * (dim % x.ndim), places))
    session.stands_for_view(found, x)
    return found


@special(Tensor.register_hook)
def _register_hook(session: Session, x: Any, hook: Any) -> Any:
    recorder = session.recorder
    region = recorder.scopes[-1].region
    if len(recorder.scopes) > 1 and not (
        getattr(x._payload, "region", None) is region and recorder.edges.get(x._payload) is x._node
    ):
        recorder.refuse(
            "a hook in a loop or under a condition, for a tensor that was not computed there",
            "register it where the tensor is computed",
        )
    return x.register_hook(session.callable(hook))


def _apply(session: Session, function: Any, *args: Any) -> Any:
    from kuai.compiler.capture.custom_functions import applied

    return applied(session, function, args)


def know_custom_functions() -> None:
    """Take `Function.apply` for special, if there are such functions at all."""
    module = sys.modules.get("kuai.autograd.function")
    if module is not None:
        SPECIAL[vars(module.Function)["apply"].__func__] = _apply
