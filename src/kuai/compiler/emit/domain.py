"""The domain of a nest: how its dimensions are walked, divided, and found in arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kuai import dtypes
from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.graph import Value
from kuai.compiler.sizes import hint, identical

MANY = 64  # points of a domain for which something is touched only once


class Access:
    """A place from which, or to which, a nest moves one element for each point of its domain.

    Attributes:
        pointer: the address at the first point.
        strides: bytes from one point to the next, along each dimension of the domain.
        dtype: of the elements.
    """

    __slots__ = ("dtype", "pointer", "strides")

    def __init__(self, pointer: Ref, strides: Sequence[int], dtype: dtypes.dtype) -> None:
        self.pointer = pointer
        self.strides = tuple(strides)
        self.dtype = dtype


Operand = tuple[Value, bool]
"""A value that is loaded, and whether that is done only once for each point of what is kept."""


class Loops:
    """The dimensions that are walked, outermost first, after those of one kind are merged.

    Attributes:
        extents: how often each goes round.
        reduced: whether each is one that reductions reduce.
        strides: for each access, its strides along these dimensions.
        vector: which of them is walked many elements at a time; `None` for a single point.
    """

    def __init__(
        self,
        domain: Sequence[int],
        dims: Sequence[int],
        strides: Sequence[tuple[int, ...]],
        sizes: Sequence[int],
        writes: Sequence[bool],
    ) -> None:
        kept = [d for d in range(len(domain)) if d not in dims and domain[d] != 1]
        gone = [d for d in range(len(domain)) if d in dims and domain[d] != 1]
        self.extents: list[int] = []
        self.reduced: list[bool] = []
        columns: list[list[int]] = []
        for group, reduced in ((self._sorted(kept, strides, writes), False), (gone, True)):
            first = True
            for d in group:
                column = [s[d] for s in strides]
                if not first and all(
                    identical(outer, inner * domain[d])
                    for outer, inner in zip(columns[-1], column, strict=True)
                ):
                    columns[-1] = column
                    self.extents[-1] *= domain[d]
                else:
                    columns.append(column)
                    self.extents.append(domain[d])
                    self.reduced.append(reduced)
                first = False
        self.vector = self._vectorised(columns, sizes, writes)
        if self.vector is not None:
            # The vectorised one is the innermost of its kind.
            i = self.vector
            last = max(j for j, r in enumerate(self.reduced) if r == self.reduced[i])
            self.extents.insert(last, self.extents.pop(i))
            self.reduced.insert(last, self.reduced.pop(i))
            columns.insert(last, columns.pop(i))
            self.vector = last
        self.strides = [tuple(c[a] for c in columns) for a in range(len(strides))]

    @staticmethod
    def _sorted(
        dims: list[int], strides: Sequence[tuple[int, ...]], writes: Sequence[bool]
    ) -> list[int]:
        """The dimensions in the order in which the first array that is written lies in memory."""
        for stride, write in zip(strides, writes, strict=True):
            if write:
                return sorted(dims, key=lambda d: -abs(hint(stride[d])))
        return dims

    def _vectorised(
        self, columns: list[list[int]], sizes: Sequence[int], writes: Sequence[bool]
    ) -> int | None:
        best, found = -1.0, None
        extents = [hint(n) for n in self.extents]
        shares = []  # what is touched once for many points of the domain is worth little
        for strides in zip(*columns, strict=True):
            rest = math.prod([n for n, s in zip(extents, strides, strict=True) if not hint(s)])
            shares.append(1.0 if rest < MANY else 0.01)
        for i, column in enumerate(columns):
            worth = 0.0
            for stride, size, write, share in zip(column, sizes, writes, shares, strict=True):
                if identical(stride, size):
                    worth += (3 if write else 2) * share
                elif identical(stride, 0) and not write:
                    worth += share
                elif identical(stride, 0):
                    worth += 0.5 * share
            worth += min(hint(self.extents[i]), 16) / 16  # a longer one, of equal ones
            if worth >= best:
                best, found = worth, i
        return found


class Part:
    """One of several parts of a kernel's work, which threads may compute side by side.

    Attributes:
        number: which one (i64).
        count: how many there are (i64, or known).
    """

    def __init__(self, number: Ref, count: int | Ref) -> None:
        self.number = number
        self.count = count

    def range(self, f: Function, n: int, step: int = 1) -> tuple[Ref, Ref]:
        """The part's share of the numbers below `n`, in multiples of `step`."""
        if isinstance(self.count, Ref):
            whole = f.mul(self.count, number(step))
            rounded = f.sub(f.add(number(n), whole), number(1))
            share = f.mul(f.binary("udiv", rounded, whole), number(step))
        else:
            share = number(-(-n // (self.count * step)) * step)
        start = f.mul(self.number, share)
        stop = f.add(start, share)
        last = number(n)
        return start, f.select(f.compare("slt", stop, last), stop, last)

    def is_last(self, f: Function) -> Ref:
        """Whether it is the last one."""
        count = self.count
        last = f.sub(count, number(1)) if isinstance(count, Ref) else number(count - 1)
        return f.compare("eq", self.number, last)
