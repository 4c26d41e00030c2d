"""Scalars: values in registers with a dtype, and how Python numbers become some."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kuai import dtypes
from kuai.compiler.emit.builder import Function, Ref, number, vector
from kuai.compiler.sizes import Ratio, SizeError, varies

REGISTERS = {
    "bool": "i1",
    "uint8": "i8",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "float16": "float",
    "bfloat16": "float",
    "float32": "float",
    "float64": "double",
}


def register(dtype: dtypes.dtype) -> str:
    """LLVM's type of one element in a register."""
    return REGISTERS[dtype.name]


class Scalar:
    """A value in a register: one element, or several side by side.

    Attributes:
        ref: the value in the function under construction.
        dtype: its data type; `scalars.py` says how each is held.
    """

    __slots__ = ("dtype", "ref")

    def __init__(self, ref: Ref, dtype: dtypes.dtype) -> None:
        self.ref = ref
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"{self.dtype.name} {self.ref}"


Operand = Scalar | bool | int | float


class Values:
    """Makes scalars of numbers, and brings operands together."""

    function: Function
    lanes: int
    dtype: dtypes.dtype

    def const(self, value: float | int | bool, dtype: dtypes.dtype) -> Scalar:
        """A number in this type, in every lane: wrapped or rounded as storing it would be."""
        if varies(value):
            return self.size(value, dtype)
        if dtype.is_floating_point:
            value = float(value)
            if dtype.itemsize == 2:
                with np.errstate(over="ignore"):
                    value = float(np.float64(value).astype(dtype.numpy))
        elif dtype.category == dtypes.INTEGER:
            value = _wrapped(int(value), dtype)
        else:
            value = bool(value)
        return Scalar(self.function.const(value, vector(register(dtype), self.lanes)), dtype)

    def size(self, value: Any, dtype: dtypes.dtype) -> Scalar:
        """A size that depends on the batch, in this type."""
        f = self.function
        if dtype.category == dtypes.INTEGER and not isinstance(value, Ratio):
            whole = number(value)
            if dtype is not dtypes.int64:
                whole = f.cast("trunc", whole, register(dtype))
            return self.splat(Scalar(whole, dtype))
        if not dtype.is_floating_point:
            raise SizeError(f"{value!r} as {dtype.name}")
        if isinstance(value, Ratio):
            above, below = (
                f.cast("sitofp", number(n), "double") for n in (value.above, value.below)
            )
            found = f.fdiv(above, below)
            if dtype is not dtypes.float64:
                found = f.cast("fptrunc", found, "float")
        else:
            found = f.cast("sitofp", number(value), register(dtype))
        return self.splat(self.result(found, dtype))

    def scalar_like(self, value: float | int | bool, x: Scalar) -> Scalar:
        """A number in the type of another operand."""
        return self.const(value, x.dtype)

    def scalar(self, x: Operand) -> Scalar:
        """An operand, in every lane; a number is of the operation's `dtype`."""
        return self.splat(x) if isinstance(x, Scalar) else self.const(x, self.dtype)

    def pair(self, x: Operand, y: Operand) -> tuple[Scalar, Scalar]:
        """Two operands in the type of the one that is no number."""
        if isinstance(x, Scalar):
            a = self.splat(x)
            b = self.splat(y) if isinstance(y, Scalar) else self.const(y, a.dtype)
        else:
            b = self.scalar(y)
            a = self.const(x, b.dtype)
        assert a.dtype is b.dtype, f"operands of two types: {a.dtype}, {b.dtype}"
        return a, b

    def splat(self, x: Scalar) -> Scalar:
        """The scalar in every lane."""
        if self.lanes and not x.ref.lanes:
            return Scalar(self.function.splat(x.ref, self.lanes), x.dtype)
        return x

    def result(self, ref: Ref, dtype: dtypes.dtype) -> Scalar:
        """What an operation computed, rounded where the type is of 16 bits."""
        if dtype is dtypes.float16:
            f = self.function
            ref = f.cast("fpext", f.cast("fptrunc", ref, "half"), "float")
        elif dtype is dtypes.bfloat16:
            ref = round_to_bfloat(self.function, ref)
        return Scalar(ref, dtype)

    def apply(self, name: str, *arguments: Ref) -> Ref:
        """A function of `kuai.compiler.emit.math`, of values in registers."""
        from kuai.compiler.emit import math

        return math.apply(self.function, name, *arguments)


def _wrapped(value: int, dtype: dtypes.dtype) -> int:
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.is_signed and value >> (bits - 1) else value


def round_to_bfloat(f: Function, x: Ref) -> Ref:
    """Floats rounded to bfloat16's digits, half to even.

    In integers, because the processors' instruction for it takes subnormal numbers for zero.
    """
    bits = f.cast("bitcast", x, "i32")
    type = bits.type
    odd = f.binary("and", f.binary("lshr", bits, f.const(16, type)), f.const(1, type))
    rounded = f.add(f.add(bits, f.const(0x7FFF, type)), odd)
    quiet = f.binary("or", bits, f.const(0x400000, type))
    rounded = f.select(f.compare("uno", x, x), quiet, rounded)
    return f.cast("bitcast", f.binary("and", rounded, f.const(-0x10000, type)), "float")


@functools.cache
def indefinite() -> tuple[int, int, int]:
    """What NumPy makes of NaN, and of floats beyond and below int64, on this machine."""
    with np.errstate(invalid="ignore"):
        nan, high, low = (int(np.array(x).astype(np.int64)) for x in (np.nan, 1e300, -1e300))
    return nan, high, low
