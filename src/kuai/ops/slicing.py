"""Parts of a tensor as views: what basic indexing, `select` and `narrow` give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.core.base import TensorBase
from kuai.core.inplace import view_scatter
from kuai.core.primitive import Meta, Primitive, ViewPrimitive, meta_of, primitive
from kuai.errors import ShapeError
from kuai.ops.movement import clone, normalize_dim
from kuai.ops.pointwise import to_dtype, write_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor

# An entry is a number, a (start, stop, step), or None for a new dimension.
Key = tuple[int | tuple[int, int, int] | None, ...]


class Basic(ViewPrimitive):
    """A part of a tensor, taken as a view.

    `key` has an entry for each dimension from the first on: a number takes one position and
    drops the dimension, `(start, stop, step)` takes a range; `None` makes a new dimension. All
    are resolved: within bounds, nothing negative, except that a key may be shorter than the
    tensor has dimensions.
    """

    def kernel(self, x: np.ndarray, key: Key) -> np.ndarray:
        # The ellipsis makes NumPy return an array, a view, also where no dimension is left.
        return x[(*[slice(*k) if type(k) is tuple else k for k in key], ...)]

    def infer(self, x: Meta, key: Key) -> Meta:
        shape: list[int] = []
        dim = 0
        for k in key:
            if k is None:
                shape.append(1)
                continue
            if isinstance(k, tuple):
                shape.append(len(range(*k)))
            dim += 1
        return Meta((*shape, *x.shape[dim:]), x.dtype)

    def gradient(self, grad, x_shape, key):
        return embed(grad, shape=x_shape, view=self, parameters={"key": key})


@primitive
class slice_(Basic):
    """Ranges of positions along the dimensions."""


@primitive
class select_(Basic):
    """One position along a dimension, which is dropped."""


@primitive
class embed(Primitive):
    """Zeros of `shape`, with `x` where `view(zeros, **parameters)` shows them."""

    zeros_between = True

    def kernel(
        self, x: np.ndarray, shape: tuple[int, ...], view: Primitive, parameters: dict[str, Any]
    ) -> np.ndarray:
        result = np.zeros(shape, x.dtype)
        view.kernel(result, **parameters)[...] = x
        return result

    def pieces(
        self,
        result: np.ndarray,
        x: np.ndarray,
        shape: tuple[int, ...],
        view: Primitive,
        parameters: dict[str, Any],
    ) -> list[tuple[np.ndarray, int, np.ndarray]]:
        return [(view.alias(result, **parameters), 0, x)]

    def infer(
        self, x: Meta, shape: tuple[int, ...], view: Primitive, parameters: dict[str, Any]
    ) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, view, parameters):
        return view(grad, **parameters)


def slice_key(
    shape: tuple[int, ...], dim: int, start: int | None, stop: int | None, step: int = 1
) -> Key:
    """The key of a range along one dimension, its ends resolved as Python does."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    first, last, step = slice(start, stop, step).indices(shape[dim])
    return (*[(0, n, 1) for n in shape[:dim]], (first, max(first, last), step))


def slice_along(x: Tensor, dim: int, start: int, stop: int, step: int = 1) -> Tensor:
    """A view of the positions from `start` to `stop` along the dimension `dim`."""
    return slice_(x, key=slice_key(x._payload.shape, dim, start, stop, step))


def select_key(shape: tuple[int, ...], dim: int, index: Any) -> Key:
    """The key of one position along one dimension.

    Raises:
        IndexError: the tensor has no such dimension or position.
    """
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, len(shape))
    i = int(index)
    if not -shape[dim] <= i < shape[dim]:
        raise IndexError(
            f"select(): index {i} out of range for tensor of size {list(shape)} at dimension {dim}"
        )
    return (*[(0, n, 1) for n in shape[:dim]], i + shape[dim] if i < 0 else i)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of one position along `dim`, without that dimension.

    Raises:
        IndexError: the tensor has no such dimension or position.
    """
    return select_(input, key=select_key(input._payload.shape, dim, index))


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A view of `length` positions from `start` on along `dim`.

    Raises:
        IndexError: `start` is out of range.
        RuntimeError: the length is negative or too much.
    """
    shape = input._payload.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, TensorBase):
        if start._payload.ndim or start._payload.dtype.kind not in "iu":
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = int(start.item())
    dim = normalize_dim(dim, len(shape))
    n = shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_along(input, dim, start, start + length)


def narrow_copy(
    input: Tensor, dim: int, start: Any, length: int, *, out: Tensor | None = None
) -> Tensor:
    """A copy of `length` positions from `start` on along `dim`."""
    result = clone(narrow(input, dim, start, length))
    return result if out is None else write_out(out, result)


def select_scatter(
    input: Tensor, src: Tensor, dim: int, index: int, *, out: Tensor | None = None
) -> Tensor:
    """`input` with `src` at one position along `dim`.

    Raises:
        ShapeError: `src` is not of the shape of that part.
    """
    key = select_key(input._payload.shape, dim, index)
    result = scattered_view(input, src, select_, {"key": key})
    return result if out is None else write_out(out, result)


def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """`input` with `src` in a range of positions along `dim`.

    Raises:
        ShapeError: `src` is not of the shape of that part.
    """
    shape = input._payload.shape
    key = slice_key(shape, normalize_dim(dim, len(shape)), start, end, step)
    result = scattered_view(input, src, slice_, {"key": key})
    return result if out is None else write_out(out, result)


def scattered_view(x: Tensor, src: Tensor, view: Any, parameters: dict[str, Any]) -> Tensor:
    """`x` with `src` in the part that a view shows.

    Raises:
        ShapeError: `src` is not of the view's shape.
    """
    part = view.infer(meta_of(x), **parameters)
    assert isinstance(part, Meta)
    if src._payload.shape != part.shape:
        raise ShapeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src._payload.shape)}, slice size = {list(part.shape)}"
        )
    return view_scatter(x, to_dtype(src, x.dtype), view=view, parameters=parameters)


__all__ = ["narrow", "narrow_copy", "select", "select_scatter", "slice_scatter"]
