"""What the three products of a convolution share: planes with a border, and the micro-kernel.

An image is copied into a plane with its border of zeros, rows one after the other. Then the
elements that one position of the kernel meets, for output positions side by side, lie side by side
as well: a product can read them where they are, and no matrix of windows is made. Where a window
moves by more than one element, a plane for each phase takes every so many elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kuai.compiler.emit.builder import Function, Module, Ref, number, vector
from kuai.compiler.emit.products.kernel import shared
from kuai.compiler.emit.products.product import Numbers, Piece, balanced, index, mask_of, pieces
from kuai.compiler.native.target import Target

UNROLLED = 6  # vectors of a row whose copy is written out

Pair = tuple[int, int]


@dataclass(frozen=True)
class WindowKernel:
    """A tile of `rows` times `vectors`, summed over `outer` times `inner` elements.

    A is packed: `rows` elements side by side for each of them. B is read where it lies: `b_step`
    elements further for each step of the outer loop, and as far as a table says for the inner one.

    Attributes:
        adds: whether the tile is added to what lies in its place.
    """

    numbers: Numbers
    rows: int
    vectors: int
    lanes: int
    adds: bool = False

    @property
    def width(self) -> int:
        """Columns of the tile."""
        return self.vectors * self.lanes

    def call(
        self,
        f: Function,
        a: Ref,
        b: Ref,
        c: Ref,
        c_step: int,
        outer: Ref | int,
        b_step: int,
        table: Ref,
        inner: int,
    ) -> None:
        """Compute a tile at `c`, whose rows are `c_step` elements apart."""
        name = f"{'add_' * self.adds}windows_{self.numbers.sum}_{self.rows}x{self.width}"
        self._define(f.module, name)
        count = number(outer) if isinstance(outer, int) else outer
        sizes = [number(c_step), count, number(b_step), number(inner)]
        f.call(name, "void", a, b, c, table, *sizes)

    def _define(self, module: Module, name: str) -> None:
        pointers = [("ptr", p) for p in ("a", "b", "c", "table")]
        sizes = [("i64", p) for p in ("c_step", "outer", "b_step", "inner")]
        f = shared(module, name, [*pointers, *sizes])
        if f is None:
            return
        a, b, c, table, c_step, outer, b_step, inner = f.arguments
        element, lanes = self.numbers.sum, self.lanes
        type = vector(element, lanes)
        places = [(r, v) for r in range(self.rows) for v in range(self.vectors)]
        sums = {place: f.variable(f.const(0, type)) for place in places}
        with f.loop(0, outer) as o:
            line = f.at(b, f.mul(o, b_step), element)
            panel = f.at(a, index(f, f.mul(o, inner), self.rows), element)
            with f.loop(0, inner) as i:
                start = f.at(line, f.load("i64", f.at(table, i, "i64")), element)
                here = f.at(panel, index(f, i, self.rows), element)
                bs = [f.load(type, f.at(start, v * lanes, element)) for v in range(self.vectors)]
                for r in range(self.rows):
                    wide = f.splat(f.load(element, f.at(here, r, element)), lanes)
                    for v, y in enumerate(bs):
                        sum = sums[r, v]
                        sum.set(self.numbers.multiply_add(f, wide, y, sum.get()))
        place = c
        for r in range(self.rows):
            for v in range(self.vectors):
                to = f.at(place, v * lanes, element)
                total = sums[r, v].get()
                f.store(f.add(f.load(type, to), total) if self.adds else total, to)
            place = f.at(place, c_step, element)
        f.ret()


def tile_shape(target: Target, rows: int, columns: int, lanes: int, uses: int = 1) -> Pair:
    """Rows and vectors of the tile that computes `rows` times `columns` soonest, where an element
    of B is met `uses` times in a tile.
    """
    best, least = (1, 1), float("inf")
    for vectors in range(1, 9):
        most = (target.registers - 2 - vectors) // vectors
        if most < 1:
            break
        height = balanced(rows, min(most, 14))
        tiles = -(-rows // height) * -(-columns // (vectors * lanes))
        # Two multiplications or two loads at once, of which those of B may cross a line; four
        # steps before a sum is ready; what comes from the second cache; and the loop itself.
        loads = height + 2 * vectors
        time = tiles * (1 + max(height * vectors / 2, loads / 2, 4, 2.4 * vectors / uses))
        if time < least:
            best, least = (height, vectors), time
    return best


def offsets(module: Module, values: Sequence[int]) -> Ref:
    """A table of offsets in the module's constants."""
    text = ", ".join(f"i64 {v}" for v in values)
    wanted = f"constant [{len(values)} x i64] [{text}], "
    for name, known in module.globals.items():
        if wanted in known:
            return Ref(f"@{name}", "ptr")
    return module.constant(f"offsets{len(module.globals)}", f"[{len(values)} x i64]", f"[{text}]")


@dataclass(frozen=True)
class Plane:
    """A plane copied from an image: element (i, j) is that of row `first[0] + i * step[0]` and
    column `first[1] + j * step[1]`, or 0 outside of the image.
    """

    sizes: Pair
    first: Pair
    step: Pair

    def inside(self, axis: int, size: int) -> Pair:
        """The first index and the one after the last that lie in an image of this size."""
        first, step = self.first[axis], self.step[axis]
        low = max(0, -(first // step))
        high = min(self.sizes[axis], (size - 1 - first) // step + 1)
        return low, max(low, high)

    def copy(
        self,
        f: Function,
        numbers: Numbers,
        target: Target,
        source: Ref,
        strides: Pair,
        sizes: Pair,
        to: Ref,
    ) -> None:
        """Copy what lies inside of the image; what does not is there as zeros already."""
        (top, bottom), (left, right) = self.inside(0, sizes[0]), self.inside(1, sizes[1])
        if bottom <= top or right <= left:
            return
        column = self.first[1] + left * self.step[1]
        start = f.at(source, column * strides[1], numbers.memory)
        row = self.first[0] + top * self.step[0]
        start = f.at(start, row * strides[0], numbers.memory)
        place = f.at(to, top * self.sizes[1] + left, numbers.sum)
        with f.loop(0, bottom - top) as i:
            line = f.at(start, index(f, i, self.step[0] * strides[0]), numbers.memory)
            here = f.at(place, index(f, i, self.sizes[1]), numbers.sum)
            copy_row(f, numbers, target, line, self.step[1] * strides[1], here, right - left)


def copy_row(
    f: Function, numbers: Numbers, target: Target, source: Ref, stride: int, to: Ref, count: int
) -> None:
    """Copy `count` elements that are `stride` apart, side by side."""
    lanes = numbers.lanes(target)
    start = 0
    if stride == 1:
        if count > UNROLLED * lanes:
            start = count - count % lanes
            with f.loop(0, start, lanes) as j:
                value = numbers.load(f, f.at(source, j, numbers.memory), Piece(0, lanes, lanes))
                f.store(value, f.at(to, j, numbers.sum))
        for piece in pieces(count - start, lanes, target):
            place = start + piece.offset
            value = numbers.load(f, f.at(source, place, numbers.memory), piece)
            store_piece(f, value, f.at(to, place, numbers.sum), piece.live)
        return
    if stride == 2:
        # The second of the two vectors reaches one element beyond the last one that is needed.
        start = (count - 1) // lanes * lanes
        with f.loop(0, start, lanes) as j:
            at = f.at(source, index(f, j, 2), numbers.memory)
            low = numbers.load(f, at, Piece(0, lanes, lanes))
            high = numbers.load(f, f.at(at, lanes, numbers.memory), Piece(0, lanes, lanes))
            f.store(f.shuffle(low, high, range(0, 2 * lanes, 2)), f.at(to, j, numbers.sum))
    with f.loop(start, count) as j:
        value = numbers.load_one(f, f.at(source, index(f, j, stride), numbers.memory))
        f.store(value, f.at(to, j, numbers.sum))


def store_piece(f: Function, value: Ref, to: Ref, live: int) -> None:
    """Store the first `live` lanes."""
    mask = mask_of(f, value.lanes, live)
    if mask is None:
        f.store(value, to)
    else:
        f.store_masked(value, to, mask)


def clear(f: Function, numbers: Numbers, to: Ref, count: int, lanes: int) -> None:
    """Put zeros into memory that has room for a vector more than `count` elements."""
    with f.loop(0, count, lanes) as i:
        f.store(numbers.zero(f, lanes), f.at(to, i, numbers.sum))
