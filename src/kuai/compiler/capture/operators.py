"""Python's operators on objects: the methods of the user's classes are captured.

Containers and objects from outside that an operator looks at are noted as read.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture.numbers import Number
from kuai.compiler.capture.special import has_captured
from kuai.compiler.capture.whole import look_through
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.access import Access

_NAMES = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "truediv",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "@": "matmul",
    "&": "and",
    "|": "or",
    "^": "xor",
    "<<": "lshift",
    ">>": "rshift",
}
_COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_MIRRORED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_SIGNS = {"-": "neg", "+": "pos", "~": "invert"}

Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {
    symbol: getattr(operator, f"__{name}__") for symbol, name in (_NAMES | _COMPARISONS).items()
}
SIGNS: dict[str, Operator] = {s: getattr(operator, f"__{name}__") for s, name in _SIGNS.items()}

_SIMPLE = {Tensor, Number, int, float, bool, complex}


def is_simple(x: Any) -> bool:
    """Whether Python's own operator does what a capture does, where both operands are such."""
    return type(x) in _SIMPLE


def operate(session: Access, symbol: str, x: Any, y: Any) -> Any:
    """`x symbol y`."""
    if symbol == "%" and isinstance(x, (str, bytes)):
        session.spelled(y)
    for operand in (x, y):
        look_through(session, operand, objects=symbol in _COMPARISONS)
    sequences = symbol in _COMPARISONS and type(x) in (tuple, list) and type(x) is type(y)
    if sequences and has_captured(session, [x, y]):
        from kuai.compiler.capture.ordering import compare

        return compare(session, symbol, x, y)
    if symbol in _COMPARISONS:
        name = _COMPARISONS[symbol]
        methods = [f"__{name}__", f"__{_MIRRORED[name]}__"]
        if symbol == "!=" and any(_is_only_equal(session, z) for z in (x, y)):
            return session.negated(operate(session, "==", x, y))
    else:
        methods = [f"__{_NAMES[symbol]}__", f"__r{_NAMES[symbol]}__"]
    sides = list(zip(methods, (x, y), (y, x), strict=True))
    if all(session.method_of(owner, name) is None for name, owner, _ in sides):
        return OPERATORS[symbol](x, y)
    if type(y) is not type(x) and issubclass(type(y), type(x)):
        sides.reverse()
    for name, owner, other in sides:
        method = session.method_of(owner, name)
        if method is None:
            plain = getattr(type(owner), name, None)
            result = NotImplemented if plain is None else plain(owner, other)
        else:
            result = method(other)
        if result is not NotImplemented:
            return result
    return OPERATORS[symbol](x, y)  # which says that nobody knows how


def _is_only_equal(session: Access, x: Any) -> bool:
    """Whether the user's class says what equal is, and `!=` is the opposite of that."""
    inherited: Any = getattr(type(x), "__ne__", None)
    plain: Any = object.__ne__
    return inherited is plain and session.method_of(x, "__eq__") is not None


def sign(session: Access, symbol: str, x: Any) -> Any:
    """`-x`, `+x` or `~x`."""
    method = session.method_of(x, f"__{_SIGNS[symbol]}__")
    return SIGNS[symbol](x) if method is None else method()
