"""What a primitive's `lower` computes with: scalars, which are values in registers, and `Emit`.

A scalar may have lanes: then it is so many elements side by side. How a type is held:

    float32, float64    float, double
    float16, bfloat16   float, rounded to 16 bits after each operation, as eager rounds
    bool                i1
    integers            iN; whether it is signed, the dtype says

The arithmetic is that of the eager kernels: integers wrap, NaN passes through, comparisons
with NaN are false.
"""

from __future__ import annotations

from typing import NamedTuple

from kuai import dtypes
from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.functions import Functions
from kuai.compiler.emit.memory import Memory
from kuai.compiler.emit.values import Operand, Scalar, indefinite, register

BOOL, INTEGER = dtypes.BOOL, dtypes.INTEGER

__all__ = ["Emit", "Operand", "Scalar", "register"]


class Check(NamedTuple):
    """What has to be refused when the program runs.

    Attributes:
        bad: where it holds (i1, in each lane), the program fails.
        exception: the class that eager raises there.
        message: its text, with a place (`{}`) for each of the values.
        values: what is told of the first element that is bad (i64).
    """

    bad: Ref
    exception: type[Exception]
    message: str
    values: tuple[Ref, ...]


class Emit(Memory, Functions):
    """Computes with scalars in a function under construction.

    Operands are scalars or Python numbers, at least one a scalar unless said otherwise; numbers
    and scalars without lanes stand for every lane. Both operands have one dtype, which the
    result has too, unless said otherwise.

    Attributes:
        function: where instructions go.
        lanes: how many elements side by side; 0 for one alone.
        dtype: that of the result of the operation that is being lowered.
        checks: what has to be refused when the program runs. Who built the kernel looks at them
            before anything is written.
    """

    def __init__(self, function: Function, lanes: int, dtype: dtypes.dtype | None = None) -> None:
        self.function = function
        self.lanes = lanes
        self.dtype = dtype or dtypes.float32
        self.checks: list[Check] = []

    # -- arithmetic -------------------------------------------------------------------------

    def add(self, x: Operand, y: Operand) -> Scalar:
        """`x + y`; of bools, whether one is true."""
        return self._arithmetic("fadd", "add", "or", x, y)

    def sub(self, x: Operand, y: Operand) -> Scalar:
        """`x - y`."""
        return self._arithmetic("fsub", "sub", "xor", x, y)

    def mul(self, x: Operand, y: Operand) -> Scalar:
        """`x * y`; of bools, whether both are true."""
        return self._arithmetic("fmul", "mul", "and", x, y)

    def _arithmetic(self, real: str, integer: str, bool: str, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        d = a.dtype
        if d.is_floating_point:
            # A product and the sum that takes it may be rounded once.
            name = real + " contract" if d.itemsize > 2 else real
        else:
            name = bool if d.category == BOOL else integer
        return self.result(self.function.binary(name, a.ref, b.ref), d)

    def div(self, x: Operand, y: Operand) -> Scalar:
        """`x / y`, floating."""
        a, b = self.pair(x, y)
        return self.result(self.function.fdiv(a.ref, b.ref), a.dtype)

    def neg(self, x: Operand) -> Scalar:
        """`-x`."""
        a = self.scalar(x)
        f = self.function
        if a.dtype.is_floating_point:
            return Scalar(f.fneg(a.ref), a.dtype)
        return Scalar(f.sub(f.const(0, a.ref.type), a.ref), a.dtype)

    def abs(self, x: Operand) -> Scalar:
        """`|x|`."""
        a = self.scalar(x)
        f = self.function
        if a.dtype.is_floating_point:
            return Scalar(f.intrinsic("fabs", a.ref), a.dtype)
        if not a.dtype.is_signed:
            return a
        return Scalar(f.intrinsic("abs", a.ref, extra=", i1 false"), a.dtype)

    def sign(self, x: Operand) -> Scalar:
        """-1, 0 or 1; 0 for NaN; a bool is its own."""
        a = self.scalar(x)
        if a.dtype.category == BOOL:
            return a
        positive = self.where(self.gt(a, 0), self.const(1, a.dtype), self.const(0, a.dtype))
        if not a.dtype.is_signed:
            return positive
        return self.where(self.lt(a, 0), self.const(-1, a.dtype), positive)

    def fma(self, x: Operand, y: Operand, z: Operand) -> Scalar:
        """`x * y + z`, floating, rounded once."""
        a, b = self.pair(x, y)
        _, c = self.pair(a, z)
        return self.result(self.function.fma(a.ref, b.ref, c.ref), a.dtype)

    # -- division with a whole quotient -----------------------------------------------------

    def floor_div(self, x: Operand, y: Operand) -> Scalar:
        """`floor(x / y)`; integers are checked for division by zero."""
        a, b = self.pair(x, y)
        if not a.dtype.is_floating_point:
            quotient, rest, b = self._divide(a, b)
            wrong = self.logical_and(self.ne(rest, 0), self._signs_differ(rest, b))
            return self.sub(quotient, self.cast(wrong, a.dtype))
        # NumPy's: exact where the quotient of the rounded values would not be.
        rest = self._fmod(a, b)
        quotient = self._float("fdiv", self._float("fsub", a, rest), b)
        wrong = self.logical_and(self.ne(rest, 0), self._signs_differ(rest, b))
        quotient = self.where(
            wrong, self._float("fsub", quotient, self.scalar_like(1, a)), quotient
        )
        whole = self._wide("floor", quotient)
        far = self.gt(self._float("fsub", quotient, whole), 0.5)
        whole = self.where(far, self._float("fadd", whole, self.scalar_like(1, a)), whole)
        true = self._float("fdiv", a, b)
        zero = self.copysign(self.scalar_like(0, a), true)
        whole = self.where(self.eq(quotient, 0), zero, whole)
        return self.result(self.where(self.eq(b, 0), true, whole).ref, a.dtype)

    def quotient(self, x: Scalar, n: int) -> Scalar:
        """`x // n` of a position, which is 0 or more and below 2³¹, and a number above 0."""
        f = self.function
        if n == 1:
            return Scalar(x.ref, x.dtype)
        narrow = f.cast("trunc", x.ref, "i32")
        found = f.binary("udiv", narrow, f.const(n, narrow.type))
        return Scalar(f.cast("zext", found, x.ref.element), x.dtype)

    def rem(self, x: Operand, y: Operand) -> Scalar:
        """`x - y * floor(x / y)`, with the sign of `y`, as Python's `%`."""
        a, b = self.pair(x, y)
        if a.dtype.is_floating_point:
            rest = self._fmod(a, b)
            wrong = self.logical_and(self.ne(rest, 0), self._signs_differ(rest, b))
            moved = self.where(wrong, self._float("fadd", rest, b), rest)
            zero = self.copysign(self.scalar_like(0, a), b)
            settled = self.where(self.eq(rest, 0), zero, moved)
            return self.result(self.where(self.eq(b, 0), rest, settled).ref, a.dtype)
        _, rest, b = self._divide(a, b)
        wrong = self.logical_and(self.ne(rest, 0), self._signs_differ(rest, b))
        return self.where(wrong, self.add(rest, b), rest)

    def trunc_div(self, x: Operand, y: Operand) -> Scalar:
        """`x / y` without its fraction; integers are checked for division by zero."""
        a, b = self.pair(x, y)
        if a.dtype.is_floating_point:
            return self.trunc(self.div(a, b))
        return self._divide(a, b)[0]

    def fmod(self, x: Operand, y: Operand) -> Scalar:
        """`x - y * trunc(x / y)`, with the sign of `x`, as C's `fmod`."""
        a, b = self.pair(x, y)
        return self._fmod(a, b) if a.dtype.is_floating_point else self._divide(a, b)[1]

    def _fmod(self, x: Scalar, y: Scalar) -> Scalar:
        return Scalar(self.function.binary("frem", x.ref, y.ref), x.dtype)

    def _float(self, name: str, x: Scalar, y: Scalar) -> Scalar:
        """An instruction in the registers' precision."""
        return Scalar(self.function.binary(name, x.ref, y.ref), x.dtype)

    def _signs_differ(self, x: Scalar, y: Scalar) -> Scalar:
        return self.ne(self.lt(x, 0), self.lt(y, 0))

    def _divide(self, x: Scalar, y: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """Quotient and rest of integers, towards zero, and the divisor that was safe to use.

        Where the divisor is zero, which is checked, it is taken as 1; and -1 apart, since the
        least integer has no opposite.
        """
        f = self.function
        zero = self.eq(y, 0)
        self.check(zero, RuntimeError, "ZeroDivisionError")
        y = self.where(zero, self.const(1, y.dtype), y)
        if not x.dtype.is_signed:
            quotient = Scalar(f.binary("udiv", x.ref, y.ref), x.dtype)
            return quotient, self.sub(x, self.mul(quotient, y)), y
        minus = self.eq(y, -1)
        safe = self.where(minus, self.const(1, y.dtype), y)
        quotient = Scalar(f.binary("sdiv", x.ref, safe.ref), x.dtype)
        rest = self.sub(x, self.mul(quotient, safe))
        return self.where(minus, self.neg(x), quotient), rest, y

    def check(self, bad: Scalar, exception: type[Exception], message: str, *values: Scalar) -> None:
        """Have the program refuse with `exception(message)` where `bad` (bool) holds.

        Args:
            bad: where.
            exception, message: what eager raises.
            values: integers that the message tells, each in the place of a `{}`.
        """
        one = Emit(self.function, 0)
        told = [(self if v.ref.lanes else one).cast(v, dtypes.int64).ref for v in values]
        self.checks.append(Check(bad.ref, exception, message, tuple(told)))

    # -- the greater and the smaller --------------------------------------------------------

    def max(self, x: Operand, y: Operand) -> Scalar:
        """The greater; NaN where one is."""
        return self._extreme("ogt", "max", "or", x, y)

    def min(self, x: Operand, y: Operand) -> Scalar:
        """The smaller; NaN where one is."""
        return self._extreme("olt", "min", "and", x, y)

    def _extreme(self, condition: str, name: str, bool: str, x: Operand, y: Operand) -> Scalar:
        f = self.function
        if isinstance(y, Scalar) and not isinstance(x, Scalar):
            x, y = y, x
        a, b = self.pair(x, y)
        if a.dtype.category == BOOL:
            return Scalar(f.binary(bool, a.ref, b.ref), a.dtype)
        if not a.dtype.is_floating_point:
            kind = ("s" if a.dtype.is_signed else "u") + name
            return Scalar(f.intrinsic(kind, a.ref, b.ref), a.dtype)
        # `b` unless it does not compare, which is what the machines' own instructions do.
        chosen = f.select(f.compare(condition, b.ref, a.ref), b.ref, a.ref)
        if not isinstance(y, Scalar) and y == y:
            return Scalar(chosen, a.dtype)
        return Scalar(f.select(f.compare("uno", b.ref, b.ref), b.ref, chosen), a.dtype)

    def fmax(self, x: Operand, y: Operand) -> Scalar:
        """The greater; where one is NaN, the other."""
        return self._known("ogt", self.max, x, y)

    def fmin(self, x: Operand, y: Operand) -> Scalar:
        """The smaller; where one is NaN, the other."""
        return self._known("olt", self.min, x, y)

    def _known(self, condition: str, otherwise: object, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        if not a.dtype.is_floating_point:
            return otherwise(a, b)  # type: ignore[operator]
        f = self.function
        chosen = f.select(f.compare(condition, a.ref, b.ref), a.ref, b.ref)
        return Scalar(f.select(f.compare("uno", b.ref, b.ref), a.ref, chosen), a.dtype)

    # -- roundings and roots ----------------------------------------------------------------

    def floor(self, x: Operand) -> Scalar:
        """The greatest integer that is not greater; integers are their own."""
        return self._step("floor", x)

    def ceil(self, x: Operand) -> Scalar:
        """The least integer that is not less."""
        return self._step("ceil", x)

    def trunc(self, x: Operand) -> Scalar:
        """The value without its fraction."""
        return self._step("trunc", x)

    def rint(self, x: Operand) -> Scalar:
        """The nearest integer; the even one of two."""
        return self._step("roundeven", x)

    def _step(self, name: str, x: Operand) -> Scalar:
        a = self.scalar(x)
        return self._wide(name, a) if a.dtype.is_floating_point else a

    def _wide(self, name: str, x: Scalar) -> Scalar:
        return Scalar(self.function.intrinsic(name, x.ref), x.dtype)

    def sqrt(self, x: Operand) -> Scalar:
        """Square root."""
        a = self.scalar(x)
        return self.result(self.function.intrinsic("sqrt", a.ref), a.dtype)

    def rsqrt(self, x: Operand) -> Scalar:
        """`1 / sqrt(x)`, rounded twice, as eager does."""
        return self.div(self.scalar_like(1, self.scalar(x)), self.sqrt(x))

    def reciprocal(self, x: Operand) -> Scalar:
        """`1 / x`."""
        return self.div(self.scalar_like(1, self.scalar(x)), x)

    def copysign(self, x: Operand, y: Operand) -> Scalar:
        """The magnitude of `x` with the sign of `y`, floating."""
        a, b = self.pair(x, y)
        return Scalar(self.function.intrinsic("copysign", a.ref, b.ref), a.dtype)

    # -- comparisons ------------------------------------------------------------------------

    def eq(self, x: Operand, y: Operand) -> Scalar:
        """`x == y`, bool."""
        return self._compare("oeq", "eq", x, y)

    def ne(self, x: Operand, y: Operand) -> Scalar:
        """`x != y`, bool."""
        return self._compare("une", "ne", x, y)

    def lt(self, x: Operand, y: Operand) -> Scalar:
        """`x < y`, bool."""
        return self._compare("olt", "lt", x, y)

    def le(self, x: Operand, y: Operand) -> Scalar:
        """`x <= y`, bool."""
        return self._compare("ole", "le", x, y)

    def gt(self, x: Operand, y: Operand) -> Scalar:
        """`x > y`, bool."""
        return self._compare("ogt", "gt", x, y)

    def ge(self, x: Operand, y: Operand) -> Scalar:
        """`x >= y`, bool."""
        return self._compare("oge", "ge", x, y)

    def _compare(self, real: str, integer: str, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        if a.dtype.is_floating_point:
            condition = real
        elif integer in ("eq", "ne"):
            condition = integer
        else:
            condition = ("s" if a.dtype.is_signed else "u") + integer
        return Scalar(self.function.compare(condition, a.ref, b.ref), dtypes.bool_)

    def isnan(self, x: Operand) -> Scalar:
        """Whether it is NaN."""
        a = self.scalar(x)
        if not a.dtype.is_floating_point:
            return self.const(False, dtypes.bool_)
        return Scalar(self.function.compare("uno", a.ref, a.ref), dtypes.bool_)

    def isinf(self, x: Operand) -> Scalar:
        """Whether it is infinite."""
        a = self.scalar(x)
        if not a.dtype.is_floating_point:
            return self.const(False, dtypes.bool_)
        return self.eq(self.abs(a), float("inf"))

    def isfinite(self, x: Operand) -> Scalar:
        """Whether it is neither infinite nor NaN."""
        a = self.scalar(x)
        if not a.dtype.is_floating_point:
            return self.const(True, dtypes.bool_)
        return self.lt(self.abs(a), float("inf"))

    def signbit(self, x: Operand) -> Scalar:
        """Whether the sign bit is set, also in -0; of integers, whether it is negative."""
        a = self.scalar(x)
        if not a.dtype.is_floating_point:
            return self.lt(a, 0)
        f = self.function
        bits = f.cast("bitcast", a.ref, "i64" if a.ref.element == "double" else "i32")
        return Scalar(f.compare("slt", bits, f.const(0, bits.type)), dtypes.bool_)

    # -- logic and bits ---------------------------------------------------------------------

    def truth(self, x: Operand) -> Scalar:
        """Whether it is not zero, bool."""
        a = self.scalar(x)
        return a if a.dtype.category == BOOL else self.ne(a, 0)

    def logical_and(self, x: Operand, y: Operand) -> Scalar:
        """Whether both are not zero."""
        return self._logical("and", x, y)

    def logical_or(self, x: Operand, y: Operand) -> Scalar:
        """Whether one or both are not zero."""
        return self._logical("or", x, y)

    def logical_xor(self, x: Operand, y: Operand) -> Scalar:
        """Whether just one is not zero."""
        return self._logical("xor", x, y)

    def _logical(self, name: str, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        bits = self.function.binary(name, self.truth(a).ref, self.truth(b).ref)
        return Scalar(bits, dtypes.bool_)

    def logical_not(self, x: Operand) -> Scalar:
        """Whether it is zero."""
        a = self.scalar(x)
        return self.bitwise_not(a) if a.dtype.category == BOOL else self.eq(a, 0)

    def bitwise_and(self, x: Operand, y: Operand) -> Scalar:
        """`x & y`, of integers or bools."""
        return self._bitwise("and", x, y)

    def bitwise_or(self, x: Operand, y: Operand) -> Scalar:
        """`x | y`."""
        return self._bitwise("or", x, y)

    def bitwise_xor(self, x: Operand, y: Operand) -> Scalar:
        """`x ^ y`."""
        return self._bitwise("xor", x, y)

    def _bitwise(self, name: str, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        return Scalar(self.function.binary(name, a.ref, b.ref), a.dtype)

    def bitwise_not(self, x: Operand) -> Scalar:
        """`~x`."""
        a = self.scalar(x)
        ones = True if a.dtype.category == BOOL else -1
        return Scalar(
            self.function.binary("xor", a.ref, self.function.const(ones, a.ref.type)), a.dtype
        )

    def shift_left(self, x: Operand, y: Operand) -> Scalar:
        """`x << y`; 0 where `y` is not between 0 and the width of the type."""
        return self._shift("shl", x, y)

    def shift_right(self, x: Operand, y: Operand) -> Scalar:
        """`x >> y`, keeping the sign, also where `y` is beyond the width of the type."""
        return self._shift("ashr" if self.pair(x, y)[0].dtype.is_signed else "lshr", x, y)

    def _shift(self, name: str, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        f = self.function
        if a.dtype.category == BOOL:  # computed in integers, then told from zero
            return a if name == "shl" else self.logical_and(a, self.logical_not(b))
        valid = f.compare("ult", b.ref, f.const(8 * a.dtype.itemsize, b.ref.type))
        by = f.select(valid, b.ref, f.const(0, b.ref.type))
        beyond = self.const(0, a.dtype)
        if name == "ashr":
            beyond = self.where(self.lt(a, 0), self.const(-1, a.dtype), beyond)
        return Scalar(f.select(valid, f.binary(name, a.ref, by), beyond.ref), a.dtype)

    # -- choosing and converting ------------------------------------------------------------

    def where(self, condition: Scalar, x: Operand, y: Operand) -> Scalar:
        """`x` where the condition (bool) holds, else `y`; two numbers are of `self.dtype`."""
        if not isinstance(x, Scalar) and not isinstance(y, Scalar):
            x = self.const(x, self.dtype)
        a, b = self.pair(x, y)
        return Scalar(self.function.select(self.splat(condition).ref, a.ref, b.ref), a.dtype)

    def cast(self, x: Operand, dtype: dtypes.dtype) -> Scalar:
        """The value in another type, as the primitive `cast` converts it."""
        a = self.scalar(x) if isinstance(x, Scalar) else self.const(x, self.dtype)
        source = a.dtype
        if source is dtype:
            return a
        f = self.function
        element = register(dtype)
        if dtype.category == BOOL:
            return self.ne(a, 0)
        if source.category == BOOL:
            return Scalar(
                f.cast("uitofp" if dtype.is_floating_point else "zext", a.ref, element), dtype
            )
        if source.is_floating_point:
            if dtype.is_floating_point:
                return self._convert_float(a, dtype)
            return self._to_integer(a, dtype)
        if dtype.is_floating_point:
            name = "sitofp" if source.is_signed else "uitofp"
            return self.result(f.cast(name, a.ref, element), dtype)
        if dtype.itemsize <= source.itemsize:
            return Scalar(f.cast("trunc", a.ref, element), dtype)
        return Scalar(f.cast("sext" if source.is_signed else "zext", a.ref, element), dtype)

    def _convert_float(self, x: Scalar, dtype: dtypes.dtype) -> Scalar:
        f = self.function
        if dtype is dtypes.float64:
            return Scalar(f.cast("fpext", x.ref, "double"), dtype)
        if x.dtype is not dtypes.float64:
            return self.result(x.ref, dtype)
        single = f.cast("fptrunc", x.ref, "float")
        if dtype is dtypes.float16:
            single = self._to_odd(x.ref, single)
        return self.result(single, dtype)

    def _to_odd(self, x: Ref, single: Ref) -> Ref:
        """A double rounded to single by making inexact results odd, so that rounding them once
        more, to fewer digits, gives what rounding the double at once would.
        """
        f = self.function
        back = f.cast("fpext", single, "double")
        inexact = f.compare("one", back, x)
        beyond = f.compare("ogt", f.intrinsic("fabs", back), f.intrinsic("fabs", x))
        bits = f.cast("bitcast", single, "i32")
        bits = f.add(bits, f.cast("sext", beyond, "i32"))
        bits = f.binary("or", bits, f.cast("zext", inexact, "i32"))
        return f.cast("bitcast", bits, "float")

    def _to_integer(self, x: Scalar, dtype: dtypes.dtype) -> Scalar:
        """As C converts to int64, then wrapped."""
        f = self.function
        inside = f.compare("olt", f.intrinsic("fabs", x.ref), f.const(2.0**63, x.ref.type))
        safe = f.select(inside, x.ref, f.const(0.0, x.ref.type))
        whole = f.cast("fptosi", safe, "i64")
        nan, high, low = indefinite()
        if nan == high == low:
            whole = f.select(inside, whole, f.const(nan, whole.type))
        else:
            tests = (("uno", 0.0, nan), ("oge", 2.0**63, high), ("ole", -(2.0**63), low))
            for condition, limit, value in tests:
                outside = f.compare(condition, x.ref, f.const(limit, x.ref.type))
                whole = f.select(outside, f.const(value, whole.type), whole)
        return Scalar(f.cast("trunc", whole, register(dtype)), dtype)
