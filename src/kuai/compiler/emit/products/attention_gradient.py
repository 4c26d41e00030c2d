"""The gradients of attention: the scores of each block of queries are computed anew."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from kuai.compiler.emit import math as functions
from kuai.compiler.emit.builder import Function, Ref, number, vector
from kuai.compiler.emit.products.attention_blocks import Blocks, Pair, storing
from kuai.compiler.emit.products.kernel import Kernel
from kuai.compiler.emit.products.product import Store, index, pieces, smaller
from kuai.compiler.emit.products.tile import put_from
from kuai.compiler.emit.products.windows import clear


class Given(NamedTuple):
    """The addresses of what the gradient is computed from; `denominators` are those that the
    forward pass kept.
    """

    q: Ref
    k: Ref
    v: Ref
    result: Ref
    grad: Ref
    denominators: Ref
    mask: Ref | None = None


@dataclass(frozen=True)
class AttentionGradient(Blocks):
    """The gradients of queries, keys and values.

    Attributes:
        result, grad: the strides of the result and of its gradient.
    """

    result: Pair = (0, 1)
    grad: Pair = (0, 1)

    @property
    def room(self) -> dict[str, int]:
        a = self.attention
        columns, value_columns = self.panels(a.width), self.panels(a.value_width)
        room = {
            **super().room,
            "weights": a.keys * self.block,
            "grad": a.value_width * self.block,
            "result": a.value_width * self.block,
            "key panels": a.keys * columns,
            "query panels": self.block * columns,
            "grad panels": self.block * value_columns,
            "of keys": a.keys * columns,
            "of values": a.keys * value_columns,
            "sum": self.block,
        }
        if a.numbers.memory != a.numbers.sum:
            room |= {"k": a.keys * a.width, "v": a.keys * a.value_width}
        return room

    def emit(
        self,
        f: Function,
        given: Given,
        stores: tuple[Store, Store, Store],
        workspace: Ref,
    ) -> None:
        """Build the loop over blocks of queries.

        Args:
            f: the function.
            given: the addresses of the operands.
            stores: take the gradients of queries, keys and values, each element once.
            workspace: address of `workspace` bytes of memory, aligned to 64.
        """
        a, numbers = self.attention, self.attention.numbers
        at = self.places(f, workspace)
        keys, key_strides = self.rows_as_sums(f, given.k, a.k, at.get("k"), a.width)
        values, value_strides = self.rows_as_sums(f, given.v, a.v, at.get("v"), a.value_width)
        self.pack_panels(f, given.k, a.k, at["key panels"], number(a.keys), a.width, a.keys)
        for name in ("of keys", "of values"):
            clear(f, numbers, at[name], self.room[name], self.lanes)
        with f.loop(0, a.queries, self.block) as first:
            live = smaller(f, self.block, f.sub(number(a.queries), first))
            self.pack_lanes(f, given.q, a.q, at["q"], first, live, a.width)
            self.pack_lanes(f, given.grad, self.grad, at["grad"], first, live, a.value_width)
            self.pack_lanes(f, given.result, self.result, at["result"], first, live, a.value_width)
            if given.mask is not None:
                self.pack_mask(f, given.mask, at["mask"], first, live)
            stop = self._limit_of_tiles(f, first)
            self.by_key(f, keys, key_strides, at["q"], at["scores"], a.width, stop)
            self.by_key(f, values, value_strides, at["grad"], at["weights"], a.value_width, stop)
            self._gradients(f, at, first, live, stop, given.denominators)
            narrow = storing(numbers, stores[0])
            scores, tile = at["scores"], at["tile"]
            self.by_query(f, scores, at["key panels"], tile, a.width, live, first, stop, narrow)
            for source, strides, width, panels, weights, to in (
                (given.q, a.q, a.width, "query panels", "scores", "of keys"),
                (given.grad, self.grad, a.value_width, "grad panels", "weights", "of values"),
            ):
                start = f.at(source, index(f, first, strides[0]), numbers.memory)
                self.pack_panels(f, start, strides, at[panels], live, width, self.block)
                self._add(f, at[weights], at[panels], at[to], at["tile"], width, live, stop)
        for store, name, width in (
            (stores[1], "of keys", a.width),
            (stores[2], "of values", a.value_width),
        ):
            self._store(f, at[name], width, store)

    def _limit_of_tiles(self, f: Function, first: Ref) -> Ref:
        """How many keys a block of queries attends to, at most, in whole tiles of keys."""
        keys, rows = self.attention.keys, self.rows
        tiles = f.binary("udiv", f.add(self.limit(f, first), number(rows - 1)), number(rows))
        return smaller(f, index(f, tiles, rows), keys)

    def _gradients(
        self,
        f: Function,
        at: dict[str, Ref],
        first: Ref,
        live: Ref,
        stop: Ref,
        denominators: Ref,
    ) -> None:
        """The weights in their place, and the gradients of the scores in that of the scores."""
        a, element = self.attention, self.attention.numbers.sum
        type = vector(element, self.lanes)
        kept = f.at(denominators, first, element)
        with f.loop(0, self.block, self.lanes) as i:
            # A lane without a query weighs nothing.
            f.store(f.const(math.inf, type), f.at(at["factor"], i, element))
        with f.loop(0, live) as i:
            f.store(f.load(element, f.at(kept, i, element)), f.at(at["factor"], i, element))
        for v in range(2):
            total = f.variable(f.const(0, type))
            with f.loop(0, a.value_width) as e:
                place = f.add(index(f, e, self.block), number(v * self.lanes))
                x = self.read(f, f.at(at["grad"], place, element))
                y = self.read(f, f.at(at["result"], place, element))
                total.set(a.numbers.multiply_add(f, x, y, total.get()))
            f.store(total.get(), f.at(at["sum"], v * self.lanes, element))
        with f.loop(0, stop) as s:
            for v in range(2):
                place = f.add(index(f, s, self.block), number(v * self.lanes))
                score = self.score(f, at, first, s, v)
                kept_here = self.read(f, f.at(at["factor"], v * self.lanes, element))
                weight = functions.apply(f, "exp", f.sub(score, kept_here))
                there = f.at(at["weights"], place, element)
                sum = self.read(f, f.at(at["sum"], v * self.lanes, element))
                grad = f.mul(weight, f.sub(self.read(f, there), sum))
                grad = f.mul(grad, f.const(a.scale, type))
                allowed = self.allowed(f, at, first, s, v)
                if allowed is not None:
                    grad = f.select(allowed, grad, f.const(0, type))
                f.store(weight, there)
                f.store(grad, f.at(at["scores"], place, element))

    def _tiles(self, width: int) -> list[tuple[int, int]]:
        """First column and number of columns of the panels of a matrix."""
        panel = self.panel(width)
        return [(c, min(panel, width - c)) for c in range(0, width, panel)]

    def _add(
        self,
        f: Function,
        weights: Ref,
        panels: Ref,
        to: Ref,
        tile: Ref,
        width: int,
        live: Ref,
        stop: Ref,
    ) -> None:
        """Add to the row of each key before `stop` the rows of a block's panels, weighted."""
        numbers, keys = self.attention.numbers, self.attention.keys
        panel = self.panel(width)
        kernel = Kernel(numbers, self.rows, panel // self.lanes, self.lanes, (self.block, 1))
        full, rest = divmod(keys, self.rows)

        def add(s: Ref, column: Ref, kernel: Kernel) -> None:
            a = f.at(weights, index(f, s, self.block), numbers.sum)
            b = f.at(panels, index(f, column, self.block), numbers.sum)
            kernel.call(f, a, b, tile, live)
            place = f.add(index(f, column, keys), index(f, s, panel))
            sums = f.at(to, place, numbers.sum)
            with self.vectors(f, kernel.rows * panel, tile, sums) as (x, y):
                f.store(f.add(self.read(f, x), self.read(f, y)), y)

        with f.loop(0, self.panels(width), panel) as column:
            with f.loop(0, smaller(f, stop, full * self.rows), self.rows) as s:
                add(s, column, kernel)
            if rest:
                with f.when(f.compare("sgt", stop, number(full * self.rows))):
                    add(number(full * self.rows), column, replace(kernel, rows=rest))

    def _store(self, f: Function, sums: Ref, width: int, store: Store) -> None:
        """Hand the sums of all keys to `store`."""
        numbers, keys, panel = self.attention.numbers, self.attention.keys, self.panel(width)
        for column, columns in self._tiles(width):
            put_from(
                f, numbers._replace(memory=numbers.sum), f.at(sums, column * keys, numbers.sum),
                panel, number(keys), pieces(columns, self.lanes, self.target),
                number(0), number(column), storing(numbers, store),
            )  # fmt: skip


__all__ = ["AttentionGradient", "Given"]
