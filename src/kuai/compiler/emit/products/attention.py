"""Attention of one head: softmax(Q Kᵀ scale + mask) V."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kuai.compiler.emit import math as functions
from kuai.compiler.emit.builder import Function, Ref, vector
from kuai.compiler.emit.products.attention_blocks import Attention, Blocks, storing
from kuai.compiler.emit.products.product import Store, index, number, smaller


@dataclass(frozen=True)
class AttentionForward(Blocks):
    """The result, `(L, Ev)`, and if wanted the logarithms of the softmax's denominators."""

    @property
    def room(self) -> dict[str, int]:
        a = self.attention
        room = {**super().room, "v": a.keys * self.panels(a.value_width)}
        if a.numbers.memory != a.numbers.sum:
            room["k"] = a.keys * a.width
        return room

    def emit(
        self,
        f: Function,
        operands: tuple[Ref, Ref, Ref],
        mask: Ref | None,
        store: Store,
        workspace: Ref,
        denominators: Ref | None = None,
    ) -> None:
        """Build the loop over blocks of queries.

        Args:
            f: the function.
            operands: the addresses of queries, keys and values.
            mask: that of the mask, if there is one.
            store: takes each element of the result once.
            workspace: address of `workspace` bytes of memory, aligned to 64.
            denominators: where the logarithm of the sum of the exponentials of each query's scores
                goes, in the type of sums; the gradient needs it.
        """
        a, numbers = self.attention, self.attention.numbers
        q, k, v = operands
        at = self.places(f, workspace)
        keys, strides = self.rows_as_sums(f, k, a.k, at.get("k"), a.width)
        self.pack_panels(f, v, a.v, at["v"], number(a.keys), a.value_width, a.keys)
        with f.loop(0, a.queries, self.block) as first:
            live = smaller(f, self.block, f.sub(number(a.queries), first))
            stop = self.limit(f, first)
            self.pack_lanes(f, q, a.q, at["q"], first, live, a.width)
            if mask is not None:
                self.pack_mask(f, mask, at["mask"], first, live)
            self.by_key(f, keys, strides, at["q"], at["scores"], a.width, stop)
            self._softmax(f, at, first, stop, live, denominators)

            def put(
                f: Function, row: Ref, column: Ref, value: Ref, live: int, first: Ref = first
            ) -> None:
                factor = f.load(numbers.sum, f.at(at["factor"], f.sub(row, first), numbers.sum))
                value = f.mul(value, f.splat(factor, value.lanes))
                storing(numbers, store)(f, row, column, value, live)

            weights, width = at["scores"], a.value_width
            self.by_query(f, weights, at["v"], at["tile"], width, live, first, stop, put)

    def _softmax(
        self,
        f: Function,
        at: dict[str, Ref],
        first: Ref,
        stop: Ref,
        live: Ref,
        denominators: Ref | None,
    ) -> None:
        """Exponentials in the place of scores, and what is to be multiplied with their sums."""
        element = self.attention.numbers.sum
        type = vector(element, self.lanes)
        least = f.const(-math.inf, type)
        largest = [f.variable(least) for _ in range(2)]
        sums = [f.variable(f.const(0, type)) for _ in range(2)]
        with f.loop(0, stop) as s:
            for v in range(2):
                x = self.score(f, at, first, s, v)
                place = f.add(index(f, s, self.block), number(v * self.lanes))
                f.store(x, f.at(at["scores"], place, element))
                known = largest[v].get()
                largest[v].set(f.select(f.compare("ogt", x, known), x, known))
        for v in range(2):
            x = largest[v].get()
            nothing = f.compare("oeq", x, least)
            largest[v].set(f.select(nothing, f.const(0, type), x))
        with f.loop(0, stop) as s:
            for v in range(2):
                place = f.add(index(f, s, self.block), number(v * self.lanes))
                there = f.at(at["scores"], place, element)
                x = functions.apply(f, "exp", f.sub(self.read(f, there), largest[v].get()))
                f.store(x, there)
                sums[v].set(f.add(sums[v].get(), x))
        for v in range(2):
            sum = sums[v].get()
            nothing = f.compare("oeq", sum, f.const(0, type))
            inverse = f.fdiv(f.const(1, type), sum)
            factor = f.select(nothing, f.const(0, type), inverse)
            f.store(factor, f.at(at["factor"], v * self.lanes, element))
            if denominators is not None:
                value = f.add(largest[v].get(), functions.apply(f, "log", sum))
                value = f.select(nothing, f.const(math.inf, type), value)
                f.store(value, f.at(at["tile"], v * self.lanes, element))
        if denominators is not None:
            to = f.at(denominators, first, element)
            with f.loop(0, live) as i:
                f.store(f.load(element, f.at(at["tile"], i, element)), f.at(to, i, element))


__all__ = ["Attention", "AttentionForward"]
