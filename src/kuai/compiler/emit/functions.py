"""The functions of analysis as operations on scalars; how they are computed, `math` says."""

from __future__ import annotations

from kuai.compiler.emit.builder import Ref
from kuai.compiler.emit.values import Operand, Scalar, Values


class Functions(Values):
    """Computes functions of floating scalars: within 1 or 2 units in the last place."""

    def _of_one(self, name: str, x: Operand) -> Scalar:
        a = self.scalar(x)
        return self.result(self.apply(name, a.ref), a.dtype)

    def _of_two(self, name: str, x: Operand, y: Operand) -> Scalar:
        a, b = self.pair(x, y)
        return self.result(self.apply(name, a.ref, b.ref), a.dtype)

    def exp(self, x: Operand) -> Scalar:
        """`e ** x`."""
        return self._of_one("exp", x)

    def exp2(self, x: Operand) -> Scalar:
        """`2 ** x`."""
        return self._of_one("exp2", x)

    def expm1(self, x: Operand) -> Scalar:
        """`e ** x - 1`, accurate near zero."""
        return self._of_one("expm1", x)

    def log(self, x: Operand) -> Scalar:
        """Natural logarithm."""
        return self._of_one("log", x)

    def log2(self, x: Operand) -> Scalar:
        """Logarithm to base 2."""
        return self._of_one("log2", x)

    def log10(self, x: Operand) -> Scalar:
        """Logarithm to base 10."""
        return self._of_one("log10", x)

    def log1p(self, x: Operand) -> Scalar:
        """`log(1 + x)`, accurate near zero."""
        return self._of_one("log1p", x)

    def sin(self, x: Operand) -> Scalar:
        """Sine, of radians."""
        return self._of_one("sin", x)

    def cos(self, x: Operand) -> Scalar:
        """Cosine, of radians."""
        return self._of_one("cos", x)

    def tan(self, x: Operand) -> Scalar:
        """Tangent, of radians."""
        return self._of_one("tan", x)

    def asin(self, x: Operand) -> Scalar:
        """Inverse sine."""
        return self._of_one("asin", x)

    def acos(self, x: Operand) -> Scalar:
        """Inverse cosine."""
        return self._of_one("acos", x)

    def atan(self, x: Operand) -> Scalar:
        """Inverse tangent."""
        return self._of_one("atan", x)

    def atan2(self, y: Operand, x: Operand) -> Scalar:
        """The angle of the point `(x, y)`."""
        return self._of_two("atan2", y, x)

    def sinh(self, x: Operand) -> Scalar:
        """Hyperbolic sine."""
        return self._of_one("sinh", x)

    def cosh(self, x: Operand) -> Scalar:
        """Hyperbolic cosine."""
        return self._of_one("cosh", x)

    def tanh(self, x: Operand) -> Scalar:
        """Hyperbolic tangent."""
        return self._of_one("tanh", x)

    def asinh(self, x: Operand) -> Scalar:
        """Inverse hyperbolic sine."""
        return self._of_one("asinh", x)

    def acosh(self, x: Operand) -> Scalar:
        """Inverse hyperbolic cosine."""
        return self._of_one("acosh", x)

    def atanh(self, x: Operand) -> Scalar:
        """Inverse hyperbolic tangent."""
        return self._of_one("atanh", x)

    def sigmoid(self, x: Operand) -> Scalar:
        """`1 / (1 + e ** -x)`."""
        return self._of_one("sigmoid", x)

    def erf(self, x: Operand) -> Scalar:
        """The error function."""
        return self._of_one("erf", x)

    def erfc(self, x: Operand) -> Scalar:
        """`1 - erf(x)`, accurate where that is small."""
        return self._of_one("erfc", x)

    def erfinv(self, x: Operand) -> Scalar:
        """The inverse of the error function."""
        return self._of_one("erfinv", x)

    def pow(self, x: Operand, y: Operand) -> Scalar:
        """`x ** y`, with the special cases of C's `pow`; of integers, wrapping."""
        a, b = self.pair(x, y)
        if not a.dtype.is_floating_point:
            return self._power_of_integers(a, b)
        simple = None if isinstance(y, Scalar) else self._simple_power(a.ref, float(y))
        if simple is None and a.ref.type == "double":
            # One alone: C's takes a quarter of the time of what computes many at once.
            self.function.module.declare("pow", "double", ["double", "double"])
            simple = self.function.call("pow", "double", a.ref, b.ref)
        return self.result(simple or self.apply("pow", a.ref, b.ref), a.dtype)

    def _simple_power(self, x: Ref, y: float) -> Ref | None:
        """The power by products and roots, for a few exponents."""
        f = self.function
        if y < 0:
            power = self._simple_power(x, -y)
            return None if power is None else f.fdiv(f.const(1.0, x.type), power)
        if y == 1:
            return x
        if y == 2:
            return f.mul(x, x)
        if y == 3:
            return f.mul(f.mul(x, x), x)
        return f.intrinsic("sqrt", x) if y == 0.5 else None  # as NumPy and PyTorch compute it

    def _power_of_integers(self, x: Scalar, y: Scalar) -> Scalar:
        """`x ** y`, wrapping; to a negative power, 1, -1 or 0."""
        f = self.function
        power = self.apply("int_pow", x.ref, y.ref)
        if x.dtype.is_signed:
            zero, one, minus = (f.const(n, x.ref.type) for n in (0, 1, -1))
            even = f.compare("eq", f.binary("and", y.ref, one), zero)
            of_minus = f.select(even, one, minus)
            inverse = f.select(f.compare("eq", x.ref, minus), of_minus, zero)
            inverse = f.select(f.compare("eq", x.ref, one), one, inverse)
            power = f.select(f.compare("slt", y.ref, zero), inverse, power)
        return Scalar(power, x.dtype)

    def hypot(self, x: Operand, y: Operand) -> Scalar:
        """`sqrt(x² + y²)`, without overflow."""
        return self._of_two("hypot", x, y)

    def logaddexp(self, x: Operand, y: Operand) -> Scalar:
        """`log(e ** x + e ** y)`, without overflow."""
        return self._of_two("logaddexp", x, y)

    def logaddexp2(self, x: Operand, y: Operand) -> Scalar:
        """`log2(2 ** x + 2 ** y)`, without overflow."""
        return self._of_two("logaddexp2", x, y)

    def lgamma(self, x: Operand) -> Scalar:
        """The logarithm of the absolute value of the gamma function."""
        return self._of_one("lgamma", x)

    def digamma(self, x: Operand) -> Scalar:
        """The derivative of `lgamma`."""
        return self._of_one("digamma", x)

    def random_word(self, seed: Scalar, offset: Scalar, index: Scalar) -> Scalar:
        """The word `index` of a draw of random words from `[seed, offset]`; all are int64."""
        from kuai.compiler.emit import random

        base, lanes = getattr(index, "base", None), self.lanes
        if base is not None and index.step == 1 and lanes >= 4:  # type: ignore[attr-defined]
            found = random.words(self.function, seed.ref, offset.ref, base, lanes)
        else:
            found = random.word(self.function, seed.ref, offset.ref, index.ref)
        return Scalar(found, index.dtype)
