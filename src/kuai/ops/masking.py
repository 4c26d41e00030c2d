"""Elements chosen by a mask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, data_dependent, primitive
from kuai.errors import DtypeError
from kuai.ops import movement
from kuai.ops.elementwise import where
from kuai.ops.pointwise import (
    Elementwise,
    Number,
    as_operand,
    broadcast_shapes,
    cast,
    write_out,
)

if TYPE_CHECKING:
    from kuai.tensor import Tensor


@primitive
class masked_fill_(Elementwise):
    """`value`, a zero-dimensional tensor, where `mask` holds, else `x`."""

    inputs = ("x", "mask", "value")

    def __call__(self, *inputs: Any, **parameters: Any) -> Any:
        return Primitive.__call__(self, *inputs, **parameters)

    def kernel(self, x: np.ndarray, mask: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.where(mask, value, x)

    def gradient(self, grad, mask):
        return (
            lambda: masked_fill(grad, mask, 0),
            None,
            lambda: where(mask, grad, wrap(np.zeros((), grad._payload.dtype))),
        )

    def lower(self, emit, x, mask, value):
        return emit.where(mask, emit.cast(value, x.dtype), x)


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """`input` with `value` where `mask` holds; the two broadcast.

    Raises:
        RuntimeError: `mask` is not bool, or `value` has dimensions.
    """
    if mask.dtype is not dtypes.bool_:
        raise DtypeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype.name}"
        )
    if isinstance(value, TensorBase) and value._payload.ndim:
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value._payload.ndim} dimension(s)."
        )
    return masked_fill_(input, mask, as_operand(value, input.dtype))


@primitive
class masked_select_(Primitive):
    """The elements of `x` where `mask`, of the same shape, holds."""

    inputs = ("x", "mask")

    def kernel(self, x: np.ndarray, mask: np.ndarray) -> Any:
        return x[mask]

    def infer(self, x: Meta, mask: Meta) -> Meta:
        raise data_dependent("masked_select")

    def gradient(self, grad, mask):
        return lambda: masked_scatter_(_zeros(mask, grad), mask, grad), None


def _zeros(like: Tensor, of_type: Tensor) -> Tensor:
    return wrap(np.zeros(like._payload.shape, of_type._payload.dtype))


@primitive
class masked_scatter_(Primitive):
    """`x` with the first elements of `source` where `mask` holds."""

    inputs = ("x", "mask", "source")

    def kernel(self, x: np.ndarray, mask: np.ndarray, source: np.ndarray) -> np.ndarray:
        result = x.copy()
        count = np.count_nonzero(mask)
        if count > source.size:
            raise RuntimeError(
                f"masked_scatter: expected the source to have at least {count} elements, as many "
                f"as the mask has ones, but it has {source.size}"
            )
        result[mask] = source.reshape(-1)[:count]
        return result

    def infer(self, x: Meta, mask: Meta, source: Meta) -> Meta:
        return x

    def gradient(self, grad, mask, source_shape):
        return (
            lambda: masked_fill(grad, mask, 0),
            None,
            lambda: masked_front(grad, mask, shape=source_shape),
        )

    def decompose(self, x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
        from kuai.ops.gather import gather_
        from kuai.ops.joining import cat_

        # What is not masked reads an element in front of the source, so that only a mask with
        # more ones than the source has elements reads beyond its end, which is refused.
        row = cat_(_zeros_of((1,), source), movement.reshape(source, -1), dim=0)
        found = gather_(row, where(movement.reshape(mask, -1), _ones_so_far(mask), 0), dim=0)
        return where(mask, movement.reshape(found, x._payload.shape), x)


@primitive
class masked_front(Primitive):
    """The elements of `x` where `mask` holds, then zeros, in the given shape."""

    inputs = ("x", "mask")

    def kernel(self, x: np.ndarray, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        result = np.zeros(shape, x.dtype)
        found = x[mask]
        result.reshape(-1)[: found.size] = found
        return result

    def infer(self, x: Meta, mask: Meta, shape: tuple[int, ...]) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, mask):
        return lambda: masked_scatter_(_zeros(mask, grad), mask, grad), None

    def decompose(self, x: Tensor, mask: Tensor, shape: tuple[int, ...]) -> Tensor:
        from kuai.ops.gather import scatter_
        from kuai.ops.slicing import slice_along

        place = where(movement.reshape(mask, -1), _ones_so_far(mask), 0)
        front = _zeros_of((math.prod(shape) + 1,), x)  # what is not masked goes before all
        front = scatter_(front, place, movement.reshape(x, -1), dim=0)
        return movement.reshape(slice_along(front, 0, 1, math.prod(shape) + 1), shape)


def _ones_so_far(mask: Tensor) -> Tensor:
    """How many elements of a mask hold, up to each one, in a row."""
    from kuai.ops.reduce import cumsum_

    return cumsum_(cast(movement.reshape(mask, -1), dtype=dtypes.int64), dim=0)


def _zeros_of(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return movement.expand_to(wrap(np.zeros((), like._payload.dtype)), shape)


def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A vector of the elements where `mask` holds; the two broadcast.

    Raises:
        RuntimeError: `mask` is not bool.
    """
    if mask.dtype is not dtypes.bool_:
        raise DtypeError(f"masked_select: expected BoolTensor for mask, but got {mask.dtype.name}")
    result = masked_select_(*movement.broadcast_tensors(input, mask))
    return result if out is None else write_out(out, result)


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, one by one in order, where `mask` holds.

    Raises:
        RuntimeError: the types differ, or `source` has too few elements.
    """
    if input.dtype is not source.dtype:
        raise DtypeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{input.dtype.name} and {source.dtype.name}"
        )
    if mask.dtype is not dtypes.bool_:
        raise DtypeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype "
            f"{mask.dtype.name}"
        )
    shape = broadcast_shapes(input._payload.shape, mask._payload.shape)
    return masked_scatter_(
        movement.expand_to(input, shape), movement.expand_to(mask, shape), source
    )


__all__ = ["masked_fill", "masked_scatter", "masked_select"]
