"""Kernels of the error and gamma functions, which NumPy does not have.

All compute in float64 and round to the type of their argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray


def _in_float64(function: Callable[..., Array]) -> Callable[..., Array]:
    def kernel(x: Array) -> Array:
        return np.asarray(function(np.asarray(x, np.float64))).astype(x.dtype)

    kernel.__doc__ = function.__doc__
    return kernel


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    result = np.full(x.shape, coefficients[0])
    for c in coefficients[1:]:
        result *= x
        result += c
    return result


# Rational approximations from W. J. Cody, "Rational Chebyshev approximations for the error
# function", Mathematics of Computation 23 (1969).
NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (
        1.0,
        2.36012909523441209e1,
        2.44024637934444173e2,
        1.28261652607737228e3,
        2.84423683343917062e3,
    ),
)
MIDDLE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
FAR = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242e0,
        1.87295284992346047e0,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)


def _ratio(x: Array, pair: tuple[Sequence[float], Sequence[float]]) -> Array:
    return _polynomial(x, pair[0]) / _polynomial(x, pair[1])


def _scaled_tail(a: Array) -> Array:
    """`exp(a²) erfc(a)` for arguments from 0.46875."""
    middle = _ratio(np.minimum(a, 4.0), MIDDLE)
    beyond = a > 4
    if not beyond.any():
        return middle
    inverse = 1 / np.square(np.maximum(a, 4.0))
    far = (1 / math.sqrt(math.pi) - inverse * _ratio(inverse, FAR)) / np.maximum(a, 4.0)
    return np.where(beyond, far, middle)


def _erfc_tail(a: Array) -> Array:
    """Erfc for arguments from 0.46875."""
    bounded = np.minimum(a, 30.0)
    rough = np.trunc(bounded * 16) / 16
    scale = np.exp(-rough * rough) * np.exp(-(bounded - rough) * (bounded + rough))
    return np.where(a > 30, 0.0, scale * _scaled_tail(a))


# erf(x) / x in powers of x², fitted for |x| <= 4 with a relative error below 3e-9: for float32.
_WITHIN_FOUR = (
    (
        -1.3630350984203006e-08,
        4.770718581969514e-06,
        0.0003827401741105834,
        0.0038531641063174146,
        0.05437076658800588,
        0.18504875184905298,
        1.1283791699721826,
    ),
    (
        6.393002571736133e-05,
        0.001312542565471631,
        0.015479811502154859,
        0.11396041805932561,
        0.4973286182557963,
        1.0,
    ),
)
_FEW = 64


def erf(x: Array) -> Array:
    """The error function."""
    if x.size <= _FEW:
        return np.array([math.erf(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)
    if x.dtype.itemsize > 4:
        return _erf64(x)
    limited = np.minimum(np.maximum(x.astype(np.float64), -4), 4)
    limited *= _ratio(limited * limited, _WITHIN_FOUR)
    return limited.astype(x.dtype)


@_in_float64
def _erf64(x: Array) -> Array:
    a = np.abs(x)
    near = x * _ratio(np.square(np.minimum(a, 0.5)), NEAR)
    tail = np.copysign(1 - _erfc_tail(np.maximum(a, 0.46875)), x)
    return np.where(np.isnan(x), x, np.where(a <= 0.46875, near, tail))


@_in_float64
def erfc(x: Array) -> Array:
    """The complementary error function."""
    a = np.abs(x)
    near = 1 - x * _ratio(np.square(np.minimum(a, 0.5)), NEAR)
    tail = _erfc_tail(np.maximum(a, 0.46875))
    return np.where(np.isnan(x), x, np.where(a <= 0.46875, near, np.where(x < 0, 2 - tail, tail)))


_erfc64 = erfc


@_in_float64
def erfcx(x: Array) -> Array:
    """`exp(x²) erfc(x)`, without overflow for positive arguments."""
    a = np.abs(x)
    near = np.exp(np.square(np.minimum(a, 0.5))) * _erfc64(np.clip(x, -0.5, 0.5))
    tail = _scaled_tail(np.maximum(a, 0.46875))
    mirrored = 2 * np.exp(np.square(np.minimum(x, 0.0))) - tail
    far = np.where(x < 0, mirrored, tail)
    return np.where(np.isnan(x), x, np.where(a <= 0.46875, near, far))


_erfcx64 = erfcx


def _erfc_inverse(c: Array) -> Array:
    """`y >= 0` with `erfc(y) = c`, `c` in (0, 1]: S. Winitzki's formula, then Halley's steps."""
    logarithm = np.log(c) + np.log(2 - c)
    t = 2 / (math.pi * 0.147) + logarithm / 2
    y = np.sqrt(np.maximum(np.sqrt(t * t - logarithm / 0.147) - t, 0))
    for _ in range(4):
        # erfc(y) - c, both divided by exp(-y²)
        error = _erfcx64(y) - c * np.exp(y * y)
        step = error * math.sqrt(math.pi) / 2
        y = y + step / (1 - y * step)
    return y


@_in_float64
def erfinv(x: Array) -> Array:
    """The inverse error function."""
    a = np.abs(x)
    inside = np.where(a < 1, x, 0.0)
    y = np.copysign(_erfc_inverse(1 - np.abs(inside)), inside)
    slope = 2 / math.sqrt(math.pi) * np.exp(-y * y)
    y = np.where(a < 0.7, y - (_erf64(y) - inside) / slope, y)  # 1 - x has fewer digits than x
    edge = np.where(a == 1, np.copysign(np.inf, x), np.nan)
    return np.where(a < 1, y, edge)


@_in_float64
def ndtri(p: Array) -> Array:
    """The inverse of the normal distribution function."""
    inside = np.where((p > 0) & (p < 1), p, 0.5)
    tail = np.minimum(inside, 1 - inside)
    y = np.copysign(math.sqrt(2) * _erfc_inverse(2 * tail), inside - 0.5)
    edge = np.where(p == 0, -np.inf, np.where(p == 1, np.inf, np.nan))
    return np.where((p > 0) & (p < 1), y, edge)


@_in_float64
def log_ndtr(x: Array) -> Array:
    """The logarithm of the normal distribution function."""
    z = x / math.sqrt(2)
    low = np.log(_erfcx64(-np.minimum(z, 0.0)) / 2) - np.square(z)
    high = np.log1p(-_erfc64(z) / 2)
    return np.where(x < -1, low, high)


@_in_float64
def lgamma(x: Array) -> Array:
    """log|Γ(x)|, from the C library."""
    result = np.asarray([_lgamma(v) if _has_gamma(v) else math.inf for v in x.ravel()])
    result = np.where(np.isnan(x.ravel()), x.ravel(), result)
    return result.reshape(x.shape)


def _lgamma(v: float) -> float:
    try:
        return math.lgamma(v)
    except OverflowError:
        return math.inf


def _has_gamma(v: float) -> bool:
    return math.isfinite(v) and not (v <= 0 and v == math.floor(v))


# The coefficients B(2k) / (2k) of digamma's asymptotic series (Abramowitz and Stegun 6.3.18).
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


@_in_float64
def digamma(x: Array) -> Array:
    """ψ(x): the asymptotic series after the recurrence, reflected for negative arguments."""
    pole = (x <= 0) & (x == np.floor(x))
    negative = x < 0
    fraction = x - np.round(x)
    cotangent = np.where(
        negative & ~pole, math.pi / np.tan(math.pi * np.where(pole | ~negative, 0.5, fraction)), 0
    )
    y = np.where(negative, 1 - x, x)
    shift = np.zeros_like(y)
    for _ in range(10):
        small = y < 10
        shift = shift - np.where(small, 1 / np.where(y == 0, 1, y), 0)
        y = y + small
    square = 1 / (y * y)
    series = _polynomial(square, tuple(reversed(_DIGAMMA))) * square
    result = np.log(y) - 0.5 / y - series + shift - cotangent
    at_pole = np.where(x == 0, np.copysign(np.inf, -x), np.nan)
    return np.where(pole, at_pole, result)


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def zeta(s: Any, q: Array) -> Array:
    """Hurwitz's zeta function, the sum of `(q + k) ** -s`, by Euler and Maclaurin's formula."""
    total = np.zeros_like(q)
    for _ in range(12):
        total = total + q ** (-s)
        q = q + 1
    total = total + q ** (1 - s) / (s - 1) + 0.5 * q ** (-s)
    factor = s * q ** (-s - 1)
    for k, b in enumerate(_BERNOULLI, start=1):
        total = total + b * factor / math.factorial(2 * k)
        factor = factor * (s + 2 * k - 1) * (s + 2 * k) / (q * q)
    return total


def polygamma(n: int, x: Array) -> Array:
    """The n-th derivative of digamma, for n from 1; for n = 1 also of negative arguments."""
    wide = np.asarray(x, np.float64)
    if n == 1:
        negative = wide < 0.5
        sine = np.sin(math.pi * np.where(negative, wide, 0.5))
        value = zeta(2.0, np.where(negative, 1 - wide, wide))
        result = np.where(negative, (math.pi / sine) ** 2 - value, value)
    else:
        sign = 1.0 if n % 2 else -1.0
        result = sign * math.factorial(n) * zeta(n + 1.0, wide)
    return np.asarray(result).astype(x.dtype)


def _scaled_bessel(x: Array, order: int) -> Array:
    """`exp(-|x|) I(x)`, I the modified Bessel function of the first kind."""
    a = np.abs(x)
    # The integral of exp(x cos t) cos(order t) over half a turn; the trapezoidal rule converges
    # geometrically for periodic functions.
    t = (np.arange(128) + 0.5) * (math.pi / 128)
    near = np.minimum(a, 40.0)
    integral = (np.exp(np.multiply.outer(near, np.cos(t) - 1)) * np.cos(order * t)).mean(-1)
    # Hankel's expansion for large arguments (Abramowitz and Stegun 9.7.1).
    far = np.maximum(a, 40.0)
    term = series = np.ones_like(far)
    for k in range(1, 20):
        term = term * -(4 * order * order - (2 * k - 1) ** 2) / (8 * k * far)
        series = series + term
    result = np.where(a <= 40, integral, series / np.sqrt(2 * math.pi * far))
    return np.where(x < 0, -result, result) if order % 2 else result


@_in_float64
def i0e(x: Array) -> Array:
    """`exp(-|x|) I₀(x)`."""
    return _scaled_bessel(x, 0)


@_in_float64
def i1e(x: Array) -> Array:
    """`exp(-|x|) I₁(x)`."""
    return _scaled_bessel(x, 1)


@_in_float64
def i1(x: Array) -> Array:
    """The modified Bessel function I₁."""
    return _scaled_bessel(x, 1) * np.exp(np.abs(x))


def _gamma_ratio(a: Array, x: Array) -> tuple[Array, Array]:
    """The regularised incomplete gamma functions, lower and upper, for positive arguments."""
    start = np.exp(a * np.log(x) - x - _log_gamma(a))
    # below the peak: the power series; above: Lentz's evaluation of the continued fraction
    term = series = 1 / a
    for n in range(1, 2000):
        term = term * x / (a + n)
        series = series + term
        if np.all(np.where(x < a + 1, term, 0) <= 1e-17 * series):
            break
    tiny = 1e-300
    b = x + 1 - a
    c, d = np.full_like(x, 1 / tiny), 1 / np.where(b == 0, tiny, b)
    fraction = d
    for n in range(1, 2000):
        an = -n * (n - a)
        b = b + 2
        d = an * d + b
        c = b + an / c
        d = 1 / np.where(d == 0, tiny, d)
        c = np.where(c == 0, tiny, c)
        fraction = fraction * d * c
        if np.all(np.where(x < a + 1, 0, np.abs(d * c - 1)) < 1e-15):
            break
    below = x < a + 1
    lower, upper = start * series, start * fraction
    return np.where(below, lower, 1 - upper), np.where(below, 1 - lower, upper)


def _log_gamma(x: Array) -> Array:
    return np.asarray([math.lgamma(v) for v in x.ravel().tolist()]).reshape(x.shape)


def _incomplete_gamma(a: Array, x: Array, upper: bool) -> Array:
    a, x = np.broadcast_arrays(a.astype(np.float64), x.astype(np.float64))
    usual = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    values = _gamma_ratio(np.where(usual, a, 1.0), np.where(usual, x, 1.0))[1 if upper else 0]
    zero, one = (1.0, 0.0) if upper else (0.0, 1.0)
    special = np.full(a.shape, np.nan)
    special[(x == 0) & (a > 0)] = zero
    special[(a == 0) & (x > 0)] = one
    special[np.isinf(x) & (x > 0) & (a >= 0) & np.isfinite(a)] = one
    special[np.isinf(a) & (a > 0) & (x >= 0) & np.isfinite(x)] = zero
    return np.where(usual, values, special)


def igamma(a: Array, x: Array) -> Array:
    """The regularised lower incomplete gamma function."""
    return _incomplete_gamma(a, x, False).astype(x.dtype)


def igammac(a: Array, x: Array) -> Array:
    """The regularised upper incomplete gamma function."""
    return _incomplete_gamma(a, x, True).astype(x.dtype)


def hurwitz_zeta(x: Array, q: Array) -> Array:
    """The sum of `(q + k) ** -x` over k from 0."""
    s, a = np.broadcast_arrays(x.astype(np.float64), q.astype(np.float64))
    usual = (s > 1) & (a > 0)
    values = zeta(np.where(usual, s, 2.0), np.where(usual, a, 1.0))
    pole = (s == 1) | ((a <= 0) & (a == np.floor(a)) & (s > 1))
    return np.where(usual, values, np.where(pole, np.inf, np.nan)).astype(x.dtype)
