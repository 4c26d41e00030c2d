"""Loops, branches, checks and stacks, written into the function `program` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai.compiler.emit import panels_step
from kuai.compiler.emit.builder import Ref, number
from kuai.compiler.emit.emitted import Failure
from kuai.compiler.emit.statuses import INTERRUPTED, OUT_OF_MEMORY
from kuai.compiler.graph import Operation, Region, Value
from kuai.compiler.layout import contiguous
from kuai.compiler.memory import STACK_START, Buffer
from kuai.compiler.sizes import hint
from kuai.compiler.steps import Control, Item, Step

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program

FIRST_ROOM = 16  # rounds for which a stack has room at first
ROUNDS_BETWEEN_LOOKS = 256  # at pending signals, in loops with little to do


def emit_control(program: Program, step: Control) -> None:
    """Emit one operation of control flow."""
    {
        "while_loop": _while,
        "cond": _cond,
        "stack_item": _stack_item,
        "check": _check,
    }[step.operation.primitive.name](program, step)


def _truth(program: Program, value: Value) -> Ref:
    """A bool in memory, or a constant one, as an i1."""
    f = program.main
    if value in program.kernels.constants:
        return f.const(bool(program.kernels.constants[value]), "i1")
    where = program.kernels.layout_of(value)
    pointer = f.at(program.pointers[program.plan.buffer_of(value)], where.offset, "i8")
    return f.compare("ne", f.load("i8", pointer), Ref("0", "i8"))


def _number(program: Program, value: Value) -> Ref:
    """An integer in memory, or a constant one, as an i64."""
    f = program.main
    if value in program.kernels.constants:
        return Ref(str(int(program.kernels.constants[value])), "i64")
    where = program.kernels.layout_of(value)
    pointer = f.at(program.pointers[program.plan.buffer_of(value)], where.offset, "i8")
    bits = 8 * value.meta.dtype.itemsize
    found = f.load(f"i{bits}", pointer)
    return found if bits == 64 else f.cast("sext", found, "i64")


def _while(program: Program, step: Control) -> None:
    f, operation, kernels = program.main, step.operation, program.kernels
    test, body = operation.regions
    carried = len(body.parameters)
    _move(program, list(operation.inputs[:carried]), operation.results[:carried])
    buffers = [program.plan.buffers[v] for v in operation.results[carried + 1 :]]
    stacks = [program.pointers[b] for b in buffers]
    for buffer, stack in zip(buffers, stacks, strict=True):
        if buffer in program.plan.rooms:
            f.store(f.at(stack, STACK_START, "i8"), stack)
    for stack in stacks:
        f.store(Ref("0", "i64"), f.at(stack, 16, "i8"))
    rounds = f.variable(Ref("0", "i64"))
    head, inside, end = f.label("test"), f.label("round"), f.label("done")
    known = dict(program.panels)
    panels_step.before_loop(program, step)
    f.begin(head)
    program.steps(step.steps[0])
    f.branch_if(_truth(program, test.results[0]), inside, end)
    f.begin_after(inside)
    _look_for_signals(program, rounds.get(), step.steps[1])
    pushed = list(zip(stacks, buffers, body.results[carried:], strict=True))
    early = [v for v in body.results[carried:] if kernels.base_of(v) in body.parameters]
    for stack, buffer, value in pushed:
        if value in early:  # the round may write over it
            _push(program, stack, value, buffer not in program.plan.rooms)
    program.steps(step.steps[1])
    for stack, buffer, value in pushed:
        if value not in early:
            _push(program, stack, value, buffer not in program.plan.rooms)
    _move(program, body.results[:carried], operation.results[:carried])
    rounds.set(f.add(rounds.get(), Ref("1", "i64")))
    f.branch(head)
    program.panels = known
    f.begin_after(end)
    counted = program.plan.buffers.get(operation.results[carried])
    if counted is not None:
        f.store(rounds.get(), program.pointers[counted])
    program.emitted.loops = True


def _look_for_signals(program: Program, rounds: Ref, steps: list[Step]) -> None:
    """End the loop with what a signal asks for."""
    f = program.main
    program.module.declare("kuai_interrupted", "i32", [])
    work = sum(hint(op.results[0].size) for s in steps for op in s.operations if op.results)
    between = 1 if work > 10_000 else ROUNDS_BETWEEN_LOOKS
    last = Ref(str(between - 1), "i64")
    due = f.compare("eq", f.binary("and", rounds, last), last)
    with f.when(due):
        signal = f.call("kuai_interrupted", "i32")
        program.fail_where(f.compare("ne", signal, Ref("0", "i32")), INTERRUPTED)


def _move(program: Program, sources: list[Value], targets: tuple[Value, ...]) -> None:
    """Bring values into what a loop carries, all at once."""
    plan, kernels = program.plan, program.kernels
    moves = []
    for source, target in zip(sources, targets, strict=True):
        buffer = plan.buffers.get(target)
        if buffer is not None:
            moves.append((source, target, buffer))
    written = {buffer for _, _, buffer in moves}
    waiting: list[tuple[Buffer, Value, Buffer]] = []
    for source, target, buffer in moves:
        where = contiguous(target.shape, target.meta.dtype)
        lies = None if source in kernels.constants else plan.buffer_of(source)
        if lies in written and lies is not buffer:
            # Another of the carried values, which may be overwritten before it is read.
            waiting.append((program.aside(source), target, buffer))
        elif lies is buffer and kernels.layout_of(source) != where:
            waiting.append((program.aside(source), target, buffer))
        else:
            continue
        program.copy(source, waiting[-1][0], where)
    moved = {id(target) for _, target, _ in waiting}
    for source, target, buffer in moves:
        if id(target) not in moved:
            program.copy(source, buffer, contiguous(target.shape, target.meta.dtype))
    for aside, target, buffer in waiting:
        program.copy(target, buffer, contiguous(target.shape, target.meta.dtype), aside)


def _push(program: Program, stack: Ref, value: Value, grows: bool) -> None:
    """Keep a value of this round on a stack, which, if it `grows`, does so when it is full."""
    f = program.main
    size = max(value.size * value.meta.dtype.itemsize, 1)
    count = f.at(stack, 16, "i8")
    start = f.mul(f.load("i64", count), Ref(str(size), "i64"))
    if grows:
        _make_room(program, stack, start, size)
    buffer = Buffer("stacked")
    program.pointers[buffer] = f.at(f.load("ptr", stack), start, "i8")
    program.copy(value, buffer, contiguous(value.shape, value.meta.dtype))
    f.store(f.add(f.load("i64", count), Ref("1", "i64")), count)


def _make_room(program: Program, stack: Ref, start: Ref, size: int) -> None:
    """Let a stack have room for one more array after the ones that it has."""
    f = program.main
    room = f.at(stack, 8, "i8")
    have = f.load("i64", room)
    needed = f.add(start, Ref(str(size), "i64"))
    with f.when(f.compare("sgt", needed, have)):
        program.module.declare("kuai_grow", "ptr", ["ptr", "i64"])
        more = f.add(f.mul(have, Ref("2", "i64")), Ref(str(size * FIRST_ROOM), "i64"))
        memory = f.call("kuai_grow", "ptr", f.load("ptr", stack), more)
        program.fail_where(f.compare("eq", memory, Ref("null", "ptr")), OUT_OF_MEMORY)
        f.store(memory, stack)
        f.store(more, room)


def _stack_item(program: Program, step: Control) -> None:
    f, operation = program.main, step.operation
    stack, index = operation.inputs
    (result,) = operation.results
    memory = program.stack_memory(stack)
    size = max(result.size * result.meta.dtype.itemsize, 1)
    start = f.mul(_number(program, index), Ref(str(size), "i64"))
    program.pointers[program.plan.buffers[result]] = f.at(memory, start, "i8")


def emit_item(program: Program, step: Item) -> None:
    """Find where a slice of an array lies."""
    f, operation = program.main, step.operations[0]
    x, index = operation.inputs[:2]
    (result,) = operation.results
    where, count = program.kernels.layout_of(x), x.shape[0]
    given = _number(program, index)
    place = f.select(f.compare("slt", given, number(0)), f.add(given, number(count)), given)
    message = f"index {{}} is out of bounds for dimension 0 with size {count}"
    failed = program.failure(Failure(IndexError, message, 1, operation))
    with f.when(f.compare("uge", place, number(count)), rarely=True):
        program.fail(Ref(str(failed), "i32"), given)
    start = f.at(program.pointers[program.plan.buffer_of(x)], where.offset, "i8")
    pointer = f.at(start, f.mul(place, number(where.strides[0])), "i8")
    program.pointers[program.plan.buffers[result]] = pointer


def _cond(program: Program, step: Control) -> None:
    f, operation = program.main, step.operation
    then, otherwise, end = f.label("then"), f.label("else"), f.label("end")
    f.branch_if(_truth(program, operation.inputs[0]), then, otherwise)
    for label, region, steps in zip((then, otherwise), operation.regions, step.steps, strict=True):
        f.begin_after(label)
        program.steps(steps)
        _yield(program, region, operation)
        f.branch(end)
    f.begin_after(end)


def _yield(program: Program, region: Region, operation: Operation) -> None:
    for source, target in zip(region.results, operation.results, strict=True):
        buffer = program.plan.buffers.get(target)
        if buffer is not None:
            program.copy(source, buffer, program.kernels.layout_of(target))


def _check(program: Program, step: Control) -> None:
    operation = step.operation
    f = program.main
    given = operation.parameters
    number = program.failure(Failure(given["error"], given["message"], 0, operation))
    bad = f.binary("xor", _truth(program, operation.inputs[0]), Ref("true", "i1"))
    program.fail_where(bad, number)
