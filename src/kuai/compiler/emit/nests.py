"""Loop nests: elementwise operations over a domain, reductions of them, and plain copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kuai import dtypes
from kuai.compiler.emit import pulls
from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.checks import Checks
from kuai.compiler.emit.domain import Access, Loops, Operand, Part
from kuai.compiler.emit.nest_code import Code, PassCode, Reducer
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.graph import Value
from kuai.compiler.layout import Layout
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import hint, varies

ACCUMULATORS = 4  # sums beside each other, so that one addition need not wait for the last


class Nest:
    """Emits one nest into a function.

    Args:
        function: where the code goes.
        target: the machine.
        domain: the shape that is walked.
        dims: the dimensions that are reduced.
        body: computes an element: gets an `Emit` and what the loads gave, returns the values
            that are stored and those that are reduced.
        sources: the arrays that pulls read at positions of their own; the nest then knows where
            it is, for which it counts along each dimension of the domain.
    """

    def __init__(
        self,
        function: Function,
        target: Target,
        domain: tuple[int, ...],
        dims: tuple[int, ...],
        operands: dict[Operand, Access],
        results: list[tuple[Value, Access]],
        code: Code,
        part: Part | None = None,
        sources: dict[Value, tuple[Layout, Ref]] | None = None,
    ) -> None:
        self.part = part
        self.domain = domain
        self.sources = sources
        self.f = function
        self.operands = operands
        self.results = results
        self.code = code
        self.accesses = [*operands.values(), *(a for _, a in results)]
        self.counted = [d for d, n in enumerate(domain) if n != 1] if sources is not None else []
        for d in self.counted:  # a count is an address of numbers: it moves by 1 along its own
            along = [int(d == e) for e in range(len(domain))]
            self.accesses.append(Access(Ref("0", "i64"), along, dtypes.int8))
        self.loops = Loops(
            domain,
            dims,
            [a.strides for a in self.accesses],
            [a.dtype.itemsize for a in self.accesses],
            [False] * len(operands) + [True] * len(results) + [False] * len(self.counted),
        )
        self.checks = Checks(function)
        widest = max((a.dtype.itemsize for a in self.accesses), default=4)
        width = target.vector_bytes // (8 if widest == 8 else 4)
        v = self.loops.vector
        self.lanes = 0 if v is None or self.loops.extents[v] == 1 else width

    def emit(self) -> None:
        """Write the loops; where something may fail, return the number of what failed."""
        self._kept(0, [a.pointer for a in self.accesses], 0, None)
        self.checks.finish()

    # -- the dimensions that are kept -------------------------------------------------------

    def _kept(self, level: int, pointers: list[Ref], lanes: int, mask: Ref | None) -> None:
        loops = self.loops
        if level == len(loops.extents) or loops.reduced[level]:
            self._point(level, pointers, lanes, mask)
            return
        if level == loops.vector and self.lanes:
            self._vector(level, pointers, lambda p, m: self._kept(level + 1, p, self.lanes, m))
            return
        n = loops.extents[level]
        start, stop = self.part.range(self.f, n) if self.part and level == 0 else (0, n)
        with self.f.loop(start, stop) as i:
            self._kept(level + 1, self._advance(pointers, level, i), lanes, mask)

    def _vector(
        self, level: int, pointers: list[Ref], inside: Callable[[list[Ref], Ref | None], None]
    ) -> None:
        """A dimension walked so many lanes at a time, and what is left over under a mask."""
        f, n, lanes = self.f, self.loops.extents[level], self.lanes
        whole = n - n % lanes
        end = number(whole)
        if self.part and level == 0:
            start, stop = self.part.range(f, whole, lanes)
            with f.loop(start, stop, lanes) as i:
                inside(self._advance(pointers, level, i), None)
            with self._rest(n, self.part.is_last(f)) as rest:
                if rest is not None:
                    inside(self._advance(pointers, level, end), rest)
            return
        if varies(n):
            with f.loop(0, whole, lanes) as i:
                inside(self._advance(pointers, level, i), None)
            with self._rest(n) as rest:
                if rest is not None:
                    inside(self._advance(pointers, level, end), rest)
            return
        if whole == lanes:
            inside(pointers, None)
        elif whole:
            with f.loop(0, whole, lanes) as i:
                inside(self._advance(pointers, level, i), None)
        with self._rest(n) as rest:
            if rest is not None:
                inside(self._advance(pointers, level, end) if whole else pointers, rest)

    @contextmanager
    def _rest(self, n: int, where: Ref | None = None) -> Iterator[Ref | None]:
        """The lanes that whole vectors leave over of `n` elements; `None` where there are none.

        What is built inside happens only where there are some, and where a condition holds.
        """
        f, rest = self.f, n % self.lanes
        if varies(rest):
            some = f.compare("ne", number(rest), number(0))
            with f.when(some if where is None else f.binary("and", some, where)):
                yield Emit(f, self.lanes).tail(number(rest))
        elif not rest:
            yield None
        else:
            mask = f.lanes([int(j < rest) for j in range(self.lanes)], "i1")
            if where is None:
                yield mask
            else:
                with f.when(where):
                    yield mask

    def _advance(self, pointers: list[Ref], level: int, index: Ref) -> list[Ref]:
        """The addresses at a position of one dimension."""
        offsets: dict[int, Ref | None] = {0: None}
        moved = []
        for pointer, strides in zip(pointers, self.loops.strides, strict=True):
            stride = strides[level]
            if stride not in offsets:
                offsets[stride] = self.f.mul(index, number(stride))
            offset = offsets[stride]
            if offset is None:
                moved.append(pointer)
            elif pointer.type == "i64":
                moved.append(self.f.add(pointer, offset))
            else:
                moved.append(self.f.at(pointer, offset, "i8"))
        return moved

    def _place(self, emit: Emit, pointers: list[Ref], mask: Ref | None) -> pulls.Place | None:
        """Where the nest is, for pulls."""
        if self.sources is None:
            return None
        first = len(self.accesses) - len(self.counted)
        counts = {d: first + i for i, d in enumerate(self.counted)}
        at = []
        for d in range(len(self.domain)):
            i = counts.get(d)
            if i is None:
                at.append(pulls.Index(emit, Ref("0", "i64")))
            else:
                at.append(pulls.Index(emit, pointers[i], self._stride(i, emit.lanes), d))
        return pulls.Place(at, self.sources, mask)

    # -- one point of what is kept: a single element, or a reduction ------------------------

    def _point(self, level: int, pointers: list[Ref], lanes: int, mask: Ref | None) -> None:
        """Everything at one point of what is kept (or at as many points as there are lanes)."""
        known: dict[Value, Scalar] = {}
        for code in self.code.passes:
            if not self.code.reduces:
                self._body(code, {}, pointers, lanes, mask)
                continue
            known.update(self._walk(code, known, level, pointers, lanes, mask))
            emit = Emit(self.f, lanes)
            self._load(emit, known, pointers, mask, code.tail_inputs, True)
            for op in code.tail:
                self.code.compute(emit, known, op)
                self.checks.note(emit, mask, op)
            self._store(emit, known, pointers, mask, code.kept)

    def _body(
        self,
        code: PassCode,
        known: dict[Value, Scalar],
        pointers: list[Ref],
        lanes: int,
        mask: Ref | None,
    ) -> tuple[Emit, dict[Value, Scalar]]:
        """The body of a pass at one point of the domain."""
        emit = Emit(self.f, lanes)
        env = dict(known)
        self._load(emit, env, pointers, mask, code.body_inputs, False)
        place = self._place(emit, pointers, mask)
        for op in code.body:
            self.code.compute(emit, env, op, place)
            self.checks.note(emit, mask, op)
        self._store(emit, env, pointers, mask, code.inner)
        return emit, env

    def _stride(self, access: int, lanes: int) -> Any:
        """The elements between the lanes of an access."""
        if not lanes or self.loops.vector is None:
            return 0
        stride = self.loops.strides[access][self.loops.vector]
        step = stride // self.accesses[access].dtype.itemsize
        return number(step) if varies(step) else step

    def _load(
        self,
        emit: Emit,
        env: dict[Value, Scalar],
        pointers: list[Ref],
        mask: Ref | None,
        wanted: set[Value],
        outer: bool,
    ) -> None:
        for i, ((value, once), access) in enumerate(self.operands.items()):
            if once == outer and value in wanted:
                under = mask if emit.lanes else None
                stride = self._stride(i, emit.lanes)
                env[value] = emit.load(pointers[i], access.dtype, stride, mask=under)

    def _store(
        self,
        emit: Emit,
        env: dict[Value, Scalar],
        pointers: list[Ref],
        mask: Ref | None,
        made: set[Value],
    ) -> None:
        """Store the results that were just made."""
        offset = len(self.operands)
        for i, (value, _) in enumerate(self.results):
            if value in made:
                stride = self._stride(offset + i, emit.lanes)
                element = self.code.operand(emit, env, value)
                under = mask if emit.lanes else None
                emit.store(element, pointers[offset + i], stride, mask=under)

    # -- reductions -------------------------------------------------------------------------

    def _walk(
        self,
        code: PassCode,
        known: dict[Value, Scalar],
        level: int,
        pointers: list[Ref],
        lanes: int,
        mask: Ref | None,
    ) -> dict[Value, Scalar]:
        """One pass over what is reduced; returns the reductions' results."""
        loops = self.loops
        across = loops.vector is not None and loops.reduced[loops.vector] and self.lanes > 0
        width = self.lanes if across else lanes
        copies = 1
        if across and code.reductions:
            long = hint(loops.extents[loops.vector]) >= 2 * ACCUMULATORS * width  # type: ignore[index]
            copies = ACCUMULATORS if long else 1
        start = Emit(self.f, width)
        sums = [
            [
                self.f.variable(start.splat(start.const(r.identity, r.dtype)).ref)
                for _ in range(copies)
            ]
            for r in code.reductions
        ]

        def body(points: list[Ref], n: int, under: Ref | None, number: int = 0) -> None:
            emit, env = self._body(code, known, points, n, under)
            for r, variables in zip(code.reductions, sums, strict=True):
                value = emit.splat(emit.cast(self.code.operand(emit, env, r.source), r.dtype))
                if under is not None and across:
                    keep = Scalar(under, dtypes.bool_)
                    value = emit.where(keep, value, emit.const(r.identity, r.dtype))
                have = Scalar(variables[number].get(), r.dtype)
                variables[number].set(r.combine(emit, have, value).ref)

        def walk(depth: int, points: list[Ref]) -> None:
            if depth == len(loops.extents):
                body(points, lanes, mask)
            elif depth == loops.vector and across:
                self._reduce_vector(depth, points, copies, body)
            else:
                with self.f.loop(0, loops.extents[depth]) as i:
                    walk(depth + 1, self._advance(points, depth, i))

        walk(level, pointers)
        found = {}
        for r, variables in zip(code.reductions, sums, strict=True):
            total = Scalar(variables[0].get(), r.dtype)
            for other in variables[1:]:
                total = r.combine(start, total, Scalar(other.get(), r.dtype))
            if across:
                total = self._across(r, total, width)
            emit = Emit(self.f, lanes)
            found[r.result] = emit.cast(total, r.result.meta.dtype)
        return found

    def _reduce_vector(
        self, depth: int, points: list[Ref], copies: int, body: Callable[..., None]
    ) -> None:
        """The innermost reduced dimension, several vectors at a time where it is long."""
        n, lanes = self.loops.extents[depth], self.lanes
        chunk = lanes * copies
        whole = n - n % chunk
        if copies > 1:
            with self.f.loop(0, whole, chunk) as i:
                for which in range(copies):
                    at = self.f.add(i, number(which * lanes)) if which else i
                    body(self._advance(points, depth, at), lanes, None, which)
        else:
            whole = 0
        single = n - n % lanes
        if varies(n):
            with self.f.loop(whole, single, lanes) as i:
                body(self._advance(points, depth, i), lanes, None)
        elif single - whole == lanes:
            at = Ref(str(whole), "i64")
            body(self._advance(points, depth, at) if whole else points, lanes, None)
        elif single > whole:
            with self.f.loop(whole, single, lanes) as i:
                body(self._advance(points, depth, i), lanes, None)
        with self._rest(n) as rest:
            if rest is not None:
                body(self._advance(points, depth, number(single)), lanes, rest)

    def _across(self, r: Reducer, total: Scalar, lanes: int) -> Scalar:
        """One value out of those in all lanes."""
        f = self.f
        while lanes > 1:
            lanes //= 2
            emit = Emit(f, lanes if lanes > 1 else 0)
            low = f.shuffle(total.ref, total.ref, range(lanes))
            high = f.shuffle(total.ref, total.ref, range(lanes, 2 * lanes))
            if lanes == 1:
                low, high = f.extract(low, 0), f.extract(high, 0)
            total = r.combine(emit, Scalar(low, total.dtype), Scalar(high, total.dtype))
        return total
