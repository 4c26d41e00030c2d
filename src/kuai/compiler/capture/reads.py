"""What a capture read from Python and baked into its program, as records that can be checked.

Each record is plain data: where something was found, and what it was. A value that a later call
finds changed makes the program stale; a float that was found changed can be made an input.
"""

from __future__ import annotations

import functools
from array import array
from collections import deque
from collections.abc import Callable, Collection, Container
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

import numpy as np

from kuai import dtypes
from kuai.compiler.capture.sameness import COMPARED, AnyNumber, Key, same, sign_of
from kuai.core.base import TensorBase
from kuai.core.tape import mode
from kuai.nn.hooks import _global_call_hooks
from kuai.nn.module import Module

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()
Fetch = Callable[[], Any]


class Read:
    """One thing that was read.

    Attributes:
        kind: which kind of place it was read from.
        name: what to call it in a report.
        key: the same for two reads of one place.
        signed: of a hyperparameter, whether code asks for its sign; `None` for anything else.
    """

    kind = ""
    name: str
    key: Key
    signed: bool | None = None

    def check(self) -> bool:
        """Whether it is still what it was."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.kind} {self.name}"


class FromItem(Read):
    """An item of a dict: a global variable, an attribute in an object's `__dict__`.

    Attributes:
        container, index: where; `value`: what was there, `MISSING` for nothing.
    """

    kind = "item"

    def __init__(self, container: Any, index: Any, value: Any, name: str) -> None:
        self.container, self.index, self.value, self.name = container, index, value, name
        self.key = (self.kind, id(container), index)

    def fetch(self) -> Any:
        """What is there now."""
        if isinstance(self.container, dict):
            return self.container.get(self.index, MISSING)
        return part_of(self.container, self.index)

    def check(self) -> bool:
        return same(self.value, self.fetch())


def part_of(container: Any, place: int) -> Any:
    """An item of a list or a tuple; `MISSING` where there is none."""
    known = isinstance(container, (list, tuple)) and place < len(container)
    return container[place] if known else MISSING


class Part:
    """An item of a tuple that a read gives: how it is read again."""

    def __init__(self, fetch: Fetch, place: int) -> None:
        self.whole, self.place = fetch, place

    def fetch(self) -> Any:
        """What is there now."""
        return part_of(self.whole(), self.place)


class FromCell(Read):
    """A variable of an enclosing function, in its cell."""

    kind = "cell"

    def __init__(self, cell: CellType, value: Any, name: str) -> None:
        self.cell, self.value, self.name = cell, value, name
        self.key = (self.kind, id(cell))

    def fetch(self) -> Any:
        """What is there now."""
        try:
            return self.cell.cell_contents
        except ValueError:
            return MISSING

    def check(self) -> bool:
        return same(self.value, self.fetch())


class FromAttribute(Read):
    """An attribute of an object or a class."""

    kind = "attribute"

    def __init__(self, owner: Any, attribute: str, value: Any) -> None:
        self.owner, self.attribute, self.value = owner, attribute, value
        self.name = f"{getattr(owner, '__name__', type(owner).__name__)}.{attribute}"
        self.key = (self.kind, id(owner), attribute)

    def fetch(self) -> Any:
        """What is there now."""
        return getattr(self.owner, self.attribute, MISSING)

    def check(self) -> bool:
        return same(self.value, self.fetch())


class Walked(Read):
    """A list, tuple, set or dict that was walked through: its length and its items."""

    kind = "walked"

    def __init__(self, container: Any) -> None:
        self.container = container
        self.items = items_of(container)
        self.name = f"{type(container).__name__} of {len(container)}"
        self.key = (self.kind, id(container))

    def check(self) -> bool:
        now = items_of(self.container)
        return len(now) == len(self.items) and all(map(same, self.items, now))


def items_of(container: Any) -> tuple[Any, ...]:
    """All that is in a container: of a mapping its keys, then its values."""
    if isinstance(container, (dict, MappingProxyType)):
        return (*container.keys(), *container.values())
    return tuple(container)


BUFFERS = (np.ndarray, bytearray, array)


class OfBuffer(Read):
    """The numbers in an array that is no tensor."""

    kind = "buffer"

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
        self.name = type(buffer).__name__
        self.key = (self.kind, id(buffer))
        self.content = _content_of(buffer)

    def check(self) -> bool:
        return _content_of(self.buffer) == self.content


def _content_of(buffer: Any) -> Any:
    if not isinstance(buffer, np.ndarray):
        return bytes(buffer)
    form = (buffer.shape, buffer.dtype.str)
    return form, buffer.tolist() if buffer.dtype.hasobject else buffer.tobytes()


class OfClass(Read):
    """The class of an object."""

    kind = "class"

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.value = type(owner)
        self.name = self.value.__name__
        self.key = (self.kind, id(owner))

    def check(self) -> bool:
        return type(self.owner) is self.value


class OfBlock(Read):
    """A block: its attributes and parts, its mode and its hooks.

    To be checked only when `kuai.nn.registry.epoch` has moved: every change moves it.
    """

    kind = "block"

    def __init__(self, block: Module, floats: set[str]) -> None:
        self.block = block
        self.name = type(block).__name__
        self.key = (self.kind, id(block))
        self.floats = floats  # attributes that are inputs of the program
        self.held: set[str] = set()  # those that calls may change
        self.state = self._state()

    def _state(self) -> tuple[Any, ...]:
        fields = self.block.__dict__
        own = {k: v for k, v in fields.items() if k not in _UNWATCHED and k not in self.held}
        for name in self.floats:
            own[name] = type(own.get(name))
        members = [tuple(fields.get(k, {}).items()) for k in _MEMBERS]
        hooks = [tuple(fields.get(k, {}).items()) for k in _HOOKS]
        everywhere = [tuple(h.items()) for h in _global_call_hooks]
        kind = type(self.block)
        return (kind, tuple(own), tuple(own.values()), *members, *hooks, *everywhere)

    def check(self) -> bool:
        return same(self.state, self._state())

    def settle(self, inputs: Container[Key], held: Collection[Key] = ()) -> None:
        """Watch the floats that have not become inputs after all: kuai's own code reads plainly.

        Args:
            inputs: the floats that have.
            held: the attributes that calls may change, and that are not to be watched.
        """
        fields = id(self.block.__dict__)
        kept = {name for name in self.floats if (FromItem.kind, fields, name) in inputs}
        self.held = {key[2] for key in held if key[1] == fields}
        if kept != self.floats or self.held:
            self.floats = kept
            self.state = self._state()


_MEMBERS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_UNWATCHED = {"_direct", "_plain_containers", *_MEMBERS, *_HOOKS}


class OfFunction(Read):
    """A function's code and the defaults of its parameters."""

    kind = "function"

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.name = function.__qualname__
        self.key = (self.kind, id(function))
        self.code = function.__code__
        self.defaults = function.__defaults__
        self.kwdefaults = dict(function.__kwdefaults__ or {})

    def check(self) -> bool:
        f = self.function
        now = dict(f.__kwdefaults__ or {})
        return (
            f.__code__ is self.code
            and same(self.defaults or (), f.__defaults__ or ())
            and now.keys() == self.kwdefaults.keys()
            and all(same(v, now[k]) for k, v in self.kwdefaults.items())
        )


class OfTensor(Read):
    """A tensor from outside: how it lies in memory, and what the tape wants of it.

    Attributes:
        grad: whether its `grad` was None; `MISSING` where that did not matter.
    """

    kind = "tensor"

    def __init__(self, tensor: Any, payload: Any, requires_grad: bool, leaf: bool) -> None:
        self.tensor = tensor
        self.name = f"{tensor.dtype.name}{list(payload.shape)}"
        self.key = (self.kind, id(tensor))
        self.shape, self.dtype, self.strides = payload.shape, payload.dtype, payload.strides
        self.requires_grad = requires_grad
        self.leaf = leaf
        self.grad: Any = MISSING

    def check(self) -> bool:
        x, payload = self.tensor, self.tensor._payload
        return bool(
            payload.shape == self.shape
            and payload.dtype is self.dtype
            and payload.strides == self.strides
            and x._requires_grad == self.requires_grad
            and (x._node is None) == self.leaf
            and (self.grad is MISSING or (x._grad is None) == self.grad)
        )


class OfModes(Read):
    """The default data type, and whether operations are recorded."""

    kind = "modes"
    name = "modes"

    def __init__(self) -> None:
        self.key = (self.kind,)
        self.dtype = dtypes.get_default_dtype()
        self.grad, self.inference = mode.grad, mode.inference

    def check(self) -> bool:
        return (
            dtypes.get_default_dtype() is self.dtype
            and mode.grad == self.grad
            and mode.inference == self.inference
        )


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
