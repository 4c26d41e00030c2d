"""What a product of matrices is, and the small parts from which its strategies are built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from kuai import dtypes
from kuai.compiler.emit.builder import BITS, FLOATS, Function, Ref, is_known, number, vector
from kuai.compiler.emit.values import round_to_bfloat
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import varies

ELEMENTS = {
    "float32": "float",
    "float64": "double",
    "float16": "half",
    "bfloat16": "bfloat",
    "uint8": "i8",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
}

Store = Callable[[Function, Ref, Ref, Ref, int, "Ref | None"], None]
"""`store(f, row, column, value, lanes, mask)` takes what a product computes, each element once.

`row` and `column` (of type i64) say where the first lane of `value` lies; the lanes go along the
columns. `lanes` is 0 for a scalar. Where there is a `mask` (`<lanes x i1>`, a constant), only its
lanes are elements of C.
"""

Put = Callable[[Function, Ref, Ref, Ref, int], None]
"""`put(f, row, column, value, live)`: a `Store` as the strategies see it; the first `live` lanes
of the value count.
"""

Ahead = Callable[[Function, Ref, Ref], None]
"""`ahead(f, row, column)` asks for the memory that a `Store` will need for this element and those
beside it in a line of the cache: while a tile is being computed, it comes nearer.
"""

Part = tuple[Ref, Ref]
"""The first block and the one after the last (i64) of a part of a product."""


@dataclass(frozen=True)
class Product:
    """`C[i, j] = sum over p of A[i, p] B[p, j]`, for A of `(m, k)` and B of `(k, n)`.

    Attributes:
        a: the strides of A along m and k, in elements; any, also 0 and negative.
        b: the strides of B along k and n.
        dtype: integers wrap around, 16-bit floats are summed in float32.
        few, near: whether `m` is small, and B, where the program finds out; see `variants`.
    """

    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    dtype: dtypes.dtype
    few: bool | None = None
    near: bool | None = None

    @property
    def numbers(self) -> Numbers:
        """How its elements are stored and summed."""
        element = ELEMENTS[self.dtype.name]
        return Numbers(element, "float" if element in ("half", "bfloat") else element)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return BITS[ELEMENTS[self.dtype.name]] // 8

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.m * self.n * self.k

    def swapped(self) -> Product:
        """The product of which the transpose of C is the result."""
        return replace(
            self, m=self.n, n=self.m, a=self.b[::-1], b=self.a[::-1], few=None, near=None
        )

    def normal(self) -> Product:
        """The same product; strides of dimensions of one element are those that suit best."""
        (am, ak), (bk, bn) = self.a, self.b
        ak = 1 if self.k == 1 else ak
        am = ak * self.k if self.m == 1 else am
        bk = self.n if self.k == 1 else bk
        bn = 1 if self.n == 1 and bk != 1 else bn
        return replace(self, a=(am, ak), b=(bk, bn))


class Numbers(NamedTuple):
    """The type of elements in memory, and the one in which they are multiplied and summed."""

    memory: str
    sum: str

    def load(self, f: Function, pointer: Ref, piece: Piece) -> Ref:
        """Elements from memory, ready to be multiplied; 0 in lanes that are none of the piece."""
        type = vector(self.memory, piece.lanes)
        mask = mask_of(f, piece.lanes, piece.live)
        if mask is None:
            return self.widened(f, f.load(type, pointer))
        return self.widened(f, f.load_masked(type, pointer, mask, f.const(0, type)))

    def load_one(self, f: Function, pointer: Ref) -> Ref:
        """One element from memory."""
        return self.widened(f, f.load(self.memory, pointer))

    def widened(self, f: Function, value: Ref) -> Ref:
        """An element from memory in the type in which it is summed."""
        return value if self.memory == self.sum else f.cast("fpext", value, self.sum)

    def narrowed(self, f: Function, value: Ref) -> Ref:
        """A sum in the type of memory."""
        if self.memory == "bfloat":
            bits = f.cast("bitcast", round_to_bfloat(f, value), "i32")
            high = f.cast("trunc", f.binary("lshr", bits, f.const(16, bits.type)), "i16")
            return f.cast("bitcast", high, "bfloat")
        return value if self.memory == self.sum else f.cast("fptrunc", value, self.memory)

    def zero(self, f: Function, lanes: int) -> Ref:
        """The empty sum."""
        return f.const(0, vector(self.sum, lanes))

    def multiply_add(self, f: Function, x: Ref, y: Ref, z: Ref) -> Ref:
        """`x * y + z`, rounded once where the processor can."""
        if self.sum in FLOATS:
            return f.intrinsic("fmuladd", x, y, z)
        return f.add(f.mul(x, y), z)

    def lanes(self, target: Target) -> int:
        """How many sums a vector register holds."""
        return max(1, target.vector_bytes * 8 // BITS[self.sum])


class Piece(NamedTuple):
    """Elements side by side that are treated as one vector.

    Attributes:
        offset: where it starts.
        lanes: lanes of the vector; 0 for a scalar.
        live: how many of the lanes count; those after them are masked.
    """

    offset: int
    lanes: int
    live: int

    @property
    def is_masked(self) -> bool:
        """Whether not all lanes count."""
        return self.live < self.lanes


def mask_of(f: Function, lanes: int, live: int) -> Ref | None:
    """The mask of the first `live` lanes; `None` where that is all of them."""
    return f.lanes([lane < live for lane in range(lanes)], "i1") if live < lanes else None


def has_masks(target: Target) -> bool:
    """Whether loads and stores of some lanes only cost no more than those of all."""
    return target.has("avx512vl")


def pieces(count: int, lanes: int, target: Target) -> list[Piece]:
    """`count` elements as vectors of at most `lanes`."""
    result = [Piece(at, lanes, lanes) for at in range(0, count - lanes + 1, lanes) if lanes > 1]
    at = len(result) * lanes
    while at < count:
        left = count - at
        width = 1 << (left - 1).bit_length() if has_masks(target) else 1 << (left.bit_length() - 1)
        width = min(width, lanes)
        result.append(Piece(at, 0 if width == 1 else width, min(left, width)))
        at += width
    return result


def index(f: Function, base: Ref | int, factor: int, offset: int = 0) -> Ref:
    """`base * factor + offset`, as an i64."""
    if not isinstance(base, Ref):
        return number(base * factor + offset)
    return f.add(f.mul(base, number(factor)), number(offset))


def plus(f: Function, x: Ref | int, y: Ref | int) -> Ref:
    """`x + y`, computed now where both are known."""
    x, y = (n if isinstance(n, Ref) else number(n) for n in (x, y))
    return f.add(x, y)


def smaller(f: Function, x: Ref | int, y: Ref | int) -> Ref:
    """The smaller one of two i64."""
    x, y = (n if isinstance(n, Ref) else number(n) for n in (x, y))
    if is_known(x) and is_known(y):
        return number(min(int(x.text), int(y.text)))
    return f.select(f.compare("slt", x, y), x, y)


def balanced(count: int, most: int, least: int = 1) -> int:
    """A size of blocks, at most `most`, that leaves the last block of `count` nearly full.

    A size that divides `count` is preferred where it is not much smaller: it needs no code for
    the last block.
    """
    if varies(count):
        return most
    most = min(most, count)
    if most <= 1:
        return max(1, most)
    size = math.ceil(count / math.ceil(count / most))
    for candidate in range(most, max(least, math.ceil(0.66 * most)) - 1, -1):
        if count % candidate == 0:
            return candidate
    return size
