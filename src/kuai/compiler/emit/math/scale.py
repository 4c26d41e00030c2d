"""Numbers times powers of two, and apart into them."""

from __future__ import annotations

from kuai.compiler.emit.builder import Ref, vector
from kuai.compiler.emit.math.number import Number, where

# By whether the numbers are double: digits behind the point, and the exponent's offset.
DIGITS = {False: 23, True: 52}
BIAS = {False: 127, True: 1023}


def has_scale_instruction(lanes: int, double: bool) -> bool:
    """Whether the processor multiplies vectors by powers of two in one instruction."""
    from kuai.compiler.native.target import host

    bits = lanes * (64 if double else 32)
    return bits in (128, 256, 512) and host().has("avx512f") and host().has("avx512vl")


def scaled(x: Number, n: Number, real: Number | None = None) -> Number:
    """`x * 2 ** n` for `x` near 1 and an integer `n`, also where that is subnormal or too much.

    Args:
        real: `n` as a float, where that is known.
    """
    if has_scale_instruction(x.ref.lanes, x.double):
        return _by_instruction(x, n.to_float() if real is None else real)
    # In two steps, since 2 ** n itself may be outside the range of normal numbers.
    digits, bias = DIGITS[x.double], BIAS[x.double]
    first = n >> 1
    near = (x.bits() + ((n - first) << digits)).as_float()
    return near * ((first + bias) << digits).as_float()


def _by_instruction(x: Number, n: Number) -> Number:
    f, type = x.f, x.ref.type
    bits = x.ref.lanes * (64 if x.double else 32)
    name = f"llvm.x86.avx512.mask.scalef.{'pd' if x.double else 'ps'}.{bits}"
    mask = Ref("-1", f"i{max(8, x.ref.lanes)}")
    arguments = [x.ref, n.ref, Ref("zeroinitializer", type), mask]
    if bits == 512:
        arguments.append(Ref("4", "i32"))  # rounding as it is set
    f.module.declare(name, type, [a.type for a in arguments])
    return Number(f, f.call(name, type, *arguments))


def exponent_and_mantissa(x: Number) -> tuple[Number, Number]:
    """`(n, m)` with `x = m * 2 ** n`, `m` from sqrt(1/2) to sqrt(2), of a positive normal `x`."""
    digits = DIGITS[x.double]
    root = x.like(0.7071067811865476).bits()
    n = (x.bits() - root) >> digits
    return n, (x.bits() - (n << digits)).as_float()


def without_subnormals(x: Number) -> tuple[Number, Number]:
    """`(y, n)` with `x = y * 2 ** n` and no subnormal `y`; `n` is an integer, mostly 0."""
    digits = DIGITS[x.double]
    small = x < 2.0 ** (1 - BIAS[x.double])
    integer = Number(x.f, x.f.const(0, vector("i64" if x.double else "i32", x.ref.lanes)))
    return where(small, x * 2.0 ** (digits + 1), x), where(small, integer - (digits + 1), integer)


__all__ = [
    "BIAS",
    "DIGITS",
    "exponent_and_mantissa",
    "has_scale_instruction",
    "scaled",
    "without_subnormals",
]
