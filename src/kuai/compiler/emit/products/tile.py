"""The tile: a block of C held in registers while the sum over k runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kuai.compiler.emit.builder import BITS, Function, Ref, Variable, number, vector
from kuai.compiler.emit.products.product import Ahead, Numbers, Piece, Put, plus
from kuai.compiler.sizes import hint, varies

LATENCY = 8  # sums that must be under way at once to keep the multipliers busy
UNROLLED = 96  # up to so many multiplications are written out, without a loop
LONG = 64  # products to sum, in whose time memory can come nearer
LINE = 64  # bytes of a line of the cache
AT_ONCE = 8  # vectors of a tile whose stores are written out; those of larger ones in a loop

ReadA = Callable[[Function, Ref, int, int], Ref]
"""`read(f, p, u, row)`: the element of A in this row of the tile and column p + u, a scalar."""
ReadB = Callable[[Function, Ref, int, Piece], Ref]
"""`read(f, p, u, piece)`: the elements of B in row p + u and the columns of the piece."""

Sums = list[list[Ref]]  # by row and piece


def accumulate(
    f: Function,
    numbers: Numbers,
    k: int,
    rows: int,
    columns: Sequence[Piece],
    read_a: ReadA,
    read_b: ReadB,
) -> Sums:
    """The sums of a tile over all of `k`, in registers."""
    vectors = rows * len(columns)
    if k == 0:
        return [[numbers.zero(f, c.lanes) for c in columns] for _ in range(rows)]
    if not varies(k) and k * vectors <= UNROLLED and k <= 32:
        return _written_out(f, numbers, k, rows, columns, read_a, read_b)
    ways = 1
    while ways * vectors < LATENCY and ways * 2 <= hint(k):
        ways *= 2
    step = max(ways, 2 if vectors <= 12 else 1)
    sums = [
        [[f.variable(numbers.zero(f, c.lanes)) for c in columns] for _ in range(rows)]
        for _ in range(ways)
    ]

    def multiply(p: Ref, u: int) -> None:
        _multiply(f, numbers, columns, sums[u % ways], p, u, read_a, read_b)

    whole = k - k % step
    with f.loop(0, whole, step) as p:
        for u in range(step):
            multiply(p, u)
    if varies(k):
        with f.loop(whole, k) as p:
            multiply(p, 0)
    else:
        for u in range(k - whole):
            multiply(number(whole), u)
    return _joined(f, sums)


def _multiply(
    f: Function,
    numbers: Numbers,
    columns: Sequence[Piece],
    sums: Sequence[Sequence[Variable]],
    p: Ref,
    u: int,
    read_a: ReadA,
    read_b: ReadB,
) -> None:
    b = [read_b(f, p, u, piece) for piece in columns]
    for row, held in enumerate(sums):
        a = read_a(f, p, u, row)
        for piece, value, sum in zip(columns, b, held, strict=True):
            wide = f.splat(a, piece.lanes)
            sum.set(numbers.multiply_add(f, wide, value, sum.get()))


def _written_out(
    f: Function,
    numbers: Numbers,
    k: int,
    rows: int,
    columns: Sequence[Piece],
    read_a: ReadA,
    read_b: ReadB,
) -> Sums:
    ways = max(1, min(k // 2, LATENCY // (rows * len(columns))))
    sums: list[list[list[Ref | None]]] = [
        [[None] * len(columns) for _ in range(rows)] for _ in range(ways)
    ]
    for u in range(k):
        b = [read_b(f, number(0), u, piece) for piece in columns]
        for row in range(rows):
            a = read_a(f, number(0), u, row)
            held = sums[u % ways][row]
            for at, (piece, value) in enumerate(zip(columns, b, strict=True)):
                wide, before = f.splat(a, piece.lanes), held[at]
                held[at] = (
                    f.mul(wide, value)
                    if before is None
                    else numbers.multiply_add(f, wide, value, before)
                )
    done = [[[s for s in row if s is not None] for row in way] for way in sums]
    return _pairwise(f, done)


def _joined(f: Function, sums: Sequence[Sequence[Sequence[Variable]]]) -> Sums:
    return _pairwise(f, [[[sum.get() for sum in row] for row in way] for way in sums])


def _pairwise(f: Function, ways: list[Sums]) -> Sums:
    while len(ways) > 1:
        half = (len(ways) + 1) // 2
        ways = [
            [
                [f.add(x, y) for x, y in zip(p, q, strict=True)]
                for p, q in zip(ways[i], ways[i + half], strict=True)
            ]
            if i + half < len(ways)
            else ways[i]
            for i in range(half)
        ]
    return ways[0]


def ask_ahead(
    f: Function,
    numbers: Numbers,
    k: int,
    rows: Ref | int,
    width: int,
    row: Ref,
    column: Ref,
    ahead: Ahead | None,
) -> None:
    """Ask for the memory that a tile will need when its sums over `k` are known."""
    if ahead is None or hint(k) < LONG:
        return
    line = LINE * 8 // BITS[numbers.memory]
    with f.loop(0, rows) as r:
        for c in range(0, width, line):
            ahead(f, plus(f, row, r), plus(f, column, c))


def put_tile(
    f: Function,
    numbers: Numbers,
    sums: Sums,
    columns: Sequence[Piece],
    row: Ref | int,
    column: Ref | int,
    put: Put,
) -> None:
    """Hand a tile whose first element is C[row, column] to `put`."""
    if len(sums) * len(columns) <= AT_ONCE or len(sums) == 1:
        for r, held in enumerate(sums):
            for piece, sum in zip(columns, held, strict=True):
                _put_one(f, numbers, sum, piece, plus(f, row, r), column, put)
        return
    width = columns[-1].offset + max(1, columns[-1].lanes)
    room = f.alloca(numbers.sum, len(sums) * width)
    for r, held in enumerate(sums):
        for piece, sum in zip(columns, held, strict=True):
            f.store(sum, f.at(room, r * width + piece.offset, numbers.sum))
    put_from(f, numbers, room, width, len(sums), columns, row, column, put)


def put_from(
    f: Function,
    numbers: Numbers,
    room: Ref,
    width: int,
    rows: Ref | int,
    columns: Sequence[Piece],
    row: Ref | int,
    column: Ref | int,
    put: Put,
) -> None:
    """Hand a tile to `put` that lies in memory, `width` elements from row to row."""
    with f.loop(0, rows) as r:
        line = f.at(room, f.mul(r, number(width)), numbers.sum)
        for piece in columns:
            sum = f.load(vector(numbers.sum, piece.lanes), f.at(line, piece.offset, numbers.sum))
            _put_one(f, numbers, sum, piece, plus(f, row, r), column, put)


def _put_one(
    f: Function,
    numbers: Numbers,
    sum: Ref,
    piece: Piece,
    row: Ref,
    column: Ref | int,
    put: Put,
) -> None:
    value = numbers.narrowed(f, sum)
    put(f, row, plus(f, column, piece.offset), value, piece.live)
