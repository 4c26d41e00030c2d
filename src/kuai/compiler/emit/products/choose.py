"""Which strategy computes a product, what it needs, and its code."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import NamedTuple, Protocol

from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.products.direct import Direct
from kuai.compiler.emit.products.dot import Dot
from kuai.compiler.emit.products.packed import NOTHING_SHARED, Packed, Shared
from kuai.compiler.emit.products.packed_sizes import Operand
from kuai.compiler.emit.products.product import (
    Ahead,
    Part,
    Product,
    Put,
    Store,
    mask_of,
    plus,
)
from kuai.compiler.emit.products.tile import LINE
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import hint, is_undecided, varies

NEAR = 0.3  # of the second cache, which B may fill
FEW = 16  # rows of A for which copying B into panels would not pay


class Strategy(Protocol):
    """A way to compute one product."""

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory that it needs, for each thread."""

    @property
    def blocks(self) -> int:
        """Into how many blocks the work can be divided."""

    def emit(
        self, f: Function, a: Ref, b: Ref, put: Put, workspace: Ref | None, part: Part | None
    ) -> None:
        """Build the code."""


@functools.lru_cache(maxsize=1024)
def strategy(p: Product, target: Target) -> Strategy:
    """The way in which a product of normal strides is computed; C has one row, or columns."""
    along_k = p.b[0] == 1 and p.a[1] == 1 and not varies(p.k)
    if p.n == 1 and along_k and p.k:
        return Dot(p, target)
    in_rows = p.b[1] == 1
    if p.k == 0 or (in_rows and (varies(p.n) or _has_few_rows(p))):
        return Direct(p, target)
    if in_rows and _is_near(p, target) and not _is_scattered(p, target):
        return Direct(p, target)
    if along_k and (_has_few_rows(p) or p.k == 1 or varies(p.n)):
        return Dot(p, target)
    return Packed(p, target)


def _has_few_rows(p: Product) -> bool:
    return p.m <= FEW if p.few is None else p.few


class Variants(NamedTuple):
    """A product as it is where a size is at most as great as a limit, and where it is greater.

    They are the same where that makes no difference, or is known before the program runs.
    """

    size: int
    limit: int
    within: Product
    beyond: Product


def variants(p: Product, target: Target) -> Variants:
    """What a product is for different sizes of the batch."""
    deepest = int(NEAR * target.l2) // max(1, hint(p.n) * p.itemsize)
    if _turned(p):
        return Variants(p.m, FEW, p, p)
    if is_undecided(p.m, FEW):
        found = Variants(p.m, FEW, replace(p, few=True), replace(p, few=False))
    elif is_undecided(p.k, deepest) and not varies(p.n):
        found = Variants(p.k, deepest, replace(p, near=True), replace(p, near=False))
    else:
        return Variants(p.m, FEW, p, p)
    ways = [type(_strategy(way, target)) for way in found[2:]]
    return found if ways[0] is not ways[1] else found._replace(within=found.beyond)


def _is_near(p: Product, target: Target) -> bool:
    """Whether B stays in the second cache while all rows of A are multiplied with it."""
    if p.near is not None:
        return p.near
    return p.k * p.n * p.itemsize <= NEAR * target.l2


def _is_scattered(p: Product, target: Target) -> bool:
    """Whether a row of A takes a line of the first cache for each element, more than it holds."""
    is_far = not varies(p.a[1]) and abs(p.a[1]) * p.itemsize >= LINE
    return is_far and not varies(p.k) and p.k * LINE > target.l1 // 2


def _turned(p: Product) -> bool:
    """Whether the transpose is computed: where C has one column only, or as the batch has rows."""
    if varies(p.n):
        return not varies(p.m) and p.m > 1
    return p.n == 1 and p.m > 1


def _strategy(p: Product, target: Target) -> Strategy:
    p = p.swapped() if _turned(p) else p
    return strategy(p.normal(), target)


def emit_product(
    f: Function,
    p: Product,
    a: Ref,
    b: Ref,
    store: Store,
    target: Target,
    workspace: Ref | None = None,
    part: Part | None = None,
    *,
    along_rows: bool = False,
    ahead: Ahead | None = None,
    shared: Shared = NOTHING_SHARED,
) -> None:
    """Build code into `f` that computes C = A B.

    The caller decides what becomes of C: it gives a function that takes each vector of C, once,
    while it is in a register. There it adds a bias, applies an activation, and stores.

    Args:
        f: the function; for vectors of 512 bits it needs the attributes that allow them.
        p: the sizes, strides and type.
        a, b: addresses of the first elements.
        store: takes each element of C exactly once, in vectors: see `Store`.
        target: the machine that it is for.
        workspace: address of `workspace_bytes` of memory, aligned to 64, that only this thread
            uses; what it holds before and after means nothing.
        part: the first block and the one after the last, of `blocks(p, target)`; all by default.
            What an element of C becomes does not depend on the part that computes it.
        along_rows: whether the lanes of what is stored go along the rows where C has one column
            only; otherwise `store` gets scalars there.
        ahead: asks for memory that `store` will need, before: see `Ahead`.
        shared: panels of A or B that were made before, as `panels` says; they outlive the call.
    """
    if not p.m or not p.n:
        return
    turned = _turned(p)

    def put(f: Function, row: Ref, column: Ref, value: Ref, live: int) -> None:
        if not turned:
            store(f, row, column, value, value.lanes, mask_of(f, value.lanes, live))
        elif along_rows or not value.lanes:
            store(f, column, row, value, value.lanes, mask_of(f, value.lanes, live))
        else:
            for lane in range(live):
                store(f, plus(f, column, lane), row, f.extract(value, lane), 0, None)

    a, b = (b, a) if turned else (a, b)
    found = _strategy(p, target)
    ahead = None if turned else ahead
    if isinstance(found, Packed):
        shared = Shared(*shared[::-1]) if turned else shared
        found.emit(f, a, b, put, workspace, part, ahead, shared)
    elif isinstance(found, Direct):
        found.emit(f, a, b, put, workspace, part, ahead)
    else:
        found.emit(f, a, b, put, workspace, part)


def workspace_bytes(p: Product, target: Target) -> int:
    """How much scratch memory a product needs, for each thread that computes parts of it."""
    return _strategy(p, target).workspace if p.m and p.n else 0


def blocks(p: Product, target: Target) -> int:
    """Into how many blocks a product can be divided, for `emit_product`'s `part`."""
    return _strategy(p, target).blocks if p.m and p.n else 0


class Panels(NamedTuple):
    """Panels of all of an operand, which may be made before the product itself, and for several.

    Attributes:
        operand: which of the two.
        strategy: what makes and reads them.
        place: where the operand stands for it.
    """

    operand: Operand
    strategy: Packed
    place: Operand

    @property
    def size(self) -> int:
        """Their bytes, aligned to 64."""
        return self.strategy.shared_bytes(self.place)

    @property
    def blocks(self) -> int:
        """Into how many blocks making them can be divided."""
        return self.strategy.shared_blocks(self.place)

    def emit(self, f: Function, source: Ref, to: Ref, part: Part | None) -> None:
        """Build code that makes them, or a part of the blocks, of the operand at `source`."""
        self.strategy.emit_panels(f, self.place, source, to, part)


def panels(p: Product, target: Target, operand: Operand | None = None) -> Panels | None:
    """The panels that should be made before, where the product is computed in several parts.

    Args:
        p, target: the product, and the machine.
        operand: the operand that is wanted, whether or not several parts need it.
    """
    found = _strategy(p, target) if p.m and p.n else None
    if not isinstance(found, Packed):
        return None
    turned: dict[Operand, Operand] = {"a": "b", "b": "a"}
    if operand is None:
        place = found.shared
        if place is None:
            return None
        return Panels(turned[place] if _turned(p) else place, found, place)
    place = turned[operand] if _turned(p) else operand
    return Panels(operand, found, place) if found.can_share(place) else None
