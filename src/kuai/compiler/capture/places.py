"""Regions while they are captured, and the places whose contents change in them.

A place is anything that a branch or a loop may change beside its variables: a tensor's memory, a
tensor's `grad`, an attribute of an object, an item of a list or a dict. While a region is
captured, each change of a place that was there before is noted, so that it can be undone, and so
that the branch merges it, or the loop carries it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai.compiler.capture.arrivals import maybe, plain
from kuai.compiler.capture.numbers import number
from kuai.compiler.graph import Region, Value
from kuai.core.base import TensorBase, wrap
from kuai.core.tape import mode


class Undefined:
    """What a variable holds that has not been assigned yet."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = Undefined()


class Maybe:
    """A variable that has a value only if `defined`, a captured bool, holds."""

    def __init__(self, value: Any, defined: Any) -> None:
        self.value = value
        self.defined = defined


def without_undefined(value: Any) -> Any:
    """What Python has for something that may be without a value: None, or a tensor that may be."""
    if value is UNDEFINED:
        return None
    if not isinstance(value, Maybe):
        return value
    if isinstance(value.defined, TensorBase):
        return maybe(value.value, wrap(value.defined._payload))
    return value.value if value.defined else None


def with_undefined(value: Any) -> Any:
    """The reverse of `without_undefined`."""
    if value is None:
        return UNDEFINED
    if isinstance(value, TensorBase) and value._arrives is not None:
        return Maybe(plain(value), number(wrap(value._arrives._payload)))
    return value


class Differing:
    """What a variable holds that the sides of a branch leave as different things.

    Nothing is wrong unless somebody reads it.
    """

    def __init__(self, message: str) -> None:
        self.message = message


class Place:
    """Something whose content may change.

    Attributes:
        key: what makes it the same place as another.
        name: what it is called in messages.
    """

    key: tuple[Any, ...]
    name: str

    def read(self) -> Any:
        """What it holds now."""
        raise NotImplementedError

    def write(self, value: Any) -> None:
        """Let it hold something else."""
        raise NotImplementedError

    def restore(self) -> None:
        """Put back what it held when it was noted."""
        raise NotImplementedError


class Memory(Place):
    """The memory of a tensor that is no view."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        self.key = ("memory", id(tensor))
        self.before = (tensor._payload, tensor._node, tensor._requires_grad)
        # A leaf stays one while it changes without being recorded, as parameters do.
        self.is_leaf = tensor._requires_grad and tensor._node is None
        self.name = ""

    def read(self) -> Any:
        x = self.tensor
        now = wrap(x._payload)
        if mode.grad and not (x._requires_grad and x._node is None and self.is_leaf):
            now._requires_grad = x._requires_grad
            now._node = x if x._node is None and x._requires_grad else x._node
        return now

    def write(self, value: Any) -> None:
        x = self.tensor
        x._payload = value._payload
        if not self.is_leaf and mode.grad:
            x._requires_grad, x._node = value._requires_grad, value._node
        x._counter[1] += 1

    def begin(self, value: Any) -> None:
        """Let the tensor itself stand for a region's parameter."""
        x = self.tensor
        x._payload = value._payload
        if not self.is_leaf and mode.grad:
            x._requires_grad, x._node = value._requires_grad, value._node
        x._counter[1] += 1

    def restore(self) -> None:
        x = self.tensor
        x._payload, x._node, x._requires_grad = self.before
        x._counter[1] += 1


class Gradient(Place):
    """The `grad` of a leaf: a place that may be without a value."""

    def __init__(self, tensor: Any, before: Any) -> None:
        self.tensor = tensor
        self.key = ("grad", id(tensor))
        self.before = before
        self.name = "grad"

    def read(self) -> Any:
        return with_undefined(self.tensor._grad)

    def write(self, value: Any) -> None:
        self.tensor._grad = without_undefined(value)

    begin = write

    def restore(self) -> None:
        self.tensor._grad = self.before


class Attribute(Place):
    """An attribute of an object."""

    def __init__(self, owner: Any, attribute: str) -> None:
        self.owner = owner
        self.attribute = attribute
        self.key = ("attribute", id(owner), attribute)
        self.name = f"{type(owner).__name__}.{attribute}"
        self.before = self.read()

    def read(self) -> Any:
        return getattr(self.owner, self.attribute, UNDEFINED)

    def write(self, value: Any) -> None:
        if value is UNDEFINED:
            delattr(self.owner, self.attribute)
        else:
            setattr(self.owner, self.attribute, value)

    begin = write

    def restore(self) -> None:
        if self.read() is not self.before:
            self.write(self.before)


class Item(Place):
    """An item of a list or a dict."""

    def __init__(self, owner: Any, index: Any) -> None:
        self.owner = owner
        self.index = index
        self.key = ("item", id(owner), index)
        self.name = f"[{index!r}]"
        self.before = self.read()

    def read(self) -> Any:
        try:
            return self.owner[self.index]
        except KeyError:
            return UNDEFINED

    def write(self, value: Any) -> None:
        if value is UNDEFINED:
            del self.owner[self.index]
        else:
            self.owner[self.index] = value

    begin = write

    def restore(self) -> None:
        if self.read() is not self.before:
            self.write(self.before)


class Variable(Place):
    """One of the variables that a block assigns."""

    def __init__(self, name: str, before: Any) -> None:
        self.name = name
        self.key = ("variable", name)
        self.before = before


class Scope:
    """A region that is being captured.

    Attributes:
        places: what changed in it that was there before.
        uses: for each value from outside that it computes with, in a way that is recorded, where
            that value's gradient goes.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        self.places: dict[tuple[Any, ...], Place] = {}
        self.uses: dict[Value, Any] = {}
        self.retaken: list[Any] = []  # views that were taken anew in it

    def note(self, key: tuple[Any, ...], make: Callable[[], Place]) -> Place:
        """Remember a place before it changes."""
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = make()
        return place

    def restore(self) -> None:
        """Undo all changes, the last one first."""
        for place in reversed(list(self.places.values())):
            place.restore()


def is_tensor(x: object) -> bool:
    """Whether `x` is a tensor and not a captured Python number."""
    return isinstance(x, TensorBase) and not x._weak
