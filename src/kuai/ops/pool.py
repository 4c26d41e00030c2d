"""Pooling: the greatest of each window with its position, and sums of windows."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.core.base import wrap
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.core.tape import mode, no_grad
from kuai.dtypes import int64
from kuai.ops import movement, reduce
from kuai.ops.conv import Sizes, padded, positions, reach
from kuai.ops.creation import full
from kuai.ops.elementwise import select_where
from kuai.ops.gather import gather_
from kuai.ops.slicing import slice_
from kuai.ops.windows import sum_windows, unfold_

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def window_counts(
    sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> Sizes:
    """How many windows there are in each dimension.

    With `ceil_mode` the last window may leave the padded input, if it begins in the input or in
    the padding before it.
    """
    counts = []
    for n, r, s, p in zip(sizes, reach(kernel, dilation), stride, padding, strict=True):
        free = n + 2 * p - r
        count = free // s + 1
        if ceil_mode:
            count = -(-free // s) + 1
            if (count - 1) * s >= n + p:
                count -= 1
        counts.append(count)
    return tuple(counts)


def extents(
    sizes: Sizes, count: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Sizes:
    """The padded sizes that hold the input and all windows."""
    return tuple(
        [
            max(n + p, (c - 1) * s + r)
            for n, c, r, s, p in zip(
                sizes, count, reach(kernel, dilation), stride, padding, strict=True
            )
        ]
    )


# -- the greatest ------------------------------------------------------------------------------


def _lowest(numpy_dtype: Any) -> Any:
    return -math.inf if numpy_dtype.kind in "fV" else np.iinfo(numpy_dtype).min


def _first_inside(
    count: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Any:
    """For each window, the number of its first position that is not padding."""
    result: Any = 0
    for c, k, s, p, d in zip(count, kernel, stride, padding, dilation, strict=True):
        outside = np.maximum(p - s * np.arange(c), 0)
        result = np.add.outer(result * k, -(-outside // d))
    return result


def _places(
    sizes: Sizes, count: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[np.ndarray, np.ndarray]:
    """Where windows begin in the flat input, and how far from there each window position is."""
    begin: Any = np.zeros((), np.int64)
    offset: Any = np.zeros((), np.int64)
    for n, c, k, s, p, d in zip(sizes, count, kernel, stride, padding, dilation, strict=True):
        begin = np.add.outer(begin * n, s * np.arange(c) - p)
        offset = np.add.outer(offset * n, d * np.arange(k))
    return begin, offset.reshape(-1)


@primitive
class max_pool_(Primitive):
    """The greatest element of each window of the last dimensions, and where it stands in them.

    A window's NaN counts as its greatest element, and of equal elements the first. The indices
    count through the last dimensions, flattened.
    """

    gradient_name = "MaxPoolWithIndicesBackward0"

    def kernel(
        self,
        x: np.ndarray,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        count: Sizes,
    ) -> tuple[np.ndarray, np.ndarray]:
        sizes = x.shape[-len(count) :]
        geometry = (kernel_size, stride, padding, dilation)
        wide = extents(sizes, count, *geometry)
        surrounded = padded(x, padding, wide, _lowest(x.dtype))
        places: list[Any] = [
            (..., *place) for _, place in positions(kernel_size, count, stride, dilation)
        ]
        best = surrounded[places[0]].copy()
        number = np.uint8 if len(places) < 256 else np.int64
        chosen = np.empty(best.shape, number)
        chosen[...] = _first_inside(count, *geometry)
        floats = x.dtype.kind in "fV"
        for i, place in enumerate(places[1:], 1):
            value = surrounded[place]
            wins = value > best
            if floats:
                wins |= np.isnan(value)
            np.maximum(best, value, out=best)
            # Later positions have greater numbers: where this one wins, it is the greatest.
            np.maximum(chosen, wins.view(np.uint8) * number(i), out=chosen)
        begin, offset = _places(sizes, count, *geometry)
        index = offset[chosen]
        index += begin
        return best, index

    def infer(self, x: Meta, count: Sizes, **geometry: Any) -> tuple[Meta, Meta]:
        shape = (*x.shape[: -len(count)], *count)
        return Meta(shape, x.dtype), Meta(shape, int64)

    def gradient(self, grad, result, x_shape, kernel_size, stride, padding, dilation, count):
        values, _ = grad
        geometry = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        sizes = x_shape[-len(count) :]
        return lambda: max_pool_input_gradient(
            values, result[1], sizes=sizes, dilation=dilation, **geometry
        )

    def decompose(
        self,
        x: Tensor,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        count: Sizes,
    ) -> tuple[Tensor, Tensor]:
        how = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        with no_grad():
            best, index = self._greatest(x, count=count, dilation=dilation, **how)
        if not (x._requires_grad and mode.grad):
            return best, index
        return max_pooled(x, best, index, dilation=dilation, **how), index

    def _greatest(
        self,
        x: Tensor,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        count: Sizes,
    ) -> tuple[Tensor, Tensor]:
        """The results, without a gradient."""
        shape, dtype = x._payload.shape, x._payload.dtype
        kept = shape[: -len(count)]
        sizes = shape[-len(count) :]
        geometry = (kernel_size, stride, padding, dilation)
        wide = extents(sizes, count, *geometry)
        if wide != sizes:
            key = [(0, n, 1) for n in kept]
            key += [(p, p + n, 1) for n, p in zip(sizes, padding, strict=True)]
            inside = x
            x = full((*kept, *wide), _lowest(dtype), dtype=inside.dtype)
            slice_(x, key=tuple(key)).copy_(inside)
        begin, offset = _places(sizes, count, *geometry)
        first = _first_inside(count, *geometry)
        best: Any = None
        for i, (_, place) in enumerate(positions(kernel_size, count, stride, dilation)):
            steps = [(p.start, p.stop, p.step) for p in place]
            value = slice_(x, key=(*[(0, n, 1) for n in kept], *steps))
            if best is None:
                best = movement.clone(value)
                index = movement.expand_to(wrap(begin + offset[first]), value._payload.shape)
                continue
            # Not the maximum of the two: of equal ones, the first one counts.
            wins = value > best
            if dtype.kind in "fV":
                wins = wins | (value != value)
            best = select_where(wins, value, best)
            index = select_where(wins, wrap(begin + offset[i]), index)
        return best, index


@primitive
class max_pooled(Primitive):
    """The elements of `x` that stand at `indices`, which are `best`: so that a program that has
    found both need not read them again, and knows their gradient.
    """

    inputs = ("x", "best", "indices")
    gradient_name = "MaxPoolWithIndicesBackward0"
    here = ("best", "indices")

    def kernel(
        self, x: np.ndarray, best: np.ndarray, indices: np.ndarray, **geometry: Sizes
    ) -> np.ndarray:
        kept = x.shape[: x.ndim - len(geometry["stride"])]
        rows = x.reshape(*kept, -1), indices.reshape(*kept, -1)
        return np.take_along_axis(*rows, axis=-1).reshape(best.shape)

    def pull(self, emit, at, x, best, indices, **geometry):
        return best

    def infer(self, x: Meta, best: Meta, indices: Meta, **geometry: Sizes) -> Meta:
        return best

    def gradient(self, grad, indices, x_shape, kernel_size, stride, padding, dilation):
        sizes = x_shape[-len(stride) :]
        geometry = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        return (
            lambda: max_pool_input_gradient(
                grad, indices, sizes=sizes, dilation=dilation, **geometry
            ),
            None,
            None,
        )


@primitive
class max_pool_input_gradient(Primitive):
    """Zeros with `sizes` as last dimensions, with `x`, that has an element for each window, added
    where `indices` say: at a position in that window.
    """

    inputs = ("x", "indices")
    gradient_name = "MaxPoolWithIndicesBackwardBackward0"

    def kernel(
        self, x: np.ndarray, indices: np.ndarray, sizes: Sizes, **geometry: Sizes
    ) -> np.ndarray:
        kept = x.shape[: x.ndim - len(sizes)]
        rows, columns = math.prod(kept), math.prod(sizes)
        flat = indices.reshape(rows, math.prod(x.shape[len(kept) :]))
        flat = flat + columns * np.arange(rows)[:, None]
        result = np.zeros(rows * columns, x.dtype)
        np.add.at(result, flat.reshape(-1), x.reshape(-1))
        return result.reshape(*kept, *sizes)

    def pull(self, emit, at, x, indices, sizes, kernel_size, stride, padding, dilation):
        kept = len(at) - len(sizes)
        own: Any = at[kept]
        for i, n in enumerate(sizes[1:], kept + 1):
            own = emit.add(emit.mul(own, n), at[i])
        met = []  # in each dimension, the windows that may reach the position, and if they exist
        geometry = zip(sizes, x.shape[kept:], stride, padding, strict=True)
        spans = reach(kernel_size, dilation)
        for i, (n, count, step, before) in enumerate(geometry):
            last = emit.quotient(emit.add(at[kept + i], before), step)
            windows = []
            for back in range(-(-spans[i] // step)):
                window = emit.sub(last, back) if back else last
                exists = emit.ge(window, 0) if back else None
                if (n - 1 + before) // step - back >= count:
                    below = emit.lt(window, count)
                    exists = below if exists is None else emit.logical_and(exists, below)
                windows.append((window, exists))
            met.append(windows)
        total: Any = None
        for each in itertools.product(*met):
            position = (*at[:kept], *[window for window, _ in each])
            exists = None
            for _, one in each:
                if one is not None:
                    exists = one if exists is None else emit.logical_and(exists, one)
            chosen = emit.eq(indices.at(*position, where=exists), own)
            value = emit.where(chosen, x.at(*position, where=exists), 0)
            total = value if total is None else emit.add(total, value)
        return total

    def infer(self, x: Meta, indices: Meta, sizes: Sizes, **geometry: Sizes) -> Meta:
        return Meta((*x.shape[: x.ndim - len(sizes)], *sizes), x.dtype)

    def gradient(self, grad, indices, sizes):
        rows, columns, index = _flattened(indices, sizes)
        taken = gather_(movement.reshape(grad, rows, columns), index, dim=1)
        return movement.reshape(taken, indices._payload.shape), None


def _flattened(indices: Tensor, sizes: Sizes) -> tuple[int, int, Tensor]:
    """How many rows there are, how long they are, and the indices of each."""
    shape = indices._payload.shape
    kept = len(shape) - len(sizes)
    rows = math.prod(shape[:kept])
    return rows, math.prod(sizes), movement.reshape(indices, rows, math.prod(shape[kept:]))


# -- sums --------------------------------------------------------------------------------------


@primitive
class window_sum(Primitive):
    """Sums of windows of `size` elements, `step` apart along `dim`."""

    gradient_name = "AvgPoolBackward0"

    def kernel(self, x: np.ndarray, dim: int, size: int, step: int) -> np.ndarray:
        last = (x.shape[dim] - size) // step * step + 1
        front = (slice(None),) * dim
        result = x[(*front, slice(0, last, step))].copy()
        for i in range(1, size):
            result += x[(*front, slice(i, i + last, step))]
        return result

    def infer(self, x: Meta, dim: int, size: int, step: int) -> Meta:
        count = (x.shape[dim] - size) // step + 1
        return Meta((*x.shape[:dim], count, *x.shape[dim + 1 :]), x.dtype)

    def gradient(self, grad, x_shape, dim, size, step):
        shape = (*grad._payload.shape, size)
        spread = movement.expand_to(movement.unsqueeze(grad, -1), shape)
        return sum_windows(spread, shape=x_shape, dim=dim, size=size, step=step)

    def decompose(self, x: Tensor, dim: int, size: int, step: int) -> Tensor:
        return reduce.sum(unfold_(x, dim=dim, size=size, step=step), -1)


__all__: list[str] = []
