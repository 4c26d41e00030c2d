"""Large products: blocks of the operands are copied into panels that a micro-kernel reads.

The method is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
(2008): a block of B stays in the second cache, a panel of A in the first one, a tile of C in
registers.

Parts of the work that need the same panels do not each make their own: `shared` names the operand
whose panels are made before, in memory that all of them read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from kuai.compiler.emit.builder import Function, Ref, number, vector
from kuai.compiler.emit.products.kernel import Kernel
from kuai.compiler.emit.products.packed_sizes import Operand, PackedSizes, up
from kuai.compiler.emit.products.panels import pack_columns, pack_panel, pack_row
from kuai.compiler.emit.products.product import (
    Ahead,
    Part,
    Put,
    index,
    pieces,
    plus,
    smaller,
)
from kuai.compiler.emit.products.tile import ask_ahead, put_from
from kuai.compiler.sizes import varies


class Shared(NamedTuple):
    """Panels that were made before, of all of A, or of all of B."""

    a: Ref | None = None
    b: Ref | None = None


NOTHING_SHARED = Shared()


@dataclass(frozen=True)
class Packed(PackedSizes):
    """Panels of B, and of A where its rows lie badly, in the workspace."""

    def emit(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        put: Put,
        workspace: Ref | None,
        part: Part | None,
        ahead: Ahead | None = None,
        shared: Shared = NOTHING_SHARED,
    ) -> None:
        """Build the loops over blocks, panels and tiles.

        Args:
            shared: panels of all of A or B, made by `emit_panels`.
        """
        assert workspace is not None
        p = self.product
        b_room, a_room, _ = self._room
        panels_b = workspace
        panels_a = f.at(workspace, b_room, "i8")
        sums = f.at(workspace, b_room + a_room, "i8")
        rows, columns = self._bounds(f, part)
        tile = f.alloca(p.numbers.sum, self.height * self.width)
        with (
            _steps(f, *rows, self.rows, p.m) as (top, bottom),
            _steps(f, *columns, self.columns, p.n) as (left, right),
            _steps(f, number(0), number(p.k), self.depth, p.k) as (p0, p1),
        ):
            block = _Block(top, left, p0, f.sub(p1, p0), sums, tile)
            if shared.b is None:
                self._pack_b(f, b, panels_b, block, right)
            else:
                panels_b = self._panel_at(f, shared.b, "b", p0, left, self.depth)
            with _steps(f, top, bottom, self.panel_rows, p.m) as (i0, i1):
                if self.packs_a and shared.a is None:
                    self._pack_a(f, a, panels_a, block, i0, i1)
                elif self.packs_a and shared.a is not None:
                    panels_a = self._panel_at(f, shared.a, "a", p0, i0, self.panel)
                with f.loop(i0, i1, self.height) as i:
                    if self.packs_a:
                        line = f.sub(i, i0)
                        panel_a = f.at(panels_a, index(f, line, self.panel), p.numbers.sum)
                    else:
                        panel_a = f.at(a, index(f, i, p.a[0]), p.numbers.memory)
                        panel_a = f.at(panel_a, p0, p.numbers.memory)
                    height = smaller(f, self.height, f.sub(i1, i))
                    for j, width in self._columns(f, left, right):
                        offset = f.mul(f.sub(j, left), number(self.depth))
                        panel_b = f.at(panels_b, offset, p.numbers.sum)
                        if self.is_shallow:
                            ask_ahead(f, p.numbers, p.k, height, width, i, j, ahead)
                        self._tile(f, panel_a, panel_b, block, i, height, j, width, put, ahead)

    def emit_panels(
        self, f: Function, operand: Operand, source: Ref, to: Ref, part: Part | None
    ) -> None:
        """Build what makes the panels of all of A or B, or of a part of `shared_blocks`."""
        p = self.product
        size, count = (self.height, p.m) if operand == "a" else (self.width, p.n)
        start, stop = number(0), number(count)
        if part is not None:
            start, stop = index(f, part[0], size), smaller(f, index(f, part[1], size), count)
        with _steps(f, number(0), number(p.k), self.depth, p.k) as (p0, p1):
            block = _Block(start, start, p0, f.sub(p1, p0), to, to)
            if operand == "a":
                panels = self._panel_at(f, to, "a", p0, start, self.panel)
                self._pack_a(f, source, panels, block, start, stop)
            else:
                panels = self._panel_at(f, to, "b", p0, start, self.depth)
                self._pack_b(f, source, panels, block, stop)

    def _panel_at(
        self, f: Function, panels: Ref, operand: Operand, first: Ref, at: Ref, each: int
    ) -> Ref:
        """The panels from a part of k, and a row or column, on; `each` element of that has some."""
        depths = f.binary("udiv", first, number(self.depth))
        place = f.add(index(f, depths, self.shared_step(operand)), index(f, at, each))
        return f.at(panels, place, self.product.numbers.sum)

    def _bounds(self, f: Function, part: Part | None) -> tuple[Part, Part]:
        p = self.product
        rows, columns = (number(0), number(p.m)), (number(0), number(p.n))
        if part is not None:
            size, limit = (self.height, p.m) if self.by_rows else (self.width, p.n)
            given = (index(f, part[0], size), smaller(f, index(f, part[1], size), limit))
            rows, columns = (given, columns) if self.by_rows else (rows, given)
        return rows, columns

    def _columns(self, f: Function, left: Ref, right: Ref) -> Iterator[tuple[Ref, int]]:
        """The tiles' first columns, and how many columns they have."""
        full, rest = divmod(self.product.n, self.width)
        if full:
            with f.loop(left, smaller(f, right, full * self.width), self.width) as j:
                yield j, self.width
        if rest:
            # The last part alone has them; one that is empty may end at the same column.
            last = f.compare("eq", right, number(self.product.n))
            with f.when(f.binary("and", last, f.compare("slt", left, right))):
                yield number(full * self.width), rest

    def _pack_b(self, f: Function, b: Ref, to: Ref, block: _Block, right: Ref) -> None:
        p = self.product
        numbers, left, depth = p.numbers, block.left, block.depth
        start = f.at(b, index(f, block.first, p.b[0]), numbers.memory)
        if p.b[1] == 1:
            with f.loop(0, depth) as k:
                line = f.at(start, index(f, k, p.b[0]), numbers.memory)
                for j, width in self._columns(f, left, right):
                    panel = f.at(to, f.mul(f.sub(j, left), number(self.depth)), numbers.sum)
                    panel = f.at(panel, index(f, k, up(width, self.lanes)), numbers.sum)
                    pack_row(
                        f,
                        numbers,
                        self.target,
                        f.at(line, j, numbers.memory),
                        panel,
                        width,
                        self.lanes,
                    )
            return
        for j, width in self._columns(f, left, right):
            panel = f.at(to, f.mul(f.sub(j, left), number(self.depth)), numbers.sum)
            source = f.at(start, index(f, j, p.b[1]), numbers.memory)
            pack_panel(
                f,
                numbers,
                self.target,
                source,
                p.b,
                panel,
                up(width, self.lanes),
                depth,
                width,
                self.lanes,
            )

    def _pack_a(self, f: Function, a: Ref, to: Ref, block: _Block, i0: Ref, i1: Ref) -> None:
        p, panel, lanes = self.product, self.panel, self.lanes
        start = f.at(a, index(f, block.first, p.a[1]), p.numbers.memory)
        pack_columns(f, p, self.target, start, to, block.depth, i0, i1, self.height, panel, lanes)

    def _tile(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        block: _Block,
        i: Ref,
        height: Ref,
        j: Ref,
        width: int,
        put: Put,
        ahead: Ahead | None,
    ) -> None:
        """Compute a tile from its panels; hand it on once the sums are whole."""
        p, numbers = self.product, self.product.numbers
        columns = pieces(width, self.lanes, self.target)
        kernel = Kernel(numbers, self.height, -(-width // self.lanes), self.lanes, self.a_strides)
        if self.is_shallow:
            self._call(f, kernel, a, b, block.tile, block.depth, height)
            put_from(f, numbers, block.tile, kernel.width, height, columns, i, j, put)
            return
        row = f.mul(f.sub(i, block.top), number(self.columns))
        column = f.mul(f.sub(j, block.left), number(self.height))
        sums = f.at(block.sums, f.add(row, column), numbers.sum)
        more = f.compare("ne", block.first, number(0))
        end = f.add(block.first, block.depth)
        is_last = f.compare("eq", end, number(p.k))
        if ahead is not None:
            with f.when(is_last):
                ask_ahead(f, numbers, p.k, height, width, i, j, ahead)
        to = f.select(more, block.tile, sums)
        self._call(f, kernel, a, b, to, block.depth, height)
        with (
            f.when(more),
            f.loop(0, f.mul(height, number(kernel.width)), self.lanes) as at,
        ):
            type = vector(numbers.sum, self.lanes)
            place = f.at(sums, at, numbers.sum)
            value = f.load(type, f.at(block.tile, at, numbers.sum))
            f.store(f.add(f.load(type, place), value), place)
        with f.when(is_last):
            put_from(f, numbers, sums, kernel.width, height, columns, i, j, put)

    def _call(
        self, f: Function, kernel: Kernel, a: Ref, b: Ref, to: Ref, depth: Ref, height: Ref
    ) -> None:
        """Call the micro-kernel for as many rows as there are."""
        rest = self.product.m % self.height
        if varies(rest):
            self._call_some(f, kernel, a, b, to, depth, height)
            return
        if not rest:
            kernel.call(f, a, b, to, depth)
            return
        short, full, end = f.label("short"), f.label("full"), f.label("end")
        f.branch_if(f.compare("eq", height, number(rest)), short, full)
        f.begin_after(full)
        kernel.call(f, a, b, to, depth)
        f.branch(end)
        f.begin_after(short)
        replace(kernel, rows=rest).call(f, a, b, to, depth)
        f.begin(end)

    def _call_some(
        self, f: Function, kernel: Kernel, a: Ref, b: Ref, to: Ref, depth: Ref, height: Ref
    ) -> None:
        """The same for any number of rows: those of the last tile in powers of 2."""
        short, full, end = f.label("short"), f.label("full"), f.label("end")
        f.branch_if(f.compare("slt", height, number(self.height)), short, full)
        f.begin_after(full)
        kernel.call(f, a, b, to, depth)
        f.branch(end)
        f.begin_after(short)
        done = f.variable(number(0))
        memory = self.product.numbers.sum if self.packs_a else self.product.numbers.memory
        for rows in (1 << n for n in range((self.height - 1).bit_length() - 1, -1, -1)):
            some = f.binary("and", height, number(rows))
            with f.when(f.compare("ne", some, number(0))):
                at = f.at(a, index(f, done.get(), kernel.a[0]), memory)
                place = f.at(to, index(f, done.get(), kernel.width), self.product.numbers.sum)
                replace(kernel, rows=rows).call(f, at, b, place, depth)
                done.set(f.add(done.get(), number(rows)))
        f.begin(end)


class _Block(NamedTuple):
    """A block of C: its first row and column, the part of k that is summed, and memory.

    Attributes:
        sums: where sums lie that are not whole yet, tile by tile.
        tile: where the micro-kernel puts a tile.
    """

    top: Ref
    left: Ref
    first: Ref
    depth: Ref
    sums: Ref
    tile: Ref


@contextmanager
def _steps(f: Function, start: Ref, stop: Ref, size: int, count: int) -> Iterator[Part]:
    """Repeat for blocks of `size`, of which `count` elements need one or more."""
    if not varies(count) and count <= size:
        yield start, stop
        return
    with f.loop(start, stop, size) as first:
        yield first, smaller(f, stop, plus(f, first, size))
