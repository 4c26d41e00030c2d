"""Exponentials: `x = n log 2 + r` with a whole `n`, a polynomial for `e ** r`, a scale `2 ** n`.

Coefficients: tools/fit_functions.py.
"""

from __future__ import annotations

from kuai.compiler.emit.math.number import Number, polynomial, polynomial2, where
from kuai.compiler.emit.math.scale import BIAS, DIGITS, scaled

LOG2_E = 1.4426950408889634
# log 2 in two parts. The first has so few bits that its products with `n` are exact.
LN2_SINGLE = (0.693145751953125, 1.428606765330187e-06)
LN2_DOUBLE = (0.6931471805598903, 5.497923018708371e-14)

# (e ** r - 1 - r) / r ** 2 for |r| up to half of log 2.
EXP_SINGLE = (
    0.4999999403953552,
    0.1666651964187622,
    0.041668396443128586,
    0.008368780836462975,
    0.0013814459089189768,
)
EXP_DOUBLE = (
    0.5000000000000011,
    0.1666666666666641,
    0.0416666666665292,
    0.008333333333495672,
    0.0013888888943921068,
    0.00019841269504672262,
    2.4801492764034233e-05,
    2.7557587417207154e-06,
    2.763037829478781e-07,
    2.499994364529006e-08,
)
# (2 ** r - 1) / r for |r| up to a half.
EXP2_SINGLE = (
    0.6931472420692444,
    0.24022652208805084,
    0.05550310015678406,
    0.009617689996957779,
    0.0013406802900135517,
    0.00015595299191772938,
)
EXP2_DOUBLE = (
    0.6931471805599457,
    0.24022650695910097,
    0.05550410866479014,
    0.00961812910760683,
    0.0013333558153483078,
    0.00015403530441862018,
    1.5252727358602043e-05,
    1.3215442498636543e-06,
    1.0180653119445716e-07,
    7.072605747342078e-09,
    4.078034731868361e-10,
)


def whole_part(x: Number, factor: float) -> tuple[Number, Number]:
    """The whole number nearest to `x * factor`, as a float and as an integer.

    Adding 1.5 * 2 ** 52 (or 23) leaves it in the last digits.
    """
    magic = 1.5 * 2.0 ** DIGITS[x.double]
    shifted = x.times(factor, magic)
    return shifted - magic, shifted.bits() - x.like(magic).bits()


def reduced(x: Number) -> tuple[Number, Number]:
    """`(n, r)` with `x = n log 2 + r`, `n` an integer, `|r|` at most about half of log 2."""
    n, whole = whole_part(x, LOG2_E)
    return whole, remainder(x, n)


def remainder(x: Number, n: Number) -> Number:
    """`x - n log 2`, for a whole float `n`."""
    high, low = LN2_DOUBLE if x.double else LN2_SINGLE
    return n.times(-low, n.times(-high, x))


def exp_rest(r: Number) -> Number:
    """`e ** r - 1` for a small `r`."""
    q = polynomial2(r, EXP_DOUBLE if r.double else EXP_SINGLE)
    return (r * r).times(q, r)


def exp(x: Number) -> Number:
    """`e ** x`."""
    return exp_shifted(x, 0)


def exp_shifted(x: Number, shift: int) -> Number:
    """`2 ** shift * e ** x`, without overflow where that has none; `shift` is small."""
    low, high = (-747.0, 711.0) if x.double else (-105.0, 90.0)
    nothing, x = _apart(x.at_most(high), low)
    n, whole = whole_part(x, LOG2_E)
    result = exp_rest(remainder(x, n)) + 1
    if shift:
        n, whole = n + shift, whole + shift
    return where(nothing, 0.0, scaled(result, whole, n))


def _apart(x: Number, low: float) -> tuple[Number, Number]:
    """Where the result is zero, and `x` without what gives that.

    Processors take tens of times as long over a result that underflows, which a masked score of
    minus infinity does in every softmax.
    """
    nothing = x < low
    return nothing, where(nothing, 0.0, x)


def exp2(x: Number) -> Number:
    """`2 ** x`."""
    low, high = (-1076.0, 1025.0) if x.double else (-151.0, 129.0)
    nothing, x = _apart(x.at_most(high), low)
    n, whole = whole_part(x, 1.0)
    q = polynomial2(x - n, EXP2_DOUBLE if x.double else EXP2_SINGLE)
    return where(nothing, 0.0, scaled((x - n).times(q, 1.0), whole, n))


def power_of_two(n: Number) -> Number:
    """`2 ** n` of an integer `n` in the range of normal numbers."""
    double = n.ref.element == "i64"
    return ((n + BIAS[double]) << DIGITS[double]).as_float()


def expm1(x: Number) -> Number:
    """`e ** x - 1`, accurate near zero."""
    low, high = (-40.0, 709.9) if x.double else (-20.0, 89.0)
    x = x.at_most(high).at_least(low)
    n, whole = whole_part(x, LOG2_E)
    first, second = LN2_DOUBLE if x.double else LN2_SINGLE
    exact = n.times(-first, x)
    r = n.times(-second, exact)
    lost = n.times(-second, exact - r)
    q = polynomial2(r, EXP_DOUBLE if x.double else EXP_SINGLE)
    rest = r + (r * r).times(q, lost)
    half = power_of_two(whole - 1)  # 2 ** n may be too much
    result = half.times(rest, half - 0.5)
    return where(whole.equals(0), rest, result + result).copysign(x)


# (tanh(x) / x - 1) / x ** 2 in powers of x ** 2, up to 0.55.
TANH_SINGLE = (
    -0.33333316445350647,
    0.13332584500312805,
    -0.053852204233407974,
    0.021071210503578186,
    -0.006273539271205664,
)
TANH_DOUBLE = (
    -0.333333333333333,
    0.133333333333266,
    -0.05396825396374779,
    0.021869488385479405,
    -0.008863232595109499,
    0.003592091964781163,
    -0.0014555424119833608,
    0.0005884426561878769,
    -0.00023337679383325375,
    8.330944419386542e-05,
    -1.9490263267977688e-05,
)


def tanh(x: Number) -> Number:
    """Hyperbolic tangent: a polynomial up to 0.55, `1 - 2 / (e ** (2 |x|) + 1)` beyond."""
    a = abs(x)
    square = x * x
    q = polynomial2(square, TANH_DOUBLE if x.double else TANH_SINGLE)
    near = x.times(square * q, x)
    n, r = reduced((a + a).at_most(44.0 if x.double else 22.0))
    scale = power_of_two(n)
    far = 1.0 - 2.0 / scale.times(exp_rest(r), scale + 1.0)
    return where(a < 0.55, near, far).copysign(x)


def sigmoid(x: Number) -> Number:
    """`1 / (1 + e ** -x)`, from `e ** -|x|`."""
    t = exp(-abs(x))
    return where(x < 0.0, t, x.like(1.0)) / (t + 1.0)


# (sinh(x) / x - 1) / x ** 2 in powers of x ** 2, up to 1.
SINH = (
    0.16666666666666666,
    0.008333333333333333,
    0.000198412698412696,
    2.755731922411629e-06,
    2.5052108346508704e-08,
    1.6059050601316316e-10,
    7.646482891407782e-13,
    2.8482331374272784e-15,
)


def sinh(x: Number) -> Number:
    """Hyperbolic sine, in double."""
    a = abs(x)
    square = x * x
    near = x.times(square * polynomial(square.at_most(1.0), SINH), x)
    half = exp_shifted(a, -1)
    far = half - 0.25 / half
    return where(a < 1.0, near, far.copysign(x))


def cosh(x: Number) -> Number:
    """Hyperbolic cosine, in double."""
    half = exp_shifted(abs(x), -1)
    return half + 0.25 / half


def exp_of_sum(x: Number, rest: Number) -> Number:
    """`e ** (x + rest)` with `rest` less than the last digit of `x`."""
    low, high = (-746.0, 711.0) if x.double else (-104.0, 90.0)
    bounded = x.at_most(high).at_least(low)
    n, r = reduced(bounded)
    return scaled(exp_rest(r + where(bounded.equals(x), rest, 0.0)) + 1.0, n)
