"""Pooling: the greatest element, or the mean, of each window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import ops
from kuai.core.base import wrap
from kuai.core.tape import called
from kuai.errors import ShapeError
from kuai.nn.functional.convolution import widen_floats
from kuai.nn.functional.padding import pad
from kuai.nn.functional.precision import narrow, widen
from kuai.ops.out import takes_out
from kuai.ops.pool import extents, max_pool_, window_counts, window_sum

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Sizes = tuple[int, ...]

# -- the greatest ------------------------------------------------------------------------------


def max_pool1d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of a sequence.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        kernel_size: how many elements a window has.
        stride: from one window to the next; by default windows stand side by side.
        padding: how much to add at both ends, of what is never the greatest.
        dilation: from one element of a window to the next.
        ceil_mode: whether there is a last window that the input does not fill.
        return_indices: whether the positions of the greatest are returned, too.

    Raises:
        ShapeError: the input does not fit.
    """
    geometry = (kernel_size, stride, padding, dilation)
    return _max_pool("max_pool1d", 1, input, geometry, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of an image, `(N, C, H, W)` or `(C, H, W)`.

    Options as of `max_pool1d`; the indices count through an image row by row.
    """
    geometry = (kernel_size, stride, padding, dilation)
    return _max_pool("max_pool2d", 2, input, geometry, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of a volume, `(N, C, D, H, W)` or `(C, D, H, W)`.

    Options as of `max_pool1d`; the indices count through the flattened volume.
    """
    geometry = (kernel_size, stride, padding, dilation)
    return _max_pool("max_pool3d", 3, input, geometry, ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:
    """`max_pool1d` with the indices."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:
    """`max_pool2d` with the indices."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:
    """`max_pool3d` with the indices."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def _max_pool(
    name: str, n: int, input: Tensor, geometry: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    kernel, stride, padding, dilation = _geometry(name, n, *geometry)
    sizes = _check(name, n, input)
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got dilation: {dilation}")
    for k, p, d in zip(kernel, padding, dilation, strict=True):
        if not 0 <= 2 * p <= d * (k - 1) + 1:
            raise RuntimeError(
                "pad should be at least 0 and at most half of effective kernel size, but got "
                f"pad={p}, kernel_size={k} and dilation={d}"
            )
    count = window_counts(sizes, kernel, stride, padding, dilation, ceil_mode)
    _check_count(name, input, count)
    values, indices = max_pool_(
        input, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, count=count
    )
    return (values, indices) if return_indices else values


# -- the mean ----------------------------------------------------------------------------------


def avg_pool1d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of a sequence.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        kernel_size: how many elements a window has.
        stride: from one window to the next; by default windows stand side by side.
        padding: how many zeros to add at both ends.
        ceil_mode: whether there is a last window that the input does not fill.
        count_include_pad: whether the padding's zeros count in the mean.

    Raises:
        ShapeError: the input does not fit.
    """
    geometry = (kernel_size, stride, padding)
    return _avg_pool("avg_pool1d", 1, input, geometry, ceil_mode, count_include_pad, None)


@takes_out
def avg_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of an image, `(N, C, H, W)` or `(C, H, W)`.

    Options as of `avg_pool1d`; with `divisor_override`, the sum divided by that.
    """
    geometry = (kernel_size, stride, padding)
    return _avg_pool(
        "avg_pool2d", 2, input, geometry, ceil_mode, count_include_pad, divisor_override
    )


@takes_out
def avg_pool3d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of a volume, `(N, C, D, H, W)` or `(C, D, H, W)`.

    Options as of `avg_pool1d`; with `divisor_override`, the sum divided by that.
    """
    geometry = (kernel_size, stride, padding)
    return _avg_pool(
        "avg_pool3d", 3, input, geometry, ceil_mode, count_include_pad, divisor_override
    )


def _avg_pool(
    name: str,
    n: int,
    input: Tensor,
    geometry: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    kernel, stride, padding, ones = _geometry(name, n, *geometry, 1)
    sizes = _check(name, n, input)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    if any(not 0 <= 2 * p <= k for k, p in zip(kernel, padding, strict=True)):
        raise RuntimeError(
            "pad should be at least 0 and at most half of effective kernel size, but got "
            f"pad={padding}, kernel_size={kernel} and dilation={ones}"
        )
    count = window_counts(sizes, kernel, stride, padding, ones, ceil_mode)
    _check_count(name, input, count)
    total = _window_sums(widen_floats(input, name), sizes, count, kernel, stride, padding)
    if divisor_override is not None:
        divisor: Any = divisor_override
    else:
        divisor = _divisor(sizes, count, kernel, stride, padding, count_include_pad)
    if isinstance(divisor, np.ndarray):
        divisor = wrap(divisor.astype(total._payload.dtype))
    if input._payload.dtype.kind in "iu":
        return ops.div(total, divisor, rounding_mode="trunc")
    return called(narrow(total / divisor, input), f"AvgPool{n}DBackward0")


def _window_sums(
    x: Tensor, sizes: Sizes, count: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes
) -> Tensor:
    wide = extents(sizes, count, kernel, stride, padding, (1,) * len(sizes))
    if wide != sizes:
        ends = zip(padding, sizes, wide, strict=True)
        x = pad(x, [end for p, n, w in reversed(list(ends)) for end in (p, w - p - n)])
    first = x._payload.ndim - len(sizes)
    for d, (c, k, s) in enumerate(zip(count, kernel, stride, strict=True), first):
        if (k, s) != (1, 1):
            x = window_sum(x, dim=d, size=k, step=s)
        if x._payload.shape[d] != c:
            x = ops.narrow(x, d, 0, c)
    return x


def _divisor(
    sizes: Sizes,
    count: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    count_include_pad: bool,
) -> Any:
    """How many elements each window has: one number, or an array if windows differ."""
    result: Any = 1
    for n, c, k, s, p in zip(sizes, count, kernel, stride, padding, strict=True):
        begin = s * np.arange(c) - p
        end = np.minimum(begin + k, n + p)
        if not count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, n)
        result = np.multiply.outer(result, end - begin)
    return int(result.flat[0]) if result.size and np.all(result == result.flat[0]) else result


# -- as many windows as wanted -----------------------------------------------------------------


def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """The means of `output_size` windows that cover a sequence evenly.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        output_size: how many windows; window i runs from `⌊i L / size⌋` to `⌈(i + 1) L / size⌉`.

    Raises:
        ShapeError: the input does not fit.
    """
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """The means of windows that cover an image, `(N, C, H, W)` or `(C, H, W)`, evenly.

    Args:
        input: the images.
        output_size: how many windows in each dimension; `None` for as many as there are elements.

    Raises:
        ValueError: the input has too few dimensions.
        ShapeError: the input does not fit.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """The means of windows that cover a volume, `(N, C, D, H, W)` or `(C, D, H, W)`, evenly.

    Args:
        input: the volumes.
        output_size: how many windows in each dimension; `None` for as many as there are elements.
    """
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_avg_pool(name: str, n: int, input: Tensor, output_size: Any) -> Tensor:
    sizes, count = _adaptive_sizes(name, n, input, output_size)
    x = widen(input, name)
    first = x._payload.ndim - n
    for d, (size, c) in enumerate(zip(sizes, count, strict=True), first):
        x = _means(x, d, size, c)
    return called(narrow(x, input), f"AdaptiveAvgPool{n}DBackward0")


def _means(x: Tensor, dim: int, size: int, count: int) -> Tensor:
    if count and size % count == 0:
        step = size // count
        return window_sum(x, dim=dim, size=step, step=step) / step
    at, inside = _adaptive_windows(size, count)
    shape = x._payload.shape
    picked = ops.reshape(
        ops.index_select(x, dim, wrap(at.reshape(-1))),
        *shape[:dim],
        *at.shape,
        *shape[dim + 1 :],
    )
    mask = inside.reshape(*at.shape, *(1,) * (len(shape) - dim - 1))
    lengths = inside.sum(1).reshape(count, *(1,) * (len(shape) - dim - 1))
    total = ops.sum(ops.where(wrap(mask), picked, 0), dim + 1)
    return total / wrap(lengths.astype(x._payload.dtype))


def _adaptive_windows(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The elements of each window, filled up with the last one, and which are no filling."""
    begin = np.arange(count) * size // max(count, 1)
    end = -(-np.arange(1, count + 1) * size // max(count, 1))
    longest = int((end - begin).max(initial=1))
    at = begin[:, None] + np.arange(longest)
    inside = at < end[:, None]
    return np.minimum(at, end[:, None] - 1), inside


def adaptive_max_pool1d(
    input: Tensor, output_size: int | Sequence[int], return_indices: bool = False
) -> Any:
    """The greatest elements of `output_size` windows that cover a sequence evenly.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        output_size: how many windows, as of `adaptive_avg_pool1d`.
        return_indices: whether the positions of the greatest are returned, too.

    Raises:
        ShapeError: the input does not fit.
    """
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
) -> Any:
    """The greatest elements of windows that cover an image evenly.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`.
        output_size: how many windows in each dimension; `None` for as many as there are elements.
        return_indices: whether the positions in the flattened image are returned, too.
    """
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
) -> Any:
    """The greatest elements of windows that cover a volume evenly.

    Args:
        input: `(N, C, D, H, W)` or `(C, D, H, W)`.
        output_size: how many windows in each dimension; `None` for as many as there are elements.
        return_indices: whether the positions in the flattened volume are returned, too.
    """
    return _adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _adaptive_max_pool(
    name: str, n: int, input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    sizes, count = _adaptive_sizes(name, n, input, output_size)
    at: Any = np.zeros((1, 1), np.int64)  # windows, and the positions of their elements
    for size, c in zip(sizes, count, strict=True):
        places, _ = _adaptive_windows(size, c)
        pairs = at[:, None, :, None] * size + places[None, :, None, :]
        at = pairs.reshape(at.shape[0] * c, -1) if c else np.zeros((0, 1), np.int64)
    kept = tuple(input._payload.shape[: input._payload.ndim - n])
    flat = ops.reshape(input, *kept, math.prod(sizes))
    picked = ops.reshape(ops.index_select(flat, -1, wrap(at.reshape(-1))), *kept, *at.shape)
    chosen = ops.argmax(picked, -1, keepdim=True)
    values = ops.reshape(ops.gather(picked, -1, chosen), *kept, *count)
    if not return_indices:
        return values
    places_of = ops.gather(ops.broadcast_to(wrap(at), picked.shape), -1, chosen)
    return values, ops.reshape(places_of, *kept, *count)


def _adaptive_sizes(name: str, n: int, input: Tensor, output_size: Any) -> tuple[Sizes, Sizes]:
    shape = input._payload.shape
    if n > 1 and len(shape) <= n:
        raise ValueError(f"{name}: Input dimension should be at least {n + 1}, got {len(shape)}")
    if len(shape) not in (n + 1, n + 2):
        raise ShapeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(shape)}")
    sizes = shape[len(shape) - n :]
    if 0 in shape[1 if len(shape) == n + 2 else 0 :]:
        raise ShapeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(shape)}"
        )
    wanted = (
        (output_size,) * n
        if output_size is None or isinstance(output_size, int)
        else (tuple(output_size))
    )
    if len(wanted) != n:
        raise ShapeError(f"{name}: output_size must be {n}")
    count = tuple([size if c is None else c for c, size in zip(wanted, sizes, strict=True)])
    if min(count) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{list(count)}"
        )
    return sizes, count


# -- what does not fit -------------------------------------------------------------------------


def _geometry(name: str, n: int, *sizes: Any) -> list[Sizes]:
    """Kernel, stride, padding and dilation as tuples; the stride is the kernel by default."""
    kernel, stride, padding, dilation = sizes
    if stride is None or (not isinstance(stride, int) and not len(stride)):
        stride = kernel
    named = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    result = []
    for what, size in named.items():
        one = (size,) * n if isinstance(size, int) else tuple([int(k) for k in size])
        one = one * n if len(one) == 1 else one
        if len(one) != n:
            raise RuntimeError(
                f"{name}: {what} must either be a single int, or a tuple of {n} ints"
            )
        result.append(one)
    if min(result[0]) <= 0:
        raise RuntimeError(
            f"kernel size should be greater than zero, but got kernel_size: {result[0]}"
        )
    if min(result[1]) <= 0:
        raise RuntimeError(f"stride should be greater than zero, but got stride: {result[1]}")
    return result


def _check(name: str, n: int, input: Tensor) -> Sizes:
    """The sizes to pool over."""
    shape = input._payload.shape
    if len(shape) not in (n + 1, n + 2) or 0 in shape[1 if len(shape) == n + 2 else 0 :]:
        raise ShapeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch "
            f"size for input, but got:{list(shape)}"
        )
    return shape[len(shape) - n :]


def _check_count(name: str, input: Tensor, count: Sizes) -> None:
    if min(count) < 1:
        raise ShapeError(
            f"{name}: Given input size: {list(input._payload.shape)}. Calculated output size: "
            f"{list(count)}. Output size is too small"
        )


__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
]
