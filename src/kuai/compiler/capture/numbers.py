"""Python numbers whose values are known only when the compiled program runs.

A `Number` stands where the user's code has a float, an int or a bool that a loop carries, a branch
decides, or that is an input of the program. It computes as Python does: in float64 and int64,
with `/` always a float, and gives way to tensors in the promotion of types.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from kuai import dtypes
from kuai import ops as operations
from kuai.compiler.capture import limits
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.tensor import Tensor

_new = object.__new__
ops: Any = operations
_RANK = {dtypes.bool_: 0, dtypes.int64: 1, dtypes.float64: 2}
_DTYPES = (dtypes.bool_, dtypes.int64, dtypes.float64)
KINDS: dict[dtypes.dtype, type] = {
    dtypes.bool_: bool,
    dtypes.int64: int,
    dtypes.float64: float,
}


def is_number(x: object) -> bool:
    """Whether `x` is a Python number, known or captured."""
    return isinstance(x, (bool, int, float, Number))


def dtype_of(x: Any) -> dtypes.dtype:
    """The type in which a number is computed."""
    if isinstance(x, TensorBase):
        return x.dtype
    if isinstance(x, bool):
        return dtypes.bool_
    return dtypes.int64 if isinstance(x, int) else dtypes.float64


def common_dtype(*numbers: Any) -> dtypes.dtype:
    """The type that holds all of these numbers."""
    return _DTYPES[max(_RANK[dtype_of(x)] for x in numbers)]


def as_tensor(x: Any, dtype: dtypes.dtype) -> Tensor:
    """A number as a zero-dimensional tensor of this type."""
    if isinstance(x, TensorBase):
        plain = wrap(x._payload)
        return plain if plain.dtype is dtype else ops.cast(plain, dtype=dtype)
    if dtype is dtypes.int64 and not -(1 << 63) <= x < 1 << 63:
        primitives.intercept.refuse(*limits.too_great(x))  # type: ignore[union-attr]
    return wrap(np.asarray(x, dtype.numpy))


def number(x: Tensor) -> Number:
    """A captured, zero-dimensional tensor as a Python number."""
    dtype = x.dtype
    if dtype.is_floating_point:
        x = x if dtype is dtypes.float64 else ops.cast(x, dtype=dtypes.float64)
    elif dtype is not dtypes.bool_ and dtype is not dtypes.int64:
        x = ops.cast(x, dtype=dtypes.int64)
    if x._payload.shape:
        x = ops.reshape(x, ())
    result = _new(Number)
    result._payload = x._payload
    result._requires_grad = False
    result._grad = result._node = result._view = result._hooks = None
    result._counter = [0, 0]
    return result


def _check_divisor(divisor: Any, message: str) -> None:
    if isinstance(divisor, Number):
        zero = as_tensor(0, divisor.dtype)
        limits.check(ops.ne(as_tensor(divisor, divisor.dtype), zero), ZeroDivisionError, message)
    elif divisor == 0:
        raise ZeroDivisionError(message)


def _add(x: Any, y: Any) -> Any:
    return _growing(ops.add, x, y, limits.is_small(x) or limits.is_small(y))


def _subtract(x: Any, y: Any) -> Any:
    return _growing(ops.sub, x, y, limits.is_small(x) or limits.is_small(y))


def _multiply(x: Any, y: Any) -> Any:
    return _growing(ops.mul, x, y, any(type(v) in (int, bool) and abs(v) <= 1 for v in (x, y)))


def _growing(function: Callable[..., Any], x: Any, y: Any, stays_small: bool) -> Any:
    """Arithmetic that may leave 64 bits, where Python's ints would grow."""
    dtype = _at_least_int(x, y)
    if dtype is dtypes.int64 and not stays_small:
        double = dtypes.float64
        limits.check_int(function(as_tensor(x, double), as_tensor(y, double)))
    return number(function(as_tensor(x, dtype), as_tensor(y, dtype)))


def _arithmetic(function: Callable[..., Any], x: Any, y: Any) -> Any:
    dtype = _at_least_int(x, y)
    return number(function(as_tensor(x, dtype), as_tensor(y, dtype)))


def _at_least_int(*numbers: Any) -> dtypes.dtype:
    return common_dtype(0, *numbers)


def _words(operation: Callable[[Any, Any], Any], x: Any, y: Any) -> str:
    """What this Python says of a division by zero, of numbers of these types."""
    floating = common_dtype(x, y) is dtypes.float64
    try:
        operation(1.0 if floating else 1, 0.0 if floating else 0)
    except ZeroDivisionError as error:
        return str(error)
    raise AssertionError("a number could be divided by zero")


def _divide(x: Any, y: Any) -> Any:
    _check_divisor(y, _words(operator.truediv, x, y))
    double = dtypes.float64
    return number(ops.div(as_tensor(x, double), as_tensor(y, double)))


def _floor_divide(x: Any, y: Any) -> Any:
    _check_divisor(y, _words(operator.floordiv, x, y))
    return _arithmetic(ops.floor_divide, x, y)


def _remainder(x: Any, y: Any) -> Any:
    _check_divisor(y, _words(operator.mod, x, y))
    return _arithmetic(ops.remainder, x, y)


def _power(x: Any, y: Any) -> Any:
    dtype, double = _at_least_int(x, y), dtypes.float64
    if dtype is dtypes.int64 and not isinstance(y, TensorBase) and y < 0:
        dtype = double
    elif dtype is dtypes.int64 and isinstance(y, TensorBase):
        message = "a captured int to the power of a negative one; write float(x) ** y"
        limits.check(ops.ge(as_tensor(y, dtype), as_tensor(0, dtype)), ValueError, message)
    result = ops.pow(as_tensor(x, dtype), as_tensor(y, dtype))
    if dtype is double:
        limits.check_power(x, y, result)
    else:
        limits.check_int(ops.pow(as_tensor(x, double), as_tensor(y, double)))
    return number(result)


def _bits(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def combine(x: Any, y: Any) -> Any:
        dtype = common_dtype(x, y)
        if dtype is dtypes.float64:
            raise TypeError("unsupported operand type(s) for a bitwise operator: 'float'")
        return number(function(as_tensor(x, dtype), as_tensor(y, dtype)))

    return combine


def _shift(left: bool) -> Callable[[Any, Any], Any]:
    def combine(x: Any, y: Any) -> Any:
        if common_dtype(x, y) is dtypes.float64:
            raise TypeError("unsupported operand type(s) for a shift: 'float'")
        return number(limits.shifted(x, y, left))

    return combine


def _comparison(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def compare(x: Any, y: Any) -> Any:
        dtype = common_dtype(x, y)
        return number(function(as_tensor(x, dtype), as_tensor(y, dtype)))

    return compare


def _operator(
    on_numbers: Callable[[Any, Any], Any], on_tensors: Callable[[Any, Any], Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An operator and its reflected form."""

    def forward(self: Number, other: Any) -> Any:
        if is_number(other):
            return on_numbers(self, other)
        if isinstance(other, TensorBase):
            return on_tensors(self, other)
        return NotImplemented

    def reflected(self: Number, other: Any) -> Any:
        if is_number(other):
            return on_numbers(other, self)
        if isinstance(other, TensorBase):
            return on_tensors(other, self)
        return NotImplemented

    return forward, reflected


class Number(Tensor):
    """A captured Python number. Made by `number`."""

    __slots__ = ()
    _weak = True

    __add__, __radd__ = _operator(_add, ops.plus)
    __sub__, __rsub__ = _operator(_subtract, ops.sub)
    __mul__, __rmul__ = _operator(_multiply, ops.mul)
    __truediv__, __rtruediv__ = _operator(_divide, ops.quotient)
    __floordiv__, __rfloordiv__ = _operator(_floor_divide, ops.floor_divide)
    __mod__, __rmod__ = _operator(_remainder, ops.remainder)
    __pow__, __rpow__ = _operator(_power, ops.pow)
    __and__, __rand__ = _operator(_bits(ops.bitwise_and), ops.bitwise_and)
    __or__, __ror__ = _operator(_bits(ops.bitwise_or), ops.bitwise_or)
    __xor__, __rxor__ = _operator(_bits(ops.bitwise_xor), ops.bitwise_xor)
    __lshift__, __rlshift__ = _operator(_shift(True), ops.bitwise_left_shift)
    __rshift__, __rrshift__ = _operator(_shift(False), ops.bitwise_right_shift)
    __lt__, __gt__ = (
        _operator(_comparison(ops.lt), ops.lt)[0],
        _operator(_comparison(ops.gt), ops.gt)[0],
    )
    __le__, __ge__ = (
        _operator(_comparison(ops.le), ops.le)[0],
        _operator(_comparison(ops.ge), ops.ge)[0],
    )
    # A number is never changed in place: `n += 1` makes a new one.
    __iadd__, __isub__, __imul__, __itruediv__ = __add__, __sub__, __mul__, __truediv__
    __ifloordiv__, __imod__, __ipow__ = __floordiv__, __mod__, __pow__
    __iand__, __ior__, __ixor__ = __and__, __or__, __xor__
    __ilshift__, __irshift__ = __lshift__, __rshift__

    def __eq__(self, other: object) -> Any:
        if is_number(other):
            return _comparison(ops.eq)(self, other)
        return ops.eq(self, other) if isinstance(other, TensorBase) else False

    def __ne__(self, other: object) -> Any:
        if is_number(other):
            return _comparison(ops.ne)(self, other)
        return ops.ne(self, other) if isinstance(other, TensorBase) else True

    __hash__ = object.__hash__

    def __neg__(self) -> Number:
        return number(ops.neg(as_tensor(self, _at_least_int(self))))

    def __pos__(self) -> Number:
        return number(as_tensor(self, _at_least_int(self)))

    def __abs__(self) -> Number:
        return number(ops.abs(as_tensor(self, _at_least_int(self))))

    def __invert__(self) -> Number:
        if self.dtype is dtypes.float64:
            raise TypeError("bad operand type for unary ~: 'float'")
        return number(ops.bitwise_not(as_tensor(self, dtypes.int64)))

    def __round__(self, digits: Any = None) -> Any:
        if self.dtype is not dtypes.float64:
            return self
        if digits is None:
            return _whole(self, ops.round)
        return number(ops.round(as_tensor(self, dtypes.float64), decimals=digits))

    def __floor__(self) -> Number:
        return _whole(self, ops.floor)

    def __ceil__(self) -> Number:
        return _whole(self, ops.ceil)

    def __trunc__(self) -> Number:
        return _whole(self, ops.trunc)

    def is_integer(self) -> Any:
        """Whether it has no fraction."""
        if self.dtype is not dtypes.float64:
            return True
        x = as_tensor(self, dtypes.float64)
        return number(ops.eq(ops.floor(x), x))

    @property
    def real(self) -> Any:
        """The number itself."""
        return self


class Signed(Number):
    """A captured number of which the sign is known: comparing it with zero is no branch.

    Attributes:
        sign: 1 or -1.
    """

    __slots__ = ("sign",)

    sign: int

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        return False if _is_zero(other) else super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        return True if _is_zero(other) else super().__ne__(other)

    def __lt__(self, other: Any) -> Any:
        return self.sign < 0 if _is_zero(other) else super().__lt__(other)

    def __le__(self, other: Any) -> Any:
        return self.sign < 0 if _is_zero(other) else super().__le__(other)

    def __gt__(self, other: Any) -> Any:
        return self.sign > 0 if _is_zero(other) else super().__gt__(other)

    def __ge__(self, other: Any) -> Any:
        return self.sign > 0 if _is_zero(other) else super().__ge__(other)


def _is_zero(x: object) -> bool:
    return type(x) in (int, float) and x == 0


def signed(x: Number, sign: int) -> Signed:
    """A captured number with what is known of its sign."""
    result = _new(Signed)
    result._payload = x._payload
    result._requires_grad = False
    result._grad = result._node = result._view = result._hooks = None
    result._counter = [0, 0]
    result.sign = sign
    return result


def _whole(x: Number, function: Callable[..., Any]) -> Number:
    if x.dtype is not dtypes.float64:
        return number(as_tensor(x, dtypes.int64))
    rounded = function(as_tensor(x, dtypes.float64))
    limits.check_integral(rounded)
    return number(ops.cast(rounded, dtype=dtypes.int64))


def to_kind(x: Any, kind: type) -> Number:
    """`int(x)`, `float(x)` or `bool(x)` of a captured tensor of one element."""
    plain = wrap(x._payload)
    if plain._payload.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    plain = ops.reshape(plain, ()) if plain._payload.shape else plain
    if kind is bool:
        return number(plain if plain.dtype is dtypes.bool_ else ops.ne(plain, 0))
    dtype = dtypes.int64 if kind is int else dtypes.float64
    if kind is int and plain.dtype.is_floating_point:
        plain = ops.trunc(plain)
        limits.check_integral(plain)
    return number(plain if plain.dtype is dtype else ops.cast(plain, dtype=dtype))
