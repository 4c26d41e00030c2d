"""The functions of analysis in vector code, for floats and doubles.

Within 1 to 2 units in the last place over the whole range, NaN, infinities, zeros and subnormal
numbers included; the gamma functions have fewer digits. A float's function is computed in floats
where speed matters and in doubles elsewhere, which is as exact as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kuai.compiler.emit.builder import Function, Ref, mangled
from kuai.compiler.emit.math import (
    error,
    exponential,
    gamma,
    logarithm,
    power,
    trigonometric,
)
from kuai.compiler.emit.math.number import Number

Formula = Callable[..., Number]


class Entry(NamedTuple):
    """How a function is computed.

    Attributes:
        double: of doubles.
        single: of floats; as doubles where there is none.
        short: whether that of floats is written where it is used, rather than called.
    """

    double: Formula
    single: Formula | None = None
    short: bool = False


FUNCTIONS = {
    "exp": Entry(exponential.exp, exponential.exp, short=True),
    "exp2": Entry(exponential.exp2, exponential.exp2, short=True),
    "expm1": Entry(exponential.expm1, exponential.expm1, short=True),
    "tanh": Entry(exponential.tanh, exponential.tanh, short=True),
    "sigmoid": Entry(exponential.sigmoid, exponential.sigmoid, short=True),
    "sinh": Entry(exponential.sinh),
    "cosh": Entry(exponential.cosh),
    "log": Entry(logarithm.log, logarithm.log, short=True),
    "log2": Entry(logarithm.log2, logarithm.log2),
    "log10": Entry(logarithm.log10, logarithm.log10),
    "log1p": Entry(logarithm.log1p, logarithm.log1p, short=True),
    "asinh": Entry(logarithm.asinh),
    "acosh": Entry(logarithm.acosh),
    "atanh": Entry(logarithm.atanh),
    "logaddexp": Entry(logarithm.logaddexp),
    "logaddexp2": Entry(logarithm.logaddexp2),
    "sin": Entry(trigonometric.sin, trigonometric.sin),
    "cos": Entry(trigonometric.cos, trigonometric.cos),
    "tan": Entry(trigonometric.tan),
    "asin": Entry(trigonometric.asin),
    "acos": Entry(trigonometric.acos),
    "atan": Entry(trigonometric.atan),
    "atan2": Entry(trigonometric.atan2),
    "erf": Entry(error.erf, error.erf_single, short=True),
    "erfc": Entry(error.erfc),
    "erfinv": Entry(error.erfinv),
    "pow": Entry(power.pow, power.pow_single),
    "hypot": Entry(power.hypot, power.hypot_single, short=True),
    "lgamma": Entry(gamma.lgamma),
    "digamma": Entry(gamma.digamma),
}


def apply(f: Function, name: str, *arguments: Ref) -> Ref:
    """The value of a function, of floats or doubles (`int_pow`: of integers).

    Short ones are written out; of the others, the module gets a function for this type.
    """
    type = arguments[0].type
    entry = FUNCTIONS.get(name)
    if entry is not None and entry.short and arguments[0].element == "float":
        return _value(entry, f, arguments)
    shared = f"kuai_{name}_{mangled(type)}"
    if all(function.name != shared for function in f.module.functions):
        given = [(type, f"x{i}") for i in range(len(arguments))]
        function = f.module.function(shared, type, given, attributes=f.attributes)
        if entry is None:
            function.ret(power.int_pow(function, *function.arguments))
        else:
            function.ret(_value(entry, function, function.arguments))
    return f.call(shared, type, *arguments)


def _value(entry: Entry, f: Function, arguments: list[Ref] | tuple[Ref, ...]) -> Ref:
    numbers = [Number(f, a) for a in arguments]
    if numbers[0].double:
        return entry.double(*numbers).ref
    if entry.single is not None:
        return entry.single(*numbers).ref
    return entry.double(*[x.widened() for x in numbers]).narrowed().ref
