"""What a capture does in the place of mathematical functions of Python's."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai import ops as operations
from kuai.compiler.capture import limits, numbers
from kuai.compiler.capture.numbers import Number, as_tensor, number
from kuai.core.base import TensorBase
from kuai.dtypes import float64, int64
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session
from kuai.compiler.capture.special import SPECIAL, is_captured, special

ops: Any = operations


@special(abs, operator.abs)
def _abs(session: Session, x: Any) -> Any:
    return abs(x)


@special(pow)
def _pow(session: Session, base: Any, exp: Any, mod: Any = None) -> Any:
    if mod is None:
        return base**exp
    if not is_captured(session, base, exp, mod):
        return pow(base, exp, mod)
    if not isinstance(exp, int) or exp < 0:
        return base**exp % mod
    result, square = 1 % mod, base % mod
    while exp:
        if exp & 1:
            result = result * square % mod
        exp >>= 1
        square = square * square % mod if exp else square
    return result


@special(divmod)
def _divmod(session: Session, x: Any, y: Any) -> Any:
    return (x // y, x % y) if is_captured(session, x, y) else divmod(x, y)


@special(round)
def _round(session: Session, x: Any, digits: Any = None) -> Any:
    if isinstance(x, Number):
        return x.__round__(digits)
    return round(x) if digits is None else round(x, digits)


# -- functions of one number ----------------------------------------------------------------------

Guard = Callable[[Tensor, Tensor], object]  # of the argument and the result


def _within(test: Callable[[Tensor], Tensor]) -> Guard:
    return lambda x, result: limits.check_domain(test(x), [x])


def _in_range(x: Tensor, result: Tensor) -> None:
    limits.check_overflow(result, [x])


def _function(plain: Any, function: Callable[[Tensor], Tensor], *guards: Guard) -> None:
    def compute(session: Session, x: Any) -> Any:
        if not is_captured(session, x):
            return plain(x)
        value = _double(x)
        result = function(value)
        for guard in guards:
            guard(value, result)
        return number(result)

    SPECIAL[plain] = compute


def _double(x: Any) -> Tensor:
    """A number, or a tensor of one element, as a float64 of no dimensions."""
    return as_tensor(numbers.to_kind(x, float) if isinstance(x, TensorBase) else x, float64)


def _cube_root(x: Tensor) -> Tensor:
    root = ops.copysign(ops.pow(ops.abs(x), 1 / 3), x)
    better = root - (root * root * root - x) / (3 * root * root)  # a step of Newton's
    found: Tensor = ops.where(ops.logical_or(ops.eq(x, 0), ops.isinf(x)), x, better)
    return found


def _is_pole(x: Tensor) -> Tensor:
    whole = ops.logical_and(ops.eq(ops.floor(x), x), ops.isfinite(x))
    found: Tensor = ops.logical_and(ops.le(x, 0), whole)
    return found


_periodic = _within(lambda x: ~ops.isinf(x))
_function(math.sqrt, ops.sqrt, _within(lambda x: x >= 0))
_function(math.log2, ops.log2, _within(lambda x: x > 0))
_function(math.log10, ops.log10, _within(lambda x: x > 0))
_function(math.log1p, ops.log1p, _within(lambda x: x > -1))
for _name in ("sin", "cos", "tan"):
    _function(getattr(math, _name), getattr(ops, _name), _periodic)
for _name in ("asin", "acos"):
    _function(getattr(math, _name), getattr(ops, _name), _within(lambda x: abs(x) <= 1))
_function(math.acosh, ops.acosh, _within(lambda x: x >= 1))
_function(math.atanh, ops.atanh, _within(lambda x: abs(x) < 1))
for _name in ("exp", "exp2", "expm1", "sinh", "cosh"):
    _function(getattr(math, _name), getattr(ops, _name), _in_range)
_function(math.lgamma, ops.lgamma, _within(lambda x: ~_is_pole(x)), _in_range)
for _name in ("atan", "tanh", "asinh", "erf", "erfc", "isnan", "isinf", "isfinite"):
    _function(getattr(math, _name), getattr(ops, _name))
_function(math.fabs, ops.abs)
_function(math.cbrt, _cube_root)
_function(math.degrees, lambda x: x * (180.0 / math.pi))
_function(math.radians, lambda x: x * (math.pi / 180.0))


@special(math.log)
def _log(session: Session, x: Any, *base: Any) -> Any:
    if not is_captured(session, x, *base):
        return math.log(x, *base)
    terms = []
    for value in (x, *base):
        v = _double(value)
        limits.check_domain(ops.gt(v, 0), [v])
        terms.append(number(ops.log(v)))
    return terms[0] / terms[1] if base else terms[0]


@special(math.modf)
def _modf(session: Session, x: Any) -> Any:
    if not is_captured(session, x):
        return math.modf(x)
    value = _double(x)
    whole = ops.trunc(value)
    rest = ops.where(ops.isinf(value), 0.0, value - whole)
    return number(ops.copysign(rest, value)), number(whole)


# -- functions of two numbers and more ------------------------------------------------------------


def _of_several(plain: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator: this computes a function of floats where one of them is captured."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def compute(session: Session, *args: Any, **kwargs: Any) -> Any:
            if not is_captured(session, *args, *kwargs.values()):
                return plain(*args, **kwargs)
            return number(
                function(*map(_double, args), **{k: _double(x) for k, x in kwargs.items()})
            )

        SPECIAL[plain] = compute
        return function

    return register


_of_several(math.atan2)(ops.atan2)
_of_several(math.copysign)(ops.copysign)


@_of_several(math.pow)
def _math_pow(x: Tensor, y: Tensor) -> Tensor:
    result: Tensor = ops.pow(x, y)
    pole = ops.logical_and(ops.eq(x, 0), ops.lt(y, 0))
    fine = ops.logical_or(~ops.isnan(result), ops.isnan(y))
    limits.check_domain(ops.logical_and(fine, ~ops.logical_and(pole, ops.isfinite(y))), [x])
    limits.check_overflow(result, [x, y])
    return result


@_of_several(math.fmod)
def _fmod(x: Tensor, y: Tensor) -> Tensor:
    limits.check_domain(ops.logical_and(~ops.isinf(x), ops.ne(y, 0)), [x, y])
    result: Tensor = ops.where(ops.isinf(y), x, ops.fmod(x, y))
    return result


@_of_several(math.remainder)
def _ieee_remainder(x: Tensor, y: Tensor) -> Tensor:
    limits.check_domain(ops.logical_and(~ops.isinf(x), ops.ne(y, 0)), [x, y])
    size, step = ops.abs(x), ops.abs(y)
    rest = ops.fmod(size, step)
    other = step - rest
    even = rest - 2.0 * ops.fmod(0.5 * (size - rest), step)  # halfway, to the even multiple
    found = ops.where(ops.lt(rest, other), rest, ops.where(ops.gt(rest, other), -other, even))
    result: Tensor = ops.where(ops.isinf(y), x, ops.copysign(ops.ones_like(x), x) * found)
    return result


@_of_several(math.hypot)
def _hypot(*xs: Tensor) -> Tensor:
    result = ops.abs(xs[0])
    for x in xs[1:]:
        result = ops.hypot(result, x)
    limits.check_overflow(result, list(xs))
    found: Tensor = result
    return found


@_of_several(math.isclose)
def _isclose(a: Tensor, b: Tensor, *, rel_tol: Any = 1e-9, abs_tol: Any = 0.0) -> Tensor:
    distance = ops.abs(a - b)
    size = ops.maximum(ops.abs(a), ops.abs(b))
    near = ops.le(distance, ops.maximum(rel_tol * size, as_tensor(abs_tol, float64)))
    finite = ops.logical_and(ops.isfinite(a), ops.isfinite(b))
    result: Tensor = ops.logical_or(ops.eq(a, b), ops.logical_and(finite, near))
    return result


@special(math.dist)
def _dist(session: Session, p: Any, q: Any) -> Any:
    p, q = list(session.iterable(p)), list(session.iterable(q))
    if not is_captured(session, *p, *q):
        return math.dist(p, q)
    if len(p) != len(q):
        raise ValueError("both points must have the same number of dimensions")
    return SPECIAL[math.hypot](session, *[x - y for x, y in zip(p, q, strict=True)])


@special(math.prod)
def _prod(session: Session, iterable: Any, *, start: Any = 1) -> Any:
    for x in session.iterable(iterable):
        start = start * x
    return start


# -- functions of integers ------------------------------------------------------------------------


def _whole_number(x: Any) -> Any:
    if isinstance(x, TensorBase) and not isinstance(x, Number) and not x.dtype.is_floating_point:
        x = numbers.to_kind(x, int)
    if numbers.dtype_of(x) is float64 or (isinstance(x, TensorBase) and not x._weak):
        raise TypeError("'float' object cannot be interpreted as an integer")
    return x


def _of_integers(plain: Any, function: Callable[[Any, Any], Any]) -> None:
    def compute(session: Session, *args: Any) -> Any:
        if not is_captured(session, *args):
            return plain(*args)
        found = abs(_whole_number(args[0]))
        for x in args[1:]:
            found = function(found, _whole_number(x))
        return found

    SPECIAL[plain] = compute


def _gcd(x: Any, y: Any) -> Any:
    return number(ops.gcd(as_tensor(x, int64), as_tensor(y, int64)))


def _lcm(x: Any, y: Any) -> Any:
    divisor = as_tensor(_gcd(x, y), int64)
    # Of two zeros, the divisor is zero.
    return abs(x // number(ops.clamp(divisor, min=1)) * y)


_of_integers(math.gcd, _gcd)
_of_integers(math.lcm, _lcm)


@special(math.isqrt)
def _isqrt(session: Session, n: Any) -> Any:
    if not is_captured(session, n):
        return math.isqrt(n)
    whole = as_tensor(_whole_number(n), int64)
    limits.check(ops.ge(whole, 0), ValueError, "isqrt() argument must be nonnegative")
    root = ops.cast(ops.sqrt(ops.cast(whole, dtype=float64)), dtype=int64)
    root = ops.minimum(root, as_tensor(_GREATEST_ROOT, int64))
    root = root - as_tensor(number(root * root > whole), int64)
    next_ = ops.logical_and(root < _GREATEST_ROOT, (root + 1) * (root + 1) <= whole)
    return number(root + as_tensor(number(next_), int64))


_GREATEST_ROOT = math.isqrt((1 << 63) - 1)
_FACTORIALS = [math.factorial(n) for n in range(21)]  # those that 64 bits hold


@special(math.factorial)
def _factorial(session: Session, x: Any) -> Any:
    if not is_captured(session, x):
        return math.factorial(x)
    n = as_tensor(_whole_number(x), int64)
    message = "factorial() not defined for negative values"
    limits.check(ops.ge(n, 0), ValueError, message)
    limits.check_int(ops.where(ops.lt(n, len(_FACTORIALS)), 0.0, math.inf))
    table = ops.stack([as_tensor(value, int64) for value in _FACTORIALS])
    return number(table[ops.clamp(n, 0, len(_FACTORIALS) - 1)])


# -- rounding --------------------------------------------------------------------------------------


def _rounding(plain: Any, method: str) -> None:
    def rounded(session: Session, x: Any) -> Any:
        if not is_captured(session, x):
            return plain(x)
        return getattr(numbers.to_kind(x, float), method)()

    SPECIAL[plain] = rounded


_rounding(math.floor, "__floor__")
_rounding(math.ceil, "__ceil__")
_rounding(math.trunc, "__trunc__")
