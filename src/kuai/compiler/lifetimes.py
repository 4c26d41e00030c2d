"""From when to when each piece of scratch memory is needed, and where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kuai.compiler.graph import Operation, Region, StackMeta, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.memory import ALIGNMENT, MOST_ROOM, STACK_BYTES, STACK_START, Buffer, Plan
from kuai.compiler.sizes import identical, varies
from kuai.compiler.steps import Control, Move, Nest, Product, Push, Step


def place_scratch(plan: Plan) -> None:
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
        in_place = isinstance(step, (Nest, Product)) and reads_in_place(kernels, step, old)
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


def reads_in_place(kernels: Kernels, step: Step, old: Value) -> bool:
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
