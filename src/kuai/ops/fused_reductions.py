"""Reductions that are compositions, each computed by eager mode in one kernel.

For float32 and float64; what takes other types composes them itself, from the same parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import ops
from kuai.core.fused import Fused
from kuai.core.primitive import PRIMITIVES, Meta, Primitive, primitive

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Array = np.ndarray
Dims = tuple[int, ...]


def reduced_shape(shape: Sequence[int], dims: Sequence[int], keepdim: bool) -> tuple[int, ...]:
    """The shape that is left after reducing over `dims`."""
    if keepdim:
        return tuple([1 if i in dims else n for i, n in enumerate(shape)])
    return tuple([n for i, n in enumerate(shape) if i not in dims])


def count(shape: Sequence[int], dim: Dims) -> int:
    """How many values of a tensor of this shape are reduced to one."""
    return math.prod([shape[d] for d in dim])


def total(x: Array, dim: Dims, keepdim: bool = True) -> Array:
    """The sum over dimensions."""
    return np.add.reduce(x, dim, None, None, keepdim)  # type: ignore[call-overload]


def _greatest(x: Array, dim: Dims) -> Array:
    return np.maximum.reduce(x, dim, None, None, True)  # type: ignore[call-overload]


def spread(grad: Array, shape: tuple[int, ...], dim: Dims, keepdim: bool) -> Array:
    """The gradient of a reduction's result with the reduced dimensions back, of size 1."""
    return grad if keepdim or not dim else grad.reshape(reduced_shape(shape, dim, True))


class FusedReduction(Fused):
    """One over `dim`, a tuple of non-negative dimensions."""

    def infer(self, x: Meta, dim: Dims, keepdim: bool, **parameters: Any) -> Meta:
        return Meta(reduced_shape(x.shape, dim, keepdim), x.dtype)


@primitive
class mean_(Primitive):
    """The mean."""

    gradient_name = "MeanBackward0"

    def kernel(self, x: Array, dim: Dims, keepdim: bool) -> Array:
        sums = PRIMITIVES["sum"].kernel(x, dim=dim, keepdim=keepdim)
        return sums / np.array(count(x.shape, dim), x.dtype)

    def infer(self, x: Meta, dim: Dims, keepdim: bool) -> Meta:
        return Meta(reduced_shape(x.shape, dim, keepdim), x.dtype)

    def gradient(self, grad, x_shape, dim, keepdim):
        share = grad / float(count(x_shape, dim))
        if dim and not keepdim:
            share = ops.reshape(share, reduced_shape(x_shape, dim, True))
        return ops.expand(share, x_shape)

    def backward(self, grad: Array, x_shape: tuple[int, ...], dim: Dims, keepdim: bool) -> Array:
        result = np.empty(x_shape, grad.dtype)
        share = grad / np.array(count(x_shape, dim), grad.dtype)
        result[...] = spread(np.asarray(share), x_shape, dim, keepdim)
        return result

    def decompose(self, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
        return PRIMITIVES["sum"](x, dim=dim, keepdim=keepdim) / float(count(x.shape, dim))


@primitive
class fused_var(FusedReduction):
    """The variance: the sum of squared distances from the mean, divided by `freedom`."""

    gradient_name = "VarBackward0"

    def kernel(self, x: Array, dim: Dims, keepdim: bool, freedom: float) -> Array:
        distance = x - total(x, dim) / count(x.shape, dim)
        distance *= distance
        return total(distance, dim, keepdim) / np.array(freedom, x.dtype)

    def backward(self, grad: Array, x: Array, dim: Dims, keepdim: bool, freedom: float) -> Array:
        distance = x - total(x, dim) / count(x.shape, dim)
        distance *= spread(grad, x.shape, dim, keepdim) * (2 / np.array(freedom, x.dtype))
        return distance

    def decompose(self, x: Tensor, dim: Dims, keepdim: bool, freedom: float) -> Tensor:
        distance = x - mean_(x, dim=dim, keepdim=True)
        return PRIMITIVES["sum"](ops.square(distance), dim=dim, keepdim=keepdim) / freedom


@primitive
class fused_std(FusedReduction):
    """The root of the variance; where it is 0, so is its gradient."""

    gradient_name = "StdBackward0"

    def kernel(self, x: Array, dim: Dims, keepdim: bool, freedom: float) -> Array:
        variance = PRIMITIVES["fused_var"].kernel(x, dim=dim, keepdim=keepdim, freedom=freedom)
        return np.sqrt(variance)

    def backward(self, grad: Array, x: Array, dim: Dims, keepdim: bool, freedom: float) -> Array:
        distance = x - total(x, dim) / count(x.shape, dim)
        width = np.sqrt(total(distance * distance, dim) / np.array(freedom, x.dtype))
        slope = np.where(width == 0, width, 1 / (width * np.array(freedom, x.dtype)))
        distance *= spread(grad, x.shape, dim, keepdim) * slope
        return distance

    def decompose(self, x: Tensor, dim: Dims, keepdim: bool, freedom: float) -> Tensor:
        return root(PRIMITIVES["fused_var"].decompose(x, dim, keepdim, freedom))


def root(x: Tensor) -> Tensor:
    """The square root, with the gradient 0 at 0."""
    if not x._requires_grad:
        return ops.sqrt(x)
    zero = ops.eq(x, 0)
    return ops.where(zero, 0.0, ops.sqrt(ops.where(zero, 1.0, x)))


@primitive
class fused_norm(FusedReduction):
    """The root of the sum of squares; at 0 its gradient is 0."""

    gradient_name = "LinalgVectorNormBackward0"

    def kernel(self, x: Array, dim: Dims, keepdim: bool) -> Array:
        return np.sqrt(total(x * x, dim, keepdim))

    def backward(self, grad: Array, x: Array, dim: Dims, keepdim: bool) -> Array:
        length = np.sqrt(total(x * x, dim))
        return x * (spread(grad, x.shape, dim, keepdim) / np.where(length == 0, 1, length))

    def decompose(self, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
        return root(PRIMITIVES["sum"](ops.square(x), dim=dim, keepdim=keepdim))


@primitive
class fused_logsumexp(FusedReduction):
    """`log(sum(exp(x)))`, without overflow; of one value or more."""

    gradient_name = "LogsumexpBackward0"

    def kernel(self, x: Array, dim: Dims, keepdim: bool) -> Array:
        greatest = _greatest(x, dim)
        shift = np.where(np.isfinite(greatest), greatest, 0)
        result = np.log(total(np.exp(x - shift), dim)) + shift
        return result if keepdim else result.reshape(reduced_shape(x.shape, dim, False))

    def backward(self, grad: Array, x: Array, result: Array, dim: Dims, keepdim: bool) -> Array:
        shift = spread(result, x.shape, dim, keepdim)
        raised = np.exp(x - np.where(np.isfinite(shift), shift, 0))
        raised *= spread(grad, x.shape, dim, keepdim)
        return raised

    def decompose(self, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
        greatest = PRIMITIVES["amax"](x.detach(), dim=dim, keepdim=True)
        shift = ops.where(ops.isfinite(greatest), greatest, 0)
        raised = ops.exp(x - shift)
        result = ops.log(PRIMITIVES["sum"](raised, dim=dim, keepdim=True)) + shift
        return result if keepdim else result.reshape(reduced_shape(x.shape, dim, False))


@primitive
class log_softmax_(Primitive):
    """The logarithm of `exp(x)` divided by its sum along `dim`, without overflow."""

    gradient_name = "LogSoftmaxBackward0"

    def kernel(self, x: Array, dim: Dims) -> Array:
        if not x.size:
            return x.copy()
        result = x - _greatest(x, dim)
        result -= np.log(total(np.exp(result), dim))
        return result

    def infer(self, x: Meta, dim: Dims) -> Meta:
        return x

    def gradient(self, grad, result, dim):
        return grad - ops.exp(result) * PRIMITIVES["sum"](grad, dim=dim, keepdim=True)

    def backward(self, grad: Array, result: Array, dim: Dims) -> Array:
        share = np.exp(result)
        share *= total(grad, dim)
        return grad - share

    def decompose(self, x: Tensor, dim: Dims) -> Tensor:
        if not x._payload.size:
            return x.clone()
        shifted = x - PRIMITIVES["amax"](x.detach(), dim=dim, keepdim=True)
        return shifted - ops.log(PRIMITIVES["sum"](ops.exp(shifted), dim=dim, keepdim=True))
