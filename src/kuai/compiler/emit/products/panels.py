"""Copying blocks of matrices into panels, where a micro-kernel reads them in order."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.products.kernel import shared
from kuai.compiler.emit.products.product import (
    Numbers,
    Piece,
    Product,
    index,
    mask_of,
    pieces,
    smaller,
)
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import varies


def pack_panel(
    f: Function,
    numbers: Numbers,
    target: Target,
    source: Ref,
    strides: tuple[int, int],
    panel: Ref,
    step: int,
    depth: Ref,
    width: int,
    lanes: int,
) -> None:
    """Copy `depth` rows of `width` columns; the last vector of a row is filled up with zeros.

    Args:
        strides: of the source, from row to row and from column to column.
        step: elements from row to row of the panel.
    """
    if strides[1] == 1:
        with f.loop(0, depth) as k:
            line = f.at(source, index(f, k, strides[0]), numbers.memory)
            to = f.at(panel, index(f, k, step), numbers.sum)
            pack_row(f, numbers, target, line, to, width, lanes)
        return
    full, rest = divmod(width, lanes)

    def pack_vector(first: Ref, live: int) -> None:
        at = f.at(source, index(f, first, strides[1]), numbers.memory)
        to = f.at(panel, first, numbers.sum)
        if strides[0] == 1 and lanes >= 4 and not varies(strides[1]):
            transpose(f, numbers, at, strides[1], to, number(step), depth, live, lanes)
        else:
            _gather(f, numbers, at, strides, to, step, depth, live, lanes)

    if full:
        with f.loop(0, full * lanes, lanes) as first:
            pack_vector(first, lanes)
    if rest:
        pack_vector(number(full * lanes), rest)


def pack_row(
    f: Function, numbers: Numbers, target: Target, source: Ref, to: Ref, width: int, lanes: int
) -> None:
    """Copy `width` elements that lie side by side; the last vector is filled up with zeros."""
    rest = width % lanes
    if rest:
        f.store(numbers.zero(f, lanes), f.at(to, width - rest, numbers.sum))
    for piece in pieces(width, lanes, target):
        value = numbers.load(f, f.at(source, piece.offset, numbers.memory), piece)
        f.store(value, f.at(to, piece.offset, numbers.sum))


def _gather(
    f: Function,
    numbers: Numbers,
    source: Ref,
    strides: tuple[int, int],
    panel: Ref,
    step: int,
    depth: Ref,
    live: int,
    lanes: int,
) -> None:
    """Copy element by element."""
    with f.loop(0, depth) as k:
        to = f.at(panel, index(f, k, step), numbers.sum)
        at = f.at(source, index(f, k, strides[0]), numbers.memory)
        if live < lanes:
            f.store(numbers.zero(f, lanes), to)
        with f.loop(0, live) as j:
            value = numbers.load_one(f, f.at(at, index(f, j, strides[1]), numbers.memory))
            f.store(value, f.at(to, j, numbers.sum))


def transpose(
    f: Function,
    numbers: Numbers,
    source: Ref,
    stride: int,
    panel: Ref,
    step: Ref,
    depth: Ref,
    live: int,
    lanes: int,
) -> None:
    """Copy columns whose elements lie side by side, `stride` from column to column.

    Four elements of each of `lanes` columns are loaded, and transposed within quarters of a vector.
    """
    name = f"transpose_{numbers.memory}_{live}_of_{lanes}_{stride}".replace("-", "m")
    given = [("ptr", "source"), ("ptr", "panel"), ("i64", "step"), ("i64", "depth")]
    inner = shared(f.module, name, given)
    if inner is not None:
        _transpose(inner, numbers, stride, live, lanes)
    f.call(name, "void", source, panel, step, depth)


def _transpose(f: Function, numbers: Numbers, stride: int, live: int, lanes: int) -> None:
    source, panel, step, depth = f.arguments
    groups = lanes // 4

    def part_of_columns(at: Ref, group: int) -> Ref:
        parts = []
        for q in range(groups):
            column = q * 4 + group
            if column < live:
                place = f.at(at, column * stride, numbers.memory)
                parts.append(numbers.load(f, place, Piece(0, 4, 4)))
            else:
                parts.append(numbers.zero(f, 4))
        while len(parts) > 1:
            both = range(2 * parts[0].lanes)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [f.shuffle(x, y, both) for x, y in pairs]
        return parts[0]

    whole = f.binary("and", depth, number(-4))
    with f.loop(0, whole, 4) as k:
        at = f.at(source, k, numbers.memory)
        rows = [part_of_columns(at, group) for group in range(4)]
        for n, row in enumerate(_transposed(f, rows)):
            f.store(row, f.at(panel, f.mul(f.add(k, number(n)), step), numbers.sum))
    with f.loop(whole, depth) as k:
        at = f.at(source, k, numbers.memory)
        to = f.at(panel, f.mul(k, step), numbers.sum)
        if live < lanes:
            f.store(numbers.zero(f, lanes), to)
        with f.loop(0, live) as j:
            place = f.at(at, index(f, j, stride), numbers.memory)
            f.store(numbers.load_one(f, place), f.at(to, j, numbers.sum))
    f.ret()


def _transposed(f: Function, rows: list[Ref]) -> list[Ref]:
    """Four vectors, transposed within each four lanes."""
    starts = range(0, rows[0].lanes, 4)
    after = rows[0].lanes
    low = [s + i for s in starts for i in (0, after, 1, after + 1)]
    high = [s + i for s in starts for i in (2, after + 2, 3, after + 3)]
    first = [s + i for s in starts for i in (0, 1, after, after + 1)]
    second = [s + i for s in starts for i in (2, 3, after + 2, after + 3)]
    a, b = f.shuffle(rows[0], rows[1], low), f.shuffle(rows[0], rows[1], high)
    c, d = f.shuffle(rows[2], rows[3], low), f.shuffle(rows[2], rows[3], high)
    return [
        f.shuffle(a, c, first),
        f.shuffle(a, c, second),
        f.shuffle(b, d, first),
        f.shuffle(b, d, second),
    ]


def pack_columns(
    f: Function,
    p: Product,
    target: Target,
    source: Ref,
    panels: Ref,
    depth: Ref,
    top: Ref,
    bottom: Ref,
    height: int,
    panel: int,
    lanes: int,
) -> None:
    """Copy rows `top` to `bottom` of A into panels of `height` rows.

    Where elements lie side by side along k, a panel has one row after the other, `panel` apart;
    else it has `height` elements for each k.
    """
    numbers = p.numbers
    if p.a[1] == 1:
        with f.loop(top, bottom) as i:
            to = f.at(panels, index(f, f.sub(i, top), panel), numbers.sum)
            copy(f, numbers, f.at(source, index(f, i, p.a[0]), numbers.memory), to, depth, lanes)
        return
    rest = 0 if varies(p.m) else p.m % height
    # Panel after panel for each k: what lies side by side along the rows is read at once.
    with f.loop(0, depth) as k, f.loop(top, bottom, height) as i:
        place = f.add(index(f, f.sub(i, top), panel), index(f, k, height))
        to = f.at(panels, place, numbers.sum)
        at = f.at(source, index(f, k, p.a[1]), numbers.memory)
        at = f.at(at, index(f, i, p.a[0]), numbers.memory)
        rows = smaller(f, height, f.sub(bottom, i))
        if p.a[0] == 1 and not varies(p.m):
            full = f.compare("eq", rows, number(height))
            _copy_some(f, numbers, target, at, to, height, lanes, full)
            if rest:
                other = f.compare("eq", rows, number(rest))
                _copy_some(f, numbers, target, at, to, rest, lanes, other)
        else:
            with f.loop(0, rows) as r:
                value = numbers.load_one(f, f.at(at, index(f, r, p.a[0]), numbers.memory))
                f.store(value, f.at(to, r, numbers.sum))


def _copy_some(
    f: Function,
    numbers: Numbers,
    target: Target,
    source: Ref,
    to: Ref,
    count: int,
    lanes: int,
    condition: Ref,
) -> None:
    with f.when(condition):
        for piece in pieces(count, lanes, target):
            value = numbers.load(f, f.at(source, piece.offset, numbers.memory), piece)
            place = f.at(to, piece.offset, numbers.sum)
            mask = mask_of(f, piece.lanes, piece.live)
            if mask is None:
                f.store(value, place)
            else:
                f.store_masked(value, place, mask)


def copy(f: Function, numbers: Numbers, source: Ref, to: Ref, count: Ref, lanes: int) -> None:
    """Copy elements that lie side by side."""
    whole = f.binary("and", count, number(-lanes))
    with f.loop(0, whole, lanes) as k:
        value = numbers.load(f, f.at(source, k, numbers.memory), Piece(0, lanes, lanes))
        f.store(value, f.at(to, k, numbers.sum))
    with f.loop(whole, count) as k:
        value = numbers.load_one(f, f.at(source, k, numbers.memory))
        f.store(value, f.at(to, k, numbers.sum))
