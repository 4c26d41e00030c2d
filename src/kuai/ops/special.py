"""The functions of `torch.special` that no other name has."""

from __future__ import annotations

import math

import numpy as np

from kuai import dtypes
from kuai.core.primitive import primitive
from kuai.ops import elementwise as e
from kuai.ops import special_kernels as special
from kuai.ops.elementwise import Binary, FloatUnary, where


@primitive
class entr(FloatUnary):
    """`-x log(x)`, 0 at 0, minus infinity below."""

    def kernel(self, x):
        inside = np.where(x > 0, x, 1)
        value = np.where(x > 0, -x * np.log(inside), np.where(x == 0, 0.0, -np.inf))
        return np.where(np.isnan(x), x, value).astype(x.dtype)

    def gradient(self, grad, x):
        return grad * (-1 - e.log(x))

    def lower(self, emit, x):
        edge = emit.where(emit.eq(x, 0), 0, -math.inf)
        edge = emit.where(emit.isnan(x), x, edge)
        return emit.where(emit.gt(x, 0), emit.neg(emit.mul(x, emit.log(x))), edge)


@primitive
class erfcx(FloatUnary):
    """`exp(x²) erfc(x)`, the scaled complementary error function."""

    kernel = staticmethod(special.erfcx)

    def gradient(self, grad, result, x):
        return grad * (2 * x * result - 2 / math.sqrt(math.pi))


@primitive
class ndtr(FloatUnary):
    """The distribution function of the standard normal distribution."""

    def kernel(self, x):
        wide = np.asarray(x, np.float64)
        return np.asarray(special.erfc(wide * -math.sqrt(0.5)) / 2).astype(x.dtype)

    def gradient(self, grad, x):
        return grad * (e.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))

    def lower(self, emit, x):
        wide = emit.mul(emit.cast(x, dtypes.float64), -math.sqrt(0.5))
        return emit.cast(emit.mul(emit.erfc(wide), 0.5), x.dtype)


@primitive
class ndtri(FloatUnary):
    """The inverse of `ndtr`."""

    kernel = staticmethod(special.ndtri)

    def gradient(self, grad, result):
        return grad * (math.sqrt(2 * math.pi) * e.exp(result * result * 0.5))


@primitive
class log_ndtr(FloatUnary):
    """The logarithm of `ndtr`, accurate where that is small."""

    kernel = staticmethod(special.log_ndtr)

    def gradient(self, grad, x):
        return grad / erfcx(x * -math.sqrt(0.5)) * math.sqrt(2 / math.pi)


@primitive
class i0e(FloatUnary):
    """`exp(-|x|) i0(x)`."""

    kernel = staticmethod(special.i0e)

    def gradient(self, grad, result, x):
        return grad * (i1e(x) - e.sign(x) * result)


@primitive
class i1e(FloatUnary):
    """`exp(-|x|) i1(x)`."""

    kernel = staticmethod(special.i1e)

    def gradient(self, grad, result, x):
        zero = e.eq(x, 0)
        safe = where(zero, 1.0, x)
        return grad * where(zero, 0.5, i0e(x) - result * (e.sign(x) + 1 / safe))


@primitive
class igamma(Binary):
    """The regularised lower incomplete gamma function of `(a, x)`, without gradient."""

    floating = True
    tensors = 2
    numbers = False
    kernel = staticmethod(special.igamma)


@primitive
class igammac(Binary):
    """The regularised upper incomplete gamma function of `(a, x)`, without gradient."""

    floating = True
    tensors = 2
    numbers = False
    kernel = staticmethod(special.igammac)


@primitive
class zeta(Binary):
    """Hurwitz's zeta function: the sum of `(y + k) ** -x` over k from 0."""

    floating = True
    some_tensor = True
    numbers = False
    kernel = staticmethod(special.hurwitz_zeta)


gammainc, gammaincc = igamma, igammac

__all__ = ["igamma", "igammac"]
