"""Reductions over dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.ops import movement
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Dim = int | Sequence[int] | None


def normalize_dims(dim: Dim, ndim: int) -> tuple[int, ...]:
    """The dimensions as a tuple of non-negative ints; all of them for `None` or `()`.

    Raises:
        IndexError: a dimension is out of range.
        RuntimeError: one appears twice.
    """
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (movement.normalize_dim(dim, ndim),)
    dims = tuple(movement.normalize_dim(d, ndim) for d in dim)
    if not dims:
        return tuple(range(ndim))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {tuple(dim)} names a dimension twice")
    return dims if ndim else ()


def reduced_shape(
    shape: Sequence[int], dims: Sequence[int], keepdim: bool
) -> tuple[int, ...]:
    """The shape that is left after reducing over `dims`."""
    if keepdim:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def restore(grad: Tensor, shape: Sequence[int], dim: Sequence[int], keepdim: bool) -> Tensor:
    """Give a reduced tensor its reduced dimensions back, with size 1."""
    if keepdim or not dim:
        return grad
    return movement.reshape(grad, reduced_shape(shape, dim, True))


@primitive
class sum_(Primitive):
    """Sum over `dim`, a tuple of non-negative dimensions."""

    gradient_name = "SumBackward0"

    def kernel(self, x: np.ndarray, dim: tuple[int, ...], keepdim: bool) -> Any:
        return np.add.reduce(x, dim, None, None, keepdim)

    def infer(self, x: Meta, dim: tuple[int, ...], keepdim: bool) -> Meta:
        return Meta(reduced_shape(x.shape, dim, keepdim), x.dtype)

    def gradient(self, grad, x_shape, dim, keepdim):
        return movement.expand_to(restore(grad, x_shape, dim, keepdim), x_shape)


def sum(  # noqa: A001
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Sum over `dim` (one or several dimensions; all by default). Integers sum in int64."""
    if dtype is not None:
        input = to_dtype(input, dtype)
    elif input._payload.dtype.kind in "iub":
        input = to_dtype(input, dtypes.int64)
    return sum_(input, dim=normalize_dims(dim, input._payload.ndim), keepdim=keepdim)


def mean(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Mean over `dim` (one or several dimensions; all by default)."""
    if dtype is not None:
        input = to_dtype(input, dtype)
    if input._payload.dtype.kind in "iub":
        raise RuntimeError(
            f"mean(): could not infer output dtype. Input dtype must be a floating point dtype, "
            f"got {input.dtype}; convert with .float() first"
        )
    dims = normalize_dims(dim, input._payload.ndim)
    shape = input._payload.shape
    count = 1
    for d in dims:
        count *= shape[d]
    total = sum_(input, dim=dims, keepdim=keepdim)
    return total / count if count else total / 0.0



