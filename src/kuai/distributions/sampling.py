"""Standard samples: what `rsample` turns into samples of any location, scale and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kuai import dtypes, ops
from kuai.autograd import Function
from kuai.core.base import wrap
from kuai.distributions.incomplete_gamma import density_and_slope
from kuai.ops.random import default_generator
from kuai.tensor import Tensor


def standard_normal(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers, in the type of `like`."""
    return ops.randn(tuple(shape), dtype=like.dtype)


def standard_uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform numbers from [0, 1), in the type of `like`."""
    return ops.rand(tuple(shape), dtype=like.dtype)


def open_uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform numbers from (0, 1), whose logarithms are finite."""
    info = dtypes.finfo(like.dtype)
    return ops.clamp(standard_uniform(shape, like), min=info.tiny, max=1 - info.eps)


def standard_exponential(shape: Sequence[int], like: Tensor) -> Tensor:
    """Exponential numbers of rate 1."""
    return -ops.log1p(-standard_uniform(shape, like))


def numpy_source() -> np.random.Generator:
    """A generator of NumPy's that starts from the next numbers of the common stream."""
    return np.random.Generator(np.random.Philox(default_generator.bits(4).astype(np.uint32)))


def binomial(count: Tensor, probs: Tensor) -> Tensor:
    """The number of successes among `count` trials of probability `probs`."""
    drawn = numpy_source().binomial(
        count._payload.astype(np.int64), probs._payload.astype(np.float64)
    )
    return wrap(np.asarray(drawn).astype(probs._payload.dtype))


class _StandardGamma(Function):
    """Gamma numbers of rate 1, with the gradient of the sample by its concentration.

    The gradient is implicit: a sample `z` stays at its place `F(z; a)` of the distribution, so that
    `dz/da = -(dF/da) / (dF/dz)` (M. Figurnov, S. Mohamed, A. Mnih, 2018).
    """

    @staticmethod
    def forward(ctx: Any, concentration: Tensor) -> Tensor:
        a = concentration._payload.astype(np.float64)
        z = np.asarray(numpy_source().standard_gamma(a))
        tiny = np.finfo(np.float64).tiny
        result = wrap(np.maximum(z, tiny).astype(concentration._payload.dtype))
        ctx.save_for_backward(concentration, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        concentration, sample = ctx.saved_tensors
        a = concentration._payload.astype(np.float64)
        z = np.maximum(sample._payload.astype(np.float64), np.finfo(np.float64).tiny)
        density, slope = density_and_slope(a, z)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(density > 0, -slope / density, 0.0)
        return grad * wrap(np.asarray(rate).astype(sample._payload.dtype))


def standard_gamma(concentration: Tensor) -> Tensor:
    """Gamma numbers of rate 1, differentiable by the concentration."""
    result: Tensor = _StandardGamma.apply(concentration)
    return ops.clamp(result, min=dtypes.finfo(result.dtype).tiny)


HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
