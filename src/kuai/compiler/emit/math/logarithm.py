"""Logarithms: `x = 2 ** n (1 + f)`, with `1 + f` from sqrt(1/2) to sqrt(2), and what `f` gives.

Coefficients: tools/fit_functions.py.
"""

from __future__ import annotations

import math

from kuai.compiler.emit.math.exponential import LN2_DOUBLE, LN2_SINGLE, exp, exp2
from kuai.compiler.emit.math.number import (
    Number,
    polynomial2,
    two_product,
    two_sum,
    where,
)
from kuai.compiler.emit.math.scale import (
    BIAS,
    DIGITS,
    exponent_and_mantissa,
    without_subnormals,
)

# (log(1 + f) - f + f ** 2 / 2) / f ** 3
LOG_SINGLE = (
    0.3333331346511841,
    -0.25000008940696716,
    0.2000211924314499,
    -0.1666799634695053,
    0.14219553768634796,
    -0.1240558847784996,
    0.11888157576322556,
    -0.11675649881362915,
    0.06746639311313629,
)
# log((1 + s) / (1 - s)) = 2 s + s R(s ** 2): R(z) / z
LOG_DOUBLE = (
    0.6666666666666735,
    0.3999999999941306,
    0.2857142874278267,
    0.22222198529367593,
    0.18183566761699443,
    0.15313984418064575,
    0.14796647805701144,
)


def parts(x: Number) -> tuple[Number, Number]:
    """`(n, f)` with `x = 2 ** n * (1 + f)`, both floats, of a positive finite `x`."""
    y, shift = without_subnormals(x)
    n, m = exponent_and_mantissa(y)
    return (n + shift).to_float(), m - 1.0


def parts_beside_one(x: Number) -> tuple[Number, Number]:
    """`(n, f)` with `1 + x = 2 ** n * (1 + f)`, without rounding `1 + x`; `x > -1`."""
    digits, bias = DIGITS[x.double], BIAS[x.double]
    n, m = exponent_and_mantissa(x + 1.0)
    scale = ((bias - n) << digits).as_float()
    near = x.exactly_times(scale, scale - 1.0)
    return n.to_float(), where(n > bias // 2, m - 1.0, near)


def log_rest(f: Number) -> tuple[Number, Number]:
    """`log(1 + f)` as the sum of two: the first exact, the second small."""
    square = f * f
    half = square * 0.5
    if f.double:
        s = f / (f + 2.0)
        z = s * s
        return f, s.times(half + z * polynomial2(z, LOG_DOUBLE), -half)
    return f, f.times(square * polynomial2(f, LOG_SINGLE), -half)


def log_of_parts(n: Number, f: Number) -> Number:
    """`n log 2 + log(1 + f)`."""
    high, low = LN2_DOUBLE if f.double else LN2_SINGLE
    first, rest = log_rest(f)
    return n.times(high, first + n.times(low, rest))


def settled(x: Number, result: Number) -> Number:
    """A logarithm of `x`, right also for 0, infinity, NaN, and what is negative."""
    edge = where(x < 0.0, math.nan, x)
    edge = where(x.equals(0.0), -math.inf, edge)
    ordinary = (x > 0.0) & (x < math.inf)
    return where(ordinary, result, edge)


def log(x: Number) -> Number:
    """Natural logarithm."""
    return settled(x, log_of_parts(*parts(x)))


def log1p(x: Number) -> Number:
    """`log(1 + x)`, accurate near zero."""
    result = settled(x + 1.0, log_of_parts(*parts_beside_one(x)))
    return where(x.equals(0.0), x, result)  # keeps the sign of 0


# 1 / log 2, 1 / log 10 and log10(2) as sums of two, by whether they are double. Products of the
# first part of `LOG10_2` with an exponent are exact.
INVERSE_LN2 = {
    False: (1.4426950216293335, 1.925963033500011e-08),
    True: (1.4426950408889634, 2.0355273740931033e-17),
}
INVERSE_LN10 = {
    False: (0.4342944920063019, -1.0103049952192578e-08),
    True: (0.4342944819032518, 1.098319650216765e-17),
}
LOG10_2 = {
    False: (0.301025390625, 4.605039066518657e-06),
    True: (0.30102999566395283, 2.8363394551044964e-14),
}


def _in_base(x: Number, inverse: tuple[float, float], whole: tuple[float, float]) -> Number:
    """`n * whole + log(1 + f) * inverse`, in more digits than one number has."""
    n, f = parts(x)
    first, rest = two_sum(*log_rest(f))
    product, error = two_product(first, x.like(inverse[0]))
    error = rest.times(inverse[0], first.times(inverse[1], error))
    high = n * whole[0]
    total = high + product
    # `high` is the greater where it is not 0.
    lost = where(n.equals(0.0), 0.0, product - (total - high))
    return settled(x, total + (lost + n.times(whole[1], error)))


def log2(x: Number) -> Number:
    """Logarithm to base 2."""
    return _in_base(x, INVERSE_LN2[x.double], (1.0, 0.0))


def log10(x: Number) -> Number:
    """Logarithm to base 10."""
    return _in_base(x, INVERSE_LN10[x.double], LOG10_2[x.double])


def asinh(x: Number) -> Number:
    """Inverse hyperbolic sine, in double."""
    a = abs(x)
    near = a.at_most(2.0**30)
    square = near * near
    inner = near + square / ((square + 1.0).sqrt() + 1.0)
    far = log(a) + math.log(2)
    return where(a > 2.0**30, far, log1p(inner)).copysign(x)


def acosh(x: Number) -> Number:
    """Inverse hyperbolic cosine, in double."""
    t = x - 1.0
    near = t.at_most(2.0**30)
    inner = near + (near * (near + 2.0)).sqrt()
    result = where(x > 2.0**30, log(x) + math.log(2), log1p(inner))
    return where(x < 1.0, math.nan, result)


def atanh(x: Number) -> Number:
    """Inverse hyperbolic tangent, in double."""
    a = abs(x)
    return (log1p((a + a) / (1.0 - a)) * 0.5).copysign(x)


def logaddexp(x: Number, y: Number) -> Number:
    """`log(e ** x + e ** y)`."""
    return _add_exponentials(x, y, lambda d: log1p(exp(d)))


def logaddexp2(x: Number, y: Number) -> Number:
    """`log2(2 ** x + 2 ** y)`."""
    return _add_exponentials(x, y, lambda d: log1p(exp2(d)) * (1 / math.log(2)))


def _add_exponentials(x: Number, y: Number, of_difference: object) -> Number:
    greater = x.at_least(y)
    difference = where(x.equals(y), 0.0, -abs(x - y))  # equal infinities have no difference
    result = greater + of_difference(difference)  # type: ignore[operator]
    return where(y.isnan(), y, result)


__all__ = [
    "acosh",
    "asinh",
    "atanh",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logaddexp2",
]
