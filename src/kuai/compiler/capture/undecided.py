"""Variables of which values decide what they are: missing, `None` or a tensor, one of some objects.

What is computed with such a variable becomes a branch: on each side it is one thing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from kuai import dtypes, ops
from kuai.compiler.capture.numbers import Number, as_tensor, number
from kuai.core import primitive as primitives
from kuai.core.base import wrap
from kuai.core.primitive import Primitive
from kuai.nn.module import Module

_KNOWN = (
    str,
    bytes,
    type,
    dtypes.dtype,
    Enum,
    FunctionType,
    BuiltinFunctionType,
    Primitive,
    Module,
)


class Undefined:
    """What a variable holds that has not been assigned yet."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = Undefined()


class Undecided:
    """Something that is one of several things, as a captured value says."""

    def sides(self) -> tuple[Any, Any, Any]:
        """A captured bool, what it is where that holds, and what it is else."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lifted(self, lambda x: getattr(x, name))

    def __getitem__(self, index: Any) -> Any:
        return lifted(self, lambda x: x[index])

    def __eq__(self, other: object) -> Any:
        return lifted(self, lambda x: x == other)

    def __ne__(self, other: object) -> Any:
        return lifted(self, lambda x: x != other)

    __hash__ = object.__hash__


class Maybe(Undecided):
    """A variable that has a value only if `defined`, a captured bool, holds.

    Attributes:
        otherwise: what it is else: `UNDEFINED`, or an object that is known.
    """

    def __init__(self, value: Any, defined: Any, otherwise: Any = UNDEFINED) -> None:
        self.value = value
        self.defined = defined
        self.otherwise = otherwise

    def sides(self) -> tuple[Any, Any, Any]:
        return self.defined, self.value, self.otherwise


class Choice(Undecided):
    """One of some objects that are known.

    Args:
        which: a captured int: the place of the one that it is.
        options: the objects.
    """

    def __init__(self, which: Any, options: Sequence[Any]) -> None:
        self.which = which
        self.options = tuple(options)

    def sides(self) -> tuple[Any, Any, Any]:
        first, *rest = self.options
        other = rest[0] if len(rest) == 1 else Choice(self.which - 1, rest)
        return self.which == 0, first, other

    def place(self, options: Sequence[Any]) -> Any:
        """The captured place of the object among other options."""
        table = [place_of(x, options) for x in self.options]
        if table == list(range(len(table))):
            return self.which
        places = ops.stack([as_tensor(i, dtypes.int64) for i in table])
        return number(places[wrap(self.which._payload)])


def place_of(x: Any, options: Sequence[Any]) -> Any:
    """The place of an object, or of a choice of some, among the options."""
    if isinstance(x, Choice):
        return x.place(options)
    return next(i for i, option in enumerate(options) if is_same(x, option))


def is_same(x: Any, other: Any) -> bool:
    """Whether two known objects are one to the program."""
    return x is other or (
        isinstance(x, (str, bytes, bool, int, float)) and type(x) is type(other) and x == other
    )


def is_known(x: Any) -> bool:
    """Whether an object can be one option of several: there are no tensors in it to be merged."""
    if isinstance(x, MethodType):
        x = x.__self__
    return isinstance(x, _KNOWN)


def is_open(x: Any) -> bool:
    """Whether something is undecided that may be used, and is not just missing."""
    return isinstance(x, Choice) or (isinstance(x, Maybe) and x.otherwise is not UNDEFINED)


def lifted(x: Any, function: Callable[[Any], Any]) -> Any:
    """`function(x)`, as a branch for each thing that `x` may be."""
    if not is_open(x):
        return function(x)
    from kuai.compiler.capture.branches import branch

    recorder: Any = primitives.intercept
    decides, one, other = x.sides()
    known = recorder.known(decides)
    if known is not None:
        return lifted(one if known else other, function)
    return branch(
        recorder,
        wrap(decides._payload) if isinstance(decides, Number) else decides,
        lambda: lifted(one, function),
        lambda: lifted(other, function),
        tuple,
        lambda _: None,
        (),
    )


def settled(x: Any) -> Any:
    """What something undecided is, where the branches around tell."""
    recorder: Any = primitives.intercept
    while isinstance(x, Maybe):
        known = recorder.known(x.defined)
        if known is None:
            break
        x = x.value if known else x.otherwise
    return x


def is_none(x: Maybe) -> Any:
    """Whether a variable that may have no value is `None`, as a captured bool."""
    if x.otherwise is not None or isinstance(x.value, Undecided):
        return lifted(x, lambda value: value is None)
    recorder: Any = primitives.intercept
    return number(recorder.negated(wrap(x.defined._payload)))


def _arithmetic(name: str) -> None:
    function = getattr(operator, f"__{name}__")

    def forward(self: Undecided, other: Any) -> Any:
        return lifted(self, lambda x: lifted(other, lambda y: function(x, y)))

    def reflected(self: Undecided, other: Any) -> Any:
        return lifted(self, lambda x: function(other, x))

    setattr(Undecided, f"__{name}__", forward)
    setattr(Undecided, f"__r{name}__", reflected)


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    _arithmetic(_name.removesuffix("_"))
for _name in ("lt", "le", "gt", "ge"):
    _function: Any = getattr(operator, _name)
    setattr(
        Undecided,
        f"__{_name}__",
        lambda self, other, f=_function: lifted(self, lambda x: f(x, other)),
    )
for _name in ("neg", "pos", "abs", "invert"):
    _function = getattr(operator, f"__{_name}__")
    setattr(Undecided, f"__{_name}__", lambda self, f=_function: lifted(self, f))

__all__ = ["UNDEFINED", "Choice", "Maybe", "Undecided", "is_known", "is_open", "is_same", "lifted"]
