"""What a program takes, makes and changes, in the terms of the call that it is bound to."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import CellType
from typing import Any, NamedTuple

import numpy as np

from kuai.compiler.capture.sameness import sign_of
from kuai.compiler.struct import Struct, field
from kuai.core.base import TensorBase
from kuai.core.tape import hooks_of


class GradOf:
    """The `grad` of a tensor, whichever it is at the call."""

    __slots__ = ("owner",)

    def __init__(self, owner: int | TensorBase) -> None:
        self.owner = owner


Source = int | TensorBase | GradOf
"""A tensor: the number of a leaf of the arguments, the tensor itself, from outside, or a grad."""


def tensor_of(source: Source, leaves: Sequence[Any]) -> Any:
    """The tensor that a source names, in a call with these leaves."""
    if isinstance(source, int):
        return leaves[source]
    return tensor_of(source.owner, leaves)._grad if isinstance(source, GradOf) else source


class Form(NamedTuple):
    """Shape and type of an array, and its strides in bytes; without them it is contiguous."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    def steps(self) -> tuple[int, ...]:
        """The strides."""
        if self.strides is not None:
            return self.strides
        strides, step = [], self.dtype.itemsize
        for n in reversed(self.shape):
            strides.append(step)
            step *= n
        return tuple(reversed(strides))

    def extent(self) -> tuple[int, int]:
        """From where to where its bytes lie, from the first element on."""
        if 0 in self.shape:
            return 0, 0
        ends = [(n - 1) * s for n, s in zip(self.shape, self.steps(), strict=True)]
        low = sum(min(0, e) for e in ends)
        return low, sum(max(0, e) for e in ends) + self.dtype.itemsize

    def fits(self, array: Any) -> bool:
        """Whether an array has this form."""
        if type(array) is not np.ndarray or array.dtype is not self.dtype:
            return False
        if array.shape != self.shape or not array.flags.aligned:
            return False
        return all(
            n < 2 or have == want
            for n, have, want in zip(self.shape, array.strides, self.steps(), strict=True)
        )


class TensorUse(Struct):
    """A tensor that the program reads or changes.

    Attributes:
        source: where it comes from.
        form: what its array must be; `None` for memory whose form the program does not know.
        requires_grad: whether gradients must flow to it; `None` where that does not matter.
        buffer: its place in the table of buffers; -1 if only the checks matter.
        written: whether the program changes it in place.
        payload: for tensors from outside, the array that it holds; native code compares no more
            than that.
        hooks: the hooks that it must have; `None` where they do not matter.
        lacks_grad: whether it must have no `grad`.
        is_leaf: whether nothing may have computed it while recording.
    """

    source: Source
    form: Form | None
    requires_grad: bool | None
    buffer: int
    written: bool = False
    payload: np.ndarray | None = None
    hooks: Any = None
    lacks_grad: bool = False
    is_leaf: bool = False

    def fits(self, leaves: Sequence[Any]) -> bool:
        """Whether the tensor is such a one now."""
        x = tensor_of(self.source, leaves)
        if not isinstance(x, TensorBase):
            return False
        if self.requires_grad is not None and x._requires_grad is not self.requires_grad:
            return False
        if self.hooks is not None and hooks_of(x) != self.hooks:
            return False
        if (self.lacks_grad and x._grad is not None) or (self.is_leaf and x._node is not None):
            return False
        view = x._view
        if view is not None and view.generation != x._counter[1]:
            return False
        if self.form is None or (self.payload is not None and x._payload is self.payload):
            return True
        return self.form.fits(x._payload)


_INTS = 1 << 63


class NumberUse(Struct):
    """A Python number that the program reads at each call.

    Attributes:
        kind: `float`, `int` or `bool`.
        buffer: its place in the table of buffers; -1 if only the checks matter.
        leaf: its number among the leaves of the arguments; -1 for one from outside.
        container, key: where it is found, for one from outside that a dictionary holds.
        cell: where it is found, for a variable of an enclosing function.
        read: how it is found, for any from outside.
        item, size: where in a tuple of which size that stands there; a size of 0 for none.
        sign: 1 or -1 where it must have that sign, else 0.
    """

    kind: type
    buffer: int
    leaf: int = -1
    container: dict[Any, Any] | None = None
    key: Any = None
    read: Callable[[], Any] | None = None
    cell: CellType | None = None
    item: int = 0
    size: int = 0
    sign: int = 0

    def value(self, leaves: Sequence[Any]) -> Any:
        """The number now."""
        if self.leaf >= 0:
            return leaves[self.leaf]
        if self.cell is not None:
            return self.cell.cell_contents
        if self.container is not None:
            found = self.container.get(self.key)
            if not self.size:
                return found
            return found[self.item] if type(found) is tuple and len(found) == self.size else None
        return None if self.read is None else self.read()

    def fits(self, leaves: Sequence[Any]) -> bool:
        """Whether the program is for the number that is there now."""
        now = self.value(leaves)
        if type(now) is not self.kind:
            return False
        if isinstance(now, int) and not -_INTS <= now < _INTS:
            return False
        return self.sign in (0, sign_of(now))

    @property
    def is_native(self) -> bool:
        """Whether native code can read it."""
        return self.leaf >= 0 or self.container is not None or self.cell is not None


class ArrayMade(Struct):
    """An array that the program makes, and its place in the table of buffers."""

    form: Form
    buffer: int


class Part(NamedTuple):
    """A place in the table for what lies some bytes behind the address at another, `base`."""

    base: int
    offset: int
    buffer: int


class GradientWrite(Struct):
    """The `grad` of a tensor, which the program writes; without `made`, it becomes None.

    Attributes:
        fresh: whether it must have memory of its own, since the program reads the old one.
        arrives: the place of the bool that says whether it is there at all; -1 for always.
    """

    source: Source
    made: ArrayMade | None
    fresh: bool = False
    arrives: int = -1

    def is_missing(self, table: Any) -> bool:
        """Whether the program that has run with this table left no gradient."""
        return self.arrives >= 0 and not ctypes.c_bool.from_address(table[self.arrives]).value


class Step(NamedTuple):
    """One step of putting the result together; see `kuai.compiler.native.descriptor`."""

    kind: int
    number: int = 0
    pointer: Any = None


class Interface(Struct):
    """What a program takes and gives, in terms of Python objects.

    Attributes:
        mode: 1 if operations are recorded, plus 2 in inference mode.
        arguments: how many positional arguments a native call has.
        keywords: the names of those that are given by name, in their order.
        objects: how native code takes these apart; `None` where only Python can.
        places: for each leaf of the arguments, its place among those objects.
        buffers: how many places the table of buffers has.
        fixed: places with a number that is always the same.
        results: for each number that the program returns, its place in the table.
        guards: native records of what was read while capturing.
        parts: places in the table for what lies inside the memory at other places.
        steps: how the result is put together.
        finish: called with what the steps made and the leaves; what it returns is the result.
        arena: bytes of scratch memory.
        releases: whether to let go of the interpreter's lock while the program runs.
        yields: whether other threads may run during the program.
        always: whether it may run whatever has changed since it was made.
    """

    mode: int
    arguments: int
    objects: list[dict[str, int]] | None
    places: list[int]
    buffers: int
    arena: int
    tensors: list[TensorUse] = field(factory=list)
    numbers: list[NumberUse] = field(factory=list)
    fixed: dict[int, int] = field(factory=dict)
    results: list[int] = field(factory=list)
    guards: list[dict[str, int]] = field(factory=list)
    outputs: list[ArrayMade] = field(factory=list)
    gradients: list[GradientWrite] = field(factory=list)
    updates: list[Source] = field(factory=list)
    parts: list[Part] = field(factory=list)
    steps: list[Step] = field(factory=list)
    finish: Callable[[Any, Sequence[Any]], Any] | None = None
    releases: bool = False
    yields: bool = False
    always: bool = False
    keywords: tuple[str, ...] = ()
    kept: list[Any] = field(factory=list)
