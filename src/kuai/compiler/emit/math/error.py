"""The error function and its relatives.

In double, the rational approximations of W. J. Cody ("Rational Chebyshev approximations for the
error function", 1969), the same as eager's. In single, polynomials from tools/fit_functions.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kuai.compiler.emit.math.exponential import exp, exp_of_sum, exp_rest, power_of_two, reduced
from kuai.compiler.emit.math.logarithm import log1p
from kuai.compiler.emit.math.number import Number, polynomial, polynomial2, where
from kuai.ops.special_kernels import FAR, MIDDLE

# erf(x) / x - 1 in powers of x ** 2, for x up to 1
ERF_NEAR = (
    0.12837916612625122,
    -0.37612637877464294,
    0.11283786594867706,
    -0.02686569280922413,
    0.00522189773619175,
    -0.0008498627576045692,
    0.00011386374535504729,
    -1.0056595783680677e-05,
)
# log(erfc(x)) for x from 0.9 to 3.95
ERF_FAR = (
    0.00017506662697996944,
    -1.1295111179351807,
    -0.6333697438240051,
    -0.10823151469230652,
    0.02506512776017189,
    -0.004135876428335905,
    0.000421157106757164,
    -1.8369604731560685e-05,
    -2.3354998290869844e-07,
)


ERF_NEAR_DOUBLE = (
    0.1283791670955126,
    -0.37612638903183754,
    0.11283791670955126,
    -0.026866170645131218,
    0.005223977625441639,
    -0.0008548327023400207,
    0.00012055332978736012,
    -1.4925650231961536e-05,
    1.6462110660228999e-06,
    -1.6365766560637908e-07,
    1.4806002013170495e-08,
    -1.2277526685432782e-09,
    9.322599597571739e-11,
    -6.193155816868525e-12,
    2.801618594152993e-13,
)


def erf_single(x: Number) -> Number:
    """The error function of floats."""
    a = abs(x)
    z = x * x
    near = x.times(polynomial2(z, ERF_NEAR), x)
    r = polynomial2(a.at_most(3.95), ERF_FAR)
    n, r = reduced(r)
    far = 1.0 - (exp_rest(r) + 1.0) * power_of_two(n)
    return where(a < 0.95, near, far.copysign(x))


def _ratio(x: Number, pair: tuple[Sequence[float], Sequence[float]]) -> Number:
    """A rational function; coefficients from the highest power down."""
    return polynomial(x, pair[0][::-1]) / polynomial(x, pair[1][::-1])


def _erfc_tail(a: Number) -> Number:
    """`erfc` for arguments from 0.46875."""
    bounded = a.at_most(30.0)
    square = -bounded * bounded
    return exp_of_sum(square, bounded.exactly_times(-bounded, -square)) * scaled_tail(bounded)


def scaled_tail(a: Number) -> Number:
    """`exp(a²) erfc(a)` for arguments from 0.46875."""
    middle = _ratio(a.at_most(4.0), MIDDLE)
    large = a.at_least(4.0)
    inverse = 1.0 / (large * large)
    far = (1 / math.sqrt(math.pi) - inverse * _ratio(inverse, FAR)) / large
    return where(a > 4.0, far, middle)


def _near(x: Number) -> Number:
    """The error function up to 1."""
    return x.times(polynomial2((x * x).at_most(1.0), ERF_NEAR_DOUBLE), x)


def erf(x: Number) -> Number:
    """The error function, in double."""
    a = abs(x)
    far = (1.0 - _erfc_tail(a.at_least(0.46875))).copysign(x)
    return where(a > 1.0, far, _near(x))


def erfc(x: Number) -> Number:
    """`1 - erf(x)`, in double."""
    a = abs(x)
    tail = _erfc_tail(a.at_least(0.46875))
    far = where(x < 0.0, 2.0 - tail, tail)
    return where(a > 0.46875, far, 1.0 - _near(x))


# M. Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011): erfinv(x) / x in powers
# of w - 2.5 and sqrt(w) - 3, w = -log(1 - x²).
GILES_CENTRE = (
    1.50140941,
    0.246640727,
    -0.00417768164,
    -0.00125372503,
    0.00021858087,
    -4.39150654e-06,
    -3.5233877e-06,
    3.43273939e-07,
    2.81022636e-08,
)
GILES_TAIL = (
    2.83297682,
    1.00167406,
    0.00943887047,
    -0.0076224613,
    0.00573950773,
    -0.00367342844,
    0.00134934322,
    0.000100950558,
    -0.000200214257,
)


def erfinv(x: Number) -> Number:
    """The inverse of the error function, in double: M. Giles's formula, then Halley's steps."""
    a = abs(x)
    w = -log1p(-(a * a)).at_least(-745.0)
    centre = polynomial(w.at_most(5.0) - 2.5, GILES_CENTRE)
    tail = polynomial(w.at_least(5.0).sqrt() - 3.0, GILES_TAIL)
    y = a * where(w < 5.0, centre, tail)
    for _ in range(2):
        # erf(y) - a, from the side on which it has more digits.
        error = where(a < 0.5, erf(y) - a, (1.0 - a) - _erfc_tail(y.at_least(0.46875)))
        step = error * (math.sqrt(math.pi) / 2) * exp(y * y)
        y = y - step / (y * step + 1.0)
    y = where(a.equals(1.0), math.inf, y)
    y = where(a > 1.0, math.nan, y)
    return where(a < 1e-300, x * (math.sqrt(math.pi) / 2), y.copysign(x))
