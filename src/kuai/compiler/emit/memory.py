"""Between memory and registers: arrays of each type, contiguous, strided, or cut off at a tail.

In memory a bool is a byte, and float16 and bfloat16 have 16 bits; registers hold them otherwise
(`scalars.py`).
"""

from __future__ import annotations

from kuai import dtypes
from kuai.compiler.emit.builder import BITS, Ref, mangled, vector
from kuai.compiler.emit.values import Scalar, Values

STORED = {
    "bool": "i8",
    "uint8": "i8",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "float16": "half",
    "bfloat16": "i16",
    "float32": "float",
    "float64": "double",
}


def stored(dtype: dtypes.dtype) -> str:
    """LLVM's type of one element in memory."""
    return STORED[dtype.name]


class Memory(Values):
    """Loads and stores scalars."""

    def load(
        self,
        pointer: Ref,
        dtype: dtypes.dtype,
        stride: int | Ref = 1,
        *,
        mask: Ref | None = None,
        align: int | None = None,
    ) -> Scalar:
        """The elements that lie from `pointer` on.

        Args:
            pointer: the address of the first.
            dtype: their type.
            stride: elements from one to the next; 0 for one element in every lane.
            mask: an i1 for each lane: which to read. The others are zero.
            align: bytes to which the address is known to be aligned (contiguous only).
        """
        f = self.function
        element = stored(dtype)
        if not self.lanes or stride == 0:
            if mask is not None and not self.lanes:
                raise ValueError("one element is read whole or not at all")
            value = f.splat(f.load(element, pointer, align), self.lanes)
        elif stride == 1:
            value = self._contiguous(pointer, element, mask, align)
        elif stride == -1:
            first = f.at(pointer, 1 - self.lanes, element)
            order = range(self.lanes - 1, -1, -1)
            under = mask if mask is None else f.shuffle(mask, mask, order)
            value = self._contiguous(first, element, under, None)
            value = f.shuffle(value, value, order)
        else:
            value = self._gather(pointer, element, stride, mask)
        return Scalar(self._to_register(value, dtype), dtype)

    def _contiguous(self, pointer: Ref, element: str, mask: Ref | None, align: int | None) -> Ref:
        f = self.function
        type = vector(element, self.lanes)
        if mask is None:
            return f.load(type, pointer, align)
        return f.load_masked(type, pointer, mask, f.const(0, type))

    def load_at(
        self, pointer: Ref, offsets: Ref, dtype: dtypes.dtype, mask: Ref | None = None
    ) -> Scalar:
        """The elements that lie `offsets` bytes (i64 in each lane) from `pointer`."""
        f = self.function
        where = f.op(vector("ptr", self.lanes), f"getelementptr i8, {pointer}, {offsets}")
        return Scalar(self._to_register(self._gathered(where, stored(dtype), mask), dtype), dtype)

    def store(
        self,
        x: Scalar,
        pointer: Ref,
        stride: int | Ref = 1,
        *,
        mask: Ref | None = None,
        align: int | None = None,
    ) -> None:
        """Put the lanes into memory from `pointer` on; arguments as those of `load`."""
        f = self.function
        value = self._to_memory(self.splat(x))
        if not self.lanes:
            f.store(value, pointer, align)
        elif stride == 1:
            if mask is None:
                f.store(value, pointer, align)
            else:
                f.store_masked(value, pointer, mask)
        else:
            self._scatter(value, pointer, stride, mask)

    def store_at(self, x: Scalar, pointer: Ref, offsets: Ref, mask: Ref | None = None) -> None:
        """Put the lanes `offsets` bytes (i64 in each lane) from `pointer`."""
        f = self.function
        where = f.op(vector("ptr", self.lanes), f"getelementptr i8, {pointer}, {offsets}")
        self._scattered(self._to_memory(self.splat(x)), where, mask)

    def tail(self, count: Ref) -> Ref:
        """A mask of the first `count` (i64) lanes."""
        f = self.function
        lanes = f.lanes(range(self.lanes), "i64")
        return f.compare("slt", lanes, f.splat(count, self.lanes))

    def _addresses(self, pointer: Ref, element: str, stride: int | Ref) -> Ref:
        f = self.function
        if isinstance(stride, int):
            offsets = f.lanes([stride * i for i in range(self.lanes)], "i64")
        else:
            steps = f.lanes(range(self.lanes), "i64")
            offsets = f.mul(f.splat(stride, self.lanes), steps)
        type = vector("ptr", self.lanes)
        return f.op(type, f"getelementptr {element}, {pointer}, {offsets}")

    def _all(self) -> Ref:
        return self.function.const(True, vector("i1", self.lanes))

    def _gather(self, pointer: Ref, element: str, stride: int | Ref, mask: Ref | None) -> Ref:
        return self._gathered(self._addresses(pointer, element, stride), element, mask)

    def _gathered(self, where: Ref, element: str, mask: Ref | None) -> Ref:
        f = self.function
        type = vector(element, self.lanes)
        mask = mask or self._all()
        name = f"llvm.masked.gather.{mangled(type)}.{mangled(where.type)}"
        f.module.declare(name, type, [where.type, "i32", mask.type, type])
        align = Ref(str(BITS[element] // 8), "i32")
        return f.call(name, type, where, align, mask, f.const(0, type))

    def _scatter(self, value: Ref, pointer: Ref, stride: int | Ref, mask: Ref | None) -> None:
        self._scattered(value, self._addresses(pointer, value.element, stride), mask)

    def _scattered(self, value: Ref, where: Ref, mask: Ref | None) -> None:
        f = self.function
        mask = mask or self._all()
        name = f"llvm.masked.scatter.{mangled(value.type)}.{mangled(where.type)}"
        f.module.declare(name, "void", [value.type, where.type, "i32", mask.type])
        f.call(name, "void", value, where, Ref(str(BITS[value.element] // 8), "i32"), mask)

    def _to_register(self, value: Ref, dtype: dtypes.dtype) -> Ref:
        f = self.function
        if dtype is dtypes.bool_:
            return f.compare("ne", value, f.const(0, value.type))
        if dtype is dtypes.float16:
            return f.cast("fpext", value, "float")
        if dtype is dtypes.bfloat16:
            wide = f.cast("zext", value, "i32")
            return f.cast("bitcast", f.binary("shl", wide, f.const(16, wide.type)), "float")
        return value

    def _to_memory(self, x: Scalar) -> Ref:
        f = self.function
        if x.dtype is dtypes.bool_:
            return f.cast("zext", x.ref, "i8")
        if x.dtype is dtypes.float16:
            return f.cast("fptrunc", x.ref, "half")
        if x.dtype is dtypes.bfloat16:
            bits = f.cast("bitcast", x.ref, "i32")
            return f.cast("trunc", f.binary("lshr", bits, f.const(16, bits.type)), "i16")
        return x.ref
