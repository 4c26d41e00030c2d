"""Few rows of A times the transpose of rows that lie in memory one after the other: `x @ W.T`.

Vectors run along k. A register holds parts of the sums of several outputs; at the end they are
added up and transposed at once, so that the results of neighbouring columns come out side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.products.direct import blocks_of
from kuai.compiler.emit.products.product import Part, Piece, Product, Put, index, plus
from kuai.compiler.emit.products.tile import LATENCY
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import hint, varies

ROWS = 4  # rows of A that are multiplied with a row of B while it is in a register
UNROLLED = 64  # up to so many multiplications are written out, without a loop over k
HELD = 8  # vectors of A that are kept in registers for all columns

Origin = tuple[int, int] | None
"""Which accumulator and which part of it a lane belongs to."""


@dataclass(frozen=True)
class Dot:
    """Sums along k in vectors, for A and B of unit stride along k."""

    product: Product
    target: Target

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return 0

    @cached_property
    def lanes(self) -> int:
        """Lanes of a vector, and columns of a block."""
        return self.product.numbers.lanes(self.target)

    @cached_property
    def rows(self) -> int:
        """Rows of A that are treated together."""
        m = self.product.m
        if varies(m):
            return ROWS
        return -(-m // -(-m // ROWS))

    @property
    def blocks(self) -> int:
        """Into how many blocks of columns the work can be divided."""
        return -(-self.product.n // self.lanes)

    @cached_property
    def quad(self) -> int:
        """Lanes within which a processor shuffles most cheaply."""
        return max(1, min(self.lanes, 128 // (8 * self.product.itemsize)))

    @cached_property
    def chunk(self) -> int:
        """How many elements of a row lie side by side in a vector; other columns fill the rest."""
        columns = min(hint(self.product.n), self.lanes)
        chunk, best, least = self.lanes, self.lanes, None
        while chunk >= min(self.quad, self.lanes):
            cost = self._cost(chunk, columns)
            if least is None or cost < least:
                best, least = chunk, cost
            chunk //= 2
        return best

    def _cost(self, chunk: int, columns: int) -> float:
        parts = self.lanes // chunk
        sums = -(-columns // parts)
        steps = -(-self.product.k // chunk)
        joins = steps * columns * (parts - 1) / parts
        masked = columns * (self.product.k % chunk > 0) / 2
        return joins + masked + self.rows * (steps * sums + 3 * (sums - 1))

    def emit(
        self, f: Function, a: Ref, b: Ref, put: Put, workspace: Ref | None, part: Part | None
    ) -> None:
        """Build the loops over blocks of columns and rows."""
        p, numbers = self.product, self.product.numbers
        steps = -(-p.k // self.chunk)
        if varies(p.m) and steps * self.rows > HELD:
            # The columns of a block stay near while all rows are multiplied with them.
            for column, width in blocks_of(f, p.n, self.lanes, part):
                for row, height in blocks_of(f, p.m, self.rows, None):
                    at = f.at(a, index(f, row, p.a[0]), numbers.memory)
                    self._put_block(f, at, b, row, height, column, width, {}, put)
            return
        for row, height in blocks_of(f, p.m, self.rows, None):
            at = f.at(a, index(f, row, p.a[0]), numbers.memory)
            held = {}
            if steps * height <= HELD:
                for s in range(steps):
                    for r in range(height):
                        held[s, r] = self._read_a(f, at, number(0), s, r)
            for column, width in blocks_of(f, p.n, self.lanes, part):
                self._put_block(f, at, b, row, height, column, width, held, put)

    def _put_block(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        row: Ref,
        height: int,
        column: Ref,
        width: int,
        held: dict[tuple[int, int], Ref],
        put: Put,
    ) -> None:
        """Compute a block, and hand on its rows."""
        numbers = self.product.numbers
        start = f.at(b, index(f, column, self.product.b[1]), numbers.memory)
        piece = self._piece(width)
        for r, sum in enumerate(self._block(f, a, start, height, width, held)):
            value = numbers.narrowed(f, sum)
            if piece.lanes == 0:
                value = f.extract(value, 0)
            elif piece.lanes < self.lanes:
                value = f.shuffle(value, value, range(piece.lanes))
            put(f, plus(f, row, r), column, value, piece.live)

    def _piece(self, width: int) -> Piece:
        lanes = 1 << (width - 1).bit_length()
        return Piece(0, 0 if lanes == 1 else lanes, width)

    # -- a block: `width` columns, `height` rows -------------------------------------------

    def _block(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        height: int,
        width: int,
        held: dict[tuple[int, int], Ref],
    ) -> list[Ref]:
        """Vectors of the results, one for each row."""
        columns = self._columns(width)
        live = [n for n, parts in enumerate(columns) if any(c is not None for c in parts)]
        together = max(1, (self.target.registers - 6 - height) // height)
        size = 1
        while size * 2 <= min(together, len(columns)):
            size *= 2
        if len(live) <= together:
            size = len(columns)
        sums: list[list[Ref | None]] = [[None] * len(columns) for _ in range(height)]
        trees: list[list[Ref | None]] = [[] for _ in range(height)]
        for first in range(0, len(columns), size):
            chosen = [n for n in live if first <= n < first + size]
            if chosen:
                self._sum(f, a, b, columns, chosen, sums, held)
            for r in range(height):
                trees[r].append(self._reduce(f, sums[r][first : first + size], self.chunk))
        whole = self.chunk // size
        results = [self._reduce(f, tree, whole) for tree in trees]
        return [r for r in results if r is not None]

    def _columns(self, width: int) -> list[list[int | None]]:
        """For each accumulator and part of it, the column that it sums; found by following the
        lanes through the reduction.
        """
        parts = self.lanes // self.chunk
        lanes: list[list[Origin]] = [
            [(n, part) for part in range(parts) for _ in range(self.chunk)]
            for n in range(self.chunk)
        ]
        size = self.chunk
        while len(lanes) > 1:
            lanes = [
                [(x + y)[i] for i in self._orders(size)[0]]
                for x, y in zip(lanes[::2], lanes[1::2], strict=True)
            ]
            size //= 2
        result: list[list[int | None]] = [[None] * parts for _ in range(self.chunk)]
        for column, origin in enumerate(lanes[0][:width]):
            if origin is not None:
                result[origin[0]][origin[1]] = column
        return result

    def _orders(self, size: int) -> tuple[list[int], list[int]]:
        """The lanes of two vectors that are added, where parts of `size` lanes become halves."""
        half, lanes = size // 2, self.lanes
        group = lanes if half >= self.quad else self.quad
        first: list[int] = []
        second: list[int] = []
        for start in range(0, lanes, group):
            for base in (start, start + lanes):
                for part in range(base, base + group, size):
                    first += range(part, part + half)
                    second += range(part + half, part + size)
        return first, second

    def _reduce(self, f: Function, sums: list[Ref | None], size: int) -> Ref | None:
        """One vector of the sums over parts of `size` lanes, halved as often as vectors pair up."""
        while len(sums) > 1:
            first, second = self._orders(size)
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [self._halves(f, x, y, first, second) for x, y in pairs]
            size //= 2
        return sums[0]

    def _halves(
        self, f: Function, x: Ref | None, y: Ref | None, first: list[int], second: list[int]
    ) -> Ref | None:
        if x is None and y is None:
            return None
        x = x or f.const(0, (y or x).type)  # type: ignore[union-attr]
        y = y or f.const(0, x.type)
        return f.add(f.shuffle(x, y, first), f.shuffle(x, y, second))

    def _sum(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        columns: list[list[int | None]],
        chosen: list[int],
        sums: list[list[Ref | None]],
        held: dict[tuple[int, int], Ref],
    ) -> None:
        """Sum over k into the chosen accumulators."""
        numbers, k, height = self.product.numbers, self.product.k, len(sums)
        whole, rest = divmod(k, self.chunk)
        if (whole + 1) * len(chosen) * height <= UNROLLED:
            whole, ways, start = 0, 1, 0
        else:
            ways = 1
            while ways * len(chosen) * height < LATENCY and ways * 2 <= whole:
                ways *= 2
            start = whole - whole % ways
            held = {}
        places = [(r, n) for n in chosen for r in range(height)]
        running: dict[tuple[int, int, int], Ref] = {}
        if start:
            zero = numbers.zero(f, self.lanes)
            kept = {(w, r, n): f.variable(zero) for w in range(ways) for r, n in places}
            with f.loop(0, start * self.chunk, ways * self.chunk) as p:
                for w in range(ways):
                    xs = [self._read_a(f, a, p, w, r) for r in range(height)]
                    for n in chosen:
                        y = self._read_b(f, b, p, w, columns[n])
                        for r, x in enumerate(xs):
                            v = kept[w, r, n]
                            v.set(numbers.multiply_add(f, x, y, v.get()))
            running = {key: v.get() for key, v in kept.items()}
        for step in range(start, k // self.chunk + (rest > 0)):
            xs = [
                held.get((step, r)) or self._read_a(f, a, number(0), step, r) for r in range(height)
            ]
            for n in chosen:
                y = self._read_b(f, b, number(0), step, columns[n])
                for r, x in enumerate(xs):
                    before = running.get((0, r, n))
                    running[0, r, n] = (
                        f.mul(x, y) if before is None else numbers.multiply_add(f, x, y, before)
                    )
        for r, n in places:
            parts = [running[w, r, n] for w in range(ways) if (w, r, n) in running]
            while len(parts) > 1:
                parts = [f.add(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
            sums[r][n] = parts[0]

    # -- reading ---------------------------------------------------------------------------

    def _read(self, f: Function, pointer: Ref, step: int) -> Ref:
        """A chunk; the last one may be shorter, and 0 comes after it."""
        live = min(self.chunk, self.product.k - step * self.chunk)
        piece = Piece(0, self.chunk if self.chunk > 1 else 0, live if live > 0 else self.chunk)
        return self.product.numbers.load(f, pointer, piece)

    def _read_a(self, f: Function, a: Ref, p: Ref, step: int, row: int) -> Ref:
        """A chunk of A, in every part of a vector."""
        numbers, p_ = self.product.numbers, self.product
        at = f.at(f.at(a, p, numbers.memory), step * self.chunk + row * p_.a[0], numbers.memory)
        chunk = self._read(f, at, step if p.text == "0" else 0)
        return self._joined(f, [chunk] * (self.lanes // self.chunk))

    def _read_b(self, f: Function, b: Ref, p: Ref, step: int, columns: list[int | None]) -> Ref:
        """A chunk of each of several columns of B, side by side."""
        numbers, p_ = self.product.numbers, self.product
        at = f.at(b, p, numbers.memory)
        chunks: list[Ref | None] = [None] * len(columns)
        for n, column in enumerate(columns):
            if column is not None:
                place = f.at(at, step * self.chunk + column * p_.b[1], numbers.memory)
                chunks[n] = self._read(f, place, step if p.text == "0" else 0)
        zero = next(f.const(0, c.type) for c in chunks if c is not None)
        return self._joined(f, [zero if c is None else c for c in chunks])

    def _joined(self, f: Function, chunks: list[Ref]) -> Ref:
        while len(chunks) > 1:
            both = range(2 * max(1, chunks[0].lanes))
            if chunks[0].lanes:
                pairs = zip(chunks[::2], chunks[1::2], strict=True)
                chunks = [f.shuffle(x, y, both) for x, y in pairs]
            else:
                type = f"<{len(chunks)} x {chunks[0].type}>"
                whole = Ref("poison", type)
                for lane, x in enumerate(chunks):
                    whole = f.insert(whole, x, lane)
                chunks = [whole]
        return chunks[0]
