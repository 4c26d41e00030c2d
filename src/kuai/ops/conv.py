"""Convolution over any number of dimensions, and the two products that are its gradients.

A convolution is linear in its input and in its weight. So are its gradients: each of the three
products here is differentiated by the other two, to any order. A transposed convolution is the
gradient of a convolution with respect to its input.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import DtypeError, ShapeError
from kuai.ops.matmul import matmul_
from kuai.ops.slicing import slice_

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Sizes = tuple[int, ...]

SUM_OF_BATCH = 1 << 20  # up to so many elements, a product for each sample is made and summed


# -- sizes -------------------------------------------------------------------------------------


def reach(kernel: Sizes, dilation: Sizes) -> Sizes:
    """From the first to the last element that a kernel touches, in each dimension."""
    return tuple([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)])


def output_sizes(
    sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Sizes:
    """How often a kernel fits, in each dimension of an input of `sizes`."""
    return tuple(
        [
            (n + 2 * p - r) // s + 1
            for n, r, s, p in zip(sizes, reach(kernel, dilation), stride, padding, strict=True)
        ]
    )


def input_sizes(
    sizes: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    output_padding: Sizes,
) -> Sizes:
    """The sizes of an input for which a convolution gives `sizes`, and `output_padding` more."""
    return tuple(
        [
            (n - 1) * s - 2 * p + r + o
            for n, r, s, p, o in zip(
                sizes, reach(kernel, dilation), stride, padding, output_padding, strict=True
            )
        ]
    )


# -- the kernels' parts ------------------------------------------------------------------------


def padded(x: np.ndarray, before: Sizes, sizes: Sizes, value: Any = 0) -> np.ndarray:
    """`x` with its last dimensions grown to `sizes`: `before` in front, all of it `value`."""
    kept = x.ndim - len(sizes)
    if x.shape[kept:] == sizes:
        return x
    result = np.full((*x.shape[:kept], *sizes), value, x.dtype)
    inside: Any = (..., *[slice(p, p + n) for n, p in zip(x.shape[kept:], before, strict=True)])
    result[inside] = x
    return result


def windows(
    x: np.ndarray, count: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> np.ndarray:
    """A view `(N, C, *kernel, *count)` of the elements that each kernel position meets."""
    steps = x.strides[2:]
    return as_strided(
        x,
        (*x.shape[:2], *kernel, *count),
        (
            *x.strides[:2],
            *[step * d for step, d in zip(steps, dilation, strict=True)],
            *[step * s for step, s in zip(steps, stride, strict=True)],
        ),
        writeable=False,
    )


def positions(
    kernel: Sizes, count: Sizes, stride: Sizes, dilation: Sizes
) -> list[tuple[Sizes, tuple[slice, ...]]]:
    """For each kernel position: which elements of the padded input it meets."""
    return [
        (
            at,
            tuple(
                [
                    slice(d * k, d * k + s * (n - 1) + 1, s)
                    for k, n, s, d in zip(at, count, stride, dilation, strict=True)
                ]
            ),
        )
        for at in itertools.product(*map(range, kernel))
    ]


def columns(
    x: np.ndarray,
    count: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """The input as matrices `(N, groups, C/groups · kernel, count)` to multiply weights with."""
    full = tuple([n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)])
    seen = windows(padded(x, padding, full), count, kernel, stride, dilation)
    rows = x.shape[1] // groups * math.prod(kernel)
    return seen.reshape(x.shape[0], groups, rows, math.prod(count))


def overlaid(
    columns: np.ndarray,
    channels: int,
    sizes: Sizes,
    count: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
) -> np.ndarray:
    """The adjoint of `columns`: each element added where it was taken from."""
    batch = columns.shape[0]
    parts = columns.reshape(batch, channels, *kernel, *count)
    full = [n + 2 * p for n, p in zip(sizes, padding, strict=True)]
    result = np.zeros((batch, channels, *full), columns.dtype)
    if math.prod(count):
        for at, place in positions(kernel, count, stride, dilation):
            target: Any = (..., *place)
            source: Any = (slice(None), slice(None), *at)
            result[target] += parts[source]
    if not any(padding):
        return result
    inside: Any = (..., *[slice(p, p + n) for n, p in zip(sizes, padding, strict=True)])
    return result[inside].copy()


def _grouped(weight: np.ndarray, groups: int) -> np.ndarray:
    return weight.reshape(groups, weight.shape[0] // groups, math.prod(weight.shape[1:]))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of the groups' matrices `a` with those of every sample."""
    if len(a) == 1:
        return matmul_.kernel(a[0], b[:, 0])
    return matmul_.kernel(a, b)


# -- the primitives ----------------------------------------------------------------------------


@primitive
class convolution_(Primitive):
    """Sums of products of `weight`, `(O, C/groups, *kernel)`, with the windows of `x`.

    `x` is `(N, C, *sizes)`, the result `(N, O, *count)`; `stride`, `padding` and `dilation` have a
    number for each of the last dimensions.
    """

    inputs = ("x", "weight")
    gradient_name = "ConvolutionBackward0"
    used_by = ((1,), (0,))

    def kernel(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> np.ndarray:
        _check(x, weight, padding, dilation, groups)
        kernel = weight.shape[2:]
        count = output_sizes(x.shape[2:], kernel, stride, padding, dilation)
        seen = columns(x, count, kernel, stride, padding, dilation, groups)
        result = _product(_grouped(weight, groups), seen)
        return result.reshape(x.shape[0], weight.shape[0], *count)

    def infer(
        self,
        x: Meta,
        weight: Meta,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> Meta:
        _check(x, weight, padding, dilation, groups)
        count = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
        return Meta((x.shape[0], weight.shape[0], *count), x.dtype)

    def product(self, kinds, x, weight, **geometry):
        result = self.infer(x, weight, **geometry)
        return kinds.convolution("output", x.shape, weight.shape, result.shape, x.dtype, **geometry)

    def gradient(self, grad, x, weight, x_shape, weight_shape, stride, padding, dilation, groups):
        rest = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return (
            lambda: convolution_input_gradient(grad, weight, sizes=x_shape[2:], **rest),
            lambda: convolution_weight_gradient(x, grad, kernel_size=weight_shape[2:], **rest),
        )


@primitive
class convolution_input_gradient(Primitive):
    """The gradient of a convolution with respect to its input of `sizes`; also, the transposed
    convolution of `x`, `(N, O, *count)`, with `weight`, `(O, C/groups, *kernel)`.
    """

    inputs = ("x", "weight")
    gradient_name = "ConvolutionBackward0"
    used_by = ((1,), (0,))

    def kernel(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        sizes: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> np.ndarray:
        _check_transposed(x, weight, groups)
        count, kernel = x.shape[2:], weight.shape[2:]
        values = x.reshape(x.shape[0], groups, x.shape[1] // groups, math.prod(count))
        parts = _product(_grouped(weight, groups).swapaxes(1, 2), values)
        channels = weight.shape[1] * groups
        return overlaid(parts, channels, sizes, count, kernel, stride, padding, dilation)

    def infer(self, x: Meta, weight: Meta, sizes: Sizes, groups: int, **geometry: Any) -> Meta:
        _check_transposed(x, weight, groups)
        return Meta((x.shape[0], weight.shape[1] * groups, *sizes), x.dtype)

    def product(self, kinds, x, weight, sizes, **geometry):
        result = self.infer(x, weight, sizes, **geometry)
        return kinds.convolution("input", result.shape, weight.shape, x.shape, x.dtype, **geometry)

    def gradient(self, grad, x, weight, x_shape, weight_shape, stride, padding, dilation, groups):
        rest = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return (
            lambda: _first(convolution_(grad, weight, **rest), x_shape[2:]),
            lambda: convolution_weight_gradient(grad, x, kernel_size=weight_shape[2:], **rest),
        )


@primitive
class convolution_weight_gradient(Primitive):
    """The gradient of a convolution with respect to its weight, whose last dimensions are
    `kernel_size`: sums over the windows of `x`, `(N, C, *sizes)`, times `y`, `(N, O, *count)`.
    """

    inputs = ("x", "y")
    gradient_name = "ConvolutionBackward0"
    used_by = ((1,), (0,))

    def kernel(
        self,
        x: np.ndarray,
        y: np.ndarray,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> np.ndarray:
        batch, outputs, *count = y.shape
        seen = columns(x, tuple(count), kernel_size, stride, padding, dilation, groups)
        values = y.reshape(batch, groups, outputs // groups, math.prod(count))
        shape = (outputs, x.shape[1] // groups, *kernel_size)
        if batch * math.prod(shape) <= SUM_OF_BATCH:
            return matmul_.kernel(values, seen.swapaxes(2, 3)).sum(0, dtype=x.dtype).reshape(shape)
        length = batch * math.prod(count)
        left, right = (
            a.transpose(1, 2, 0, 3).reshape(groups, a.shape[2], length) for a in (values, seen)
        )
        return matmul_.kernel(left, right.swapaxes(1, 2)).reshape(shape)

    def infer(self, x: Meta, y: Meta, kernel_size: Sizes, groups: int, **geometry: Any) -> Meta:
        return Meta((y.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)

    def product(self, kinds, x, y, kernel_size, **geometry):
        result = self.infer(x, y, kernel_size, **geometry)
        return kinds.convolution("weight", x.shape, result.shape, y.shape, x.dtype, **geometry)

    def gradient(self, grad, x, y, x_shape, y_shape, stride, padding, dilation, groups):
        rest = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return (
            lambda: convolution_input_gradient(y, grad, sizes=x_shape[2:], **rest),
            lambda: _first(convolution_(x, grad, **rest), y_shape[2:]),
        )


def _first(x: Tensor, count: Sizes) -> Tensor:
    """The first `count` positions: all of them, unless the output was padded by a stride or more.

    An input that is a whole stride longer than the windows need has room for one more window, of
    which a transposed convolution knows nothing.
    """
    shape = x._payload.shape
    if shape[2:] == count:
        return x
    return slice_(x, key=tuple([(0, n, 1) for n in (*shape[:2], *count)]))


# -- what does not fit -------------------------------------------------------------------------


def _check(x: Any, weight: Any, padding: Sizes, dilation: Sizes, groups: int) -> None:
    _check_dtypes(x, weight)
    channels, expected = x.shape[1], weight.shape[1] * groups
    if weight.shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {list(weight.shape)} instead"
        )
    if channels != expected:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input"
            f"{list(x.shape)} to have {expected} channels, but got {channels} channels instead"
        )
    kernel = weight.shape[2:]
    sizes = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
    if any(n < r for n, r in zip(sizes, reach(kernel, dilation), strict=True)):
        raise ShapeError(
            f"Calculated padded input size per channel: ({_times(sizes)}). Kernel size: "
            f"({_times(reach(kernel, dilation))}). Kernel size can't be greater than actual input "
            "size"
        )


def _check_transposed(x: Any, weight: Any, groups: int) -> None:
    _check_dtypes(x, weight)
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input"
            f"{list(x.shape)} to have {weight.shape[0]} channels, but got {x.shape[1]} channels "
            "instead"
        )
    if weight.shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {list(weight.shape)} instead"
        )


def _check_dtypes(x: Any, weight: Any) -> None:
    if x.dtype != weight.dtype:
        raise DtypeError(
            f"convolution: the input is {x.dtype.name}, but weight is {weight.dtype.name}; they "
            "should be the same"
        )


def _times(sizes: Any) -> str:
    return " x ".join(map(str, sizes))


__all__: list[str] = []
