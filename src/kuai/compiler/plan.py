"""Where each array lies: memory of the caller, or a place in the arena, shared over time.

The steps are put into their final order here too: a step that changes a captured tensor in place
comes after every step that reads the old values, so that no copy is needed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from kuai.compiler.failing import failing
from kuai.compiler.graph import StackMeta, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import Layout, contiguous, within
from kuai.compiler.lifetimes import place_scratch, reads, reads_in_place
from kuai.compiler.memory import Buffer, Copy, Plan
from kuai.compiler.sizes import varies
from kuai.compiler.steps import Control, Move, Nest, Product, Step, walk_steps


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
    place_scratch(result)
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
            or not reads_in_place(kernels, plan.steps[maker], old)
            or not order.after_failures(new)
            or not order.after_readers(maker, old)
            or any(kernels.base_of(c.value) is old for c in plan.copies)
        ):
            plan.copies.append(Copy(new, target, kernels.layout_of(old)))
            continue
        plan.buffers[new] = target
        kernels.layouts[new] = kernels.layouts[old]
    plan.steps = order.sorted()


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
