"""Powers, and lengths."""

from __future__ import annotations

import math

from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.math.exponential import exp, exp_of_sum
from kuai.compiler.emit.math.logarithm import log, parts
from kuai.compiler.emit.math.number import (
    Number,
    polynomial2,
    two_product,
    two_sum,
    where,
)

Pair = tuple[Number, Number]  # a number as the sum of two: twice the digits

# log((1 + s) / (1 - s)) = 2 s (1 + z / 3 + z ** 2 R(z)) with z = s ** 2, up to sqrt(2) - 1 = 1 + f
POWER_LOG = (
    0.2,
    0.14285714285714288,
    0.1111111111111064,
    0.09090909091014672,
    0.07692307678048009,
    0.06666667897492261,
    0.0588228344719629,
    0.05265710929355321,
    0.04703277971885453,
    0.05104964929455434,
)
THIRD = (0.3333333333333333, 1.850371707708594e-17)
LN2 = (0.6931471805599453, 2.3190468138462996e-17)


def _product(x: Pair, y: Pair) -> Pair:
    high, error = two_product(x[0], y[0])
    return two_sum(high, x[0].times(y[1], x[1].times(y[0], error)))


def _log(x: Number) -> Pair:
    """The logarithm of a positive finite double, to about 66 digits."""
    n, f = parts(x)
    divisor = f + 2.0
    lost = f - (divisor - 2.0)
    s = f / divisor
    s_rest = (s.exactly_times(-divisor, f) - s * lost) / divisor
    z = _product((s, s_rest), (s, s_rest))
    inner = two_sum(z[0].like(THIRD[0]), z[0].times(polynomial2(z[0], POWER_LOG), THIRD[1]))
    series = _product(z, inner)
    series = _product((s + s, s_rest + s_rest), series)
    first, error = two_sum(s + s, series[0])
    rest = error + (series[1] + (s_rest + s_rest))
    whole, whole_error = two_product(n, n.like(LN2[0]))
    total = whole + first
    back = total - whole
    error = (whole - (total - back)) + (first - back)
    return two_sum(total, error + (rest + n.times(LN2[1], whole_error)))


def pow(x: Number, y: Number) -> Number:
    """`x ** y`, with the special cases of C's `pow`, in double."""
    a = abs(x)
    logarithm = _log(a)
    product, error = two_product(logarithm[0], y)
    power = exp_of_sum(product, logarithm[1].times(y, error))
    return _settled(x, y, a, power)


def pow_single(x: Number, y: Number) -> Number:
    """`x ** y` of floats, in doubles without more digits."""
    x, y = x.widened(), y.widened()
    a = abs(x)
    return _settled(x, y, a, exp(log(a) * y)).narrowed()


def _settled(x: Number, y: Number, a: Number, power: Number) -> Number:
    """The power where |x|, y or both are 0, infinite or NaN, and its sign."""
    # 0 and infinity to a power, and any number to an infinite one.
    edge = where((a < 1.0) ^ (y < 0.0), 0.0, y.like(math.inf))
    edge = where(a.equals(1.0), 1.0, edge)
    special = a.equals(0.0) | a.equals(math.inf) | abs(y).equals(math.inf)
    power = where(special, edge, power)
    whole = y.floor().equals(y)
    odd = whole & (y * 0.5).floor().differs(y * 0.5)
    odd = odd & (abs(y) < math.inf)
    power = where(odd, power.copysign(x), power)
    power = where((x < 0.0) & ~whole & (a < math.inf), math.nan, power)
    power = where(x.isnan() | y.isnan(), x + y, power)
    return where(x.equals(1.0) | y.equals(0.0), 1.0, power)


def hypot(x: Number, y: Number) -> Number:
    """`sqrt(x² + y²)`, in double, without overflow or underflow on the way."""
    a, b = abs(x), abs(y)
    great = where(b > a, b, a)
    scale = where(great > 2.0**500, 2.0**-600, great.like(1.0))
    scale = where(great < 2.0**-500, 2.0**600, scale)
    a, b = a * scale, b * scale
    square, error = two_product(a, a)
    other, other_error = two_product(b, b)
    total = square + other
    root = total.sqrt()
    back = total - square
    lost = ((square - (total - back)) + (other - back)) + (error + other_error)
    # One step of Newton's with what rounding lost.
    residual = root.exactly_times(-root, total) + lost
    step = residual / (root + root)
    root = where((root > 0.0) & (root < math.inf), root + step, root)
    infinite = a.equals(math.inf) | b.equals(math.inf)
    return where(infinite, math.inf, root / scale)


def hypot_single(x: Number, y: Number) -> Number:
    """`sqrt(x² + y²)` of floats, whose squares are exact as doubles."""
    infinite = abs(x).equals(math.inf) | abs(y).equals(math.inf)
    a, b = x.widened(), y.widened()
    return where(infinite, math.inf, (a * a + b * b).sqrt().narrowed())


def int_pow(f: Function, x: Ref, y: Ref) -> Ref:
    """`x ** y` of integers, wrapping, for `y` not negative (else it means nothing)."""
    result = f.variable(f.const(1, x.type))
    base, rest = f.variable(x), f.variable(y)
    head, body, end = f.label("power"), f.label("body"), f.label("end")
    f.begin(head)
    left = Number(f, rest.get())
    f.branch_if(left.differs(0).any(), body, end)
    f.begin_after(body)
    square = Number(f, base.get())
    odd = (left & 1).differs(0)
    result.set(where(odd, Number(f, result.get()) * square, Number(f, result.get())).ref)
    base.set((square * square).ref)
    rest.set(left.logical_shift(1).ref)
    f.branch(head)
    f.begin_after(end)
    return result.get()
