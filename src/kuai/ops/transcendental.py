"""Exponentials, logarithms, trigonometry, and the error and gamma functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase
from kuai.core.primitive import primitive
from kuai.ops import elementwise as e
from kuai.ops import special_kernels as special
from kuai.ops.elementwise import FloatUnary, TensorBinary, exp, log, mul, where
from kuai.ops.out import takes_out
from kuai.ops.pointwise import as_operand, require_tensor, result_type

if TYPE_CHECKING:
    from kuai.tensor import Tensor


@primitive
class exp2(FloatUnary):
    """`2 ** x`."""

    kernel = staticmethod(np.exp2)

    def gradient(self, grad, result):
        return grad * result * math.log(2)

    def lower(self, emit, x):
        return emit.exp2(x)


@primitive
class expm1(FloatUnary):
    """`exp(x) - 1`, accurate near zero."""

    kernel = staticmethod(np.expm1)

    def gradient(self, grad, result):
        return grad * (result + 1)

    def lower(self, emit, x):
        return emit.expm1(x)


@primitive
class log2(FloatUnary):
    """Logarithm to base 2."""

    kernel = staticmethod(np.log2)

    def gradient(self, grad, x):
        return grad / (x * math.log(2))

    def lower(self, emit, x):
        return emit.log2(x)


@primitive
class log10(FloatUnary):
    """Logarithm to base 10."""

    kernel = staticmethod(np.log10)

    def gradient(self, grad, x):
        return grad / (x * math.log(10))

    def lower(self, emit, x):
        return emit.log10(x)


@primitive
class log1p(FloatUnary):
    """`log(1 + x)`, accurate near zero."""

    gradient_name = "Log1PBackward0"
    kernel = staticmethod(np.log1p)

    def gradient(self, grad, x):
        return grad / (x + 1)

    def lower(self, emit, x):
        return emit.log1p(x)


@primitive
class rsqrt(FloatUnary):
    """`1 / sqrt(x)`."""

    def kernel(self, x):
        return np.divide(np.ones((), x.dtype), np.sqrt(x))

    def gradient(self, grad, result):
        return grad * result * result * result * -0.5

    def lower(self, emit, x):
        return emit.rsqrt(x)


@primitive
class reciprocal(FloatUnary):
    """`1 / x`."""

    def kernel(self, x):
        return np.divide(np.ones((), x.dtype), x)

    def gradient(self, grad, result):
        return -grad * result * result

    def lower(self, emit, x):
        return emit.reciprocal(x)


@primitive
class sin(FloatUnary):
    """Sine, of radians."""

    kernel = staticmethod(np.sin)

    def gradient(self, grad, x):
        return grad * cos(x)

    def lower(self, emit, x):
        return emit.sin(x)


@primitive
class cos(FloatUnary):
    """Cosine, of radians."""

    kernel = staticmethod(np.cos)

    def gradient(self, grad, x):
        return -grad * sin(x)

    def lower(self, emit, x):
        return emit.cos(x)


@primitive
class tan(FloatUnary):
    """Tangent, of radians."""

    kernel = staticmethod(np.tan)

    def gradient(self, grad, result):
        return grad * (1 + result * result)

    def lower(self, emit, x):
        return emit.tan(x)


@primitive
class asin(FloatUnary):
    """Inverse sine, in radians."""

    kernel = staticmethod(np.arcsin)

    def gradient(self, grad, x):
        return grad * rsqrt(1 - x * x)

    def lower(self, emit, x):
        return emit.asin(x)


@primitive
class acos(FloatUnary):
    """Inverse cosine, in radians."""

    kernel = staticmethod(np.arccos)

    def gradient(self, grad, x):
        return -grad * rsqrt(1 - x * x)

    def lower(self, emit, x):
        return emit.acos(x)


@primitive
class atan(FloatUnary):
    """Inverse tangent, in radians."""

    kernel = staticmethod(np.arctan)

    def gradient(self, grad, x):
        return grad / (x * x + 1)

    def lower(self, emit, x):
        return emit.atan(x)


@primitive
class sinh(FloatUnary):
    """Hyperbolic sine."""

    kernel = staticmethod(np.sinh)

    def gradient(self, grad, x):
        return grad * cosh(x)

    def lower(self, emit, x):
        return emit.sinh(x)


@primitive
class cosh(FloatUnary):
    """Hyperbolic cosine."""

    kernel = staticmethod(np.cosh)

    def gradient(self, grad, x):
        return grad * sinh(x)

    def lower(self, emit, x):
        return emit.cosh(x)


@primitive
class asinh(FloatUnary):
    """Inverse hyperbolic sine."""

    kernel = staticmethod(np.arcsinh)

    def gradient(self, grad, x):
        return grad * rsqrt(x * x + 1)

    def lower(self, emit, x):
        return emit.asinh(x)


@primitive
class acosh(FloatUnary):
    """Inverse hyperbolic cosine."""

    kernel = staticmethod(np.arccosh)

    def gradient(self, grad, x):
        return grad * rsqrt(x * x - 1)

    def lower(self, emit, x):
        return emit.acosh(x)


@primitive
class atanh(FloatUnary):
    """Inverse hyperbolic tangent."""

    kernel = staticmethod(np.arctanh)

    def gradient(self, grad, x):
        return grad / (1 - x * x)

    def lower(self, emit, x):
        return emit.atanh(x)


@primitive
class atan2(TensorBinary):
    """The angle of the point `(y, x)`, first argument upwards, in radians."""

    floating = True
    kernel = staticmethod(np.arctan2)

    def gradient(self, grad, x, y):
        def scaled() -> Any:
            square = x * x + y * y
            return grad * where(e.eq(square, 0), 0.0, reciprocal(square))

        return lambda: scaled() * y, lambda: scaled() * -x

    def lower(self, emit, x, y):
        return emit.atan2(x, y)


@primitive
class sigmoid(FloatUnary):
    """`1 / (1 + exp(-x))`."""

    def kernel(self, x):
        result = np.exp(np.negative(x))
        result = np.add(result, np.ones((), x.dtype))
        return np.reciprocal(result)

    def gradient(self, grad, result):
        return grad * (1 - result) * result

    def backward(self, grad, result):
        return grad * (1 - result) * result

    def lower(self, emit, x):
        return emit.sigmoid(x)


@primitive
class hypot(TensorBinary):
    """`sqrt(x² + y²)`, without overflow."""

    def kernel(self, x, y):
        if x.dtype.kind in "iub":
            raise NotImplementedError(f'"hypot" not implemented for {x.dtype.name}')
        return np.hypot(x, y)

    def gradient(self, grad, result, x, y):
        return lambda: grad * (x / result), lambda: grad * (y / result)

    def lower(self, emit, x, y):
        return emit.hypot(x, y)


@primitive
class logaddexp(TensorBinary):
    """`log(exp(x) + exp(y))`."""

    floating = True
    kernel = staticmethod(np.logaddexp)

    def gradient(self, grad, x, y):
        def share(a: Any, b: Any) -> Any:
            # equal infinities share, as equal values do
            return e.where(e.eq(a, b), grad * 0.5, grad * sigmoid(a - b))

        return lambda: share(x, y), lambda: share(y, x)

    def lower(self, emit, x, y):
        return emit.logaddexp(x, y)


@primitive
class logaddexp2(TensorBinary):
    """`log2(2 ** x + 2 ** y)`."""

    floating = True
    kernel = staticmethod(np.logaddexp2)

    def gradient(self, grad, result, x, y):
        return lambda: grad * exp2(x - result), lambda: grad * exp2(y - result)

    def lower(self, emit, x, y):
        return emit.logaddexp2(x, y)


_erf_slope = 2 / math.sqrt(math.pi)


@primitive
class erf(FloatUnary):
    """The error function."""

    kernel = staticmethod(special.erf)

    def gradient(self, grad, x):
        return grad * (exp(-(x * x)) * _erf_slope)

    def lower(self, emit, x):
        return emit.erf(x)


@primitive
class erfc(FloatUnary):
    """`1 - erf(x)`, accurate where that is small."""

    kernel = staticmethod(special.erfc)

    def gradient(self, grad, x):
        return grad * (exp(-(x * x)) * -_erf_slope)

    def lower(self, emit, x):
        return emit.erfc(x)


@primitive
class erfinv(FloatUnary):
    """The inverse of the error function."""

    kernel = staticmethod(special.erfinv)

    def gradient(self, grad, result):
        return grad * (exp(result * result) / _erf_slope)

    def lower(self, emit, x):
        return emit.erfinv(x)


@primitive
class lgamma(FloatUnary):
    """The logarithm of the absolute value of the gamma function."""

    kernel = staticmethod(special.lgamma)

    def gradient(self, grad, x):
        return grad * digamma(x)

    def lower(self, emit, x):
        return emit.lgamma(x)


@primitive
class digamma(FloatUnary):
    """The derivative of `lgamma`."""

    kernel = staticmethod(special.digamma)

    def gradient(self, grad, x):
        return grad * polygamma(1, x)

    def lower(self, emit, x):
        return emit.digamma(x)


@primitive
class polygamma_(FloatUnary):
    """The `n`-th derivative of `digamma`."""

    gradient_name = "PolygammaBackward0"

    def kernel(self, x, n):
        return special.polygamma(n, x)

    def gradient(self, grad, x, n):
        return grad * polygamma(n + 1, x)


@takes_out
def polygamma(n: int, input: Tensor) -> Tensor:
    """The `n`-th derivative of `digamma`.

    Raises:
        RuntimeError: `n` is negative.
    """
    if isinstance(n, TensorBase):  # the method's order of arguments
        n, input = input, n  # type: ignore[assignment]
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return digamma(input) if n == 0 else polygamma_(input, n=n)


@takes_out
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The multivariate log-gamma function of dimension `p`."""
    total = p * (p - 1) / 4 * math.log(math.pi)
    result = lgamma(input)
    for j in range(1, p):
        result = result + lgamma(input - j / 2)
    return result + total


@primitive
class logit_(FloatUnary):
    """`log(x / (1 - x))`."""

    gradient_name = "LogitBackward0"

    def kernel(self, x):
        one = np.ones((), x.dtype)
        return np.log(np.divide(x, np.subtract(one, x)))

    def gradient(self, grad, x):
        inside = e.logical_and(e.ge(x, 0), e.le(x, 1))
        return where(inside, grad / (x * (1 - x)), math.nan)

    def lower(self, emit, x):
        return emit.log(emit.div(x, emit.sub(1, x)))


@takes_out
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """`log(x / (1 - x))`, with `x` limited to `[eps, 1 - eps]` where `eps` is given."""
    if eps is not None:
        x = input if input.is_floating_point() else input.to(dtypes.get_default_dtype())
        input = e.clamp(x, eps, 1 - eps)
    return logit_(input)


@takes_out
def xlogy(input: Any, other: Any) -> Tensor:
    """`input * log(other)`, and 0 where `input` is 0 and `other` is not NaN."""
    require_tensor("xlogy", input, other)
    return _zero_where(input, other, lambda y: log(y))


@takes_out
def xlog1py(input: Any, other: Any) -> Tensor:
    """`input * log1p(other)`, and 0 where `input` is 0 and `other` is not NaN."""
    require_tensor("xlog1py", input, other)
    return _zero_where(input, other, lambda y: log1p(y))


def _zero_where(x: Any, y: Any, function: Any) -> Tensor:
    common = result_type(x, y)
    if not common.is_floating_point:
        common = dtypes.get_default_dtype()
    x, y = as_operand(x, common), as_operand(y, common)
    from kuai.ops.rounding import isnan

    zero = e.logical_and(e.eq(x, 0), e.logical_not(isnan(y)))
    return where(zero, x * 0, x * function(where(zero, 1, y)))


@primitive
class sinc(FloatUnary):
    """`sin(πx) / (πx)`, and 1 at 0."""

    def kernel(self, x):
        return np.sinc(x).astype(x.dtype)

    def gradient(self, grad, x):
        scaled = x * math.pi
        zero = e.eq(x, 0)
        safe = where(zero, 1.0, scaled)
        slope = (scaled * cos(scaled) - sin(scaled)) / (safe * safe) * math.pi
        return grad * where(zero, 0.0, slope)

    def lower(self, emit, x):
        scaled = emit.mul(x, math.pi)
        return emit.where(emit.eq(x, 0), 1, emit.div(emit.sin(scaled), scaled))


@takes_out
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return mul(input, math.pi / 180)


@takes_out
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return mul(input, 180 / math.pi)


@primitive
class i0(FloatUnary):
    """The modified Bessel function of the first kind, of order zero."""

    def kernel(self, x):
        return np.i0(x.astype(np.float64)).astype(x.dtype)

    def gradient(self, grad, x):
        return grad * i1(x)


@primitive
class i1(FloatUnary):
    """The modified Bessel function of the first kind, of order one."""

    kernel = staticmethod(special.i1)

    def gradient(self, grad, result, x):
        zero = e.eq(x, 0)
        safe = where(zero, 1.0, x)
        return grad * where(zero, 0.5, i0(x) - result / safe)


arccos, arccosh, arcsin, arcsinh = acos, acosh, asin, asinh
arctan, arctan2, arctanh = atan, atan2, atanh

__all__ = [
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expm1",
    "hypot",
    "i0",
    "i1",
    "lgamma",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logaddexp2",
    "logit",
    "mvlgamma",
    "polygamma",
    "rad2deg",
    "reciprocal",
    "rsqrt",
    "sigmoid",
    "sin",
    "sinc",
    "sinh",
    "tan",
    "xlog1py",
    "xlogy",
]
