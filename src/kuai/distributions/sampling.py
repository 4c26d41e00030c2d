"""Standard samples: what `rsample` turns into samples of any location, scale and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kuai import dtypes, ops
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.distributions.incomplete_gamma import density_and_slope
from kuai.ops.pointwise import broadcast_shapes
from kuai.ops.random import some_words
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


def source_of(words: np.ndarray) -> np.random.Generator:
    """A generator of NumPy's that starts from four random words."""
    return np.random.Generator(np.random.Philox(words.astype(np.uint32)))


@primitive
class binomial_numbers(Primitive):
    """Numbers of successes among `count` trials of probability `probs`, for four random words."""

    inputs = ("words", "count", "probs")
    differentiable = False

    def kernel(self, words: np.ndarray, count: np.ndarray, probs: np.ndarray) -> np.ndarray:
        drawn = source_of(words).binomial(count.astype(np.int64), probs.astype(np.float64))
        return np.asarray(drawn).astype(probs.dtype)

    def infer(self, words: Meta, count: Meta, probs: Meta) -> Meta:
        return Meta(broadcast_shapes(count.shape, probs.shape), probs.dtype)


def binomial(count: Tensor, probs: Tensor) -> Tensor:
    """The number of successes among `count` trials of probability `probs`."""
    return binomial_numbers(some_words(), count.detach(), probs.detach())


@primitive
class gamma_numbers(Primitive):
    """Gamma numbers of rate 1 and the concentrations `x`, for four random words.

    The gradient is implicit: a sample `z` stays at its place `F(z; a)` of the distribution, so that
    `dz/da = -(dF/da) / (dF/dz)` (M. Figurnov, S. Mohamed, A. Mnih, 2018).
    """

    inputs = ("words", "x")

    def kernel(self, words: np.ndarray, x: np.ndarray) -> np.ndarray:
        drawn = np.asarray(source_of(words).standard_gamma(x.astype(np.float64)))
        return np.maximum(drawn, np.finfo(np.float64).tiny).astype(x.dtype)

    def infer(self, words: Meta, x: Meta) -> Meta:
        return x

    def gradient(self, grad, x, result):  # type: ignore[no-untyped-def]
        return None, lambda: grad * gamma_slope(x.detach(), result.detach())


@primitive
class gamma_slope(Primitive):
    """How fast a gamma number `y` moves with its concentration `x`, staying at its place."""

    inputs = ("x", "y")
    differentiable = False

    def kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        z = np.maximum(y.astype(np.float64), np.finfo(np.float64).tiny)
        density, slope = density_and_slope(x.astype(np.float64), z)
        return np.asarray(np.where(density > 0, -slope / density, 0.0)).astype(y.dtype)

    def infer(self, x: Meta, y: Meta) -> Meta:
        return y


def standard_gamma(concentration: Tensor) -> Tensor:
    """Gamma numbers of rate 1, differentiable by the concentration."""
    result = gamma_numbers(some_words(), concentration)
    return ops.clamp(result, min=dtypes.finfo(result.dtype).tiny)


HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
