"""Elementwise primitives and the functions composed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.core.base import TensorBase
from kuai.core.primitive import primitive
from kuai.ops.pointwise import Elementwise, Number, result_type, write_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor


class Unary(Elementwise):
    """An elementwise primitive of one operand."""

    inputs = ("x",)


class FloatUnary(Unary):
    """A unary primitive that computes in floating point."""

    floating = True


class Binary(Elementwise):
    """An elementwise primitive of two operands."""

    inputs = ("x", "y")


class Comparison(Binary):
    """A binary primitive whose result is bool."""

    comparison = True


# -- arithmetic --------------------------------------------------------------------------------


@primitive
class plus(Binary):
    """`x + y`."""

    gradient_name = "AddBackward0"
    kernel = staticmethod(np.add)

    def gradient(self, grad):
        return grad, grad


@primitive
class minus(Binary):
    """`x - y`."""

    gradient_name = "SubBackward0"
    kernel = staticmethod(np.subtract)

    def gradient(self, grad):
        return grad, lambda: -grad


@primitive
class mul(Binary):
    """`x * y`."""

    kernel = staticmethod(np.multiply)

    def gradient(self, grad, x, y):
        return lambda: mul(grad, y), lambda: mul(grad, x)


@primitive
class quotient(Binary):
    """`x / y`, in floating point."""

    gradient_name = "DivBackward0"
    kernel = staticmethod(np.true_divide)
    floating = True

    def gradient(self, grad, x, y):
        return lambda: quotient(grad, y), lambda: -grad * (x / y) / y


@primitive
class neg(Unary):
    """`-x`."""

    def kernel(self, x):
        if x.dtype == np.bool_:
            raise RuntimeError(
                "Negation, the `-` operator, on a bool tensor is not supported. If you are trying "
                "to invert a mask, use the `~` or `logical_not()` operator instead."
            )
        return np.negative(x)

    def gradient(self, grad):
        return neg(grad)


@primitive
class abs(Unary):  # noqa: A001
    """Absolute value."""

    kernel = staticmethod(np.absolute)

    def gradient(self, grad, x):
        return grad * sign(x)


@primitive
class sign(Unary):
    """-1, 0 or 1, as the value is negative, zero or positive."""

    def kernel(self, x):
        return x.copy() if x.dtype == np.bool_ else np.sign(x)

    def gradient(self, grad):
        return grad * 0


@primitive
class pow_(Binary):
    """`x` to the power `y`, of one type."""

    gradient_name = "PowBackward0"

    def kernel(self, x, y):
        if x.dtype.kind in "iu":
            return _integer_power(x, np.asarray(y, x.dtype))
        return np.power(x, y)

    def gradient(self, grad, result, x, y):
        def of_x() -> Any:
            if not isinstance(y, TensorBase):
                return grad * 0 if y == 0 else grad * (pow_(x, y - 1) * y)
            zero = eq(y, 0)
            return where(zero, 0.0, grad * (y * pow_(x, y - 1)))

        def of_y() -> Any:
            base_is_zero = eq(x, 0)
            settled = logical_and(base_is_zero, ge(y, 0)) if isinstance(y, TensorBase) else (
                base_is_zero
            )
            return grad * where(settled, 0.0, result * log(x))

        return of_x, of_y


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


@primitive
class log(FloatUnary):
    """Natural logarithm."""

    kernel = staticmethod(np.log)

    def gradient(self, grad, x):
        return grad / x


@primitive
class sqrt(FloatUnary):
    """Square root."""

    kernel = staticmethod(np.sqrt)

    def gradient(self, grad, result):
        return grad / (2 * result)


@primitive
class tanh(FloatUnary):
    """Hyperbolic tangent."""

    kernel = staticmethod(np.tanh)

    def gradient(self, grad, result):
        return grad * (1 - result * result)


@primitive
class relu(Unary):
    """`max(x, 0)`; the gradient at 0 is 0."""

    def kernel(self, x):
        return np.maximum(x, _zero(x))

    def gradient(self, grad, result):
        return mul(grad, step(result))


@primitive
class step(Unary):
    """1 where the value is positive and 0 elsewhere, in its type."""

    def kernel(self, x):
        return np.greater(x, _zero(x)).astype(x.dtype)


_ZEROS: dict[Any, np.ndarray] = {}


def _zero(x: np.ndarray) -> np.ndarray:
    zero = _ZEROS.get(x.dtype)
    if zero is None:
        zero = _ZEROS[x.dtype] = np.zeros((), x.dtype)
    return zero


# -- comparisons -------------------------------------------------------------------------------


@primitive
class eq(Comparison):
    """`x == y`."""

    kernel = staticmethod(np.equal)


@primitive
class ne(Comparison):
    """`x != y`."""

    kernel = staticmethod(np.not_equal)


@primitive
class lt(Comparison):
    """`x < y`."""

    kernel = staticmethod(np.less)


@primitive
class le(Comparison):
    """`x <= y`."""

    kernel = staticmethod(np.less_equal)


@primitive
class gt(Comparison):
    """`x > y`."""

    kernel = staticmethod(np.greater)


@primitive
class ge(Comparison):
    """`x >= y`."""

    kernel = staticmethod(np.greater_equal)


@primitive
class logical_and(Comparison):
    """Whether both are true (not zero)."""

    kernel = staticmethod(np.logical_and)


@primitive
class logical_or(Comparison):
    """Whether one or both are true (not zero)."""

    kernel = staticmethod(np.logical_or)


@primitive
class logical_xor(Comparison):
    """Whether just one is true (not zero)."""

    kernel = staticmethod(np.logical_xor)


@primitive
class logical_not(Unary):
    """Whether the value is zero."""

    comparison = True
    kernel = staticmethod(np.logical_not)


@primitive
class select_where(Elementwise):
    """`x` where `condition` holds, else `y`; `x` and `y` have one type, `condition` is bool."""

    inputs = ("condition", "x", "y")
    gradient_name = "WhereBackward0"
    kernel = staticmethod(np.where)

    def __call__(self, *inputs: Any, **parameters: Any) -> Any:
        condition, x, y = inputs
        x, y = Elementwise.promote(self, (x, y))
        return super(Elementwise, self).__call__(condition, x, y)

    def infer(self, *metas, **parameters):
        shape = Elementwise.infer(self, *metas).shape
        return type(metas[1])(shape, metas[1].dtype)

    def gradient(self, grad, condition):
        return None, lambda: where(condition, grad, 0), lambda: where(condition, 0, grad)


@primitive
class maximum(Binary):
    """The greater of the two; NaN where one is. Ties share the gradient."""

    kernel = staticmethod(np.maximum)

    def gradient(self, grad, x, y):
        def share(a: Any, b: Any) -> Any:
            return where(eq(a, b), grad / 2, where(gt(a, b), grad, 0))

        return lambda: share(x, y), lambda: share(y, x)


@primitive
class minimum(Binary):
    """The smaller of the two; NaN where one is. Ties share the gradient."""

    kernel = staticmethod(np.minimum)

    def gradient(self, grad, x, y):
        def share(a: Any, b: Any) -> Any:
            return where(eq(a, b), grad / 2, where(lt(a, b), grad, 0))

        return lambda: share(x, y), lambda: share(y, x)


# -- composed ----------------------------------------------------------------------------------


def add(input: Any, other: Any, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """`input + alpha * other`."""
    if alpha != 1:
        other = mul(other, alpha)
    return plus(input, other, out=out)


def sub(input: Any, other: Any, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """`input - alpha * other`."""
    if alpha != 1:
        other = mul(other, alpha)
    return minus(input, other, out=out)


def div(
    input: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """`input / other`; `rounding_mode` may be `"trunc"` or `"floor"`."""
    if rounding_mode is None:
        return quotient(input, other, out=out)
    raise NotImplementedError(rounding_mode)


def pow(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:  # noqa: A001
    """`input` to the power `exponent`."""
    return pow_(input, exponent, out=out)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` holds, else `other`."""
    return select_where(condition, input, other)


__all__ = [n for n in globals() if not n.startswith("_")]

