"""A built program and the Python objects that it works on, brought together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CellType
from typing import Any

import numpy as np

from kuai.compiler.emit.statuses import INTERRUPTED, OUT_OF_MEMORY
from kuai.compiler.graph import StackMeta, Value
from kuai.compiler.native import descriptor as d
from kuai.compiler.native import hosts, runtime
from kuai.compiler.native.bound import Bound
from kuai.compiler.native.interface import (
    ArrayMade,
    Form,
    GradientWrite,
    GradOf,
    Interface,
    NumberUse,
    Part,
    Source,
    Step,
    TensorUse,
)
from kuai.compiler.run.code import Code
from kuai.compiler.run.failures import told
from kuai.compiler.run.kept import Kept
from kuai.core.base import TensorBase
from kuai.core.tape import hooks_of

RELEASE = 50_000.0  # nanoseconds from which on a program lets go of the interpreter's lock


class Input:
    """What an input of a graph stands for.

    Args:
        source: the leaf, or the tensor.
        like: a tensor of the form that the program is made for; `None` for a loop's stack.
        requires_grad: whether gradients must flow to it; `None` where that does not matter.

    Attributes:
        lacks_grad: whether it must have no `grad`.
        is_leaf: whether it must be where gradients end, without hooks.
    """

    lacks_grad = False
    is_leaf = False

    def __init__(
        self, source: Source, like: TensorBase | None, requires_grad: bool | None = None
    ) -> None:
        self.source = source
        self.form = None if like is None else form_of(like._payload)
        self.requires_grad = requires_grad

    def at(self, source: Source) -> Input:
        """The same form from elsewhere, whether or not gradients flow."""
        other = Input(source, None)
        other.form = self.form
        return other

    @staticmethod
    def contiguous(source: Source, value: Value) -> Input:
        """A contiguous array with the shape and type of a value."""
        made = Input(source, None)
        made.form = Form(np.dtype(value.dtype), value.shape)
        return made


class Loose:
    """A Python number that is an input: a leaf, or read from outside at each call."""

    def __init__(
        self,
        kind: type,
        leaf: int = -1,
        container: dict[Any, Any] | None = None,
        key: Any = None,
        read: Callable[[], Any] | None = None,
        cell: CellType | None = None,
        item: int = 0,
        size: int = 0,
        sign: int = 0,
    ) -> None:
        self.kind = kind
        self.item, self.size, self.sign = item, size, sign
        self.cell = cell
        self.leaf = leaf
        self.container = container
        self.key = key
        self.read = read

    def use(self, buffer: int) -> NumberUse:
        """The same with its place in the table of buffers."""
        where = (self.leaf, self.container, self.key, self.read, self.cell)
        return NumberUse(self.kind, buffer, *where, self.item, self.size, self.sign)


def form_of(array: np.ndarray) -> Form:
    """The form of an array; without strides where it is contiguous."""
    strides = None if array.flags.c_contiguous else array.strides
    return Form(array.dtype, array.shape, strides)


class Machine:
    """A program in memory, with what keeps it going."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.first_host = hosts.register(code.hosts) if code.hosts else 0
        self._hosts = len(code.hosts)
        self.library = code.library or runtime.load_program(code.object_file)

    def __del__(self) -> None:
        if getattr(self, "_hosts", 0):
            hosts.forget(self.first_host, self._hosts)

    def fail(self, status: int, table: int) -> Any:
        """Raise what a status stands for.

        Args:
            status: what the program returned.
            table: the address of the table of buffers that it had.

        Raises:
            Exception: always.
        """
        if status == OUT_OF_MEMORY:
            raise MemoryError("a compiled loop needs more memory than there is")
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        raise self.code.failures[status - 1].error(lambda: told(table, self.code.buffers))


class Binding:
    """The interface of a program under construction."""

    def __init__(
        self, machine: Machine, mode: int, places: list[int], rows: Any, count: int
    ) -> None:
        self.machine = machine
        code = self.code = machine.code
        self.interface = Interface(
            mode=mode,
            arguments=count,
            objects=rows,
            places=places,
            buffers=len(code.buffers),
            arena=code.arena,
            releases=code.cost > RELEASE,
            yields=code.loops,
        )
        self.place = {buffer: i for i, buffer in enumerate(code.buffers)}
        if ("hosts", 0) in self.place:
            self.interface.fixed[self.place["hosts", 0]] = machine.first_host
        if code.batch is not None:
            self.interface.fixed[self.place["batch", 0]] = code.batch
        self._arrays: dict[int, int] = {}
        self._inside: set[tuple[str, int]] = set()  # the outputs that lie in the block
        self._sources: dict[Value, Source] = {}
        self._uses: dict[Value, TensorUse] = {}
        self._read_grads: list[Any] = []

    def inputs(self, inputs: Sequence[Input | Loose | None]) -> None:
        """Say what the graph's inputs are, beside those that lie in a block."""
        for i, (value, given) in enumerate(zip(self.code.inputs, inputs, strict=True)):
            if given is None:
                continue
            place = self.place.get(("input", i), -1)
            if isinstance(given, Loose):
                if place >= 0 or given.size or given.sign:
                    self.interface.numbers.append(given.use(place))
                continue
            use = TensorUse(given.source, given.form, given.requires_grad, place)
            use.lacks_grad, use.is_leaf = given.lacks_grad, given.is_leaf
            use.hooks = False if given.is_leaf else None
            if isinstance(given.source, GradOf):
                self._read_grads.append(given.source.owner)
            self._add(value, use)

    def captured(self, owners: dict[int, Any]) -> None:
        """Bind the tensors from outside.

        Args:
            owners: by the address of the array of a tensor's `grad`, that tensor: the program
                takes the `grad` that it has at the call.
        """
        for i, (value, tensor) in enumerate(self.code.captured):
            place = self.place.get(("captured", i), -1)
            array, flag = tensor._payload, tensor._requires_grad
            use = TensorUse(tensor, form_of(array), flag, place)
            if id(array) in owners:
                use.source = GradOf(owners[id(array)])
                self._read_grads.append(use.source.owner)
            else:
                use.payload = array
                use.hooks = hooks_of(tensor)
            self._add(value, use)

    def block(self, kept: Kept) -> None:
        """Take the first of the graph's inputs out of the block that is the first leaf."""
        base = self._block()
        self.interface.tensors.append(TensorUse(0, kept.form, None, base))
        for i, offset in enumerate(kept.offsets):
            place = self.place.get(("input", i), -1)
            if offset is not None and place >= 0:
                self.interface.parts.append(Part(base, offset, place))

    def captured_as_arguments(self, first: int) -> None:
        """Take the tensors from outside as leaves, from this one on."""
        for i, (value, tensor) in enumerate(self.code.captured):
            place = self.place.get(("captured", i), -1)
            self._add(value, TensorUse(first + i, form_of(tensor._payload), None, place))

    def _add(self, value: Value, use: TensorUse) -> None:
        self.interface.tensors.append(use)
        self._sources[value] = use.source
        self._uses[value] = use

    def source(self, value: Value) -> Source:
        """Where the tensor of a value comes from."""
        return self._sources[value]

    def changes(self, arrivals: dict[int, int]) -> None:
        """Say what the program changes: tensors in place, and gradients.

        Args:
            arrivals: for gradients that may not arrive, the output that says whether they do.
        """
        for old, _ in self.code.updates:
            self._uses[old].written = True
            self.interface.updates.append(self._sources[old])
        for i, (value, gradient) in enumerate(self.code.gradients):
            made = None if gradient is None else self._made("gradient", i, gradient)
            source = self._sources[value]
            fresh = any(source is owner for owner in self._read_grads)
            arrives = self.place["output", arrivals[i]] if i in arrivals else -1
            self.interface.gradients.append(GradientWrite(source, made, fresh, arrives))

    def _made(self, kind: str, index: int, value: Value) -> ArrayMade:
        return ArrayMade(Form(np.dtype(value.dtype), value.shape), self.place[kind, index])

    def outputs(self, numbers: Sequence[type | None], kept: Kept | None = None) -> None:
        """Say what the graph's outputs are.

        Args:
            numbers: for each that the function returns, the type of Python number, if it is one.
            kept: where the outputs behind these lie, as many as it knows of.
        """
        if kept is not None:
            self._keep(kept, len(numbers))
        for i, value in enumerate(self.code.outputs):
            if isinstance(value.meta, StackMeta) or ("output", i) in self._inside:
                continue
            if i < len(numbers) and numbers[i] is not None:
                self.interface.results.append(self.place["output", i])
                continue
            self._arrays[i] = len(self.interface.outputs)
            self.interface.outputs.append(self._made("output", i, value))

    def _keep(self, kept: Kept, first: int) -> None:
        """Put outputs from `first` on into one array, the first one that the program makes."""
        base = self._block()
        self.interface.outputs.append(ArrayMade(kept.form, base))
        for i, offset in enumerate(kept.offsets, first):
            if offset is not None:
                self._inside.add(("output", i))
                part = Part(base, offset, self.place["output", i])
                self.interface.parts.append(part)

    def _block(self) -> int:
        """A place in the table of buffers beside those of the code."""
        self.interface.buffers += 1
        return self.interface.buffers - 1

    def step(self, step: Step) -> Step:
        """A step in terms of the graph's outputs, in terms of arrays and the table of buffers."""
        if step.kind in (d.PUSH_TENSOR, d.PUSH_RESULT):
            return step._replace(number=self._arrays[step.number])
        if step.kind in (d.PUSH_FLOAT, d.PUSH_INT, d.PUSH_BOOL):
            return step._replace(number=self.place["output", step.number])
        return step

    def kept(self, first: int) -> list[Step]:
        """Steps for the outputs from `first` on: the block, the stacks, others."""
        steps = [Step(d.PUSH_ARRAY, 0)]
        for i in range(first, len(self.code.outputs)):
            if ("stack", i) in self.place:
                place = self.place["stack", i]
                steps.append(Step(d.PUSH_STACK, place))
            elif ("output", i) not in self._inside:
                steps.append(Step(d.PUSH_ARRAY, self._arrays[i]))
        return steps

    def finish(
        self,
        steps: Sequence[Step],
        finish: Callable[[Any, Sequence[Any]], Any] | None = None,
        always: bool = False,
    ) -> Bound:
        """The program, ready to be called."""
        self.interface.steps = [self.step(s) for s in steps]
        self.interface.finish = finish
        self.interface.always = always
        return Bound(self.interface, self.machine.library, self.machine.fail)
