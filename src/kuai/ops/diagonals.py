"""Diagonals, and the triangles beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kuai.core.primitive import Meta, Primitive, ViewPrimitive, primitive
from kuai.ops import movement
from kuai.ops.movement import normalize_dim
from kuai.ops.pointwise import write_out
from kuai.ops.slicing import embed, scattered_view

if TYPE_CHECKING:
    from kuai.tensor import Tensor


@primitive
class diagonal_(ViewPrimitive):
    """The diagonals of the matrices in dimensions `dim1` and `dim2`, as a last dimension."""

    def kernel(self, x: np.ndarray, offset: int, dim1: int, dim2: int) -> np.ndarray:
        result = x.diagonal(offset, dim1, dim2)
        if x.flags.writeable:
            result.flags.writeable = True  # NumPy's own diagonals are read-only
        return result

    def infer(self, x: Meta, offset: int, dim1: int, dim2: int) -> Meta:
        rows, columns = x.shape[dim1], x.shape[dim2]
        size = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
        rest = [n for d, n in enumerate(x.shape) if d not in (dim1, dim2)]
        return Meta((*rest, max(size, 0)), x.dtype)

    def gradient(self, grad, x_shape, offset, dim1, dim2):
        parameters = {"offset": offset, "dim1": dim1, "dim2": dim2}
        return embed(grad, shape=x_shape, view=self, parameters=parameters)


def _two_dims(name: str, ndim: int, dim1: int, dim2: int) -> tuple[int, int]:
    first, second = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if first == second:
        raise RuntimeError(f"{name}: diagonal dimensions cannot be identical {dim1}, {dim2}")
    return first, second


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of the diagonals of the matrices in dimensions `dim1` and `dim2`.

    Args:
        input: the tensor.
        offset: which diagonal: above the main one where positive, below where negative.
        dim1: the dimension of the rows.
        dim2: the dimension of the columns.

    Shape:
        the two dimensions are left out, and the diagonal becomes the last.

    Raises:
        RuntimeError: the two dimensions are the same.
    """
    dim1, dim2 = _two_dims("diagonal", input._payload.ndim, dim1, dim2)
    return diagonal_(input, offset=offset, dim1=dim1, dim2=dim2)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros, in dimensions `dim1` and `dim2`, with the last dimension as diagonals.

    Args:
        input: the diagonals, in the last dimension.
        offset: which diagonal they become.
        dim1: the dimension of the rows in the result.
        dim2: that of the columns.
    """
    shape = input._payload.shape
    dim1, dim2 = _two_dims("diag_embed", len(shape) + 1, dim1, dim2)
    size = (shape[-1] if shape else 1) + abs(offset)
    target = list(shape[:-1])
    for d in sorted((dim1, dim2)):
        target.insert(d, size)
    parameters = {"offset": offset, "dim1": dim1, "dim2": dim2}
    return embed(input, shape=tuple(target), view=diagonal_, parameters=parameters)


def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The diagonal of a matrix, or the matrix of zeros with a vector as its diagonal.

    Raises:
        RuntimeError: neither a vector nor a matrix.
    """
    ndim = input._payload.ndim
    if ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    if ndim == 1:
        result = diag_embed(input, diagonal)
    else:
        result = movement.clone(diagonal_(input, offset=diagonal, dim1=0, dim2=1))
    return result if out is None else write_out(out, result)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix of zeros with all elements of `input` as its diagonal."""
    return diag_embed(movement.reshape(input, -1), offset)


def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """`input` with `src` on the diagonals of the matrices in dimensions `dim1` and `dim2`.

    Raises:
        ShapeError: `src` is not of the diagonal's shape.
    """
    dim1, dim2 = _two_dims("diagonal", input._payload.ndim, dim1, dim2)
    parameters = {"offset": offset, "dim1": dim1, "dim2": dim2}
    return scattered_view(input, src, diagonal_, parameters)


class _Triangle(Primitive):
    """Matrices, in the last two dimensions, with zeros outside a triangle."""

    here = ("x",)

    def infer(self, x: Meta, diagonal: int) -> Meta:
        return x

    def gradient(self, grad, diagonal):
        return self(grad, diagonal=diagonal)


@primitive
class tril_(_Triangle):
    """The part below and on a diagonal."""

    def kernel(self, x: np.ndarray, diagonal: int) -> np.ndarray:
        return np.tril(x, diagonal)

    def pull(self, emit, at, x, diagonal):
        return emit.where(emit.le(emit.sub(at[-1], at[-2]), diagonal), x, 0)


@primitive
class triu_(_Triangle):
    """The part above and on a diagonal."""

    def kernel(self, x: np.ndarray, diagonal: int) -> np.ndarray:
        return np.triu(x, diagonal)

    def pull(self, emit, at, x, diagonal):
        return emit.where(emit.ge(emit.sub(at[-1], at[-2]), diagonal), x, 0)


def _check_matrix(name: str, x: Tensor) -> None:
    if x._payload.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")


def tril(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The matrices in the last two dimensions, with zeros above a diagonal.

    Raises:
        RuntimeError: fewer than two dimensions.
    """
    _check_matrix("tril", input)
    result = tril_(input, diagonal=diagonal)
    return result if out is None else write_out(out, result)


def triu(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The matrices in the last two dimensions, with zeros below a diagonal.

    Raises:
        RuntimeError: fewer than two dimensions.
    """
    _check_matrix("triu", input)
    result = triu_(input, diagonal=diagonal)
    return result if out is None else write_out(out, result)


__all__ = ["diag", "diag_embed", "diagflat", "diagonal", "diagonal_scatter", "tril", "triu"]
