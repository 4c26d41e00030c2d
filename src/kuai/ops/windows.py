"""Views with strides of their own: windows that slide along a dimension, and `as_strided`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as _as_strided

from kuai.core.base import layout_of, wrap
from kuai.core.inplace import view_scatter
from kuai.core.primitive import Meta, Primitive, ViewPrimitive, primitive
from kuai.errors import DataDependentError, ShapeError
from kuai.ops import movement
from kuai.ops.indexing import index_, index_embed
from kuai.ops.movement import as_shape, normalize_dim

if TYPE_CHECKING:
    from kuai.tensor import Tensor


@primitive
class unfold_(ViewPrimitive):
    """Windows of `size` elements, `step` apart along `dim`; the elements of a window come last."""

    def kernel(self, x: np.ndarray, dim: int, size: int, step: int) -> np.ndarray:
        n = (x.shape[dim] - size) // step + 1
        shape = (*x.shape[:dim], n, *x.shape[dim + 1 :], size)
        strides = (*x.strides[:dim], x.strides[dim] * step, *x.strides[dim + 1 :], x.strides[dim])
        return _as_strided(x, shape, strides)

    def infer(self, x: Meta, dim: int, size: int, step: int) -> Meta:
        n = (x.shape[dim] - size) // step + 1
        return Meta((*x.shape[:dim], n, *x.shape[dim + 1 :], size), x.dtype)

    def gradient(self, grad, x_shape, dim, size, step):
        return sum_windows(grad, shape=x_shape, dim=dim, size=size, step=step)


@primitive
class sum_windows(Primitive):
    """Zeros of `shape`, with the windows of `x` added where `unfold_` takes them."""

    def kernel(
        self, x: np.ndarray, shape: tuple[int, ...], dim: int, size: int, step: int
    ) -> np.ndarray:
        result = np.zeros(shape, x.dtype)
        n = x.shape[dim]
        front = (slice(None),) * dim
        for i in range(size if n else 0):
            result[(*front, slice(i, i + step * (n - 1) + 1, step))] += x[..., i]
        return result

    def push_domain(
        self, x: Meta, shape: tuple[int, ...], dim: int, size: int, step: int
    ) -> tuple[int, ...]:
        return (x.shape[-1], *x.shape[:-1])

    def push(self, emit, at, target, x, shape, dim, size, step):
        inside, *rest = at
        place = emit.add(emit.mul(rest[dim], step), inside)
        return (*rest[:dim], place, *rest[dim + 1 :]), x.at(*rest, inside)

    def meet(self, emit, old, new, **parameters):
        return emit.add(old, new)

    def infer(self, x: Meta, shape: tuple[int, ...], dim: int, size: int, step: int) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, dim, size, step):
        return unfold_(grad, dim=dim, size=size, step=step)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements along a dimension, `step` apart.

    Shape:
        the dimension counts the windows; a new last dimension runs through a window.

    Raises:
        RuntimeError: the window is larger than the dimension, or `step` is not positive.
    """
    shape = input._payload.shape
    dim = normalize_dim(dimension, len(shape))
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    n = shape[dim] if shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if not shape:
        input = movement.reshape(input, 1)
        return movement.reshape(unfold_(input, dim=0, size=size, step=step), (size,))
    return unfold_(input, dim=dim, size=size, step=step)


def blank_like(x: np.ndarray) -> np.ndarray:
    """An array without meaningful values, in memory of its own, in which it lies as `x` does."""
    row, start = _memory(x)
    return _as_strided(np.empty(row.size, x.dtype)[start:], x.shape, x.strides)


def _memory(x: np.ndarray) -> tuple[np.ndarray, int]:
    """The whole memory that an array lies in, as one row, and where in it the array starts."""
    root: Any = x
    while True:
        base = root.base
        if base is not None and not isinstance(base, np.ndarray):
            base = getattr(base, "base", None)  # what NumPy's as_strided puts in between
        if not isinstance(base, np.ndarray) or base.dtype != x.dtype:
            break
        root = base
    if not (root.flags.c_contiguous or root.flags.f_contiguous):
        return np.ascontiguousarray(x).reshape(-1), 0
    row = (root if root.flags.c_contiguous else root.T).reshape(-1)
    return row, (x.ctypes.data - row.ctypes.data) // x.itemsize


def _lies(x: np.ndarray, stride: tuple[int, ...]) -> bool:
    """Whether the elements of an array are as far apart as `stride` says."""
    return all(
        n == 1 or s == t * x.itemsize for n, s, t in zip(x.shape, x.strides, stride, strict=True)
    )


@primitive
class as_strided_(ViewPrimitive):
    """The memory of `x` from element `offset` on, with sizes and strides of its own.

    `x_stride` and `x_offset` say how `x` itself lies in that memory.
    """

    def kernel(
        self,
        x: np.ndarray,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        offset: int,
        x_stride: tuple[int, ...],
        x_offset: int,
    ) -> np.ndarray:
        strides = [s * x.itemsize for s in stride]
        if 0 in size:
            return _as_strided(x.reshape(-1)[:0], size, strides)
        row, start = _memory(x)
        first = start + offset - x_offset
        last = first + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if _lies(x, x_stride):
            if first >= 0 and last < row.size:
                return _as_strided(row[first:], size, strides)
            if start == x_offset:
                raise RuntimeError(
                    f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset "
                    f"{offset}, and itemsize {x.itemsize} requiring a storage size of "
                    f"{(last + 1) * x.itemsize} are out of bounds for storage of size {row.nbytes}"
                )
        # Values that lie elsewhere, such as a gradient: laid out as `x` was.
        inside = _positions(x.shape, x_stride, x_offset)
        row = np.zeros(max(inside.max(initial=-1), last - first + offset) + 1, x.dtype)
        row[inside] = x
        row.flags.writeable = False
        return _as_strided(row[offset:], size, strides)

    def alias(
        self,
        x: np.ndarray,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        offset: int,
        x_stride: tuple[int, ...],
        x_offset: int,
    ) -> np.ndarray:
        first = offset - x_offset
        reach = first + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        last = sum((n - 1) * s for n, s in zip(x.shape, x_stride, strict=True))
        if 0 in size or 0 in x.shape or not _lies(x, x_stride) or first < 0 or reach > last:
            raise ValueError("the view leaves the memory of the values")
        row = _as_strided(x, (last + 1,), (x.itemsize,))
        return _as_strided(row[first:], size, [s * x.itemsize for s in stride])

    def infer(self, x: Meta, size: tuple[int, ...], **geometry: Any) -> Meta:
        return Meta(size, x.dtype)

    def gradient(self, grad, x_shape, size, stride, offset, x_stride, x_offset):
        inside = _positions(x_shape, x_stride, x_offset)
        shown = _positions(size, stride, offset)
        length = int(max(inside.max(initial=-1), shown.max(initial=-1))) + 1
        memory = index_embed(
            movement.reshape(grad, -1), wrap(shown.reshape(-1)), shape=(length,), positions=(0,)
        )
        result = index_(memory, wrap(inside), positions=(0,))
        uses = np.bincount(inside.reshape(-1), minlength=length)[inside]
        if uses.max(initial=1) > 1:
            result = result / wrap(uses.astype(grad._payload.dtype))
        return result


def _positions(shape: Sequence[int], stride: Sequence[int], offset: int) -> np.ndarray:
    result = np.full(tuple(shape), offset, np.int64)
    for d, (n, s) in enumerate(zip(shape, stride, strict=True)):
        result += (np.arange(n) * s).reshape(-1, *(1,) * (len(shape) - 1 - d))
    return result


def _geometry(x: Tensor, size: Any, stride: Any, offset: int | None) -> dict[str, Any]:
    payload = layout_of(x)
    size, stride = as_shape((size,)), as_shape((stride,))
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(stride)}"
        )
    start = _memory(payload)[1] if payload.size else 0
    if offset is None:
        offset = start
    x_stride = tuple(s // payload.itemsize for s in payload.strides)
    if type(x._payload) is not np.ndarray:
        shown, inside = _positions(size, stride, offset), _positions(payload.shape, x_stride, start)
        if not np.isin(shown, inside).all():
            raise DataDependentError(
                "as_strided shows memory that is no part of the tensor, which is not there while a "
                "graph is being captured"
            )
    return {
        "size": size,
        "stride": stride,
        "offset": offset,
        "x_stride": x_stride,
        "x_offset": start,
    }


def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A view of the tensor's memory with sizes and strides of its own.

    Args:
        input: the tensor.
        size: the shape of the view.
        stride: for each dimension, how many elements of memory lie between neighbours.
        storage_offset: the element of memory that the view begins with; by default the first of
            `input`.

    Raises:
        RuntimeError: the view leaves the memory.
    """
    return as_strided_(input, **_geometry(input, size, stride, storage_offset))


def as_strided_scatter(
    input: Tensor,
    src: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int | None = None,
) -> Tensor:
    """A copy of `input` with `src` in the part that `as_strided` shows.

    Raises:
        ShapeError: `src` is not of that shape.
    """
    input = movement.reshape_(input, shape=input._payload.shape)
    parameters = _geometry(input, size, stride, storage_offset)
    if src._payload.shape != parameters["size"]:
        raise ShapeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src._payload.shape)}, slice size = {list(parameters['size'])}"
        )
    return view_scatter(input, src, view=as_strided_, parameters=parameters)


__all__ = ["as_strided", "as_strided_scatter", "unfold"]
