"""Where Python's numbers raise: what a program checks of numbers that it counts.

A float that Python would not give is an error, as in Python: `math.log(0.0)`, `int(nan)`. An int
that leaves 64 bits is one too, since Python's ints grow and a program's do not.
"""

from __future__ import annotations

from typing import Any

from kuai import ops as operations
from kuai.compiler.capture import numbers
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase
from kuai.dtypes import float64, int64
from kuai.tensor import Tensor

ops: Any = operations
_SMALL = 1 << 31
_WORD = float(1 << 63)
# A product of rounded factors may be smaller than the product by so much.
_SURELY_WITHIN = _WORD * (1 - 2.0**-50)
_BEYOND = (
    "an int beyond 64 bits: in a compiled function, an int that depends on the values of tensors "
    "does not grow; compute with float(x)"
)


def too_great(x: int) -> tuple[str, str]:
    """Why an int cannot meet those that a program counts, and what to do."""
    return f"the int {x}, which 64 bits do not hold, beside one that is captured", "use float(x)"


def check(condition: Any, error: type[Exception], message: str) -> None:
    """Raise when the program runs, unless the condition holds."""
    primitives.intercept.check(condition, error, message)  # type: ignore[union-attr]


def check_int(result: Any) -> None:
    """Raise where the result of integers, computed in float64, is none that 64 bits hold."""
    _check_below(result, _SURELY_WITHIN)


def _check_below(x: Any, limit: float) -> None:
    within = ops.lt(ops.abs(x), limit)
    primitives.intercept.check_limit(within, OverflowError, _BEYOND)  # type: ignore[union-attr]


def is_small(x: Any) -> bool:
    """Whether a number is known, and so small that no sum with it leaves 64 bits by chance."""
    return not isinstance(x, TensorBase) and abs(x) <= _SMALL


def check_integral(x: Tensor) -> None:
    """Raise where a float has no integer: NaN, infinities, and what is beyond 64 bits."""
    check(ops.eq(x, x), ValueError, "cannot convert float NaN to integer")
    finite = ops.lt(ops.abs(x), float("inf"))
    check(finite, OverflowError, "cannot convert float infinity to integer")
    _check_below(x, _WORD)


def check_power(x: Any, y: Any, result: Tensor) -> None:
    """Raise where Python's `x ** y` of floats does.

    Args:
        x, y: numbers, known or not.
        result: what the power is in float64.
    """
    base, exponent = numbers.as_tensor(x, float64), numbers.as_tensor(y, float64)
    known, fixed = not isinstance(y, TensorBase), not isinstance(x, TensorBase)
    if not (known and y >= 0) and not (fixed and x != 0):
        message = "0.0 cannot be raised to a negative power"
        fine = ops.logical_or(ops.ne(base, 0.0), ops.ge(exponent, 0.0))
        check(ops.logical_or(fine, ~ops.isfinite(exponent)), ZeroDivisionError, message)
    if not (known and float(y).is_integer()) and not (fixed and x >= 0):
        whole = ops.logical_or(ops.eq(ops.floor(exponent), exponent), ops.isinf(base))
        fine = ops.logical_or(ops.logical_not(ops.lt(base, 0.0)), whole)
        message = "a negative number to a power that is no integer: a complex number, in Python"
        check(ops.logical_or(fine, ops.isnan(exponent)), ValueError, message)
    check_overflow(result, [base, exponent], "Numerical result out of range")


def check_overflow(
    result: Tensor, arguments: list[Tensor], message: str = "math range error"
) -> None:
    """Raise where a result is infinite, and no argument is."""
    known = ops.isfinite(result)
    for x in arguments:
        known = ops.logical_or(known, ops.logical_not(ops.isfinite(x)))
    check(ops.logical_or(known, ops.isnan(result)), OverflowError, message)


def check_domain(inside: Tensor, arguments: list[Tensor]) -> None:
    """Raise where the arguments, none of which is NaN, are outside of a function's domain."""
    for x in arguments:
        inside = ops.logical_or(inside, ops.isnan(x))
    check(inside, ValueError, "math domain error")


def shifted(x: Any, y: Any, left: bool) -> Tensor:
    """`x << y` or `x >> y` for integers."""
    if not isinstance(y, TensorBase) and y < 0:
        raise ValueError("negative shift count")
    value, count = numbers.as_tensor(x, int64), numbers.as_tensor(y, int64)
    if isinstance(y, TensorBase):
        check(ops.ge(count, 0), ValueError, "negative shift count")
    if not left:
        found: Tensor = ops.bitwise_right_shift(value, ops.clamp(count, 0, 63))
        return found
    wide = numbers.as_tensor(count, float64)
    # Of a zero, any shift is zero.
    count = ops.where(ops.eq(value, 0), 0, count)
    wide = ops.where(ops.eq(value, 0), 0.0, wide)
    check_int(ops.mul(numbers.as_tensor(value, float64), ops.exp2(wide)))
    shifted: Tensor = ops.bitwise_left_shift(value, count)
    return shifted
