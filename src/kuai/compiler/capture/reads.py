"""What a capture reads from outside, noted as records (`records.py`)."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MappingProxyType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

from kuai import dtypes
from kuai.compiler.capture.records import (
    BUFFERS,
    MISSING,
    Fetch,
    FromAttribute,
    FromCell,
    FromItem,
    OfBlock,
    OfBuffer,
    OfClass,
    OfFunction,
    Part,
    Read,
    Walked,
    items_of,
)
from kuai.compiler.capture.sameness import COMPARED, AnyNumber, Key, sign_of
from kuai.core.base import TensorBase
from kuai.nn.module import Module


class Reads:
    """The reads of one capture.

    Args:
        floats: the keys of reads whose number is to be an input of the program.
        number: makes the captured number for one; it gets a function that fetches it.
    """

    def __init__(self, floats: set[Key], number: Callable[[Key, Fetch, AnyNumber], Any]) -> None:
        self.records: dict[Key, Read] = {}
        self.floats = floats
        self.number = number
        self._outside: dict[int, Any] = {}
        self._given: dict[int, Any] = {}

    def add(self, read: Read) -> Read:
        """Note a read, once."""
        return self.records.setdefault(read.key, read)

    # -- what came from outside ---------------------------------------------------------------

    def outside(self, x: Any) -> Any:
        """Note that a value came from outside; returns it."""
        if type(x) is tuple:
            for item in x:
                self.outside(item)
        elif isinstance(x, _BOUND):
            self.outside(x.__self__)
        elif type(x) is functools.partial:
            self._outside[id(x)] = x
            self.outside((x.func, *x.args, *x.keywords.values()))
        elif not isinstance(x, _PLAIN):
            self._outside[id(x)] = x
        return x

    def is_outside(self, x: object) -> bool:
        """Whether a value came from outside."""
        return id(x) in self._outside

    def is_another(self, x: Any) -> bool:
        """Whether a container lives outside, and is none of the arguments'."""
        return self.is_outside(x) and id(x) not in self._given

    def given(self, x: Any) -> None:
        """Note a container among the arguments: it is the caller's, and checked with them."""
        self._outside[id(x)] = x
        self._given[id(x)] = x

    # -- reading ------------------------------------------------------------------------------

    def _value(self, read: Any) -> Any:
        value = read.value
        if isinstance(value, TensorBase) and value._weak:
            return value  # an input already
        seen, read.value = self._with_inputs(read.key, read.fetch, value, read.signed)
        if seen is value or type(value) is tuple or read.value.sign:
            self.add(read)
        self.outside(value)
        return seen

    def _with_inputs(
        self, key: Key, fetch: Fetch, value: Any, signed: bool | None, chosen: bool = False
    ) -> tuple[Any, Any]:
        """What the code gets for a value, and what the record of it has: numbers may be inputs."""
        if type(value) is tuple:
            # Numbers of one tuple seldom change alone.
            chosen = chosen or any(k != key and k[: len(key)] == key for k in self.floats)
            found = [
                self._with_inputs((*key, i), Part(fetch, i).fetch, item, signed, chosen)
                for i, item in enumerate(value if chosen else ())
            ]
            if not chosen:
                return value, value
            return tuple([seen for seen, _ in found]), tuple([known for _, known in found])
        kinds = (float,) if signed is None else (float, int)
        if type(value) not in kinds or not (chosen or key in self.floats):
            return value, value
        sign = sign_of(value) if signed else 0
        if signed and not sign:
            return value, value
        any_number = AnyNumber(type(value), sign)
        return self.number(key, fetch, any_number), any_number

    def item(self, container: Any, index: Any, value: Any, name: str) -> Any:
        """An item of a dict from outside."""
        if id(container) in self._given:
            return value
        return self._value(FromItem(container, index, value, name))

    def option(self, group: dict[str, Any], option: str, value: Any, name: str) -> Any:
        """A hyperparameter of an optimizer, with all that is in it.

        Steps ask whether one is zero, and then do something else: as an input, it keeps its sign.
        """
        return self._option(group, option, value, name, option != "lr")

    def _option(self, container: Any, index: Any, value: Any, name: str, signed: bool) -> Any:
        read = FromItem(container, index, value, name)
        read.signed = signed
        if not isinstance(value, (list, dict)):
            return self._value(read)
        self.add(read)
        if isinstance(value, list) and not any(k[1] == id(value) for k in self.floats):
            self.walked(self.outside(value))
            self.records[(Walked.kind, id(value))].signed = signed
            return value
        places = list(value) if isinstance(value, dict) else range(len(value))
        seen = [self._option(value, i, value[i], f"{name}[{i!r}]", signed) for i in places]
        if isinstance(value, dict):
            return dict(zip(places, seen, strict=True))
        self.add(FromItem(value, len(value), MISSING, name))  # that it has not grown
        return seen

    def missing(self, container: dict[str, Any], index: str) -> None:
        """That a dict lacks an item."""
        self.add(FromItem(container, index, MISSING, index))

    def cell(self, cell: CellType, value: Any, name: str) -> Any:
        """A variable of an enclosing function."""
        return self._value(FromCell(cell, value, name))

    def attribute(self, owner: Any, name: str, value: Any) -> Any:
        """An attribute of an object or class."""
        return self._value(FromAttribute(owner, name, value))

    def block(self, block: Module) -> None:
        """A block, before anything is read from it or it is called."""
        key = (OfBlock.kind, id(block))
        if key not in self.records:
            fields = id(block.__dict__)
            floats = {k[2] for k in self.floats if k[0] == FromItem.kind and k[1] == fields}
            self.records[key] = OfBlock(block, floats)

    def block_item(self, block: Module, name: str, value: Any) -> Any:
        """An attribute that a block has itself."""
        self.block(block)
        if type(value) is float:
            key = (FromItem.kind, id(block.__dict__), name)
            if key in self.floats:
                fields = block.__dict__
                return self.number(key, lambda: fields[name], AnyNumber(float))
        return self.outside(value)

    def function(self, function: FunctionType) -> None:
        """A function that is called."""
        self.add(OfFunction(function))
        for default in (function.__defaults__ or (), *(function.__kwdefaults__ or {}).values()):
            self.outside(default)

    def buffer(self, x: Any) -> None:
        """An array that is no tensor, and was not made by the function itself."""
        if self.is_outside(x):
            self.add(OfBuffer(x))

    def kind_of(self, owner: Any) -> None:
        """The class of an object, in which something is looked up."""
        if self.is_outside(owner):
            self.add(OfClass(owner))

    def walked(self, x: Any) -> Any:
        """A container, before its items are looked at; returns it."""
        if isinstance(x, Module):
            self.block(x)
        elif isinstance(x, BUFFERS):
            self.buffer(x)
        elif isinstance(x, _WALKED) and self.is_outside(x) and id(x) not in self._given:
            self.add(Walked(x))
            for item in items_of(x):
                self.outside(item)
        return x


_BOUND = (MethodType, BuiltinFunctionType, MethodWrapperType)
_WALKED = (list, dict, set, frozenset, deque, MappingProxyType)
_PLAIN = (
    *COMPARED,
    type(None),
    TensorBase,
    Module,
    ModuleType,
    type,
    FunctionType,
    BuiltinFunctionType,
    dtypes.dtype,
)
