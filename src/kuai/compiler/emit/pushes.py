"""Elements put at computed positions, one after the other: `push` of a primitive.

The result starts as a copy of the input that `onto` names (as zeros without). Then, for each
position `at` of `push_domain(*metas, **parameters)`, in their order,
`push(self, emit, at, target, *sources, **parameters)` gives a position in the target (what is
becoming the result) and a value, and `meet(self, emit, old, new, **parameters)` what stands there
afterwards. Where a dimension of the domain is one of the result's, its positions never meet, and
many elements are put side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kuai.compiler.emit import moves, pulls
from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.emit.checks import Checks
from kuai.compiler.emit.domain import Part
from kuai.compiler.emit.scalars import Emit
from kuai.compiler.graph import Operation, Value
from kuai.compiler.layout import Layout
from kuai.compiler.memory import Buffer

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program


def emit_push(program: Program, operation: Operation) -> None:
    """Put elements of the inputs into the result."""
    kernels = program.kernels
    (result,) = operation.results
    primitive = operation.primitive
    metas = [v.meta if isinstance(v, Value) else v for v in operation.inputs]
    domain = primitive.push_domain(*metas, **operation.parameters)

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> Any:
        whole = kernels.layout_of(result)
        if primitive.onto:
            start = operation.inputs[primitive.inputs.index(primitive.onto)]
            moves.copy(program, f, pointers, result, whole, start)
        else:
            moves.fill(program, f, pointers, result, 0)
        checks = Checks(f)
        if math.prod(domain):
            sources = {
                v: program.source(f, pointers, v)
                for v in operation.inputs
                if isinstance(v, Value) and v not in kernels.constants
            }
            target = program.source(f, pointers, result)
            _Push(program, operation, f, domain, sources, target, checks).emit()
        checks.finish()
        return checks.refusals

    program.kernel(primitive.name, program.buffers_of([*operation.inputs, result]), build)


class _Push:
    """The loops of one push."""

    def __init__(
        self,
        program: Program,
        operation: Operation,
        f: Function,
        domain: Sequence[int],
        sources: dict[Value, tuple[Layout, Ref]],
        target: tuple[Layout, Ref],
        checks: Checks,
    ) -> None:
        self.program = program
        self.operation = operation
        self.f = f
        self.domain = tuple(domain)
        self.sources = sources
        self.target = target
        self.checks = checks
        size = max(v.meta.dtype.itemsize for v in (*operation.results, *sources))
        width = program.target.vector_bytes // (8 if size == 8 else 4)
        self.vector = self._vectorised()
        self.lanes = 0 if self.vector is None else width

    def emit(self) -> None:
        """Write the loops."""
        zero = Ref("0", "i64")
        self._walk(
            [d for d in range(len(self.domain)) if d != self.vector], [zero] * len(self.domain)
        )

    def _walk(self, dims: Sequence[int], at: list[Ref]) -> None:
        if dims:
            if self.domain[dims[0]] == 1:
                self._walk(dims[1:], at)
                return
            with self.f.loop(0, self.domain[dims[0]]) as i:
                self._walk(dims[1:], [i if d == dims[0] else j for d, j in enumerate(at)])
        elif self.vector is None:
            self._point(self.f, at, 0, None, self.sources, self.target)
        else:
            self._vector(self.vector, at)

    def _vector(self, dim: int, at: list[Ref]) -> None:
        f, n, lanes = self.f, self.domain[dim], self.lanes

        def point(index: Ref, mask: Ref | None) -> None:
            here = [index if d == dim else i for d, i in enumerate(at)]
            self._point(f, here, lanes, mask, self.sources, self.target)

        whole = n - n % lanes
        if whole:
            with f.loop(0, whole, lanes) as i:
                point(i, None)
        if n % lanes:
            rest = f.lanes([int(j < n % lanes) for j in range(lanes)], "i1")
            point(Ref(str(whole), "i64"), rest)

    def _place(
        self,
        emit: Emit,
        at: Sequence[Ref],
        mask: Ref | None,
        sources: dict[Value, tuple[Layout, Ref]],
        target: tuple[Layout, Ref],
    ) -> tuple[tuple[pulls.Position, ...], Any, pulls.Source]:
        """What the primitive says of a point: a position, a value, and the target."""
        operation = self.operation
        steps = [int(d == self.vector) for d in range(len(at))]
        counts = [
            pulls.Index(emit, i, s, d) for d, (i, s) in enumerate(zip(at, steps, strict=True))
        ]
        place = pulls.Place(counts, sources, mask)
        constants = self.program.kernels.constants
        given = [place.source(emit, x, constants) for x in operation.inputs]
        into = pulls.Source(emit, *target, mask)
        emit.dtype = operation.results[0].meta.dtype
        position, value = operation.primitive.push(
            emit, place.at, into, *given, **operation.parameters
        )
        return tuple(position), value, into

    def _point(
        self,
        f: Function,
        at: Sequence[Ref],
        lanes: int,
        mask: Ref | None,
        sources: dict[Value, tuple[Layout, Ref]],
        target: tuple[Layout, Ref],
    ) -> None:
        emit = Emit(f, lanes)
        position, value, into = self._place(emit, at, mask, sources, target)
        self.checks.note(emit, mask, self.operation)
        if 0 in into.shape:
            return
        old = into.at(*position)
        new = self.operation.primitive.meet(emit, old, value, **self.operation.parameters)
        into.put(emit.cast(new, into.dtype), *position)

    def _vectorised(self) -> int | None:
        """A dimension of the domain that is one of the result's, whose elements are neighbours.

        What the primitive does is tried out in a function that is thrown away.
        """
        f = Function(Module(), "trial", "void", [])
        self.vector = None
        where, pointer = self.target[0], Ref("null", "ptr")
        sources = {v: (found, pointer) for v, (found, _) in self.sources.items()}
        at = [Ref(f"%i{d}", "i64") for d in range(len(self.domain))]
        position, _, _ = self._place(Emit(f, 0), at, None, sources, (where, pointer))
        used = [i.dim for i in position if isinstance(i, pulls.Index)]
        for index, stride in zip(position, where.strides, strict=True):
            if not isinstance(index, pulls.Index) or used.count(index.dim) > 1:
                continue
            if stride == where.dtype.itemsize and self.domain[index.dim] > 1:
                return index.dim
        return None
