"""The gamma function's logarithm and that one's derivative, in double."""

from __future__ import annotations

import math

from kuai.compiler.emit.math.libm import call_by_lane
from kuai.compiler.emit.math.logarithm import log
from kuai.compiler.emit.math.number import Number, polynomial, where
from kuai.compiler.emit.math.trigonometric import cos_near, sin_near

# B(2k) / (2k) of the asymptotic series (Abramowitz and Stegun 6.3.18).
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def lgamma(x: Number) -> Number:
    """The logarithm of |Γ(x)|, from the C library."""
    return Number(x.f, call_by_lane(x.f, "lgamma", x.ref))


def _cotangent(x: Number) -> Number:
    """The cotangent of `pi x`, of an `x` from -1/2 to 1/2."""
    a = abs(x)
    steep = a > 0.25
    r = where(steep, 0.5 - a, a) * math.pi
    sine, cosine = sin_near(r), cos_near(r)
    return (where(steep, sine, cosine) / where(steep, cosine, sine)).copysign(x)


def digamma(x: Number) -> Number:
    """ψ(x): the asymptotic series after the recurrence, reflected for negative arguments."""
    whole = x.floor()
    pole = (x <= 0.0) & whole.equals(x)
    negative = x < 0.0
    reflected = where(negative & ~pole, _cotangent(x - x.rint()) * math.pi, 0.0)
    y = where(negative, 1.0 - x, x)
    shift = y.like(0.0)
    for _ in range(10):
        small = y < 10.0
        shift = shift - where(small, 1.0 / y, 0.0)
        y = where(small, y + 1.0, y)
    square = 1.0 / (y * y)
    series = polynomial(square, DIGAMMA) * square
    result = ((log(y) - 0.5 / y) - series) + shift - reflected
    at_pole = where(x.equals(0.0), x.like(-math.inf).copysign(-x), math.nan)
    return where(pole, at_pole, result)
