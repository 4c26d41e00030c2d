"""A walk along dimensions with a state: running totals, and where the extremes stand.

`fold_start(self, dtype, counter)` gives the state before the first element, as pairs of a number
and its type; `fold(self, emit, state, x, place)` the state after the element `x`, the `place`-th of
the walk (of the type `counter`); `folded(self, emit, state)` what the result has: after each
element where `running`, else after the last. Where `merge(self, emit, first, second)` makes one
state of two, neighbours may be walked side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kuai import dtypes
from kuai.compiler.emit import cost, pulls
from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.domain import Part
from kuai.compiler.emit.scalars import Emit, Scalar, register
from kuai.compiler.graph import Operation
from kuai.compiler.layout import Layout
from kuai.compiler.memory import Buffer
from kuai.compiler.sizes import hint

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program

PER_ELEMENT = 1.0  # nanoseconds


def emit_fold(program: Program, operation: Operation) -> None:
    """Walk along the dimensions that the operation names."""
    kernels = program.kernels
    (source,), (result,) = operation.inputs, operation.results
    dim = operation.parameters["dim"]
    dims = tuple(range(source.ndim)) if dim is None else (dim,) if source.ndim else ()

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
        if not result.size:
            return
        if source in kernels.constants:
            where = Layout(source.shape, (0,) * source.ndim, 0, source.meta.dtype)
            read: tuple[Layout, Ref | None] = where, None
        else:
            read = program.source(f, pointers, source)
        written = program.source(f, pointers, result)
        number = kernels.constants.get(source)
        _Fold(program, operation, f, dims, read, written, number, part).emit()

    kept = [n for d, n in enumerate(source.shape) if d not in dims]
    parts = cost.parts(hint(source.size) * PER_ELEMENT) if kept else 1
    program.kernel(
        operation.primitive.name,
        program.buffers_of([source, result]),
        build,
        max(1, min(parts, kept[0])) if kept else 1,
    )


class _Fold:
    """The loops of one fold."""

    def __init__(
        self,
        program: Program,
        operation: Operation,
        f: Function,
        dims: tuple[int, ...],
        read: tuple[Layout, Ref | None],
        written: tuple[Layout, Ref],
        number: Any,
        part: Part | None,
    ) -> None:
        self.primitive = operation.primitive
        self.f = f
        self.dims = dims
        self.read, self.written, self.number = read, written, number
        self.part = part
        self.domain = read[0].shape
        self.kept = [d for d in range(len(self.domain)) if d not in dims]
        self.counter = dtypes.int32 if math.prod(self.domain) < 2**31 else dtypes.int64
        self.start = self.primitive.fold_start(read[0].dtype, self.counter)
        size = max([read[0].dtype.itemsize, *(t.itemsize for _, t in self.start)])
        width = program.target.vector_bytes // (8 if size == 8 else 4)
        self.vector = self._vectorised()
        self.lanes = 0 if self.vector is None else width
        self.side_by_side = 0  # neighbours that are walked at the same time
        if self.vector is None and self.primitive.merge is not None and dims:
            where = read[0]
            near = where.strides[dims[-1]] == where.dtype.itemsize
            self.side_by_side = width if near and where.shape[dims[-1]] >= width else 0

    def _vectorised(self) -> int | None:
        """A dimension that is kept, along which the elements are neighbours."""
        where = self.read[0]
        for d in self.kept:
            if where.strides[d] == where.dtype.itemsize and where.shape[d] > 1:
                return d
        return None

    def emit(self) -> None:
        """Write the loops."""
        zero = Ref("0", "i64")
        first = [d for d in self.kept if d != self.vector]
        self._outer(first, [zero] * len(self.domain), True)

    def _outer(self, dims: Sequence[int], at: list[Ref], whole: bool) -> None:
        if not dims:
            self._across(at, whole)
            return
        d = dims[0]
        shared = self.part is not None and whole
        n = self.domain[d]
        start, stop = self.part.range(self.f, n) if shared and self.part else (0, n)
        with self.f.loop(start, stop) as i:
            self._outer(dims[1:], _with(at, d, i), False)

    def _across(self, at: list[Ref], whole: bool) -> None:
        """All elements of the dimension that is vectorised."""
        f, d, lanes = self.f, self.vector, self.lanes
        if d is None:
            if self.part is not None and whole:
                with f.when(self.part.is_last(f)):
                    self._along(at, 0, None)
            else:
                self._along(at, 0, None)
            return
        n = self.domain[d]
        full = n - n % lanes
        shared = self.part if whole else None
        start, stop = shared.range(f, full, lanes) if shared else (0, full)
        if full:
            with f.loop(start, stop, lanes) as i:
                self._along(_with(at, d, i), lanes, None)
        if n % lanes:
            rest = f.lanes([int(j < n % lanes) for j in range(lanes)], "i1")
            end = _with(at, d, Ref(str(full), "i64"))
            if shared:
                with f.when(shared.is_last(f)):
                    self._along(end, lanes, rest)
            else:
                self._along(end, lanes, rest)

    def _along(self, at: list[Ref], lanes: int, mask: Ref | None) -> None:
        """The walk itself, at one point of what is kept (or as many as there are lanes)."""
        if self.side_by_side:
            self._merged(at)
            return
        f = self.f
        emit = Emit(f, lanes)
        walk = _Walk(self, emit)

        def inner(dims: Sequence[int], position: list[Ref]) -> None:
            if dims:
                with f.loop(0, self.domain[dims[0]]) as i:
                    inner(dims[1:], _with(position, dims[0], i))
                return
            indices = self._indices(emit, position)
            walk.step(self._source(emit, self.read, mask).at(*indices), 1)
            if self.primitive.running:
                self._put(emit, walk.state, position, mask)

        inner(self.dims, at)
        if not self.primitive.running:
            self._put(emit, walk.state, at, mask)

    def _merged(self, at: list[Ref]) -> None:
        """The walk of several neighbours side by side, whose states are merged at the end."""
        f, lanes = self.f, self.side_by_side
        emit = Emit(f, lanes)
        walk = _Walk(self, emit)
        last = self.dims[-1]
        n = self.domain[last]

        def step(position: list[Ref], count: int, mask: Ref | None) -> None:
            indices = [pulls.Index(emit, i, int(d == last), d) for d, i in enumerate(position)]
            walk.step(self._source(emit, self.read, mask).at(*indices), count, mask)

        def inner(dims: Sequence[int], position: list[Ref]) -> None:
            if dims:
                with f.loop(0, self.domain[dims[0]]) as i:
                    inner(dims[1:], _with(position, dims[0], i))
                return
            whole = n - n % lanes
            with f.loop(0, whole, lanes) as i:
                step(_with(position, last, i), lanes, None)
            if n % lanes:
                rest = f.lanes([int(j < n % lanes) for j in range(lanes)], "i1")
                step(_with(position, last, Ref(str(whole), "i64")), n % lanes, rest)

        inner(self.dims[:-1], at)
        state = walk.state
        while lanes > 1:
            lanes //= 2
            narrow = Emit(f, lanes if lanes > 1 else 0)
            low = [_lanes(f, x, 0, lanes) for x in state]
            high = [_lanes(f, x, lanes, lanes) for x in state]
            state = tuple(self.primitive.merge(narrow, low, high))
        self._put(Emit(f, 0), state, at, None)

    def _put(self, emit: Emit, state: tuple[Scalar, ...], at: list[Ref], mask: Ref | None) -> None:
        indices = self._indices(emit, at)
        where = self.written[0]
        if len(where.shape) < len(indices):
            indices = [i for d, i in enumerate(indices) if d not in self.dims]
        value = emit.cast(self.primitive.folded(emit, state), where.dtype)
        self._source(emit, self.written, mask).put(value, *indices)

    def _source(
        self, emit: Emit, lies: tuple[Layout, Ref | None], mask: Ref | None
    ) -> pulls.Source:
        return pulls.Source(emit, *lies, mask, self.number)

    def _indices(self, emit: Emit, at: Sequence[Ref]) -> list[pulls.Index]:
        return [pulls.Index(emit, i, int(d == self.vector), d) for d, i in enumerate(at)]


class _Walk:
    """The state of a walk under way, and how many elements it has seen."""

    def __init__(self, fold: _Fold, emit: Emit) -> None:
        f = emit.function
        self.primitive, self.emit, self.counter = fold.primitive, emit, fold.counter
        self.types = [dtype for _, dtype in fold.start]
        self.variables = [f.variable(emit.const(number, t).ref) for number, t in fold.start]
        self.first = [0] * emit.lanes  # which of the elements of a step each lane has
        if fold.side_by_side:
            self.first = list(range(emit.lanes))
        self.count = f.variable(f.const(0, register(fold.counter)))

    @property
    def state(self) -> tuple[Scalar, ...]:
        """The state now."""
        pairs = zip(self.variables, self.types, strict=True)
        return tuple([Scalar(v.get(), t) for v, t in pairs])

    def step(self, x: Scalar, count: int, mask: Ref | None = None) -> None:
        """Take so many elements more; with a mask, only its lanes."""
        emit, f = self.emit, self.emit.function
        place = emit.splat(Scalar(self.count.get(), self.counter))
        if any(self.first):
            lanes = f.lanes(self.first, register(self.counter))
            place = Scalar(f.add(place.ref, lanes), self.counter)
        before = self.state
        after = self.primitive.fold(emit, before, emit.splat(x), place)
        for variable, value, old in zip(self.variables, after, before, strict=True):
            new = emit.splat(value)
            if mask is not None:
                new = emit.where(Scalar(mask, dtypes.bool_), new, old)
            variable.set(new.ref)
        self.count.set(f.add(self.count.get(), f.const(count, register(self.counter))))


def _lanes(f: Function, x: Scalar, start: int, count: int) -> Scalar:
    """Some neighbouring lanes; of one, a number."""
    if count == 1:
        return Scalar(f.extract(x.ref, start), x.dtype)
    return Scalar(f.shuffle(x.ref, x.ref, range(start, start + count)), x.dtype)


def _with(at: list[Ref], dim: int, index: Ref) -> list[Ref]:
    return [index if d == dim else i for d, i in enumerate(at)]
