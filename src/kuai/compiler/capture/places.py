"""Regions while they are captured, and the places whose contents change in them.

A place is anything that a branch or a loop may change beside its variables: a tensor's memory, a
tensor's `grad`, an attribute of an object, the items of a list or a dict. While a region is
captured, each change of a place that was there before is noted, so that it can be undone, and so
that the branch merges it, or the loop carries it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture.arrivals import as_grad, as_variable
from kuai.compiler.capture.undecided import UNDEFINED
from kuai.compiler.graph import Region, Value
from kuai.core.base import TensorBase, wrap
from kuai.core.tape import mode

if TYPE_CHECKING:
    from kuai.compiler.capture.recorder import Recorder


class Differing:
    """What a variable holds that the sides of a branch leave as different things.

    Nothing is wrong unless somebody reads it: then `message` is the reason of a refusal, and
    `advice` what to do.
    """

    def __init__(self, message: str, advice: str) -> None:
        self.message = message
        self.advice = advice


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

    def within(self, value: Any) -> Any:
        """What of a value that it holds is something else than the place itself."""
        return value

    def check(self, recorder: Recorder, one: Any, other: Any) -> None:
        """Refuse what it may hold on the sides of a branch, or around a round, if it cannot."""


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

    def within(self, value: Any) -> Any:
        return ()

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
    """The `grad` of a leaf, which may be None."""

    def __init__(self, tensor: Any, before: Any) -> None:
        self.tensor = tensor
        self.key = ("grad", id(tensor))
        self.before = before
        self.name = "grad"

    def read(self) -> Any:
        return as_variable(self.tensor._grad)

    def write(self, value: Any) -> None:
        self.tensor._grad = as_grad(value)

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
            object.__delattr__(self.owner, self.attribute)
        else:
            object.__setattr__(self.owner, self.attribute, value)

    begin = write

    def restore(self) -> None:
        if self.read() is not self.before:
            self.write(self.before)


class Item(Place):
    """An item of a dict that is not walked meanwhile: of an optimizer's state."""

    def __init__(self, owner: dict[Any, Any], index: Any) -> None:
        self.owner = owner
        self.index = index
        self.key = ("item", id(owner), index)
        self.name = f"[{index!r}]"
        self.before = self.read()

    def read(self) -> Any:
        return self.owner.get(self.index, UNDEFINED)

    def write(self, value: Any) -> None:
        if value is UNDEFINED:
            del self.owner[self.index]
        else:
            self.owner[self.index] = value

    begin = write

    def restore(self) -> None:
        if self.read() is not self.before:
            self.write(self.before)


class Contents(Place):
    """All items of a list, a deque or a dict, how many there are included.

    Args:
        owner: the container.
        how: what changes it.
        line: the file and the line of that.
    """

    def __init__(self, owner: Any, how: str, line: tuple[str, int]) -> None:
        self.owner = owner
        self.how = how
        self.line = line
        self.key = ("contents", id(owner))
        self.name = f"a {type(owner).__name__}"
        self.before = self.read()

    def read(self) -> Any:
        return dict(self.owner) if isinstance(self.owner, dict) else list(self.owner)

    def within(self, value: Any) -> Any:
        return tuple(value.values() if isinstance(value, dict) else value)

    def write(self, value: Any) -> None:
        self.owner.clear()
        if isinstance(self.owner, dict):
            self.owner.update(value)
        else:
            self.owner.extend(value)

    begin = write

    def restore(self) -> None:
        self.write(self.before)

    def check(self, recorder: Recorder, one: Any, other: Any) -> None:
        if len(one) == len(other) and (isinstance(one, list) or list(one) == list(other)):
            return
        recorder.refuse(
            f"a change ({self.how}) of {self.name} in a loop or branch whose course depends on the "
            "values of tensors: how long it is would depend on them",
            "write into a tensor of fixed size: y[i] = value",
            self.line,
        )


class Cell(Place):
    """A variable of a function that an inner one assigns."""

    def __init__(self, cell: CellType, name: str) -> None:
        self.cell = cell
        self.key = ("cell", id(cell))
        self.name = f"`{name}`"
        self.before = self.read()

    def read(self) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:
            return UNDEFINED

    def write(self, value: Any) -> None:
        self.cell.cell_contents = value

    begin = write

    def restore(self) -> None:
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

    def forget(self, operations: int, retaken: int) -> set[Value]:
        """Keep just so many operations, and so many of the views that were taken anew.

        Returns:
            The values that are computed no more.
        """
        gone = {v for op in self.region.operations[operations:] for v in op.results}
        del self.region.operations[operations:]
        for view in self.retaken[retaken:]:
            view._view.generation = -1
        del self.retaken[retaken:]
        return gone

    def changes(self, container: Any) -> bool:
        """Whether items of a list or dict, or attributes of an object, changed in it."""
        return any(key[0] != "memory" and key[1] == id(container) for key in self.places)

    def restore(self) -> None:
        """Undo all changes, the last one first."""
        for place in reversed(list(self.places.values())):
            place.restore()


def is_tensor(x: object) -> bool:
    """Whether `x` is a tensor and not a captured Python number."""
    return isinstance(x, TensorBase) and not x._weak
