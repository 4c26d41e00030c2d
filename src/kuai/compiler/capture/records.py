"""What was read from Python while capturing, and what it was: records that can be checked.

Each is plain data: where something was found, and its value. A value that a later call finds
changed makes the program stale; a number that was found changed can be made an input.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Container
from types import (
    CellType,
    FunctionType,
    MappingProxyType,
)
from typing import Any

import numpy as np

from kuai import dtypes
from kuai.compiler.capture.sameness import Key, same
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
