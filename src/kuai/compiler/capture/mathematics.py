"""What a capture does in the place of mathematical functions of Python's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai import ops as operations
from kuai.compiler.capture import numbers
from kuai.compiler.capture.numbers import Number, as_tensor, number
from kuai.core.base import TensorBase
from kuai.dtypes import float64
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session
from kuai.compiler.capture.special import SPECIAL, is_captured, special

ops: Any = operations


@special(abs)
def _abs(session: Session, x: Any) -> Any:
    return abs(x)


@special(pow)
def _pow(session: Session, base: Any, exponent: Any, modulus: Any = None) -> Any:
    if modulus is None:
        return base**exponent
    return (
        pow(base, exponent, modulus) if not is_captured(session, base) else base**exponent % modulus
    )


@special(divmod)
def _divmod(session: Session, x: Any, y: Any) -> Any:
    return (x // y, x % y) if is_captured(session, x, y) else divmod(x, y)


@special(round)
def _round(session: Session, x: Any, digits: Any = None) -> Any:
    if isinstance(x, Number):
        return x.__round__(digits)
    return round(x) if digits is None else round(x, digits)


def _function_of_number(
    plain: Any,
    function: Callable[[Tensor], Tensor],
    domain: Callable[[Tensor], Tensor] | None = None,
) -> None:
    def compute(session: Session, *args: Any) -> Any:
        if not is_captured(session, *args):
            return plain(*args)
        x = as_tensor(numbers.to_kind(args[0], float), float64)
        if domain is not None:
            session.recorder.check(domain(x), ValueError, "math domain error")
        return number(function(x))

    SPECIAL[plain] = compute


_function_of_number(math.sqrt, ops.sqrt, lambda x: ~(x < 0))
_function_of_number(math.log2, ops.log2, lambda x: ~(x <= 0))
_function_of_number(math.log10, ops.log10, lambda x: ~(x <= 0))
_function_of_number(math.log1p, ops.log1p, lambda x: ~(x <= -1))
for _name in ("exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "asinh", "erf"):
    _function_of_number(getattr(math, _name), getattr(ops, _name))
for _name in ("isnan", "isinf", "isfinite"):
    _function_of_number(getattr(math, _name), getattr(ops, _name))
_function_of_number(math.fabs, ops.abs)


@special(math.log)
def _log(session: Session, x: Any, *base: Any) -> Any:
    if not is_captured(session, x, *base):
        return math.log(x, *base)
    terms = []
    for value in (x, *base):
        v = numbers.to_kind(value, float) if isinstance(value, TensorBase) else value
        t = as_tensor(v, float64)
        session.recorder.check(~(t <= 0), ValueError, "math domain error")
        terms.append(number(ops.log(t)))
    return terms[0] / terms[1] if base else terms[0]


@special(math.pow)
def _math_pow(session: Session, x: Any, y: Any) -> Any:
    if not is_captured(session, x, y):
        return math.pow(x, y)
    return number(ops.pow(as_tensor(x, float64), as_tensor(y, float64)))


def _rounding(plain: Any, method: str) -> None:
    def rounded(session: Session, x: Any) -> Any:
        if not is_captured(session, x):
            return plain(x)
        return getattr(numbers.to_kind(x, float), method)()

    SPECIAL[plain] = rounded


_rounding(math.floor, "__floor__")
_rounding(math.ceil, "__ceil__")
_rounding(math.trunc, "__trunc__")
