"""Products whose operands are read where they lie: B row by row, A element by element."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.products.product import (
    Ahead,
    Part,
    Piece,
    Product,
    Put,
    balanced,
    index,
    pieces,
    smaller,
)
from kuai.compiler.emit.products.tile import AT_ONCE, ReadB, accumulate, ask_ahead, put_tile
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import hint, varies

SHORT = 24  # up to this k, storing a tile from memory would cost too much beside computing it
FULL = 8  # up to this size of blocks, there is code for each size of a last one
HELD = 12  # vectors of B that are kept in registers for all rows


@dataclass(frozen=True)
class Direct:
    """Tiles of C in registers: rows of B are loaded, elements of A broadcast.

    B has unit stride along n. Nothing is copied, so it serves small and middle sizes.
    """

    product: Product
    target: Target

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return 0

    @cached_property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return self.product.numbers.lanes(self.target)

    @cached_property
    def vectors(self) -> int:
        """Vectors in a row of a tile."""
        needed = -(-hint(self.product.n) // self.lanes)
        if self.product.m == 1:
            return balanced(needed, self.target.registers // 2)
        m = min(hint(self.product.m), FULL) if self.product.few else hint(self.product.m)
        if needed <= 2 or m == 2:
            return min(needed, 2 if m > 2 else 4)
        if needed % 2 and needed % 3 == 0:
            return 3
        if m <= 6 and needed % 4 == 0:
            return 4
        return 2

    @cached_property
    def height(self) -> int:
        """Rows of a tile."""
        p, vectors = self.product, self.vectors
        most = max(1, (self.target.registers - 3 - vectors) // vectors)
        most = min(most, {1: 16, 2: 12, 3: 8}.get(vectors, 6))
        if hint(p.k) <= SHORT:
            most = max(1, min(most, AT_ONCE // vectors))
        if varies(p.m):
            return 1 << (most.bit_length() - 1)
        return balanced(p.m, most)

    @cached_property
    def width(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    @cached_property
    def by_rows(self) -> bool:
        """Whether the blocks of a part are of rows, not of columns."""
        p = self.product
        return hint(-(-p.m // self.height)) >= hint(-(-p.n // self.width))

    @property
    def blocks(self) -> int:
        """Into how many blocks the work can be divided."""
        p = self.product
        return -(-p.m // self.height) if self.by_rows else -(-p.n // self.width)

    def emit(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        put: Put,
        workspace: Ref | None,
        part: Part | None,
        ahead: Ahead | None = None,
    ) -> None:
        """Build the loops over the tiles."""
        p = self.product
        rows = part if self.by_rows else None
        with_columns = None if self.by_rows else part
        for column, width in blocks_of(f, p.n, self.width, with_columns):
            columns = pieces(width, self.lanes, self.target)
            read_b = self._reader(f, b, column, columns)
            for row, height in blocks_of(f, p.m, self.height, rows):
                ask_ahead(f, p.numbers, p.k, height, width, row, column, ahead)
                self._tile(f, a, row, height, column, columns, read_b, put)

    def _reader(self, f: Function, b: Ref, column: Ref, columns: list[Piece]) -> ReadB:
        """How to read B, or the registers that hold it."""
        p, numbers = self.product, self.product.numbers
        at = f.at(b, column, numbers.memory)

        def read(f: Function, k: Ref, u: int, piece: Piece) -> Ref:
            row = f.at(at, index(f, k, p.b[0]), numbers.memory)
            return numbers.load(f, f.at(row, u * p.b[0] + piece.offset, numbers.memory), piece)

        if varies(p.k) or p.k * len(columns) > HELD:
            return read
        held = {(u, c): read(f, number(0), u, c) for u in range(p.k) for c in columns}
        return lambda f, k, u, piece: held[u, piece]

    def _tile(
        self,
        f: Function,
        a: Ref,
        row: Ref,
        height: int,
        column: Ref,
        columns: list[Piece],
        read_b: ReadB,
        put: Put,
    ) -> None:
        p, numbers = self.product, self.product.numbers
        at = f.at(a, index(f, row, p.a[0]), numbers.memory)

        def read_a(f: Function, k: Ref, u: int, r: int) -> Ref:
            here = f.at(at, index(f, k, p.a[1]), numbers.memory)
            place = f.at(here, u * p.a[1] + r * p.a[0], numbers.memory)
            return numbers.load_one(f, place)

        sums = accumulate(f, numbers, p.k, height, columns, read_a, read_b)
        put_tile(f, numbers, sums, columns, row, column, put)


def blocks_of(f: Function, count: int, size: int, part: Part | None) -> Iterator[tuple[Ref, int]]:
    """The first index and the size of blocks: the full ones in a loop, then the last one.

    What is left of a count that depends on the batch comes in one block, or, of a size that would
    make too many of them, in blocks of powers of 2.
    """
    if varies(count):
        yield from _blocks_of_some(f, count, size, part)
        return
    full, rest = divmod(count, size)
    start, stop = part or (number(0), number(full + (rest > 0)))
    if part is None and full == 1:
        yield number(0), size
    elif full:
        with f.loop(start, smaller(f, stop, full)) as block:
            yield index(f, block, size), size
    if rest:
        has_last = None
        if part is not None:  # and is not empty
            has_last = f.compare("sgt", stop, number(full))
            has_last = f.binary("and", has_last, f.compare("slt", start, stop))
        with _if(f, has_last):
            yield number(full * size), rest


def _blocks_of_some(
    f: Function, count: int, size: int, part: Part | None
) -> Iterator[tuple[Ref, int]]:
    full, rest = divmod(count, size)
    start, stop = part or (number(0), number(full))
    with f.loop(start, smaller(f, stop, full)) as block:
        yield index(f, block, size), size
    if isinstance(rest, int) and not rest:
        return
    has_last = None
    if part is not None:  # and is not empty
        has_last = f.compare("sgt", stop, number(full))
        has_last = f.binary("and", has_last, f.compare("slt", start, stop))
    with _if(f, has_last):
        if size <= FULL:
            for left in range(1, size):
                with f.when(f.compare("eq", number(rest), number(left))):
                    yield number(full * size), left
            return
        at = f.variable(number(full * size))
        for width in (1 << n for n in range((size - 1).bit_length() - 1, -1, -1)):
            some = f.binary("and", number(rest), number(width))
            with f.when(f.compare("ne", some, number(0))):
                yield at.get(), width
                at.set(f.add(at.get(), number(width)))


@contextmanager
def _if(f: Function, condition: Ref | None) -> Iterator[None]:
    if condition is None:
        yield
    else:
        with f.when(condition):
            yield
