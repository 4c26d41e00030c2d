"""Rounding, remainders, bits, and tests for special values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.ops import elementwise as e
from kuai.ops import return_types
from kuai.ops.elementwise import Binary, TensorBinary, Unary
from kuai.ops.out import takes_out
from kuai.ops.pointwise import require_tensor, to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor

# -- rounding ----------------------------------------------------------------------------------


def _refuse_bool(name: str, x: np.ndarray) -> None:
    if x.dtype.kind == "b":
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


class Step(Unary):
    """A unary primitive that is constant between its steps: its gradient is zero."""

    function: Any

    def kernel(self, x):
        if x.dtype.kind in "iub":
            _refuse_bool(self.name, x)
            return x.copy()
        return type(self).function(x)

    def gradient(self, grad):
        return grad * 0


@primitive
class floor(Step):
    """The greatest integer that is not greater."""

    function = np.floor

    def lower(self, emit, x):
        return emit.floor(x)


@primitive
class ceil(Step):
    """The least integer that is not less."""

    function = np.ceil

    def lower(self, emit, x):
        return emit.ceil(x)


@primitive
class trunc(Step):
    """The value without its fraction."""

    function = np.trunc

    def lower(self, emit, x):
        return emit.trunc(x)


@primitive
class round_(Step):
    """The nearest integer; the even one of two."""

    gradient_name = "RoundBackward0"
    function = np.rint

    def lower(self, emit, x):
        return emit.rint(x)


@takes_out
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest value with so many decimals; half goes to even."""
    if decimals == 0 or not input.is_floating_point():
        return round_(input)
    if decimals > 0:
        return round_(input * 10.0**decimals) / 10.0**decimals
    return round_(input / 10.0**-decimals) * 10.0**-decimals


@takes_out
def frac(input: Tensor) -> Tensor:
    """The fraction, with the sign of the value."""
    return input - trunc(input)


fix = trunc

# -- division ----------------------------------------------------------------------------------


def _check_divisor(y: Any) -> None:
    if np.any(np.equal(y, 0)):
        raise RuntimeError("ZeroDivisionError")


class Division(Binary):
    """A primitive that refuses to divide integers by zero."""

    integers_may_fail = True


@primitive
class floor_divide_(Division):
    """`floor(x / y)`."""

    gradient_name = "DivBackward1"

    def kernel(self, x, y):
        if x.dtype.kind in "iub":
            _check_divisor(y)
            _refuse_bool("floor_divide", x)
            return np.floor_divide(x, y)
        if x.dtype.kind == "V":
            wide = np.floor_divide(x.astype(np.float32), np.asarray(y, np.float32))
            return wide.astype(x.dtype)
        quotient = np.floor_divide(x, y)
        return np.where(np.equal(y, 0), np.true_divide(x, y), quotient)

    def gradient(self, grad):
        return lambda: grad * 0, lambda: grad * 0

    def lower(self, emit, x, y):
        return emit.floor_div(x, y)


@primitive
class trunc_divide(Division):
    """`x / y` without its fraction."""

    gradient_name = "DivBackward1"

    def kernel(self, x, y):
        if x.dtype.kind in "iub":
            _check_divisor(y)
            _refuse_bool("trunc_divide", x)
            x, y = np.broadcast_arrays(x, y)
            whole = np.floor_divide(x, y)
            inexact = (whole < 0) & (whole * y != x)
            return (whole + inexact).astype(x.dtype)
        return np.trunc(np.true_divide(x, y))

    def gradient(self, grad):
        return lambda: grad * 0, lambda: grad * 0

    def lower(self, emit, x, y):
        return emit.trunc_div(x, y)


def floor_divide(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """`floor(input / other)`.

    Raises:
        RuntimeError: integers are divided by zero.
    """
    return floor_divide_(input, other, out=out)


def div(
    input: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """`input / other`; `rounding_mode` may be `"trunc"` or `"floor"`.

    Raises:
        RuntimeError: another rounding mode.
        ZeroDivisionError: integers rounded, divided by zero.
    """
    if rounding_mode is None:
        return e.quotient(input, other, out=out)
    if rounding_mode == "floor":
        return floor_divide(input, other, out=out)
    if rounding_mode == "trunc":
        return trunc_divide(input, other, out=out)
    raise RuntimeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
        f"'{rounding_mode}'"
    )


divide = true_divide = div


@primitive
class remainder(Division):
    """`x - y * floor(x / y)`: with the sign of the divisor, as Python's `%`."""

    some_tensor = True

    def kernel(self, x, y):
        if x.dtype.kind in "iub":
            _check_divisor(y)
            _refuse_bool("remainder", x)
        return np.remainder(x, y)

    def gradient(self, grad, x, y):
        return grad, lambda: -grad * floor_divide(x, y)

    def lower(self, emit, x, y):
        return emit.rem(x, y)


@primitive
class fmod(Division):
    """`x - y * trunc(x / y)`: with the sign of the dividend, as C's `fmod`."""

    tensors = 1

    def kernel(self, x, y):
        if x.dtype.kind in "iub":
            _check_divisor(y)
            _refuse_bool("fmod", x)
        return np.fmod(x, y)

    def gradient(self, grad, x, y):
        return grad, lambda: -grad * trunc_divide(x, y)

    def lower(self, emit, x, y):
        return emit.fmod(x, y)


# -- special values ------------------------------------------------------------------------------


class Test(Unary):
    """A question about each value."""

    comparison = True
    function: Any

    def kernel(self, x):
        if x.dtype.kind == "V":
            x = x.astype(np.float32)
        return type(self).function(x)


@primitive
class isnan(Test):
    """Whether the value is NaN."""

    function = np.isnan

    def lower(self, emit, x):
        return emit.isnan(x)


@primitive
class isinf(Test):
    """Whether the value is infinite."""

    function = np.isinf

    def lower(self, emit, x):
        return emit.isinf(x)


@primitive
class isfinite(Test):
    """Whether the value is neither infinite nor NaN."""

    function = np.isfinite

    def lower(self, emit, x):
        return emit.isfinite(x)


@primitive
class isposinf(Test):
    """Whether the value is plus infinity."""

    @staticmethod
    def function(x: Any) -> Any:
        return np.isposinf(x) if x.dtype.kind == "f" else np.zeros(x.shape, np.bool_)

    def lower(self, emit, x):
        return emit.logical_and(emit.isinf(x), emit.gt(x, 0))


@primitive
class isneginf(Test):
    """Whether the value is minus infinity."""

    @staticmethod
    def function(x: Any) -> Any:
        return np.isneginf(x) if x.dtype.kind == "f" else np.zeros(x.shape, np.bool_)

    def lower(self, emit, x):
        return emit.logical_and(emit.isinf(x), emit.lt(x, 0))


@primitive
class signbit(Test):
    """Whether the sign bit is set, also in -0."""

    @staticmethod
    def function(x: Any) -> Any:
        return np.signbit(x) if x.dtype.kind == "f" else x < 0

    def lower(self, emit, x):
        return emit.signbit(x)


def isreal(input: Tensor) -> Tensor:
    """True everywhere: kuai has no complex numbers."""
    return e.eq(input, input) | isnan(input)


@takes_out
def nan_to_num(
    input: Tensor,
    nan: float | None = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """Numbers in place of NaN and the infinities (by default 0 and the type's limits)."""
    if not input.is_floating_point():
        return input.clone()
    limits = dtypes.finfo(input.dtype)
    result = e.where(isnan(input), 0.0 if nan is None else nan, input)
    result = e.where(isposinf(input), limits.max if posinf is None else posinf, result)
    return e.where(isneginf(input), limits.min if neginf is None else neginf, result)


# -- bits ----------------------------------------------------------------------------------------


class Bitwise(Binary):
    """A binary primitive on the bits of integers, or on bools."""

    some_tensor = True

    def promote(self, inputs: Any) -> Any:
        operands = Binary.promote(self, inputs)
        if operands[0].dtype.is_floating_point:
            raise NotImplementedError(
                f'"{self.name}_cpu" not implemented for floating-point tensors'
            )
        return operands

    def __call__(  # type: ignore[override]
        self, input: Any, other: Any, *, out: Any = None, **parameters: Any
    ) -> Any:
        return Binary.__call__(self, *self.promote((input, other)), out=out)


@primitive
class bitwise_and(Bitwise):
    """`x & y`."""

    kernel = staticmethod(np.bitwise_and)

    def lower(self, emit, x, y):
        return emit.bitwise_and(x, y)


@primitive
class bitwise_or(Bitwise):
    """`x | y`."""

    kernel = staticmethod(np.bitwise_or)

    def lower(self, emit, x, y):
        return emit.bitwise_or(x, y)


@primitive
class bitwise_xor(Bitwise):
    """`x ^ y`."""

    kernel = staticmethod(np.bitwise_xor)

    def lower(self, emit, x, y):
        return emit.bitwise_xor(x, y)


@primitive
class bitwise_not(Unary):
    """`~x`."""

    def kernel(self, x):
        if x.dtype.kind in "fV":
            raise NotImplementedError(
                '"bitwise_not_cpu" not implemented for floating-point tensors'
            )
        return np.invert(x)

    def lower(self, emit, x):
        return emit.bitwise_not(x)


def _shifted(x: np.ndarray, y: Any, shift: Any, beyond: Any) -> np.ndarray:
    bits = 8 * x.dtype.itemsize
    y = np.asarray(y)
    valid = (y >= 0) & (y < bits)
    return np.where(valid, shift(x, np.where(valid, y, 0).astype(x.dtype)), beyond).astype(x.dtype)


@primitive
class bitwise_left_shift(Bitwise):
    """`x << y`."""

    def kernel(self, x, y):
        return _shifted(x, y, np.left_shift, 0)

    def lower(self, emit, x, y):
        return emit.shift_left(x, y)


@primitive
class bitwise_right_shift(Bitwise):
    """`x >> y`, keeping the sign."""

    def kernel(self, x, y):
        return _shifted(x, y, np.right_shift, np.where(x < 0, -1, 0))

    def lower(self, emit, x, y):
        return emit.shift_right(x, y)


@primitive
class gcd(Bitwise):
    """Greatest common divisor."""

    tensors = 2

    kernel = staticmethod(np.gcd)


@primitive
class lcm(Bitwise):
    """Least common multiple."""

    tensors = 2

    kernel = staticmethod(np.lcm)


# -- sign, neighbours ----------------------------------------------------------------------------


@primitive
class copysign(Binary):
    """The magnitude of `x` with the sign of `y`."""

    tensors = 1

    floating = True

    def kernel(self, x, y):
        if x.dtype.kind == "V":
            return np.copysign(x, np.asarray(y, x.dtype), dtype=np.float32).astype(x.dtype)
        return np.copysign(x, y)

    def gradient(self, grad, result, x):
        turned = e.where(e.eq(result, x), grad, -grad)
        return e.where(e.eq(x, 0), 0.0, turned), lambda: grad * 0

    def lower(self, emit, x, y):
        return emit.copysign(x, y)


@primitive
class nextafter(TensorBinary):
    """The next number after `x` in the direction of `y`."""

    def kernel(self, x, y):
        if x.dtype.kind in "iub":
            raise NotImplementedError(f'"nextafter" not implemented for {x.dtype.name}')
        return np.nextafter(x, y)

    def gradient(self, grad):
        return grad, lambda: grad * 0


@primitive
class heaviside(TensorBinary):
    """0 below zero, 1 above, and `y` at zero."""

    def kernel(self, x, y):
        return np.where(x == 0, y, x > 0).astype(x.dtype)

    def lower(self, emit, x, y):
        return emit.where(emit.eq(x, 0), y, emit.cast(emit.gt(x, 0), x.dtype))


@primitive
class fmax(TensorBinary):
    """The greater of the two; where one is NaN, the other."""

    kernel = staticmethod(np.fmax)

    def gradient(self, grad, x, y):
        first = e.logical_or(e.ge(x, y), isnan(y))
        return lambda: e.where(first, grad, 0), lambda: e.where(first, 0, grad)

    def lower(self, emit, x, y):
        return emit.fmax(x, y)


@primitive
class fmin(TensorBinary):
    """The smaller of the two; where one is NaN, the other."""

    kernel = staticmethod(np.fmin)

    def gradient(self, grad, x, y):
        first = e.logical_or(e.le(x, y), isnan(y))
        return lambda: e.where(first, grad, 0), lambda: e.where(first, 0, grad)

    def lower(self, emit, x, y):
        return emit.fmin(x, y)


@primitive
class frexp_(Primitive):
    """Mantissa and exponent."""

    gradient_name = "FrexpBackward0"

    def kernel(self, x: np.ndarray) -> Any:
        return np.frexp(x)

    def infer(self, x: Meta) -> tuple[Meta, Meta]:
        return x, Meta(x.shape, dtypes.int32)

    def gradient(self, grad, result):
        if grad[0] is None:
            return None
        scale = e.pow(2.0, to_dtype(result[1], dtypes.float64))
        return to_dtype(grad[0] / scale, grad[0].dtype)


@takes_out
def frexp(input: Tensor) -> return_types.Named:
    """`mantissa` in ±[0.5, 1) and `exponent` with `input = mantissa * 2 ** exponent`.

    Raises:
        RuntimeError: the input is not floating.
    """
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return return_types.frexp(frexp_(input))


@takes_out
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """`input * 2 ** other`."""
    for name, operand in (("input", input), ("other", other)):
        require_tensor(f"ldexp: {name}", operand)
    return e.mul(input, e.pow(2.0, other))


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether `|input - other| <= atol + rtol * |other|`, element by element."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.name} did not match {other.dtype.name}")
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if tolerance < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {tolerance}")
    close = e.eq(input, other)
    if equal_nan and input.is_floating_point():
        close = e.logical_or(close, e.logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return close
    a = input.double() if not input.is_floating_point() else input
    b = other.double() if not other.is_floating_point() else other
    near = e.le(e.abs(a - b), atol + rtol * e.abs(b))
    return e.logical_or(close, e.logical_and(near, isfinite(a - b)))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close (see `isclose`)."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._payload.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    a, b = input._payload, other._payload
    return a.shape == b.shape and bool(np.all(np.equal(a, b)))


__all__ = [
    "allclose",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "copysign",
    "div",
    "divide",
    "equal",
    "fix",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "frac",
    "frexp",
    "gcd",
    "heaviside",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "lcm",
    "ldexp",
    "nan_to_num",
    "nextafter",
    "remainder",
    "round",
    "signbit",
    "true_divide",
    "trunc",
]
