"""One LLVM module for a plan: a function for each kernel, and `program`, which calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from kuai.compiler import layout
from kuai.compiler.emit import (
    attention_step,
    convolution_step,
    cost,
    folds,
    moves,
    nests,
    product_step,
    pushes,
    sorts,
)
from kuai.compiler.emit.builder import Function, Module, Ref, number
from kuai.compiler.emit.checks import Refusal
from kuai.compiler.emit.control import emit_control, emit_item
from kuai.compiler.emit.domain import Access, Part
from kuai.compiler.emit.emitted import Emitted, Failure, HostCall
from kuai.compiler.emit.nest_code import Code
from kuai.compiler.emit.statuses import HOST_FAILED, MOST_VALUES
from kuai.compiler.graph import Operation, StackMeta, Value
from kuai.compiler.layout import Layout
from kuai.compiler.memory import ALIGNMENT, Buffer, Plan
from kuai.compiler.native.target import Target
from kuai.compiler.products import Convolved, Matrices
from kuai.compiler.sizes import Batch, larger, varies
from kuai.compiler.steps import (
    Control,
    Fold,
    Host,
    Item,
    Move,
    Nest,
    Product,
    Push,
    Sort,
    Special,
    Step,
    walk_steps,
)

Build = Callable[[Function, dict[Buffer, Ref], "Part | None"], "list[Refusal] | None"]
"""Writes a kernel's body, for the addresses of its memory, and its part of the work."""

WORKSPACE = "@WORKSPACE@"


def emit_program(plan: Plan, target: Target, batch: Batch | None = None) -> Emitted:
    """The program of a plan.

    Args:
        plan: the steps in order, and where everything lies.
        target: the machine.
        batch: what its sizes depend on, if they do: a buffer of the kind "batch" has the size.
    """
    return Program(plan, target, batch).finish()


class Program:
    """The program under construction.

    Attributes:
        main: the function `program`.
        status: a variable with what `program` will return.
    """

    def __init__(self, plan: Plan, target: Target, batch: Batch | None) -> None:
        self.plan = plan
        self.kernels = plan.kernels
        self.target = target
        self.batch = batch
        self.module = Module(batch)
        self.emitted = Emitted("", [], plan.arena)
        arguments = (("ptr", "buffers"), ("ptr", "arena"))
        self.main = self.module.function("program", "i32", arguments, internal=False)
        self.table, self.arena = self.main.arguments
        self.exit = "exit"
        self.status = self.main.variable(Ref("0", "i32"))
        self.pointers: dict[Buffer, Ref] = {}
        self._texts: dict[str, str] = {}
        self.stacks = [
            buffer
            for value, buffer in plan.buffers.items()
            if isinstance(value.meta, StackMeta)
            and buffer.kind != "input"
            and buffer not in plan.rooms
        ]
        self.aside_at = -(-plan.arena // ALIGNMENT) * ALIGNMENT
        self.workspace = 0
        self.panels: dict[Any, Buffer] = {}  # those made before the loops that are being emitted
        self._prologue()

    def _prologue(self) -> None:
        """The addresses of everything, found once."""
        if self.batch is not None:
            self.main.find_batch(self.table, len(self.emitted.buffers))
            self.emitted.buffers.append(Buffer("batch"))
        for buffer in dict.fromkeys([*self.plan.buffers.values(), *self._copied()]):
            self.pointer(buffer)
        for buffer in self.stacks:
            self.main.store(Ref("null", "ptr"), self.pointers[buffer])
            self.main.store(Ref("0", "i64"), self.main.at(self.pointers[buffer], 8, "i8"))

    def _copied(self) -> list[Buffer]:
        return [copy.buffer for copy in self.plan.copies]

    def slot(self, buffer: Buffer) -> Ref:
        """A new place in the table for a buffer; returns the address that stands there."""
        number = len(self.emitted.buffers)
        self.emitted.buffers.append(buffer)
        return self.main.load("ptr", self.main.at(self.table, number, "ptr"))

    def pointer(self, buffer: Buffer) -> Ref:
        """The address of a buffer."""
        found = self.pointers.get(buffer)
        if found is None:
            if buffer.kind == "arena":
                found = self.main.at(self.arena, buffer.offset, "i8")
            elif buffer.kind == "constant":
                found = self._constant(buffer)
            elif buffer.kind == "stack":
                found = Ref(str(len(self.emitted.buffers)), "slot")
                self.emitted.buffers += [buffer, Buffer("count", buffer.index)]
            else:
                found = self.slot(buffer)
            self.pointers[buffer] = found
        return found

    def _constant(self, buffer: Buffer) -> Ref:
        array = self.kernels.arrays[buffer.value]  # type: ignore[index]
        stored = array.tobytes() or b"\0"  # a constant without bytes has no address
        data = "".join(f"\\{byte:02X}" for byte in stored)
        self.kernels.layouts[buffer.value] = layout.contiguous(  # type: ignore[index]
            array.shape, layout.of_array(array).dtype
        )
        name = f"constant{buffer.index}"
        return self.module.constant(name, f"[{len(stored)} x i8]", f'c"{data}"')

    # -- steps ------------------------------------------------------------------------------

    def finish(self) -> Emitted:
        """Everything, and the text of it."""
        self.steps(self.plan.steps)
        self.results()
        f = self.main
        f.begin(self.exit)
        for buffer in self.stacks:
            self.module.declare("kuai_free", "void", ["ptr"])
            f.call("kuai_free", "void", f.load("ptr", self.pointers[buffer]))
        f.ret(self.status.get())
        # How much lies before the kernels' own memory is known only now.
        self.main.replace(WORKSPACE, str(self.aside_at))
        self.emitted.text = str(self.module)
        self.emitted.arena = self.aside_at + self.workspace
        return self.emitted

    def results(self) -> None:
        """Bring what is not there yet to where the caller wants it."""
        for copy in self.plan.copies:
            if copy.buffer.kind == "stack":
                self._hand_over(copy.value, copy.buffer)
            else:
                self.copy(copy.value, copy.buffer, copy.layout)

    def _hand_over(self, value: Value, buffer: Buffer) -> None:
        """Give a stack's memory to the caller, who frees it."""
        f, number = self.main, int(self.pointers[buffer].text)
        stack = self.pointers[self.plan.buffer_of(value)]
        f.store(f.load("ptr", stack), f.at(self.table, number, "ptr"))
        count = f.load("i64", f.at(stack, 16, "i8"))
        f.store(count, f.at(self.table, number + 1, "ptr"))
        f.store(Ref("null", "ptr"), stack)

    def steps(self, steps: Iterable[Step]) -> None:
        """Emit steps in their order."""
        for step in steps:
            path = step.operations[0].path if step.operations else ""
            self.main.comment(f"{step.title()}  {path}")
            self.emitted.cost += cost.of_step(step)
            if isinstance(step, Nest):
                self._nest(step)
            elif isinstance(step, Product):
                self._product(step)
            elif isinstance(step, Move):
                moves.emit_move(self, step)
            elif isinstance(step, Push):
                pushes.emit_push(self, step.operations[0])
            elif isinstance(step, Fold):
                folds.emit_fold(self, step.operations[0])
            elif isinstance(step, Sort):
                sorts.emit_sort(self, step.operations[0])
            elif isinstance(step, Host):
                self.host(step.operations[0])
            elif isinstance(step, Special):
                operation = step.operations[0]
                operation.primitive.emit_special(self, operation)  # type: ignore[attr-defined]
            elif isinstance(step, Item):
                emit_item(self, step)
            elif isinstance(step, Control):
                emit_control(self, step)
            else:
                raise TypeError(f"no way to emit a {step.name}")

    @cached_property
    def read_in_loops(self) -> set[Value]:
        """What rounds of loops read of what lies in memory before."""
        controls = [step for step in walk_steps(self.plan.steps) if isinstance(step, Control)]
        inner = walk_steps(s for step in controls for steps in step.steps for s in steps)
        read = (v for step in inner for op in step.operations for v in op.inputs)
        return {self.kernels.base_of(v) for v in read if isinstance(v, Value)}

    def fail(self, number: Ref, *values: Ref) -> None:
        """End the program with this status, and tell these i64 with it."""
        for i, value in enumerate(values):
            self.main.store(value, self.main.at(self._failure_slot(), 1 + i, "i64"))
        self.status.set(number)
        self.main.branch(self.exit)

    def fail_where(self, condition: Ref, number: Ref | int) -> None:
        """End the program with this status where an i1 holds."""
        with self.main.when(condition, rarely=True):
            self.fail(Ref(str(number), "i32") if isinstance(number, int) else number)

    def failure(self, failure: Failure) -> int:
        """The status that stands for a failure."""
        self.emitted.failures.append(failure)
        return len(self.emitted.failures)

    # -- kernels ----------------------------------------------------------------------------

    def kernel(
        self,
        name: str,
        buffers: Sequence[Buffer],
        build: Build,
        parts: int = 1,
    ) -> None:
        """Call a kernel, which is built unless the same one is there already.

        Args:
            name: what it is called, for the reader.
            buffers: the memory that it gets, an address for each.
            build: writes its body; returns what it may fail with, if it does: then the body
                returns an i32, 0 or the number of the failure (`Checks`).
            parts: how many parts the work has, for several threads; where it may fail, it has
                one.
        """
        arguments = [("ptr", f"p{i}") for i in range(len(buffers))]
        divided = varies(parts) or parts > 1
        if divided:
            arguments = [("ptr", "table"), ("i64", "part")]
        f = Function(self.module, "kernel", "void", arguments)
        f.attributes = self.attributes()
        f.noalias = len({b for b in buffers if b.kind in ("input", "captured")}) < 2
        if divided:
            table, number = f.arguments
            given = [f.load("ptr", f.at(table, i, "ptr")) for i in range(len(buffers))]
            part = Part(number, cost.count_of_parts(f, parts))
            refusals = build(f, dict(zip(buffers, given, strict=True)), part)
            if refusals:
                self.kernel(name, buffers, build)
                return
        else:
            refusals = build(f, dict(zip(buffers, f.arguments, strict=True)), None)
        if refusals:
            f.result = "i32"
        elif not f.ended:
            f.ret()
        sized = bool(f.sizes())
        if sized and not divided:
            f.arguments.append(Ref("%batch", "i64"))
        elif sized:
            f.find_batch(f.arguments[0], len(buffers))
        text = str(f)
        known = self._texts.get(text)
        if known is None:
            known = self._texts[text] = f"{name}_{len(self._texts)}"
            f.name = known
            self.module.functions.append(f)
        self.emitted.kernels[known] = self.emitted.kernels.get(known, 0) + 1
        given = [self.pointers[b] for b in buffers]
        if refusals:
            given.append(self._failure_slot())
        if sized:
            given.append(Ref("%batch", "i64"))
        if divided:
            self._call_in_parts(known, given, parts)
            return
        if not refusals:
            self.main.call(known, "void", *given)
            return
        numbers = [self.failure(Failure(*refusal)) for refusal in refusals]
        status = self.main.call(known, "i32", *given)
        failed = self.main.compare("ne", status, Ref("0", "i32"))
        self.fail_where(failed, self.main.add(status, Ref(str(numbers[0] - 1), "i32")))

    def _call_in_parts(self, name: str, pointers: Sequence[Ref], parts: int) -> None:
        f = self.main
        table = f.alloca("ptr", len(pointers))
        for i, pointer in enumerate(pointers):
            f.store(pointer, f.at(table, i, "ptr"))
        self.module.declare("kuai_parallel", "void", ["ptr", "ptr", "i64"])
        count = cost.count_of_parts(f, parts)
        given = count if isinstance(count, Ref) else number(count)
        f.call("kuai_parallel", "void", Ref(f"@{name}", "ptr"), table, given)

    def attributes(self) -> str:
        """The attributes of every function that computes."""
        bits = 8 * self.target.vector_bytes
        return f'nounwind "min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}"'

    def buffers_of(self, values: Iterable[Value]) -> list[Buffer]:
        """The memory of values, each piece once; constants may have none."""
        bases = [self.kernels.base_of(v) for v in values]
        return list(dict.fromkeys(self.plan.buffers[b] for b in bases if b in self.plan.buffers))

    def access(
        self,
        f: Function,
        pointers: dict[Buffer, Ref],
        value: Value,
        domain: Sequence[int],
        where: Layout | None = None,
        buffer: Buffer | None = None,
    ) -> Access:
        """How a kernel reaches a value's elements from the points of its domain."""
        found = where or self.kernels.layout_of(value)
        pointer = pointers[buffer or self.plan.buffer_of(value)]
        return Access(f.at(pointer, found.offset, "i8"), found.broadcast(domain), found.dtype)

    def source(self, f: Function, pointers: dict[Buffer, Ref], value: Value) -> tuple[Layout, Ref]:
        """How a value lies, and the address of its first element in a kernel."""
        where = self.kernels.layout_of(value)
        return where, f.at(pointers[self.plan.buffer_of(value)], where.offset, "i8")

    def stored(self, operations: Iterable[Operation]) -> list[Value]:
        """The results that lie in memory."""
        return [r for op in operations for r in op.results if r in self.plan.buffers]

    def _nest(self, step: Nest) -> None:
        passes = [(p.body, p.reductions, p.tail) for p in step.passes]
        code = Code(passes, self.kernels.constants)
        order = dict.fromkeys(v for op in step.operations for v in op.inputs)
        wanted = ((False, code.body_inputs), (True, code.tail_inputs))
        loaded = [(v, once) for v in order for once, values in wanted if v in values]
        results = self.stored(step.operations)
        dims = step.dims or ()
        elsewhere = [v for v in step.elsewhere if v not in self.kernels.constants]

        def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> Any:
            def reach(value: Value, outer: bool) -> Access:
                if not outer:
                    return self.access(f, pointers, value, step.domain)
                return _across(self.access(f, pointers, value, value.shape), step, value)

            operands = {(v, once): reach(v, once) for v, once in loaded}
            places = [(v, reach(v, v not in code.inner)) for v in results]
            sources = {v: self.source(f, pointers, v) for v in elsewhere} if step.pulls else None
            nest = nests.Nest(
                f, self.target, step.domain, dims, operands, places, code, part, sources
            )
            nest.emit()
            return nest.checks.refusals

        self.kernel(
            step.kernel_name,
            self.buffers_of([*(v for v, _ in loaded), *elsewhere, *results]),
            build,
            cost.parts_of_nest(step, len(loaded) + len(results), self.batch),
        )

    def copy(
        self, value: Value, buffer: Buffer, where: Layout, source: Buffer | None = None
    ) -> None:
        """Bring a value's elements to another place.

        Args:
            value: what is copied.
            buffer: where to.
            where: how the elements shall lie there.
            source: where they lie in order, if not where the plan has them.
        """
        constants = self.kernels.constants
        here = layout.contiguous(value.shape, value.meta.dtype) if source else None
        if source is None and value not in constants:
            source = self.plan.buffer_of(value)
            here = self.kernels.layout_of(value)
        if source is buffer and here == where:
            return

        def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
            known = {} if source is not None else constants
            code = Code([([], [], [])], known, [value])
            operands = {}
            if source is not None:
                operands[value, False] = self.access(f, pointers, value, where.shape, here, source)
            place = self.access(f, pointers, value, where.shape, where, buffer)
            nests.Nest(f, self.target, where.shape, (), operands, [(value, place)], code).emit()

        self.kernel("copy", list(dict.fromkeys([b for b in (source, buffer) if b])), build)

    def _product(self, step: Product) -> None:
        kind = step.kind
        if isinstance(kind, Matrices):
            product_step.emit_step(self, step, kind)
        elif isinstance(kind, Convolved):
            convolution_step.emit_step(self, step, kind)
        else:
            attention_step.emit_step(self, step, kind)

    def scratch(self, size: int) -> Buffer:
        """Memory for one kernel's own use; the next kernel may use the same."""
        self.workspace = larger(self.workspace, size)
        buffer = Buffer("workspace", size=size)
        self.pointers[buffer] = self.main.at(self.arena, Ref(WORKSPACE, "i64"), "i8")
        return buffer

    def aside(self, value: Value) -> Buffer:
        """Memory of its own for the elements of a value, for a moment."""
        return self.memory(value.size * value.meta.dtype.itemsize)

    def memory(self, size: int) -> Buffer:
        """Memory that nothing else uses."""
        buffer = Buffer("arena", offset=self.aside_at, size=size)
        self.pointers[buffer] = self.main.at(self.arena, self.aside_at, "i8")
        self.aside_at += -(-size // ALIGNMENT) * ALIGNMENT
        return buffer

    def stack_memory(self, stack: Value) -> Ref:
        """The address of a stack's first array."""
        buffer = self.plan.buffer_of(stack)
        pointer = self.pointers[buffer]
        return pointer if buffer.kind == "input" else self.main.load("ptr", pointer)

    # -- host calls -------------------------------------------------------------------------

    def host(self, operation: Operation) -> None:
        """Call a primitive's NumPy kernel."""
        f = self.main
        layouts: list[Any] = []
        given: list[Ref] = []
        for x in operation.inputs:
            if isinstance(x, Value) and x not in self.kernels.constants:
                where = self.kernels.layout_of(x)
                layouts.append(where._replace(offset=0))
                given.append(f.at(self.pointers[self.plan.buffer_of(x)], where.offset, "i8"))
            elif isinstance(x, Value):
                layouts.append((x.meta, self.kernels.constants[x]))
            else:
                layouts.append(x)
        outputs = []
        for value in operation.results:
            where = self.kernels.layout_of(value)
            outputs.append(where)
            given.append(self.pointers[self.plan.buffers[value]])
        number = len(self.emitted.hosts)
        self.emitted.hosts.append(HostCall(operation, tuple(layouts), tuple(outputs)))
        table = f.alloca("ptr", max(len(given), 1))
        for i, pointer in enumerate(given):
            f.store(pointer, f.at(table, i, "ptr"))
        self.module.declare("kuai_host", "i32", ["i64", "ptr"])
        first = f.load("i64", f.at(self.table, self._slot_of("hosts"), "ptr"))
        status = f.call("kuai_host", "i32", f.add(first, Ref(str(number), "i64")), table)
        self.fail_where(f.compare("ne", status, Ref("0", "i32")), HOST_FAILED)

    def _slot_of(self, kind: str, places: int = 1) -> int:
        """The place in the table of what a program has once, where it has it."""
        for i, buffer in enumerate(self.emitted.buffers):
            if buffer.kind == kind:
                return i
        self.emitted.buffers += [Buffer(kind, index) for index in range(places)]
        return len(self.emitted.buffers) - places

    def _failure_slot(self) -> Ref:
        """Where kernels tell what failed: a number, and values."""
        return self.main.at(self.table, self._slot_of("failure", 1 + MOST_VALUES), "ptr")


def _across(access: Access, step: Nest, value: Value) -> Access:
    """An access to what a nest's reductions give, from the points of the nest's domain."""
    dims = step.dims or ()
    shape = step.reduced_shape or ()
    missing = len(shape) - len(value.shape)
    own = (0,) * missing + tuple(
        0 if n == 1 and to != 1 else s
        for n, to, s in zip(value.shape, shape[missing:], access.strides, strict=True)
    )
    if step.keepdim:
        strides = [0 if d in dims else s for d, s in enumerate(own)]
    else:
        rest = iter(own)
        strides = [0 if d in dims else next(rest) for d in range(len(step.domain))]
    return Access(access.pointer, strides, access.dtype)
