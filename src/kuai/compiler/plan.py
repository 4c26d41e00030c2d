"""Where each array lies: memory of the caller, or a place in the arena, shared over time.

The steps are put into their final order here too: a step that changes a captured tensor in place
comes after every step that reads the old values, so that no copy is needed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kuai.compiler.failing import failing
from kuai.compiler.graph import Operation, Region, StackMeta, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import Layout, contiguous, within
from kuai.compiler.sizes import identical, varies
from kuai.compiler.steps import Control, Move, Nest, Product, Push, Step

ALIGNMENT = 64
STACK_BYTES = 24  # of what is known of a loop's stack: its memory, its room, its rounds
STACK_START = ALIGNMENT  # where its arrays begin, if they lie behind that
MOST_ROOM = 1 << 26  # bytes of a stack that lies in the arena


@dataclass(eq=False)
class Buffer:
    """A piece of memory.

    Attributes:
        kind: "input", "captured", "output", "gradient" (memory of the caller, `index` in the
            graph's list), "constant" (in the program), "arena" (`offset` bytes into it), or a
            place in the table of buffers for something else.
        size: its bytes.
        first, last: the positions of the first and the last step that touch it.
    """

    kind: str
    index: int = 0
    size: int = 0
    offset: int = 0
    first: int = -1
    last: int = -1
    value: Value | None = None

    def __repr__(self) -> str:
        if self.kind == "arena":
            return f"arena+{self.offset}"
        return f"{self.kind}{self.index}"


@dataclass
class Copy:
    """Elements to be brought to where the caller wants them, after everything else."""

    value: Value
    buffer: Buffer
    layout: Layout


@dataclass
class Plan:
    """The order of the steps and the places of the arrays.

    Attributes:
        kernels: what is planned.
        steps: in their final order.
        buffers: the memory of each stored value; of values with memory of the caller, too.
        copies: what is left to do at the end.
        arena: bytes of scratch memory.
        rooms: for each loop's stack whose rounds are known before, the bytes of its arrays, which
            lie in the arena; other stacks grow in memory of their own.
    """

    kernels: Kernels
    steps: list[Step] = field(default_factory=list)
    buffers: dict[Value, Buffer] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    arena: int = 0
    rooms: dict[Buffer, int] = field(default_factory=dict)

    def buffer_of(self, value: Value) -> Buffer:
        """The memory in which a value lies."""
        return self.buffers[self.kernels.base_of(value)]

    def __str__(self) -> str:
        lines = [f"arena of {self.arena} bytes"]
        for value, buffer in self.buffers.items():
            span = f"steps {buffer.first} to {buffer.last}" if buffer.kind == "arena" else ""
            lines.append(f"{value!r}: {value.meta!r} in {buffer!r} {span}".rstrip())
        lines += [f"{c.buffer!r} = copy of {c.value!r}" for c in self.copies]
        return "\n".join(lines)


def plan(kernels: Kernels) -> Plan:
    """Decide the order of the steps and where everything lies."""
    graph = kernels.graph
    result = Plan(kernels, list(kernels.steps))
    buffers = result.buffers
    for i, value in enumerate(graph.inputs):
        buffers[value] = Buffer("input", i, value=value)
    for i, (value, _) in enumerate(graph.captured):
        buffers[value] = Buffer("captured", i, value=value)
    for i, value in enumerate(kernels.arrays):
        buffers[value] = Buffer("constant", i, value=value)
    order = _Order(result)
    _results(result, order)
    _updates(result, order)
    _pieces(result)
    _scratch(result)
    return result


def _results(plan: Plan, order: _Order) -> None:
    """Let what is returned be computed where the caller wants it.

    The memory of a gradient may be that of the one before: nothing is written there until nothing
    can fail any more.
    """
    kernels, graph = plan.kernels, plan.kernels.graph
    wanted: list[tuple[Value, Buffer]] = []
    for i, value in enumerate(graph.outputs):
        kind = "stack" if isinstance(value.meta, StackMeta) else "output"
        wanted.append((value, Buffer(kind, i, value=value)))
    for i, (_, gradient) in enumerate(graph.gradients):
        if gradient is not None:
            wanted.append((gradient, Buffer("gradient", i, value=gradient)))
    inner = _made_inside(plan.steps)
    for value, buffer in wanted:
        base = kernels.base_of(value)
        free = base not in plan.buffers and base not in kernels.constants and base not in inner
        if free and buffer.kind == "gradient":
            free = order.after_failures(base)
        if free and base in kernels.stored and buffer.kind != "stack" and _fills(kernels, value):
            plan.buffers[base] = buffer
        else:
            plan.copies.append(Copy(value, buffer, _contiguous(value)))


def _fills(kernels: Kernels, value: Value) -> bool:
    """Whether a value, in order, is all of the memory in which it lies."""
    base, where = kernels.base_of(value), kernels.layout_of(value)
    whole = kernels.layout_of(base)
    if base is value:
        return whole.is_contiguous
    size = where.size * where.dtype.itemsize
    return (
        where.is_contiguous
        and whole.is_contiguous
        and where.offset == 0
        and size == whole.size * whole.dtype.itemsize
    )


def _pieces(plan: Plan) -> None:
    """Let the parts of what a move puts together be computed where they shall lie."""
    kernels = plan.kernels
    viewed = {alias.base for alias in kernels.aliases.values()}
    moves = [step for step in walk_steps(plan.steps) if isinstance(step, Move)]
    moved = [step.operations[0].inputs[i] for step in moves for _, i, _ in step.pieces]
    for move in plan.steps:
        if not isinstance(move, Move):
            continue
        (result,) = move.operations[0].results
        pieces = [(to, move.operations[0].inputs[i], view) for to, i, view in move.pieces]
        if sum(to.size for to, _, _ in pieces) != result.size:
            continue  # something else lies there, too
        for to, value, view in pieces:
            base = kernels.base_of(value)
            if (
                base not in kernels.stored
                or base in plan.buffers
                or moved.count(value) != 1
                or view != kernels.layout_of(value)
                or to.strides[-1:] != (to.dtype.itemsize,)
            ):
                continue
            if base is not value:
                place = _place_of_heads(plan, value, base, to)
                if place is None:
                    continue
                kernels.layouts[base] = place
                kernels.aliases[value].layout = to
            elif value in viewed or not any(
                isinstance(s, Nest) and value in s.made for s in plan.steps
            ):
                continue
            else:
                kernels.layouts[value] = to
            if result not in plan.buffers:
                size = result.size * result.meta.dtype.itemsize
                plan.buffers[result] = Buffer("arena", size=size, value=result)
            plan.buffers[base] = plan.buffers[result]


def _place_of_heads(plan: Plan, value: Value, base: Value, to: Layout) -> Layout | None:
    """Where a product of several results would put one so that a view of it lies in its place.

    The gradients of attention lie so among the gradients of one matrix of queries, keys and values.
    """
    kernels = plan.kernels
    if not any(isinstance(s, Product) and not s.is_open and base in s.made for s in plan.steps):
        return None
    where, whole = kernels.layout_of(value), kernels.layout_of(base)
    if any(map(varies, (*to.shape, *whole.shape))) or not where.is_contiguous:
        return None
    read = [v for s in walk_steps(plan.steps) for v in reads(s) if kernels.base_of(v) is base]
    if where.offset or where.size != whole.size or read != [value]:
        return None  # something else reads it, as it lies now
    return within(to, whole)


def _contiguous(value: Value) -> Layout:
    return contiguous(value.shape, value.meta.dtype)


def _made_inside(steps: Iterable[Step]) -> set[Value]:
    """The results of loops and branches, whose memory is that of what they carry."""
    return {v for step in steps if isinstance(step, Control) for v in step.made}


def _updates(plan: Plan, order: _Order) -> None:
    """Let new values of captured tensors be computed in place where nothing reads the old ones."""
    kernels, graph = plan.kernels, plan.kernels.graph
    for old, new in graph.updates:
        target = plan.buffers[old]
        maker = order.maker.get(new)
        if (
            new in plan.buffers
            or maker is None
            or kernels.base_of(new) is not new
            or new not in kernels.stored
            or not isinstance(plan.steps[maker], (Nest, Product))
            or not _reads_in_place(kernels, plan.steps[maker], old)
            or not order.after_failures(new)
            or not order.after_readers(maker, old)
            or any(kernels.base_of(c.value) is old for c in plan.copies)
        ):
            plan.copies.append(Copy(new, target, kernels.layout_of(old)))
            continue
        plan.buffers[new] = target
        kernels.layouts[new] = kernels.layouts[old]
    plan.steps = order.sorted()


def _reads_in_place(kernels: Kernels, step: Step, old: Value) -> bool:
    """Whether the step reads the old values only where it writes the new ones."""
    where = kernels.layout_of(old)
    for value in reads(step):
        if kernels.base_of(value) is old and (
            (isinstance(step, Product) and value in step.product.inputs)
            or value in getattr(step, "elsewhere", ())
            or not identical(kernels.layout_of(value), where)
            or not any(
                identical(value.shape, shape)
                for shape in (step.domain, getattr(step, "reduced_shape", None))  # type: ignore[attr-defined]
            )
        ):
            return False
    return True


def reads(step: Step) -> list[Value]:
    """The values that a step uses and does not make."""
    made = step.made
    return [v for op in step.operations for v in op.used if v not in made]


class _Order:
    """The order of the steps, with what must come before what."""

    def __init__(self, plan: Plan) -> None:
        self.steps = plan.steps
        kernels = plan.kernels
        self.maker: dict[Value, int] = {}
        for i, step in enumerate(self.steps):
            for value in step.made:
                self.maker[value] = i
        self.readers: dict[Value, list[int]] = {}
        self.failing = failing(kernels, self.steps)
        self.before: list[set[int]] = []
        for i, step in enumerate(self.steps):
            needs = set()
            for value in reads(step):
                base = kernels.base_of(value)
                self.readers.setdefault(base, []).append(i)
                if base in self.maker:
                    needs.add(self.maker[base])
                if value in self.maker:
                    needs.add(self.maker[value])
            needs.discard(i)
            self.before.append(needs)

    def after_failures(self, value: Value) -> bool:
        """Let what makes a value come after all that can fail; `False` where that needs it."""
        maker = self.maker.get(value)
        if maker is None or any(maker <= i for i in self.failing):
            return False
        self.before[maker].update(self.failing)
        return True

    def after_readers(self, maker: int, old: Value) -> bool:
        """Let the step come after all readers of a value; `False` where one of them needs it."""
        readers = [i for i in self.readers.get(old, ()) if i != maker]
        if any(self._depends(i, maker) for i in readers):
            return False
        self.before[maker].update(readers)
        return True

    def _depends(self, step: int, on: int) -> bool:
        pending, seen = [step], {step}
        while pending:
            for i in self.before[pending.pop()]:
                if i == on:
                    return True
                if i not in seen:
                    seen.add(i)
                    pending.append(i)
        return False

    def sorted(self) -> list[Step]:
        """The steps, each as early as its number and its needs allow."""
        waiting = [len(needs) for needs in self.before]
        followers: list[list[int]] = [[] for _ in self.steps]
        for i, needs in enumerate(self.before):
            for need in needs:
                followers[need].append(i)
        ready = [i for i, n in enumerate(waiting) if n == 0]
        heapq.heapify(ready)
        result = []
        while ready:
            i = heapq.heappop(ready)
            result.append(self.steps[i])
            for follower in followers[i]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    heapq.heappush(ready, follower)
        return result


def _scratch(plan: Plan) -> None:
    """Give every other stored value a place in the arena, shared by values that never meet."""
    kernels = plan.kernels
    position = 0
    touched: dict[Buffer, list[int]] = {}

    def buffer(value: Value) -> Buffer | None:
        base = kernels.base_of(value)
        found = plan.buffers.get(base)
        if found is None and base in kernels.stored:
            size = STACK_BYTES if isinstance(base.meta, StackMeta) else base.size
            if not isinstance(base.meta, StackMeta):
                size *= base.meta.dtype.itemsize
            found = plan.buffers[base] = Buffer("arena", size=size, value=base)
        return found

    def touch(value: Value, at: int) -> None:
        found = buffer(value)
        if found is not None and found.kind == "arena":
            touched.setdefault(found, []).append(at)

    def share(values: Iterable[Value], at: int) -> None:
        """Let what a loop carries lie in one place from round to round."""
        values = list(values)
        first = next((v for v in values if kernels.base_of(v) in plan.buffers), values[0])
        kernels.store(first)
        found = buffer(first)
        assert found is not None
        for value in values:
            plan.buffers[value] = found
        touch(first, at)

    def walk(steps: Iterable[Step]) -> None:
        nonlocal position
        for step in steps:
            position += 1
            start = position
            if isinstance(step, Control):
                operation = step.operation
                if operation.primitive.name == "while_loop":
                    test, body = operation.regions
                    _give_rooms(plan, operation, buffer)
                    for i, result in enumerate(operation.results[: len(body.parameters)]):
                        share((result, test.parameters[i], body.parameters[i]), start)
                        if _changes_in_place(kernels, step.steps[1], body, i):
                            plan.buffers[body.results[i]] = plan.buffers[body.parameters[i]]
                for value in operation.results:
                    touch(value, start)
                for value in operation.used:
                    touch(value, start)
                for region, inner in zip(operation.regions, step.steps, strict=False):
                    walk(inner)
                    for value in region.results:
                        touch(value, position + 1)
                position += 1
                for value in (*operation.results, *operation.used):
                    touch(value, position)
            else:
                for operation in step.operations:
                    for value in (*operation.used, *operation.results):
                        if kernels.base_of(value) in kernels.stored:
                            touch(value, position)

    walk(plan.steps)
    end = position + 1
    for copy in plan.copies:
        touch(copy.value, end)
    for piece, positions in touched.items():
        if piece.value is not None and isinstance(piece.value.meta, StackMeta):
            positions += [0, end + 1]  # its memory is given back at the very end
    _place(plan, touched)


def _give_rooms(plan: Plan, operation: Operation, buffer: Callable[[Value], Buffer | None]) -> None:
    """Let the stacks of a loop whose rounds are known before lie in the arena."""
    rounds = rounds_of(plan.kernels, operation)
    if rounds is None:
        return
    handed_over = set(plan.kernels.graph.outputs)
    for stack in operation.results[len(operation.regions[1].parameters) + 1 :]:
        size = rounds * max(stack.size, 1) * stack.meta.dtype.itemsize
        found = buffer(stack) if stack not in handed_over and size <= MOST_ROOM else None
        if found is not None and found.kind == "arena":
            found.size = STACK_START + size
            plan.rooms[found] = size


def rounds_of(kernels: Kernels, operation: Operation) -> int | None:
    """How often a loop goes round that only counts up to a number; `None` for other loops."""
    test, body = operation.regions
    if [op.primitive.name for op in test.operations] != ["lt"]:
        return None
    counter, limit = test.operations[0].inputs
    if counter not in test.parameters or varies(operation.results[0].size):
        return None
    i = test.parameters.index(counter)
    steps = [op for op in body.operations if body.results[i] in op.results]
    if not steps or steps[0].primitive.name != "plus":
        return None
    before, by = steps[0].inputs
    numbers = [_number(kernels, x) for x in (operation.inputs[i], limit, by)]
    if before is not body.parameters[i] or any(n is None for n in numbers):
        return None
    start, stop, step = numbers
    return len(range(start, stop, step)) if step > 0 else None


def _number(kernels: Kernels, x: Any) -> Any:
    """A whole number that is known before the program runs."""
    found = kernels.constants.get(x) if isinstance(x, Value) else x
    return found if type(found) is int else None


def _changes_in_place(kernels: Kernels, steps: list[Step], body: Region, i: int) -> bool:
    """Whether a round may write the next value of what a loop carries over the one before."""
    old, new = body.parameters[i], body.results[i]
    maker = next((n for n, step in enumerate(steps) if new in step.made), None)
    if maker is None or new not in kernels.stored:
        return False
    if any(kernels.base_of(v) is old for v in body.results[: len(body.parameters)]):
        return False
    later = [v for step in steps[maker + 1 :] for v in reads(step)]
    step = steps[maker]
    if isinstance(step, (Push, Move)):
        in_place = _starts_from(kernels, step, old)
    else:
        in_place = isinstance(step, (Nest, Product)) and _reads_in_place(kernels, step, old)
    return in_place and all(kernels.base_of(v) is not old for v in later)


def _starts_from(kernels: Kernels, step: Push | Move, old: Value) -> bool:
    """Whether a step changes parts of a value, and reads it for nothing but the rest."""
    operation = step.operations[0]
    primitive = operation.primitive
    if isinstance(step, Push):
        if not primitive.onto:
            return False
        number = primitive.inputs.index(primitive.onto)
    else:
        number = 0
        whole = kernels.layout_of(operation.results[0])
        if not any(i == 0 and to == whole for to, i, _ in step.pieces):
            return False
    start, *others = (
        operation.inputs[number],
        *operation.inputs[:number],
        *operation.inputs[number + 1 :],
    )
    return (
        isinstance(start, Value)
        and kernels.base_of(start) is old
        and kernels.layout_of(start) == kernels.layout_of(old)
        and all(not isinstance(v, Value) or kernels.base_of(v) is not old for v in others)
    )


def _place(plan: Plan, touched: dict[Buffer, list[int]]) -> None:
    for buffer, positions in touched.items():
        buffer.first, buffer.last = min(positions), max(positions)
    if any(varies(buffer.size) for buffer in touched):
        _place_for_any_batch(plan, list(touched))
        return
    placed: list[Buffer] = []
    for buffer in sorted(touched, key=lambda b: (-b.size, b.first)):
        meeting = sorted(
            (b for b in placed if b.first <= buffer.last and buffer.first <= b.last),
            key=lambda b: b.offset,
        )
        offset = 0
        for other in meeting:
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, -(-(other.offset + other.size) // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        placed.append(buffer)
        plan.arena = max(plan.arena, offset + buffer.size)


def _place_for_any_batch(plan: Plan, buffers: list[Buffer]) -> None:
    """One place after the other, each shared by buffers that are equal for every batch."""
    places: list[tuple[int, list[Buffer]]] = []
    for buffer in sorted(buffers, key=lambda b: b.first):
        for size, residents in places:
            if identical(size, buffer.size) and residents[-1].last < buffer.first:
                residents.append(buffer)
                break
        else:
            places.append((buffer.size, [buffer]))
    # Those of a known size come first: what lies where is then known for them.
    for size, residents in sorted(places, key=lambda place: varies(place[0])):
        for buffer in residents:
            buffer.offset = plan.arena
        plan.arena = plan.arena + (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def walk_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, those inside loops and branches too."""
    for step in steps:
        yield step
        for inner in step.steps:
            yield from walk_steps(inner)
