"""Elementwise primitives and the functions composed from them."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kuai import dtypes
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import inplace
from kuai.core.primitive import NO_PARAMETERS, SILENT, Meta, primitive, silence, unsilence
from kuai.core.tape import called, mode
from kuai.ops.out import takes_out, write_out
from kuai.ops.pointwise import (
    Elementwise,
    Number,
    as_operand,
    is_known_as,
    require_tensor,
    result_type,
)

if TYPE_CHECKING:
    from kuai.tensor import Tensor


class Unary(Elementwise):
    """An elementwise primitive of one operand.

    `on_floats`, where it exists, is what computes the kernel on NumPy's own floating types.
    """

    inputs = ("x",)
    tensors = 1
    on_floats: ClassVar[Any] = None

    def prepare(self) -> None:
        super().prepare()
        self.quick = self.on_floats or self.kernel

    def __call__(  # type: ignore[override]
        self, input: Any, *, out: Any = None, **parameters: Any
    ) -> Any:
        if (
            out is None
            and not parameters
            and primitives.intercept is None
            and isinstance(input, TensorBase)
            and input._payload.dtype.kind == "f"
        ):
            if self.silent:
                return self.finish_one(self.quick(input._payload), input, NO_PARAMETERS)
            token = silence(SILENT)
            try:
                payload = self.quick(input._payload)
            finally:
                unsilence(token)
            return self.finish_one(payload, input, NO_PARAMETERS)
        return Elementwise.__call__(self, input, out=out, **parameters)


class FloatUnary(Unary):
    """A unary primitive that computes in floating point."""

    floating = True


class Binary(Elementwise):
    """An elementwise primitive of two operands."""

    inputs = ("x", "y")
    number_first: ClassVar[bool] = False  # whether the gradient takes a number as the first operand

    def __call__(  # type: ignore[override]
        self, input: Any, other: Any, *, out: Any = None, **parameters: Any
    ) -> Any:
        if (
            out is None
            and not parameters
            and primitives.intercept is None
            and isinstance(input, TensorBase)
        ):
            a = input._payload
            b: Any
            if isinstance(other, TensorBase):
                b = other._payload
                fits = a.dtype is b.dtype and (not self.floating or a.dtype.kind in "fV")
            else:
                b = as_array(other, a.dtype) if self.numbers else None
                fits = b is not None
            if fits:
                token = None if self.silent and a.dtype.kind == "f" else silence(SILENT)
                try:
                    payload = self.kernel(a, b)
                except Exception as error:
                    self.explain(error, (input, other), NO_PARAMETERS)
                    raise
                finally:
                    if token is not None:
                        unsilence(token)
                return self.finish_two(payload, input, other)
        elif (
            isinstance(other, TensorBase)
            and self.number_first
            and out is None
            and not parameters
            and primitives.intercept is None
            and (a := as_array(input, other._payload.dtype)) is not None
        ):
            token = silence(SILENT)
            try:
                payload = self.kernel(a, other._payload)
            finally:
                unsilence(token)
            return self.finish(payload, (input, other), NO_PARAMETERS)
        return Elementwise.__call__(self, input, other, out=out, **parameters)


def change_in_place(self: Any, primitive: Binary, function: Any, other: Any) -> Any:
    """`self = function(self, other)` in the memory of `self`: a short way for the plain cases.

    It does what `kuai.core.inplace.inplace` does step by step, for a tensor whose old values
    nothing needs: it is no view, and the other operand is a number (or, where nothing is recorded,
    a tensor). `primitive` is what `function` comes to then, one of `ARITHMETIC`.
    """
    mine = self._payload
    if (
        primitives.intercept is not None
        or self._view is not None
        or type(self._counter) is not list
        or type(mine) is not np.ndarray
        or mine.dtype.kind != "f"
        or not mine.flags.c_contiguous
    ):
        return inplace(self, function, other)
    recording = self._requires_grad and mode.grad
    if isinstance(other, TensorBase):
        theirs = other._payload
        if (
            recording
            or (other._requires_grad and mode.grad)
            or mine.dtype is not theirs.dtype
            or mine.shape != theirs.shape
        ):
            return inplace(self, function, other)
    else:
        theirs = as_array(other, mine.dtype)
        if theirs is None or (recording and self._node is None):
            return inplace(self, function, other)
    token = silence(SILENT)
    try:
        primitive.kernel(mine, theirs, mine)
    finally:
        unsilence(token)
    counter = self._counter
    counter[0] += 1
    if recording:
        counter[1] += 1
        primitive.record(self, (self, other), NO_PARAMETERS)
    return self


_NUMBERS: dict[Any, dict[Any, np.ndarray]] = {
    np.dtype(t): {"0": np.array(0.0, t), "-0": np.array(-0.0, t)}
    for t in (np.float16, np.float32, np.float64)
}
_AT_MOST = 1000  # numbers remembered for each type


def as_array(number: Any, numpy_dtype: np.dtype) -> Any:
    """A Python number as a zero-dimensional array of the floating type, which NumPy combines with
    an array in half of the time that the number takes; `None` where promotion must decide.
    """
    known = _NUMBERS.get(numpy_dtype)
    if known is None or (
        type(number) is not float and not (type(number) is int and -65504 < number < 65504)
    ):
        return None
    array = known.get(number)
    if array is None:
        if number == 0:  # 0.0 and -0.0 are equal as keys
            return known["0" if math.copysign(1.0, number) > 0 else "-0"]
        token = silence(SILENT)
        array = np.array(number, numpy_dtype)
        unsilence(token)
        if len(known) < _AT_MOST:
            known[number] = array
    return array


class TensorBinary(Binary):
    """A binary primitive that takes no Python numbers."""

    numbers = False
    tensors = 2


class Comparison(Binary):
    """A binary primitive whose result is bool."""

    comparison = True
    silent = True
    tensors = 1


# -- arithmetic --------------------------------------------------------------------------------


@primitive
class plus(Binary):
    """`x + y`."""

    gradient_name = "AddBackward0"
    number_first = True
    kernel = staticmethod(np.add)

    def gradient(self, grad):
        return grad, grad

    def backward(self, grad):
        return grad, grad

    def lower(self, emit, x, y):
        return emit.add(x, y)


@primitive
class minus(Binary):
    """`x - y`."""

    gradient_name = "SubBackward0"
    number_first = True
    kernel = staticmethod(np.subtract)

    def gradient(self, grad):
        return grad, lambda: -grad

    def backward(self, grad):
        return grad, lambda: -grad

    def lower(self, emit, x, y):
        return emit.sub(x, y)


@primitive
class mul(Binary):
    """`x * y`."""

    number_first = True
    kernel = staticmethod(np.multiply)
    used_by = ((1,), (0,))

    def gradient(self, grad, x, y):
        return lambda: mul(grad, y), lambda: mul(grad, x)

    def backward(self, grad, x, y):
        return lambda: grad * y, lambda: grad * x

    def lower(self, emit, x, y):
        return emit.mul(x, y)


@primitive
class quotient(Binary):
    """`x / y`, in floating point."""

    gradient_name = "DivBackward0"
    number_first = True
    kernel = staticmethod(np.true_divide)
    floating = True
    used_by = ((1,), (0, 1))

    def gradient(self, grad, x, y):
        return lambda: quotient(grad, y), lambda: -grad * (x / y) / y

    def backward(self, grad, x, y):
        return lambda: grad / y, lambda: -grad * (x / y) / y

    def lower(self, emit, x, y):
        return emit.div(x, y)


@primitive
class neg(Unary):
    """`-x`."""

    on_floats = np.negative
    silent = True

    def kernel(self, x):
        if x.dtype == np.bool_:
            raise RuntimeError(
                "Negation, the `-` operator, on a bool tensor is not supported. If you are trying "
                "to invert a mask, use the `~` or `logical_not()` operator instead."
            )
        return np.negative(x)

    def gradient(self, grad):
        return neg(grad)

    def lower(self, emit, x):
        return emit.neg(x)


@primitive
class abs(Unary):
    """Absolute value."""

    on_floats = np.absolute
    silent = True

    def kernel(self, x):
        if x.dtype.kind == "b":
            raise NotImplementedError("\"abs\" not implemented for 'Bool'")
        return np.absolute(x)

    def gradient(self, grad, x):
        return grad * sign(x)

    def lower(self, emit, x):
        return emit.abs(x)


@primitive
class sign(Unary):
    """-1, 0 or 1, as the value is negative, zero or positive."""

    def kernel(self, x):
        if x.dtype == np.bool_:
            return x.copy()
        return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)  # NaN has none

    def gradient(self, grad):
        return grad * 0

    def lower(self, emit, x):
        return emit.sign(x)


@primitive
class pow_(Binary):
    """`x` to the power `y`, of one type."""

    gradient_name = "PowBackward0"

    def kernel(self, x, y):
        if x.dtype.kind in "iu":
            return _integer_power(x, np.asarray(y, x.dtype))
        if x.dtype.kind == "b":
            raise NotImplementedError("\"pow\" not implemented for 'Bool'")
        return np.power(x, y)

    def gradient(self, grad, result, x, y):
        def of_x() -> Any:
            if not isinstance(y, TensorBase):
                return grad * 0 if y == 0 else grad * (pow_(x, y - 1) * y)
            zero = eq(y, 0)
            return where(zero, 0.0, grad * (y * pow_(x, y - 1)))  # type: ignore[operator]

        def of_y() -> Any:
            base_is_zero = eq(x, 0)
            settled = (
                logical_and(base_is_zero, ge(y, 0)) if isinstance(y, TensorBase) else (base_is_zero)
            )
            return grad * where(settled, 0.0, result * log(x))

        return of_x, of_y

    def lower(self, emit, x, y):
        return emit.pow(x, y)


def _integer_power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.broadcast_arrays(x, y)
    if x.dtype.kind == "u" or not (y < 0).any():
        return np.power(x, y)
    positive = np.power(x, np.maximum(y, 0))
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
    return np.where(y < 0, inverse, positive).astype(x.dtype)


@primitive
class exp(FloatUnary):
    """Exponential."""

    kernel = staticmethod(np.exp)

    def gradient(self, grad, result):
        return grad * result

    def backward(self, grad, result):
        return grad * result

    def lower(self, emit, x):
        return emit.exp(x)


@primitive
class log(FloatUnary):
    """Natural logarithm."""

    kernel = staticmethod(np.log)

    def gradient(self, grad, x):
        return grad / x

    def backward(self, grad, x):
        return grad / x

    def lower(self, emit, x):
        return emit.log(x)


@primitive
class sqrt(FloatUnary):
    """Square root."""

    kernel = staticmethod(np.sqrt)

    def gradient(self, grad, result):
        return grad / (2 * result)

    def backward(self, grad, result):
        return grad / (2 * result)

    def lower(self, emit, x):
        return emit.sqrt(x)


@primitive
class tanh(FloatUnary):
    """Hyperbolic tangent."""

    kernel = staticmethod(np.tanh)

    def gradient(self, grad, result):
        return grad * (1 - result * result)

    def backward(self, grad, result):
        return grad * (1 - result * result)

    def lower(self, emit, x):
        return emit.tanh(x)


_ZEROS: dict[Any, np.ndarray] = {}


def _zero(x: np.ndarray) -> np.ndarray:
    zero = _ZEROS.get(x.dtype)
    if zero is None:
        zero = _ZEROS[x.dtype] = np.zeros((), x.dtype)
    return zero


def _gated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    zero = _zero(x)
    return np.where(np.less_equal(y, zero), zero, x)


def _rectified(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, _zero(x))


@primitive
class relu(Unary):
    """`max(x, 0)`; the gradient at 0 is 0."""

    on_floats = staticmethod(_rectified)
    silent = True

    def kernel(self, x):
        if x.dtype.kind == "b":
            raise RuntimeError("Boolean inputs not supported for relu")
        return _rectified(x)

    def gradient(self, grad, result):
        return gate(grad, result)

    def backward(self, grad, result):
        return _gated(grad, result)

    def lower(self, emit, x):
        return emit.max(x, 0)


@primitive
class gate(Binary):
    """`x` where `y` is not zero or less (so also where it is NaN), 0 elsewhere."""

    gradient_name = "ThresholdBackwardBackward0"
    silent = True

    def kernel(self, x, y):
        return _gated(x, y)

    def gradient(self, grad, y):
        return gate(grad, y), None

    def lower(self, emit, x, y):
        return emit.where(emit.le(y, 0), 0, x)


# -- comparisons -------------------------------------------------------------------------------


@primitive
class eq(Comparison):
    """`x == y`."""

    kernel = staticmethod(np.equal)

    def lower(self, emit, x, y):
        return emit.eq(x, y)


@primitive
class ne(Comparison):
    """`x != y`."""

    kernel = staticmethod(np.not_equal)

    def lower(self, emit, x, y):
        return emit.ne(x, y)


@primitive
class lt(Comparison):
    """`x < y`."""

    kernel = staticmethod(np.less)

    def lower(self, emit, x, y):
        return emit.lt(x, y)


@primitive
class le(Comparison):
    """`x <= y`."""

    kernel = staticmethod(np.less_equal)

    def lower(self, emit, x, y):
        return emit.le(x, y)


@primitive
class gt(Comparison):
    """`x > y`."""

    kernel = staticmethod(np.greater)

    def lower(self, emit, x, y):
        return emit.gt(x, y)


@primitive
class ge(Comparison):
    """`x >= y`."""

    kernel = staticmethod(np.greater_equal)

    def lower(self, emit, x, y):
        return emit.ge(x, y)


@primitive
class logical_and(Comparison):
    """Whether both are true (not zero)."""

    numbers = False
    tensors = 2

    kernel = staticmethod(np.logical_and)

    def lower(self, emit, x, y):
        return emit.logical_and(x, y)


@primitive
class logical_or(Comparison):
    """Whether one or both are true (not zero)."""

    numbers = False
    tensors = 2

    kernel = staticmethod(np.logical_or)

    def lower(self, emit, x, y):
        return emit.logical_or(x, y)


@primitive
class logical_xor(Comparison):
    """Whether just one is true (not zero)."""

    numbers = False
    tensors = 2

    kernel = staticmethod(np.logical_xor)

    def lower(self, emit, x, y):
        return emit.logical_xor(x, y)


@primitive
class logical_not(Unary):
    """Whether the value is zero."""

    comparison = True
    kernel = staticmethod(np.logical_not)

    def lower(self, emit, x):
        return emit.logical_not(x)


@primitive
class select_where(Elementwise):
    """`x` where `condition` holds, else `y`; `x` and `y` have one type, `condition` is bool."""

    inputs = ("condition", "x", "y")
    gradient_name = "WhereBackward0"
    kernel = staticmethod(np.where)

    def __call__(self, *inputs: Any, **parameters: Any) -> Any:
        condition, x, y = inputs
        x, y = _common(x, y)
        return super(Elementwise, self).__call__(condition, x, y)

    def infer(self, *metas, **parameters):
        shape = Elementwise.infer(self, *metas).shape
        return type(metas[1])(shape, metas[1].dtype)

    def gradient(self, grad, condition):
        return None, lambda: where(condition, grad, 0), lambda: where(condition, 0, grad)

    def lower(self, emit, condition, x, y):
        return emit.where(emit.truth(condition), x, y)


@primitive
class maximum(TensorBinary):
    """The greater of the two; NaN where one is. Ties share the gradient."""

    kernel = staticmethod(np.maximum)

    def gradient(self, grad, x, y):
        def share(a: Any, b: Any) -> Any:
            return where(eq(a, b), grad / 2, where(gt(a, b), grad, 0))

        return lambda: share(x, y), lambda: share(y, x)

    def lower(self, emit, x, y):
        return emit.max(x, y)


@primitive
class minimum(TensorBinary):
    """The smaller of the two; NaN where one is. Ties share the gradient."""

    kernel = staticmethod(np.minimum)

    def gradient(self, grad, x, y):
        def share(a: Any, b: Any) -> Any:
            return where(eq(a, b), grad / 2, where(lt(a, b), grad, 0))

        return lambda: share(x, y), lambda: share(y, x)

    def lower(self, emit, x, y):
        return emit.min(x, y)


# -- composed ----------------------------------------------------------------------------------


def add(input: Any, other: Any, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """`input + alpha * other`."""
    if not is_known_as(alpha, 1):
        _check_alpha(alpha, input, other)
        other = mul(other, alpha)
    return plus(input, other, out=out)


def sub(input: Any, other: Any, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """`input - alpha * other`."""
    for x in (input, other):
        if x is True or x is False or (isinstance(x, TensorBase) and x.dtype is dtypes.bool_):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are "
                "trying to invert a mask, use the `~` or `logical_not()` operator instead."
            )
    if not is_known_as(alpha, 1):
        _check_alpha(alpha, input, other)
        other = mul(other, alpha)
    return minus(input, other, out=out)


def rsub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """`other - alpha * input`."""
    require_tensor("rsub", input)
    return called(sub(other, input, alpha=alpha), "RsubBackward1")


def _check_alpha(alpha: Number, *operands: Any) -> None:
    if isinstance(alpha, float) and not result_type(*operands).is_floating_point:
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )


def pow(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """`input` to the power `exponent`.

    Raises:
        RuntimeError: integers to a negative integer power given as a number.
    """
    if isinstance(input, TensorBase) and not isinstance(exponent, TensorBase):
        if type(exponent) is int and exponent == 2:
            return square(input, out=out)
        if type(exponent) is int and exponent < 0 and input._payload.dtype.kind in "iub":
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    elif not isinstance(input, TensorBase):
        require_tensor("pow", exponent)
    result = pow_(input, exponent, out=out)
    if isinstance(exponent, TensorBase):
        called(result, f"PowBackward{1 if isinstance(input, TensorBase) else 2}")
    return result


@takes_out
def float_power(input: Any, exponent: Any) -> Tensor:
    """`input` to the power `exponent`, computed in float64.

    Raises:
        TypeError: neither is a tensor.
    """
    if not isinstance(input, TensorBase) and not isinstance(exponent, TensorBase):
        raise TypeError("float_power(): one argument or both must be tensors")
    return pow_(
        as_operand(input, dtypes.float64),
        as_operand(exponent, dtypes.float64) if isinstance(exponent, TensorBase) else exponent,
    )


@primitive
class abs_power(FloatUnary):
    """`|x| ** exponent`, with the gradient 0 at 0."""

    gradient_name = "LinalgVectorNormBackward0"

    def kernel(self, x, exponent):
        return np.power(np.absolute(x), x.dtype.type(exponent))

    def gradient(self, grad, x, exponent):
        zero = eq(x, 0)
        safe = where(zero, 1.0, x)
        return grad * where(zero, 0.0, abs_power(safe, exponent=exponent - 1) * sign(x)) * exponent

    def lower(self, emit, x, exponent):
        return emit.pow(emit.abs(x), exponent)


@primitive
class square(Unary):
    """`x * x`; of bool, as int64."""

    gradient_name = "PowBackward0"

    def kernel(self, x):
        return np.square(x) if x.dtype.kind != "b" else x.astype(np.int64)

    def infer(self, x: Meta) -> Meta:  # type: ignore[override]
        return Meta(x.shape, dtypes.int64 if x.dtype is dtypes.bool_ else x.dtype)

    def gradient(self, grad, x):
        return grad * (2 * x)

    def backward(self, grad, x):
        return grad * (2 * x)

    def lower(self, emit, x):
        wide = emit.cast(x, emit.dtype)
        return emit.mul(wide, wide)


def _common(x: Any, y: Any) -> tuple[Any, Any]:
    """Two operands as tensors of their common type."""
    if isinstance(x, TensorBase):
        if isinstance(y, TensorBase):
            if x._payload.dtype is y._payload.dtype:
                return x, y
        elif (array := as_array(y, x._payload.dtype)) is not None:
            return x, wrap(array)
    elif isinstance(y, TensorBase) and (array := as_array(x, y._payload.dtype)) is not None:
        return wrap(array), y
    return Elementwise.promote(select_where, (x, y))  # type: ignore[arg-type]


@takes_out
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` holds, else `other`; the indices of `condition` without both."""
    if input is None and other is None:
        from kuai.ops.indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if condition._payload.dtype.kind not in "bu":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{condition.dtype.name}"
        )
    return select_where(condition, input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """Values limited to lie between `min` and `max`, numbers or tensors; `max` wins.

    Raises:
        RuntimeError: neither is given.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    result = input
    if min is not None and max is not None:
        result = clamp_(input, min, max)
    elif min is not None:
        result = clamp_below(input, min)
    else:
        result = clamp_above(input, max)
    return result if out is None else write_out(out, result)


@takes_out
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Values not below `min`."""
    require_tensor("clamp_min", input)
    return clamp(input, min=min)


@takes_out
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Values not above `max`."""
    require_tensor("clamp_max", input)
    return clamp(input, max=max)


@primitive
class clamp_below(Binary):
    """`max(x, low)`; at the limit itself, the gradient goes to `x`."""

    gradient_name = "ClampBackward1"
    kernel = staticmethod(np.maximum)

    def gradient(self, grad, x, y):
        return lambda: where(ge(x, y), grad, 0), lambda: where(lt(x, y), grad, 0)

    def lower(self, emit, x, y):
        return emit.max(x, y)


@primitive
class clamp_above(Binary):
    """`min(x, high)`; at the limit itself, the gradient goes to `x`."""

    gradient_name = "ClampBackward1"
    kernel = staticmethod(np.minimum)

    def gradient(self, grad, x, y):
        return lambda: where(le(x, y), grad, 0), lambda: where(gt(x, y), grad, 0)

    def lower(self, emit, x, y):
        return emit.min(x, y)


@primitive
class clamp_(Elementwise):
    """`min(max(x, low), high)`."""

    inputs = ("x", "low", "high")
    gradient_name = "ClampBackward1"

    def kernel(self, x, low, high):
        return np.minimum(np.maximum(x, low), high)

    def gradient(self, grad, x, low, high):
        def inside() -> Any:
            return where(logical_and(ge(x, low), le(x, high)), grad, 0)

        return (
            inside,
            lambda: where(logical_and(lt(x, low), lt(low, high)), grad, 0),
            lambda: where(logical_or(gt(x, high), gt(low, high)), grad, 0),
        )

    def lower(self, emit, x, low, high):
        return emit.min(emit.max(x, low), high)


@takes_out
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """`input + weight * (end - input)`."""
    _check_same_dtype("lerp", input, end, weight)
    difference = end - input
    near = mul(weight, difference) + input
    if not isinstance(weight, TensorBase):
        return near if builtins.abs(weight) < 0.5 else end - difference * (1 - weight)
    rest = 1 - weight  # type: ignore[operator]
    return select_where(abs(weight) < 0.5, near, end - difference * rest)


def _check_same_dtype(name: str, input: Tensor, *others: Any) -> None:
    for x in others:
        if isinstance(x, TensorBase) and not x._weak and x._payload.dtype != input._payload.dtype:
            raise RuntimeError(
                f"expected dtype {input.dtype.name} for `{name}` but got dtype {x.dtype.name}"
            )


@takes_out
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """`input + value * tensor1 * tensor2`."""
    product = mul(tensor1, tensor2)
    return plus(input, product if is_known_as(value, 1) else mul(product, value))


@takes_out
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """`input + value * tensor1 / tensor2`.

    Raises:
        RuntimeError: both are integers.
    """
    if not (tensor1.is_floating_point() or tensor2.is_floating_point()):
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported; convert to floats, or use "
            "addcmul with div(..., rounding_mode='trunc')"
        )
    ratio = quotient(tensor1, tensor2)
    return plus(input, ratio if is_known_as(value, 1) else mul(ratio, value))


# Functions of a tensor and a number whose gradients do not need the tensor, and their primitives.
ARITHMETIC: dict[Any, Any] = {plus: plus, sub: minus, mul: mul, quotient: quotient}

subtract, multiply, negative, absolute = sub, mul, neg, abs
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
sgn = sign  # the two differ for complex numbers only
clip = clamp


@primitive
class angle(FloatUnary):
    """0 for a positive number, π for a negative one."""

    def kernel(self, x):
        return np.where(np.isnan(x), x, np.where(x < 0, math.pi, 0.0)).astype(x.dtype)

    def gradient(self, grad):
        return grad * 0

    def lower(self, emit, x):
        positive = emit.where(emit.isnan(x), x, 0)
        return emit.where(emit.lt(x, 0), math.pi, positive)


def conj(input: Tensor) -> Tensor:
    """The tensor itself: kuai has no complex numbers."""
    return input


@takes_out
def conj_physical(input: Tensor) -> Tensor:
    """The tensor itself: kuai has no complex numbers."""
    return input


resolve_conj = resolve_neg = real = conj


def imag(input: Tensor) -> Tensor:
    """Raise: kuai has no complex numbers.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


def positive(input: Tensor) -> Tensor:
    """The tensor itself.

    Raises:
        RuntimeError: it is bool.
    """
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


__all__ = [
    "abs",
    "absolute",
    "add",
    "addcdiv",
    "addcmul",
    "angle",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "conj",
    "conj_physical",
    "eq",
    "exp",
    "float_power",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "imag",
    "le",
    "lerp",
    "less",
    "less_equal",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "maximum",
    "minimum",
    "mul",
    "multiply",
    "ne",
    "neg",
    "negative",
    "not_equal",
    "positive",
    "pow",
    "real",
    "relu",
    "resolve_conj",
    "resolve_neg",
    "rsub",
    "sgn",
    "sign",
    "sqrt",
    "square",
    "sub",
    "subtract",
    "tanh",
    "where",
]
