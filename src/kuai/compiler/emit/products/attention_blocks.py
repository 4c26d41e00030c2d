"""What attention and its gradients share: sizes, memory, and the scores of a block of queries.

A block of queries is treated at a time, with a lane for each query: the scores of the block lie
key by key, so that the softmax needs no sums across lanes. No more of the scores is ever stored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from kuai import dtypes
from kuai.compiler.emit.builder import BITS, Function, Ref, number, vector
from kuai.compiler.emit.products.kernel import Kernel, tile_of
from kuai.compiler.emit.products.panels import pack_panel
from kuai.compiler.emit.products.product import (
    ELEMENTS,
    Numbers,
    Put,
    Store,
    index,
    mask_of,
    pieces,
    smaller,
)
from kuai.compiler.emit.products.tile import put_from
from kuai.compiler.emit.products.windows import clear
from kuai.compiler.native.target import Target

Pair = tuple[int, int]


@dataclass(frozen=True)
class Attention:
    """One head: queries `(L, E)`, keys `(S, E)`, values `(S, Ev)`; all sizes are 1 or more.

    Attributes:
        queries, keys, width, value_width: L, S, E, Ev.
        q, k, v: the strides of the operands, in elements.
        scale: of the scores.
        causal: whether query i attends to the keys up to i only.
        mask: the type of a mask of shape `(L, S)`, if there is one: of bools, true where a query
            attends, or of the operands' type, added to the scores.
        mask_strides: its strides; 0 where it is broadcast.
    """

    queries: int
    keys: int
    width: int
    value_width: int
    q: Pair
    k: Pair
    v: Pair
    scale: float
    dtype: dtypes.dtype
    causal: bool = False
    mask: dtypes.dtype | None = None
    mask_strides: Pair = (0, 0)

    @property
    def numbers(self) -> Numbers:
        """How its elements are stored and summed."""
        element = ELEMENTS[self.dtype.name]
        return Numbers(element, "float" if element in ("half", "bfloat") else element)


@dataclass(frozen=True)
class Blocks:
    """What forward and backward share: sizes, memory, and the scores of a block of queries."""

    attention: Attention
    target: Target

    # -- sizes -----------------------------------------------------------------------------

    @cached_property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return self.attention.numbers.lanes(self.target)

    @property
    def block(self) -> int:
        """Queries in a block."""
        return 2 * self.lanes

    @property
    def size(self) -> int:
        """Bytes of a sum."""
        return BITS[self.attention.numbers.sum] // 8

    @cached_property
    def rows(self) -> int:
        """Keys of a tile."""
        return min(self.attention.keys, tile_of(self.target, self.attention.numbers)[0])

    def panel(self, width: int) -> int:
        """Columns of a panel of a matrix that has `width`."""
        return min(2, -(-width // self.lanes)) * self.lanes

    def panels(self, width: int) -> int:
        """Columns of all panels."""
        return -(-width // self.panel(width)) * self.panel(width)

    @property
    def room(self) -> dict[str, int]:
        """Elements of scratch memory, by what it holds."""
        a = self.attention
        return {
            "scores": a.keys * self.block,
            "mask": a.keys * self.block if a.mask else 0,
            "q": a.width * self.block,
            "tile": self.block * max(self.block, self.rows),
            "factor": self.block,
        }

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return sum(-(-n // self.lanes) * self.lanes for n in self.room.values()) * self.size

    def places(self, f: Function, workspace: Ref) -> dict[str, Ref]:
        """The addresses of scratch memory, by what it holds."""
        sizes = [-(-n // self.lanes) * self.lanes for n in self.room.values()]
        starts = itertools.accumulate(sizes, initial=0)
        element = self.attention.numbers.sum
        return {
            name: f.at(workspace, start, element)
            for name, start in zip(self.room, starts, strict=False)
        }

    # -- parts of the code -----------------------------------------------------------------

    @contextmanager
    def vectors(self, f: Function, count: Ref | int, *places: Ref) -> Iterator[list[Ref]]:
        """Repeat for the vectors of memory of `count` elements; gives their addresses."""
        with f.loop(0, count, self.lanes) as i:
            yield [f.at(place, i, self.attention.numbers.sum) for place in places]

    def read(self, f: Function, at: Ref) -> Ref:
        """A vector."""
        return f.load(vector(self.attention.numbers.sum, self.lanes), at)

    def pack_lanes(
        self, f: Function, source: Ref, strides: Pair, to: Ref, first: Ref, live: Ref, depth: int
    ) -> None:
        """Copy a block of rows so that each has a lane; lanes without a row are 0."""
        numbers, rest = self.attention.numbers, self.attention.queries % self.block
        start = f.at(source, index(f, first, strides[0]), numbers.memory)
        turned = (strides[1], strides[0])
        for width in (self.block, rest) if rest else (self.block,):
            if width > self.attention.queries:
                continue
            with f.when(f.compare("eq", live, number(width))):
                if width < self.block:
                    clear(f, numbers, to, depth * self.block, self.lanes)
                pack_panel(
                    f, numbers, self.target, start, turned, to, self.block, number(depth),
                    width, self.lanes,
                )  # fmt: skip

    def pack_panels(
        self, f: Function, source: Ref, strides: Pair, to: Ref, depth: Ref, width: int, room: int
    ) -> None:
        """Copy a matrix into panels of columns, `room` rows of memory each."""
        numbers, panel = self.attention.numbers, self.panel(width)
        full, rest = divmod(width, panel)

        def pack(first: Ref, columns: int) -> None:
            at = f.at(source, index(f, first, strides[1]), numbers.memory)
            place = f.at(to, index(f, first, room), numbers.sum)
            if columns < panel:
                clear(f, numbers, place, room * panel, self.lanes)
            pack_panel(
                f, numbers, self.target, at, strides, place, panel, depth, columns, self.lanes
            )

        if full:
            with f.loop(0, full * panel, panel) as first:
                pack(first, panel)
        if rest:
            pack(number(full * panel), rest)

    def by_key(
        self, f: Function, a: Ref, strides: Pair, b: Ref, to: Ref, depth: int, stop: Ref
    ) -> None:
        """Products of the rows of a matrix, one for each key, with the lanes of a block."""
        numbers = self.attention.numbers
        kernel = Kernel(numbers, self.rows, 2, self.lanes, strides)
        full, rest = divmod(self.attention.keys, self.rows)

        def tile(s: Ref, kernel: Kernel) -> None:
            rows = f.at(a, index(f, s, strides[0]), numbers.sum)
            kernel.call(f, rows, b, f.at(to, index(f, s, self.block), numbers.sum), number(depth))

        with f.loop(0, smaller(f, stop, full * self.rows), self.rows) as s:
            tile(s, kernel)
        if rest:
            with f.when(f.compare("sgt", stop, number(full * self.rows))):
                tile(number(full * self.rows), replace(kernel, rows=rest))

    def limit(self, f: Function, first: Ref) -> Ref:
        """How many keys a block of queries attends to, at most."""
        if not self.attention.causal:
            return number(self.attention.keys)
        return smaller(f, f.add(first, number(self.block)), self.attention.keys)

    def pack_mask(self, f: Function, mask: Ref, to: Ref, first: Ref, live: Ref) -> None:
        """Copy the mask of a block so that each query has a lane."""
        a, sum = self.attention, self.attention.numbers.sum
        strides, is_bool = a.mask_strides, a.mask is dtypes.bool_
        memory = "i8" if is_bool else a.numbers.memory
        with f.loop(0, live) as lane:
            row = f.at(mask, index(f, f.add(first, lane), strides[0]), memory)
            with f.loop(0, a.keys) as s:
                one = f.load(memory, f.at(row, index(f, s, strides[1]), memory))
                if is_bool:
                    attends = f.compare("ne", one, f.const(0, memory))
                    one = f.select(attends, f.const(0, sum), f.const(-math.inf, sum))
                else:
                    one = a.numbers.widened(f, one)
                f.store(one, f.at(to, f.add(index(f, s, self.block), lane), sum))

    def allowed(self, f: Function, at: dict[str, Ref], first: Ref, s: Ref, v: int) -> Ref | None:
        """Whether the queries of a vector attend to key `s`; `None` where all do."""
        a = self.attention
        if a.causal:
            query = f.add(first, number(v * self.lanes))
            lane = f.sub(s, query)
            lanes = f.lanes(range(self.lanes), "i64")
            return f.compare("sle", f.splat(lane, self.lanes), lanes)
        if a.mask is dtypes.bool_:
            place = f.add(index(f, s, self.block), number(v * self.lanes))
            value = self.read(f, f.at(at["mask"], place, a.numbers.sum))
            return f.compare("oeq", value, f.const(0, value.type))
        return None

    def score(self, f: Function, at: dict[str, Ref], first: Ref, s: Ref, v: int) -> Ref:
        """Scaled and masked scores of a vector of queries with key `s`."""
        a, element = self.attention, self.attention.numbers.sum
        place = f.add(index(f, s, self.block), number(v * self.lanes))
        x = self.read(f, f.at(at["scores"], place, element))
        x = f.mul(x, f.const(a.scale, x.type))
        allowed = self.allowed(f, at, first, s, v)
        if allowed is not None:
            return f.select(allowed, x, f.const(-math.inf, x.type))
        if a.mask is not None:
            return f.add(x, self.read(f, f.at(at["mask"], place, element)))
        return x

    def by_query(
        self,
        f: Function,
        weights: Ref,
        panels: Ref,
        at: Ref,
        width: int,
        live: Ref,
        first: Ref,
        stop: Ref,
        put: Put,
    ) -> None:
        """Sums over the keys before `stop` of rows in panels, weighted for each query of a block;
        `put` gets them as they are.
        """
        numbers, panel = self.attention.numbers, self.panel(width)
        sums = Numbers(numbers.sum, numbers.sum)
        height = 8 if panel > self.lanes else 16
        height = min(height, tile_of(self.target, numbers)[0])
        height = 1 << (height.bit_length() - 1)  # divides the block
        keys = self.attention.keys
        kernel = Kernel(numbers, height, panel // self.lanes, self.lanes, (1, self.block))
        full, rest = divmod(width, panel)

        def tiles(column: Ref, columns: int) -> None:
            b = f.at(panels, index(f, column, keys), numbers.sum)
            with f.loop(0, live, height) as r:
                kernel.call(f, f.at(weights, r, numbers.sum), b, at, stop)
                rows = smaller(f, height, f.sub(live, r))
                given = pieces(columns, self.lanes, self.target)
                put_from(f, sums, at, panel, rows, given, f.add(first, r), column, put)

        if full:
            with f.loop(0, full * panel, panel) as column:
                tiles(column, panel)
        if rest:
            tiles(number(full * panel), rest)

    def rows_as_sums(
        self, f: Function, source: Ref, strides: Pair, to: Ref | None, width: int
    ) -> tuple[Ref, Pair]:
        """Rows of the keys in the type of sums: where they lie, or copied; and their strides."""
        numbers = self.attention.numbers
        if to is None:
            return source, strides
        with f.loop(0, self.attention.keys) as i, f.loop(0, width) as j:
            place = f.add(index(f, i, strides[0]), index(f, j, strides[1]))
            value = numbers.load_one(f, f.at(source, place, numbers.memory))
            f.store(value, f.at(to, f.add(index(f, i, width), j), numbers.sum))
        return to, (width, 1)


def storing(numbers: Numbers, store: Store) -> Put:
    """Hands sums on to `store`, in the type of memory."""

    def put(f: Function, row: Ref, column: Ref, value: Ref, live: int) -> None:
        narrow = numbers.narrowed(f, value)
        store(f, row, column, narrow, value.lanes, mask_of(f, value.lanes, live))

    return put
