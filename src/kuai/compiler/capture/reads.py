"""What a capture read from Python and baked into its program, as records that can be checked.

Each record is plain data: where something was found, and what it was. A value that a later call
finds changed makes the program stale; a float that was found changed can be made an input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from kuai import dtypes
from kuai.core.base import TensorBase
from kuai.core.tape import mode
from kuai.nn.hooks import _global_call_hooks
from kuai.nn.module import Module

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()
_COMPARED = (bool, int, float, str, bytes, complex)
Key = tuple[Any, ...]


def same(value: Any, now: Any) -> bool:
    """Whether a value read again is what it was: numbers and texts by value, others by identity."""
    if value is now:
        return True
    kind = type(value)
    if kind is not type(now):
        return False
    if kind in _COMPARED:
        return bool(value == now) or (value != value and now != now)
    if kind is tuple and len(value) == len(now):
        return all(map(same, value, now))
    if kind is MethodType:
        return value.__self__ is now.__self__ and value.__func__ is now.__func__
    return False


class Read:
    """One thing that was read.

    Attributes:
        kind: which kind of place it was read from.
        name: what to call it in a report.
        key: the same for two reads of one place.
    """

    kind = ""
    name: str
    key: Key

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
        return self.container.get(self.index, MISSING)

    def check(self) -> bool:
        return same(self.value, self.fetch())


class Element:
    """A float in a tuple that was read, such as the first of an optimizer's `betas`."""

    def __init__(self, read: Any, place: int) -> None:
        self.read, self.place = read, place
        self.size = len(read.value)
        self.key: Key = (*read.key, place)

    def fetch(self) -> Any:
        """What is there now; `MISSING` where the tuple is not one of as many floats."""
        now = self.read.fetch()
        return now[self.place] if are_floats(now) and len(now) == self.size else MISSING


def are_floats(x: Any) -> bool:
    """Whether a value is a tuple of floats."""
    return type(x) is tuple and bool(x) and all(type(item) is float for item in x)


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
        self.items = _items_of(container)
        self.name = f"{type(container).__name__} of {len(container)}"
        self.key = (self.kind, id(container))

    def check(self) -> bool:
        now = _items_of(self.container)
        return len(now) == len(self.items) and all(map(same, self.items, now))


def _items_of(container: Any) -> tuple[Any, ...]:
    if isinstance(container, dict):
        return (*container.keys(), *container.values())
    return tuple(container)


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
        return (tuple(own), tuple(own.values()), *members, *hooks, *everywhere)

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
        floats: the keys of reads whose float is to be an input of the program.
        number: makes the captured number for one; it gets a function that fetches the float.
    """

    def __init__(
        self, floats: set[Key], number: Callable[[Key, Callable[[], float], float], Any]
    ) -> None:
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
        elif not isinstance(x, _PLAIN):
            self._outside[id(x)] = x
        return x

    def is_outside(self, x: object) -> bool:
        """Whether a value came from outside."""
        return id(x) in self._outside

    def given(self, x: Any) -> None:
        """Note a container among the arguments: it is the caller's, and checked with them."""
        self._outside[id(x)] = x
        self._given[id(x)] = x

    # -- reading ------------------------------------------------------------------------------

    def _value(self, read: Any) -> Any:
        value = read.value
        if read.key in self.floats:
            if type(value) is float:
                return self.number(read.key, read.fetch, value)
            if are_floats(value):
                parts = [Element(read, i) for i in range(len(value))]
                pairs = zip(parts, value, strict=True)
                return tuple([self.number(part.key, part.fetch, x) for part, x in pairs])
        known = self.records.get(read.key)
        if known is None:
            self.records[read.key] = read
        return self.outside(value)

    def item(self, container: Any, index: Any, value: Any, name: str) -> Any:
        """An item of a dict from outside."""
        if id(container) in self._given:
            return value
        return self._value(FromItem(container, index, value, name))

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
                return self.number(key, lambda: fields[name], value)
        return self.outside(value)

    def function(self, function: FunctionType) -> None:
        """A function that is called."""
        self.add(OfFunction(function))

    def walked(self, x: Any) -> Any:
        """A container, before its items are looked at; returns it."""
        walks = isinstance(x, (list, dict, set, frozenset, deque))
        if walks and self.is_outside(x) and id(x) not in self._given:
            self.add(Walked(x))
            for item in _items_of(x):
                self.outside(item)
        return x


_PLAIN = (
    *_COMPARED,
    type(None),
    TensorBase,
    Module,
    ModuleType,
    type,
    FunctionType,
    BuiltinFunctionType,
    dtypes.dtype,
)
