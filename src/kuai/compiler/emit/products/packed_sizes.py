"""How the work on a large product is divided: tiles of registers, panels and blocks of caches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kuai.compiler.emit.builder import BITS
from kuai.compiler.emit.products.kernel import tile_of
from kuai.compiler.emit.products.product import Product, balanced
from kuai.compiler.emit.products.tile import LINE
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import SizeError, hint, varies

LEAST_DEPTH, DEPTH = 256, 768  # of a panel: how much of k is summed before sums leave registers
SPAN = 4096  # bytes of memory after which the sets of L1 repeat
ROWS = 960  # of which the sums are kept in memory, where k is deeper than that
MOST_SHARED = 1 << 23  # bytes of panels that are made before all parts of the work

Operand = Literal["a", "b"]


@dataclass(frozen=True)
class PackedSizes:
    """The sizes of tiles, panels and blocks of one product."""

    product: Product
    target: Target

    @cached_property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return self.product.numbers.lanes(self.target)

    @cached_property
    def height(self) -> int:
        """Rows of a tile."""
        return balanced(self.product.m, tile_of(self.target, self.product.numbers)[0])

    @cached_property
    def vectors(self) -> int:
        """Vectors in a row of a tile."""
        needed = -(-hint(self.product.n) // self.lanes)
        return min(needed, tile_of(self.target, self.product.numbers)[1])

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    @cached_property
    def depth(self) -> int:
        """How much of k is summed at once."""
        lines = self.target.l1 * 9 // 16 // (self.height * 4)
        most = max(LEAST_DEPTH, min(lines, DEPTH)) * 4 // self.sumsize
        if varies(self.product.k):
            return most
        return balanced(self.product.k, most) if self.product.k > most else self.product.k

    @cached_property
    def columns(self) -> int:
        """Columns of B in a block, which fill most of the second cache."""
        fit = self.target.l2 * 5 // 8 // max(1, self.depth * self.sumsize)
        if varies(self.product.n):
            raise SizeError(f"{self.product.n!r} columns in panels")
        blocks = -(-self.product.n // self.width)
        return balanced(blocks, max(1, fit // self.width)) * self.width

    @property
    def is_shallow(self) -> bool:
        """Whether all of k is summed at once."""
        return not varies(self.product.k) and self.product.k <= self.depth

    @cached_property
    def rows(self) -> int:
        """Rows of C that are treated with one block of B after the other."""
        if varies(self.product.m):
            return up(ROWS, self.height)
        if self.is_shallow:
            return up(self.product.m, self.height)
        return min(up(self.product.m, self.height), up(ROWS, self.height))

    @cached_property
    def panel_rows(self) -> int:
        """Rows of A that are packed at once, into a sixteenth of the second cache."""
        fit = self.target.l2 // 16 // max(1, self.depth * self.sumsize)
        return min(self.rows, max(1, fit // self.height) * self.height)

    @cached_property
    def sumsize(self) -> int:
        """Bytes of a sum."""
        return BITS[self.product.numbers.sum] // 8

    @cached_property
    def packs_a(self) -> bool:
        """Whether A is copied, too."""
        p = self.product
        return (
            p.numbers.memory != p.numbers.sum
            or p.a[1] != 1
            or varies(p.a[0])
            or self._collisions > self.target.l1 // SPAN // 2  # half of the ways
        )

    @property
    def _collisions(self) -> int:
        """How many rows of a tile fall into the same set of the first cache."""
        step = self.product.a[0] * self.product.itemsize
        sets = [r * step % SPAN // LINE for r in range(self.height)]
        return max(map(sets.count, sets))

    @cached_property
    def a_strides(self) -> tuple[int, int]:
        """The strides within a panel of A."""
        if not self.packs_a:
            return self.product.a
        if self.product.a[1] == 1:
            return self.depth + 16 // self.sumsize, 1
        return 1, self.height

    @cached_property
    def by_rows(self) -> bool:
        """Whether the blocks of a part are of rows, not of columns.

        Rows of C lie side by side, so that blocks of rows are written quicker; but all of them
        read all of B. Where that is more than they have of their own, blocks of columns, which
        need no panels but their own, stay nearer to the core that computes them.
        """
        m, n = hint(self.product.m), hint(self.product.n)
        tall, wide = (
            hint(-(-count // size))
            for count, size in ((self.product.m, self.height), (self.product.n, self.width))
        )
        reads_more = m <= n and not self.packs_a
        return tall > wide and (wide < 8 or (self._fits("b") and not reads_more))

    @property
    def blocks(self) -> int:
        """Into how many blocks the work can be divided."""
        p = self.product
        return -(-p.m // self.height) if self.by_rows else -(-p.n // self.width)

    @cached_property
    def _room(self) -> tuple[int, int, int]:
        """Bytes of the panels of B, of A, and of the sums."""
        b = self.columns * self.depth
        if self.product.a[1] == 1:
            a = self.panel_rows * self.a_strides[0]
        else:
            a = self.panel_rows * self.depth + self.lanes
        c = 0 if self.is_shallow else self.rows * self.columns
        sizes = (b, a if self.packs_a else 0, c)
        return tuple([up(size * self.sumsize, 64) for size in sizes])  # type: ignore[return-value]

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return sum(self._room)

    # -- panels that are made before, for all parts -----------------------------------------

    @property
    def panel(self) -> int:
        """Elements of a packed panel of A, for each of its rows."""
        return self.a_strides[0] if self.product.a[1] == 1 else self.depth

    @property
    def depths(self) -> int:
        """In how many parts k is summed."""
        return -(-self.product.k // self.depth)

    @property
    def shared(self) -> Operand | None:
        """The operand whose panels every part would make anew."""
        operand: Operand = "b" if self.by_rows else "a"
        return operand if self._fits(operand) else None

    def _fits(self, operand: Operand) -> bool:
        return self.can_share(operand) and self.shared_bytes(operand) <= MOST_SHARED

    def can_share(self, operand: Operand) -> bool:
        """Whether an operand is packed, and how much of it is known."""
        along = self.product.m if operand == "a" else self.product.n
        return (operand == "b" or self.packs_a) and not varies(self.product.k) and not varies(along)

    def shared_bytes(self, operand: Operand) -> int:
        """Bytes of all panels of an operand."""
        return up(self.depths * self.shared_step(operand) * self.sumsize, LINE)

    def shared_step(self, operand: Operand) -> int:
        """Elements from one part of k to the next, in the panels of an operand."""
        if operand == "b":
            return up(self.product.n, self.lanes) * self.depth
        return up(self.product.m, self.height) * self.panel + self.lanes

    def shared_blocks(self, operand: Operand) -> int:
        """Into how many blocks making the panels of an operand can be divided."""
        size, tile = (
            (self.product.m, self.height) if operand == "a" else (self.product.n, self.width)
        )
        return -(-size // tile)


def up(n: int, size: int) -> int:
    """The next multiple of a size."""
    return -(-n // size) * size
