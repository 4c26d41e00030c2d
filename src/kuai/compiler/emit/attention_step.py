"""The kernels of attention and of its gradients: one head after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai.compiler.emit import cost
from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.domain import Part
from kuai.compiler.emit.epilogue import Epilogue, Places
from kuai.compiler.graph import Value
from kuai.compiler.layout import Layout, contiguous
from kuai.compiler.memory import Buffer
from kuai.compiler.products import Attended
from kuai.compiler.steps import Product as ProductStep

if TYPE_CHECKING:
    from kuai.compiler.emit.products import Store
    from kuai.compiler.emit.program import Program

Pair = tuple[int, int]


def emit_step(program: Program, step: ProductStep, kind: Attended) -> None:
    """Call the kernel of attention, or of its gradients."""
    (_Gradients if kind.gradient else _Forward)(program, step, kind).emit()


class _Kernel:
    """What both kernels share: the loop over heads, and where the operands of a head lie.

    Attributes:
        lead: the dimensions of heads.
        given: the operands, with a mask if there is one.
        attention: what is computed for a head.
        stored: what lies in memory of the results and of what is computed of them.
    """

    first = 0  # the number of the input that is the queries

    def __init__(self, program: Program, step: ProductStep, kind: Attended) -> None:
        from kuai.compiler.emit.products.attention_blocks import Attention

        self.program, self.step = program, step
        self.operation = step.product
        self.given: list[Value] = list(self.operation.inputs)
        q, k, v = self.given[self.first : self.first + 3]
        self.lead = q.shape[:-2]
        self.masks = self.given[self.first + 3 + 2 * kind.gradient :]
        self.layouts = {x: program.kernels.layout_of(x) for x in self.given}
        for x in self.masks:
            where = self.layouts[x]
            shape = (*self.lead, q.shape[-2], k.shape[-2])
            self.layouts[x] = where._replace(shape=shape, strides=where.broadcast(shape))
        mask = self.masks[0] if self.masks else None
        self.attention = Attention(
            q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1],
            self._strides(q), self._strides(k), self._strides(v),
            kind.scale, q.meta.dtype, kind.is_causal, None if mask is None else mask.meta.dtype,
            (0, 0) if mask is None else self._strides(mask),
        )  # fmt: skip
        self.sources: dict[Value, Buffer] = {}

    def _strides(self, x: Value) -> Pair:
        """In elements, of the matrices."""
        where = self.layouts[x]
        row, column = where.strides[-2:]
        return row // where.dtype.itemsize, column // where.dtype.itemsize

    def call(self, workspace: int, values: Sequence[Value]) -> None:
        """Call the kernel, which needs so much memory and touches these results, too."""
        program = self.program
        heads = math.prod(self.lead)
        parts = cost.parts_of_blocks(self.step, heads)
        own = program.scratch(workspace * parts)
        buffers = program.buffers_of([*self.given, *values])
        buffers = list(dict.fromkeys([*buffers, *self.sources.values(), own]))

        def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
            memory = pointers[own]
            start, stop = number(0), number(heads)
            if part is not None:
                memory = f.at(memory, f.mul(part.number, number(workspace)), "i8")
                start, stop = part.range(f, heads)
            starts = {x: self._start(f, pointers, x) for x in self.given}
            self.prepare(f, pointers)
            with f.loop(start, stop) as head:
                at = self._coordinates(f, head)
                here = {x: self._moved(f, starts[x], self.layouts[x], at) for x in self.given}
                self.head(f, here, at, memory)

        program.kernel(self.step.kernel_name, buffers, build, parts)

    def _start(self, f: Function, pointers: dict[Buffer, Ref], x: Value) -> Ref:
        buffer = self.sources.get(x) or self.program.plan.buffer_of(x)
        return f.at(pointers[buffer], self.layouts[x].offset, "i8")

    def _coordinates(self, f: Function, head: Ref) -> list[Ref]:
        """Of a head, among the leading dimensions."""
        found: list[Ref] = []
        for n in reversed(self.lead[1:]):
            found.insert(0, f.binary("urem", head, number(n)))
            head = f.binary("udiv", head, number(n))
        return [head, *found] if self.lead else []

    def _moved(self, f: Function, start: Ref, where: Layout, at: Sequence[Ref]) -> Ref:
        """The address of a head."""
        for index, stride in zip(at, where.strides, strict=False):
            if stride:
                start = f.at(start, f.mul(index, number(stride)), "i8")
        return start

    def places(self, f: Function, pointers: dict[Buffer, Ref], epilogue: Epilogue) -> Places:
        """Where a result lies, head by head."""
        return epilogue.into(f, pointers, (1,) * (len(self.lead) + 2), rows=True)

    def store(self, places: Places, at: Sequence[Ref]) -> Store:
        """Takes a head's elements."""

        def store(
            f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None
        ) -> None:
            places.finish(f, (*at, row, column), value, lanes, mask)

        return store

    def prepare(self, f: Function, pointers: dict[Buffer, Ref]) -> None:
        """What is done once, before the loop over heads."""
        raise NotImplementedError

    def head(self, f: Function, here: dict[Value, Ref], at: Sequence[Ref], memory: Ref) -> None:
        """Compute one head.

        Args:
            f: the kernel.
            here: the addresses of its operands.
            at: its coordinates.
            memory: scratch memory.
        """
        raise NotImplementedError


class _Forward(_Kernel):
    """The kernel of attention."""

    def emit(self) -> None:
        """Call it."""
        from kuai.compiler.emit.products.attention import AttentionForward

        result, self.denominators = self.operation.results
        self.strategy = AttentionForward(self.attention, self.program.target)
        self.epilogue = Epilogue(self.program, result, self.step.body)
        kept = [self.denominators] if self.denominators in self.program.plan.buffers else []
        self.kept = bool(kept)
        self.call(self.strategy.workspace, [*self.epilogue.values, *kept])

    def prepare(self, f: Function, pointers: dict[Buffer, Ref]) -> None:
        self.result = self.places(f, pointers, self.epilogue)
        self.kept_at = self.program.source(f, pointers, self.denominators) if self.kept else None

    def head(self, f: Function, here: dict[Value, Ref], at: Sequence[Ref], memory: Ref) -> None:
        q, k, v = self.given[:3]
        mask = here[self.masks[0]] if self.masks else None
        denominators = None
        if self.kept_at is not None:
            where, start = self.kept_at
            denominators = self._moved(f, start, where._replace(strides=where.strides[:-1]), at)
        store = self.store(self.result, at)
        self.strategy.emit(f, (here[q], here[k], here[v]), mask, store, memory, denominators)


class _Gradients(_Kernel):
    """The kernel of the gradients."""

    first = 1

    def emit(self) -> None:
        """Call it."""
        from kuai.compiler.emit.products.attention_gradient import AttentionGradient

        output, denominators = self.given[4:6]
        self._in_order(denominators)
        strides = self._strides(output), self._strides(self.given[0])
        self.strategy = AttentionGradient(self.attention, self.program.target, *strides)
        self.epilogues = [Epilogue(self.program, r) for r in self.operation.results]
        self.call(self.strategy.workspace, [v for e in self.epilogues for v in e.values])

    def _in_order(self, x: Value) -> None:
        """Have elements lie side by side along the last dimension."""
        where = self.layouts[x]
        if where.strides[-1] == where.dtype.itemsize:
            return
        self.layouts[x] = contiguous(x.shape, where.dtype)
        self.sources[x] = self.program.aside(x)
        self.program.copy(x, self.sources[x], self.layouts[x])

    def prepare(self, f: Function, pointers: dict[Buffer, Ref]) -> None:
        self.results = [self.places(f, pointers, e) for e in self.epilogues]

    def head(self, f: Function, here: dict[Value, Ref], at: Sequence[Ref], memory: Ref) -> None:
        from kuai.compiler.emit.products.attention_gradient import Given

        upstream, q, k, v, output, denominators = (here[x] for x in self.given[:6])
        mask = here[self.masks[0]] if self.masks else None
        given = Given(q, k, v, output, upstream, denominators, mask)
        of_query, of_key, of_value = (self.store(places, at) for places in self.results)
        self.strategy.emit(f, given, (of_query, of_key, of_value), memory)
