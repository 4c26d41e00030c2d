"""Sines, and the inverse functions.

Arguments are reduced by multiples of a quarter turn as W. J. Cody and W. Waite do ("Software
Manual for the Elementary Functions", 1980), in three steps of fused multiplication, of which the
first is exact. Arguments so large that this needs more digits go to the C library, lane by lane,
behind a branch that is hardly ever taken. Coefficients: tools/fit_functions.py.
"""

from __future__ import annotations

import math

from kuai.compiler.emit.math.libm import in_rare_lanes
from kuai.compiler.emit.math.number import Number, polynomial, polynomial2, two_sum, where
from kuai.compiler.emit.math.scale import DIGITS

HALF_PI = 1.5707963267948966
# The double nearest to pi / 2, and what that lacks.
HALF_PI_LOW = 6.123233995736766e-17
# pi / 2 in three parts.
QUARTERS = {
    False: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    True: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
FAR = {False: 2.0**15, True: 2.0**30}  # from where on the C library computes

# (sin(r) / r - 1) / r ** 2 and (cos(r) - 1 + r ** 2 / 2) / r ** 4 in powers of r ** 2,
# for |r| up to pi / 4
SIN_SINGLE = (
    -0.1666666716337204,
    0.008333329111337662,
    -0.0001983930851565674,
    2.7180840334040113e-06,
)
SIN_DOUBLE = (
    -0.16666666666666666,
    0.008333333333333323,
    -0.00019841269841254725,
    2.7557319214025242e-06,
    -2.5052104871367004e-08,
    1.6058361808121046e-10,
    -7.578472008941019e-13,
)
COS_SINGLE = (
    0.04166664555668831,
    -0.0013887312961742282,
    2.443278208374977e-05,
)
COS_DOUBLE = (
    0.041666666666666595,
    -0.0013888888888872978,
    2.4801587288800275e-05,
    -2.7557314164015535e-07,
    2.0875698710784244e-09,
    -1.1358423521350245e-11,
)
# (asin(s) / s - 1) / s ** 2 in powers of s ** 2, up to a quarter
ASIN = (
    0.16666666666666766,
    0.0749999999996942,
    0.044642857175968054,
    0.030381942641023233,
    0.02237221691149724,
    0.017351576755782454,
    0.013981250942655529,
    0.011395331560022757,
    0.010800636985750393,
    0.003628270195911867,
    0.021900260934504354,
    -0.021275647161399243,
    0.032803874135719564,
)
# (atan(t) / t - 1) / t ** 2 in powers of t ** 2, for |t| up to sqrt(2) - 1
ATAN = (
    -0.33333333333333326,
    0.19999999999997625,
    -0.14285714285383005,
    0.11111111087885112,
    -0.09090908134579681,
    0.07692282545991475,
    -0.06666223778870124,
    0.05876994053500334,
    -0.05218234027879431,
    0.04502886949917833,
    -0.033459672173759065,
    0.015180727594971638,
)


def reduced(x: Number) -> tuple[Number, Number]:
    """`(q, r)` with `x = q pi / 2 + r`, `q` an integer (its last digits), `|r|` up to pi / 4."""
    magic = 1.5 * 2.0 ** DIGITS[x.double]
    shifted = x.times(1 / HALF_PI, magic)
    n, minus = shifted - magic, magic - shifted
    r = x
    for part in QUARTERS[x.double]:
        # Either way 0 times the part is -0, and so -0 stays what it is.
        r = n.exactly_times(-part, r) if part > 0 else minus.exactly_times(part, r)
    return shifted.bits(), r


def sin_near(r: Number) -> Number:
    """The sine for `|r|` up to pi / 4."""
    z = r * r
    return (z * polynomial(z, SIN_DOUBLE if r.double else SIN_SINGLE)).times(r, r)


def cos_near(r: Number) -> Number:
    """The cosine for `|r|` up to pi / 4."""
    z = r * r
    rest = z * z * polynomial(z, COS_DOUBLE if r.double else COS_SINGLE)
    half = z * 0.5
    whole = 1.0 - half
    return whole + (((1.0 - whole) - half) + rest)


def _sine(x: Number, turn: int) -> Number:
    q, r = reduced(x)
    q = q + turn if turn else q
    odd = (q & 1).differs(0)
    magnitude = where(odd, cos_near(r), sin_near(r))
    sign = (q & 2) << (DIGITS[x.double] + BITS_ABOVE[x.double])
    return (magnitude.bits() ^ sign).as_float()


BITS_ABOVE = {False: 7, True: 10}  # from the bit of 2 in the last digits to the sign


def sin(x: Number) -> Number:
    """Sine."""
    usual = where(x.equals(0.0), x, _sine(x, 0))  # which would be 0 of -0
    return in_rare_lanes("sin", x, abs(x) > FAR[x.double], usual)


def cos(x: Number) -> Number:
    """Cosine."""
    return in_rare_lanes("cos", x, abs(x) > FAR[x.double], _sine(x, 1))


# (tan(r) / r - 1) / r ** 2 in powers of r ** 2, for |r| up to pi / 4
TAN = (
    0.3333333333333277,
    0.1333333333341554,
    0.0539682539262288,
    0.021869489619547273,
    0.008863219015321886,
    0.0035922904266573086,
    0.001454749747536922,
    0.0005950994750005202,
    0.00022227696244545958,
    0.00013673825432807744,
    -2.6687131530988392e-05,
    8.972994770517761e-05,
    -4.502695631479473e-05,
    2.089955505575941e-05,
)


def tan(x: Number) -> Number:
    """Tangent, in double."""
    q, r = reduced(x)
    z = r * r
    near, lost = two_sum(r, r * (z * polynomial2(z, TAN)))
    inverse = -1.0 / near
    inverse = inverse + inverse * inverse * lost
    result = where((q & 1).differs(0), inverse, near)
    return in_rare_lanes("tan", x, abs(x) > FAR[x.double], result)


def _asin_rest(z: Number) -> Number:
    """`asin(s) / s - 1` for `z = s ** 2` up to a quarter."""
    return z * polynomial2(z, ASIN)


def asin(x: Number) -> Number:
    """Inverse sine, in double; beyond a half, by `asin x = pi / 2 - 2 asin sqrt((1 - x) / 2)`."""
    a = abs(x)
    far = a > 0.5
    z = where(far, (1.0 - a) * 0.5, a * a)
    s = where(far, z.sqrt(), a)
    rest = _asin_rest(z)
    value = s.times(rest, s)
    # What the square root lost, (z - s ** 2) / (2 s), counts twice.
    lost = where(s > 0.0, s.exactly_times(-s, z) / s, 0.0)
    beyond = HALF_PI - (s + s) - ((s + s).times(rest, lost) - HALF_PI_LOW)
    return where(far, beyond, value).copysign(x)


def acos(x: Number) -> Number:
    """Inverse cosine, in double."""
    a = abs(x)
    far = a > 0.5
    z = where(far, (1.0 - a) * 0.5, a * a)
    s = where(far, z.sqrt(), x)
    rest = _asin_rest(z)
    # What the square root lost: (z - s ** 2) / (2 s).
    lost = where(far & (s > 0.0), s.exactly_times(-s, z) / (s + s), 0.0)
    value = s + s.times(rest, lost)
    double = value + value
    beyond = where(x > 0.0, double, math.pi - (double - 2 * HALF_PI_LOW))
    near = HALF_PI - (s - (HALF_PI_LOW - s * rest))
    return where(far, beyond, near)


def _atan_of_ratio(n: Number, d: Number) -> Number:
    """`atan(n / d)` for positive numbers, 0 and infinity among them, not both the same of those.

    From tan(pi / 8) on it is pi / 4 more than that of `(n - d) / (n + d)`, and from tan(3 pi / 8)
    on, pi / 2 more than that of `-d / n`.
    """
    large, middle = n > d * 2.414213562373095, n > d * 0.41421356237309503
    top = where(large, -d, where(middle, n - d, n))
    bottom = where(large, n, where(middle, n + d, d))
    base = where(large, HALF_PI, where(middle, HALF_PI / 2, d.like(0.0)))
    low = where(large, HALF_PI_LOW, where(middle, HALF_PI_LOW / 2, d.like(0.0)))
    t = top / bottom
    z = t * t
    return base + (t + t.times(z * polynomial2(z, ATAN), low))


def atan(x: Number) -> Number:
    """Inverse tangent, in double."""
    return _atan_of_ratio(abs(x), x.like(1.0)).copysign(x)


def atan2(y: Number, x: Number) -> Number:
    """The angle of the point `(x, y)`, in double."""
    n, d = abs(y), abs(x)
    # Half a turn's eighths stand for both infinite; sums must not become so.
    huge = (n > 2.0**1000) | (d > 2.0**1000)
    both = n.equals(math.inf) & d.equals(math.inf)
    n, d = where(huge, n * 2.0**-30, n), where(huge, d * 2.0**-30, d)
    n, d = where(both, 1.0, n), where(both, 1.0, d)
    d = where(n.equals(0.0) & d.equals(0.0), 1.0, d)
    angle = _atan_of_ratio(n, d)
    left = (x.bits() < 0) & ~x.isnan()
    angle = where(left, math.pi - (angle - 2 * HALF_PI_LOW), angle)
    return angle.copysign(y)
