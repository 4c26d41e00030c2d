"""Formulas as they are written: `Number` is a value in registers with Python's operators."""

from __future__ import annotations

from collections.abc import Sequence

from kuai.compiler.emit.builder import Function, Ref, is_float


class Number:
    """A float, double or integer value, with or without lanes, in a function under construction.

    Operators give the instruction; the other operand may be a Python number. Comparisons give
    i1 values, which `&`, `|`, `~` combine and `where` chooses by; equality is the method `equals`.
    """

    __slots__ = ("f", "ref")

    def __init__(self, f: Function, ref: Ref) -> None:
        self.f = f
        self.ref = ref

    @property
    def double(self) -> bool:
        """Whether it is double."""
        return self.ref.element == "double"

    def like(self, value: float | int | Number) -> Number:
        """A number in every lane, of this one's type."""
        if isinstance(value, Number):
            return value
        return Number(self.f, self.f.const(value, self.ref.type))

    def _op(self, real: str, integer: str, y: float | int | Number) -> Number:
        name = real if is_float(self.ref.type) else integer
        return Number(self.f, self.f.binary(name, self.ref, self.like(y).ref))

    def __add__(self, y: float | int | Number) -> Number:
        return self._op("fadd", "add", y)

    def __radd__(self, y: float | int) -> Number:
        return self.like(y) + self

    def __sub__(self, y: float | int | Number) -> Number:
        return self._op("fsub", "sub", y)

    def __rsub__(self, y: float | int) -> Number:
        return self.like(y) - self

    def __mul__(self, y: float | int | Number) -> Number:
        return self._op("fmul", "mul", y)

    def __rmul__(self, y: float | int) -> Number:
        return self * y

    def __truediv__(self, y: float | int | Number) -> Number:
        return self._op("fdiv", "sdiv", y)

    def __rtruediv__(self, y: float | int) -> Number:
        return self.like(y) / self

    def __neg__(self) -> Number:
        return Number(self.f, self.f.fneg(self.ref))

    def __and__(self, y: int | Number) -> Number:
        return self._op("", "and", y)

    def __or__(self, y: int | Number) -> Number:
        return self._op("", "or", y)

    def __xor__(self, y: int | Number) -> Number:
        return self._op("", "xor", y)

    def __invert__(self) -> Number:
        return self ^ (True if self.ref.element == "i1" else -1)

    def __lshift__(self, y: int | Number) -> Number:
        return self._op("", "shl", y)

    def __rshift__(self, y: int | Number) -> Number:
        """Shift keeping the sign."""
        return self._op("", "ashr", y)

    def logical_shift(self, y: int) -> Number:
        """Shift to the right, filling with zeros."""
        return self._op("", "lshr", y)

    # -- comparing --------------------------------------------------------------------------

    def _compare(self, real: str, integer: str, y: float | int | Number) -> Number:
        name = real if is_float(self.ref.type) else integer
        return Number(self.f, self.f.compare(name, self.ref, self.like(y).ref))

    def __lt__(self, y: float | int | Number) -> Number:
        return self._compare("olt", "slt", y)

    def __le__(self, y: float | int | Number) -> Number:
        return self._compare("ole", "sle", y)

    def __gt__(self, y: float | int | Number) -> Number:
        return self._compare("ogt", "sgt", y)

    def __ge__(self, y: float | int | Number) -> Number:
        return self._compare("oge", "sge", y)

    def equals(self, y: float | int | Number) -> Number:
        """Whether they are equal."""
        return self._compare("oeq", "eq", y)

    def differs(self, y: float | int | Number) -> Number:
        """Whether they are not equal; true for NaN."""
        return self._compare("une", "ne", y)

    def isnan(self) -> Number:
        """Whether it is NaN."""
        return self._compare("uno", "", self)

    def any(self) -> Ref:
        """Of i1: whether one lane is true."""
        if not self.ref.lanes:
            return self.ref
        bits = self.f.op(f"i{self.ref.lanes}", f"bitcast {self.ref} to i{self.ref.lanes}")
        return self.f.compare("ne", bits, Ref("0", bits.type))

    # -- functions of the machine -----------------------------------------------------------

    def _call(self, name: str, *others: Number) -> Number:
        return Number(self.f, self.f.intrinsic(name, self.ref, *[x.ref for x in others]))

    def __abs__(self) -> Number:
        return self._call("fabs")

    def sqrt(self) -> Number:
        """Square root."""
        return self._call("sqrt")

    def floor(self) -> Number:
        """The greatest integer that is not greater."""
        return self._call("floor")

    def rint(self) -> Number:
        """The nearest integer."""
        return self._call("roundeven")

    def copysign(self, y: Number) -> Number:
        """Its magnitude with the sign of `y`."""
        return self._call("copysign", y)

    def times(self, y: float | Number, z: float | Number) -> Number:
        """`self * y + z`; rounded once where the machine can."""
        return self._call("fmuladd", self.like(y), self.like(z))

    def exactly_times(self, y: float | Number, z: float | Number) -> Number:
        """`self * y + z`, rounded once on any machine."""
        return self._call("fma", self.like(y), self.like(z))

    def at_most(self, y: float | Number) -> Number:
        """The smaller of the two; NaN where it is NaN itself."""
        y = self.like(y)
        return where(y < self, y, self)

    def at_least(self, y: float | Number) -> Number:
        """The greater of the two; NaN where it is NaN itself."""
        y = self.like(y)
        return where(y > self, y, self)

    # -- conversions ------------------------------------------------------------------------

    def bits(self) -> Number:
        """The bits of a float as an integer of its width."""
        return Number(self.f, self.f.cast("bitcast", self.ref, "i64" if self.double else "i32"))

    def as_float(self) -> Number:
        """An integer's bits as a float of its width."""
        to = "double" if self.ref.element == "i64" else "float"
        return Number(self.f, self.f.cast("bitcast", self.ref, to))

    def to_int(self) -> Number:
        """A whole float as an integer of its width."""
        return Number(self.f, self.f.cast("fptosi", self.ref, "i64" if self.double else "i32"))

    def to_float(self) -> Number:
        """An integer as a float of its width."""
        to = "double" if self.ref.element == "i64" else "float"
        return Number(self.f, self.f.cast("sitofp", self.ref, to))

    def widened(self) -> Number:
        """A float as a double."""
        return Number(self.f, self.f.cast("fpext", self.ref, "double"))

    def narrowed(self) -> Number:
        """A double as a float."""
        return Number(self.f, self.f.cast("fptrunc", self.ref, "float"))


def where(condition: Number, x: Number | float, y: Number | float) -> Number:
    """`x` where the condition holds, else `y`; one of them is a Number."""
    if isinstance(x, Number):
        y = x.like(y)
    else:
        assert isinstance(y, Number)
        x = y.like(x)
    return Number(x.f, x.f.select(condition.ref, x.ref, y.ref))


def polynomial(x: Number, coefficients: Sequence[float]) -> Number:
    """The sum of `coefficients[k] * x ** k`, by Horner's rule."""
    result = x.like(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result.times(x, c)
    return result


def polynomial2(x: Number, coefficients: Sequence[float]) -> Number:
    """As `polynomial`, the even and the odd terms side by side: half as long to wait for."""
    if len(coefficients) < 4:
        return polynomial(x, coefficients)
    square = x * x
    odd = polynomial(square, coefficients[1::2])
    return odd.times(x, polynomial(square, coefficients[0::2]))


def two_sum(x: Number, y: Number) -> tuple[Number, Number]:
    """`x + y` for `|x| >= |y|`, rounded, and its error (T. J. Dekker, 1971)."""
    total = x + y
    return total, y - (total - x)


def two_product(x: Number, y: Number) -> tuple[Number, Number]:
    """`x * y`, rounded, and its error."""
    product = x * y
    return product, x.exactly_times(y, -product)
