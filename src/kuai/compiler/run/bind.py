"""A built program and the Python objects that it works on, brought together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CellType
from typing import Any

import numpy as np

from kuai.compiler.emit.emitted import HOST_FAILED, INTERRUPTED, OUT_OF_MEMORY
from kuai.compiler.graph import StackMeta, Value
from kuai.compiler.native import descriptor as d
from kuai.compiler.native import hosts, runtime
from kuai.compiler.native.bound import (
    ArrayMade,
    Bound,
    Form,
    GradientWrite,
    GradOf,
    Interface,
    NumberUse,
    Source,
    Step,
    TensorUse,
)
from kuai.compiler.run.code import Code
from kuai.core.base import TensorBase

RELEASE = 50_000.0  # nanoseconds from which on a program lets go of the interpreter's lock


class Input:
    """What an input of a graph stands for.

    Args:
        source: the leaf, or the tensor.
        like: a tensor of the form that the program is made for; `None` for a loop's stack.
        requires_grad: whether gradients must flow to it; `None` where that does not matter.
    """

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

    def fail(self, status: int) -> Any:
        """Raise what a status stands for.

        Raises:
            Exception: always.
        """
        if status == HOST_FAILED:
            error = hosts.raised()
            raise error if error is not None else RuntimeError("a kernel failed")
        if status == OUT_OF_MEMORY:
            raise MemoryError("a compiled loop needs more memory than there is")
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        exception, message, path, line = self.code.failures[status - 1]
        raised = exception(message)
        if path:
            raised.add_note(f"in {path}")
        if line:
            raised.add_note(f"at {line}")
        raise raised


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
        self._sources: dict[Value, Source] = {}
        self._uses: dict[Value, TensorUse] = {}
        self._read_grads: list[Any] = []

    def inputs(self, inputs: Sequence[Input | Loose]) -> None:
        """Say what the graph's inputs are."""
        for i, (value, given) in enumerate(zip(self.code.inputs, inputs, strict=True)):
            place = self.place.get(("input", i), -1)
            if isinstance(given, Loose):
                if place >= 0 or given.size or given.sign:
                    self.interface.numbers.append(given.use(place))
                continue
            use = TensorUse(given.source, given.form, given.requires_grad, place)
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
                use.hooks = dict(tensor._hooks) if tensor._hooks else False
            self._add(value, use)

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

    def outputs(self, numbers: Sequence[type | None]) -> None:
        """Say what the graph's outputs are: for each, the type of Python number, if it is one."""
        for i, value in enumerate(self.code.outputs):
            if isinstance(value.meta, StackMeta):
                continue
            if i < len(numbers) and numbers[i] is not None:
                self.interface.results.append(self.place["output", i])
                continue
            self._arrays[i] = len(self.interface.outputs)
            self.interface.outputs.append(self._made("output", i, value))

    def step(self, step: Step) -> Step:
        """A step in terms of the graph's outputs, in terms of arrays and the table of buffers."""
        if step.kind == d.PUSH_TENSOR:
            return step._replace(number=self._arrays[step.number])
        if step.kind in (d.PUSH_FLOAT, d.PUSH_INT, d.PUSH_BOOL):
            return step._replace(number=self.place["output", step.number])
        return step

    def kept(self, first: int) -> list[Step]:
        """Steps for the outputs from `first` on; two words for a loop's stack."""
        steps: list[Step] = []
        for i in range(first, len(self.code.outputs)):
            if ("stack", i) in self.place:
                place = self.place["stack", i]
                steps += [Step(d.PUSH_WORD, place), Step(d.PUSH_WORD, place + 1)]
            else:
                steps.append(Step(d.PUSH_TENSOR, i))
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
