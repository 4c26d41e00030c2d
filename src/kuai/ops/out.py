"""The argument `out`: a result stored in the tensor (or tensors) that the caller gives for it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kuai.core.base import TensorBase
from kuai.core.inplace import assign
from kuai.core.tape import mode

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])


def write_out(out: Any, result: Any) -> Any:
    """Store a result in `out`, which takes its shape; several results in several tensors.

    Raises:
        TypeError: `out` is no tensor, or not so many as there are results.
        RuntimeError: a gradient is wanted, or the type of `out` cannot hold the values.
    """
    if isinstance(result, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(f"argument 'out' must be a tuple of {len(result)} Tensors")
        stored = tuple([write_out(o, r) for o, r in zip(out, result, strict=True)])
        return stored if type(result) is tuple else type(result)(stored)
    if not isinstance(out, TensorBase):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    if mode.grad and (result._requires_grad or out._requires_grad):
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one "
            "of the arguments requires grad."
        )
    have, needed = out._payload.shape, result._payload.shape
    if have != needed:
        if out._payload.size:
            warnings.warn(
                "An output with one or more elements was resized since it had shape "
                f"{list(have)}, which does not match the required output shape {list(needed)}.",
                stacklevel=3,
            )
        out._payload = np.empty(needed, out._payload.dtype)
    assign(out, result)
    return out


def takes_out(function: F) -> F:
    """Give a function the keyword argument `out`; as a method it stays without."""

    @functools.wraps(function)
    def with_out(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            return function(*args, **kwargs)
        return write_out(out, function(*args, **kwargs))

    return with_out  # type: ignore[return-value]
