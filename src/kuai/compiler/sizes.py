"""Sizes that depend on the batch: what stands for an integer in a program for any batch.

A `Size` is a polynomial in the batch size B, and in quotients of such, rounded down. It can be
computed with like an integer. Where a stage of the compiler compares one, the answer is the one
for the batch size that the program is made with; unless it is the same for every batch size, it is
noted as a condition under which the program is right (`Batch.holds`). Where a plain integer is
needed, it refuses: so that nothing can take one batch size for all of them unnoticed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

LEAST = 2  # batches of 0 and 1 have programs of their own: broadcasting treats them otherwise
INFINITY = math.inf
_WORD = re.compile('(?:«|%")([^»"]+)(?:»|")')

Terms = dict[tuple[str, ...], int]
Bounds = tuple[float, float]


class SizeError(TypeError):
    """A stage of the compiler needs a number where the size depends on the batch."""


class Batch:
    """The batch size of one program, known when it runs.

    Args:
        value: the one that the program is made with.

    Attributes:
        written: by their text, the sizes that occur in the program.
        conditions: by their text, what was decided of sizes: a difference, how it compares
            with 0, and with what outcome.
    """

    def __init__(self, value: int) -> None:
        self.value = value
        self.written: dict[str, Size] = {}
        self.conditions: dict[str, tuple[Size, str, bool]] = {}
        self._quotients: dict[str, tuple[Size, int]] = {}

    def size(self, factor: int, constant: int = 0) -> int:
        """`factor * B + constant`, which passes for an int."""
        return _size(self, {("B",): factor, (): constant})

    def holds(self, batch: int) -> bool:
        """Whether everything that was decided is so for this batch size too."""
        return batch >= LEAST and not self.broken(batch)

    def broken(self, batch: int) -> list[str]:
        """The conditions that do not hold for a batch size."""
        return [
            text
            for text, (difference, how, outcome) in self.conditions.items()
            if _compares(difference.at(batch), how) is not outcome
        ]

    def quotient(self, of: Size, by: int) -> int:
        """`of // by`, for a positive int."""
        name = f"[{of!r} / {by}]"
        self._quotients[name] = (of, by)
        return _size(self, {(name,): 1})

    def atom(self, name: str, batch: int) -> int:
        """The value of a factor."""
        if name == "B":
            return batch
        of, by = self._quotients[name]
        return of.at(batch) // by

    def bounds(self, name: str) -> Bounds:
        """Between which numbers a factor lies."""
        if name == "B":
            return LEAST, INFINITY
        of, by = self._quotients[name]
        low, high = of.bounds()
        return low if math.isinf(low) else low // by, high if math.isinf(high) else high // by

    def message(self, text: str, batch: int) -> str:
        """A message in which sizes are words, for a batch size."""
        return _WORD.sub(lambda found: str(self.written[found[1]].at(batch)), text)

    # -- code -------------------------------------------------------------------------------

    def define(self, names: Sequence[str]) -> list[str]:
        """Instructions that compute the written sizes of these texts from `%batch`."""
        lines: list[str] = []
        made: dict[str, str] = {"B": "%batch"}

        def new(text: str, name: str = "") -> str:
            name = name or f"%z{len(lines)}"
            lines.append(f"  {name} = {text}")
            return name

        def factor(name: str) -> str:
            if name not in made:
                of, by = self._quotients[name]
                x = total(of)
                if of.bounds()[0] >= 0:
                    made[name] = new(f"udiv i64 {x}, {by}")
                else:
                    rest = new(f"srem i64 {x}, {by}")
                    below = new(f"sext i1 {new(f'icmp slt i64 {rest}, 0')} to i64")
                    made[name] = new(f"add i64 {new(f'sdiv i64 {x}, {by}')}, {below}")
            return made[name]

        def total(size: Size) -> str:
            if repr(size) in made:
                return made[repr(size)]
            sum = ""
            for factors, n in size.terms.items():
                part = str(n)
                for name in factors:
                    part = factor(name) if part == "1" else new(f"mul i64 {part}, {factor(name)}")
                sum = part if not sum else new(f"add i64 {sum}, {part}")
            made[repr(size)] = sum
            return sum

        for name in names:
            new(f"add i64 {total(self.written[name])}, 0", f'%"{name}"')
        return lines


class Size:
    """An integer that depends on the batch.

    Attributes:
        terms: for each product of factors, what it is multiplied with.
    """

    __slots__ = ("_text", "batch", "terms")

    def __init__(self, batch: Batch, terms: Terms) -> None:
        self.batch = batch
        self.terms = terms
        parts = [
            "*".join([*([str(n)] if n != 1 or not factors else []), *factors])
            for factors, n in terms.items()
        ]
        self._text = " + ".join(parts).replace("+ -", "- ")

    @property
    def hint(self) -> int:
        """What it is for the batch size that the program is made with."""
        return self.at(self.batch.value)

    def at(self, batch: int) -> int:
        """What it is for a batch size."""
        atom = self.batch.atom
        return sum(n * math.prod([atom(a, batch) for a in fs]) for fs, n in self.terms.items())

    def bounds(self) -> Bounds:
        """Between which numbers it lies, for every batch size from 2 on."""
        low = high = 0.0
        for factors, n in self.terms.items():
            ends: list[float] = [n, n]
            for name in factors:
                other = self.batch.bounds(name)
                products = [x * y if x and y else 0.0 for x in ends for y in other]
                ends = [min(products), max(products)]
            low, high = low + ends[0], high + ends[1]
        return low, high

    # -- arithmetic -------------------------------------------------------------------------

    def _terms_of(self, x: Any) -> Terms | None:
        if isinstance(x, Size):
            return x.terms if x.batch is self.batch else None
        return {(): x} if type(x) is int or type(x) is bool else None

    def __add__(self, other: Any) -> Any:
        terms = self._terms_of(other)
        if terms is None:
            return NotImplemented
        sum = dict(self.terms)
        for factors, n in terms.items():
            sum[factors] = sum.get(factors, 0) + n
        return _size(self.batch, sum)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return _size(self.batch, {factors: -n for factors, n in self.terms.items()})

    def __sub__(self, other: Any) -> Any:
        return NotImplemented if self._terms_of(other) is None else self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        terms = self._terms_of(other)
        if terms is None:
            return NotImplemented
        product: Terms = {}
        for mine, n in self.terms.items():
            for theirs, m in terms.items():
                factors = tuple(sorted((*mine, *theirs)))
                product[factors] = product.get(factors, 0) + n * m
        return _size(self.batch, product)

    __rmul__ = __mul__

    def __floordiv__(self, by: Any) -> Any:
        if type(by) is not int or by <= 0:
            raise SizeError(f"{self!r} divided by {by!r}")
        whole = {fs: n // by for fs, n in self.terms.items() if n % by == 0}
        rest = {fs: n for fs, n in self.terms.items() if n % by}
        if not rest:
            return _size(self.batch, whole)
        part: Any = _size(self.batch, rest)
        found = part // by if type(part) is int else self.batch.quotient(part, by)
        return found + _size(self.batch, whole)

    def __mod__(self, by: Any) -> Any:
        return self - self // by * by

    def __divmod__(self, by: Any) -> Any:
        quotient = self // by
        return quotient, self - quotient * by

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    # -- comparisons ------------------------------------------------------------------------

    def _decide(self, other: Any, how: str) -> Any:
        if isinstance(other, float) and math.isfinite(other):
            other = math.ceil(other) if how == "lt" else math.floor(other)
        if self._terms_of(other) is None:
            return NotImplemented
        difference = self - other
        if not isinstance(difference, Size):
            return _compares(difference, how)
        low, high = difference.bounds()
        if how == "eq":
            if low > 0 or high < 0 or difference._never_zero():
                return False
        else:
            always = _compares(low, how), _compares(high, how)
            if always[0] is always[1]:
                return always[0]
        outcome = _compares(difference.hint, how)
        self.batch.conditions[f"{difference!r} {how} 0"] = (difference, how, outcome)
        return outcome

    def _never_zero(self) -> bool:
        """Whether no batch size makes it zero, as far as can be told."""
        if set(self.terms) != {("B",), ()}:
            return False
        factor, constant = self.terms["B",], self.terms[()]
        return constant % factor != 0 or -constant // factor < LEAST

    def __eq__(self, other: object) -> Any:
        return self._decide(other, "eq")

    def __ne__(self, other: object) -> Any:
        found = self._decide(other, "eq")
        return found if found is NotImplemented else not found

    def __lt__(self, other: Any) -> Any:
        return self._decide(other, "lt")

    def __le__(self, other: Any) -> Any:
        return self._decide(other, "le")

    def __gt__(self, other: Any) -> Any:
        found = self._decide(other, "le")
        return found if found is NotImplemented else not found

    def __ge__(self, other: Any) -> Any:
        found = self._decide(other, "lt")
        return found if found is NotImplemented else not found

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        return hash((id(self.batch), self._text))

    # -- text -------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return self._text

    def __str__(self) -> str:
        """As a value in a program: each function that uses it computes it at its entry."""
        self.batch.written[self._text] = self
        return f'%"{self._text}"'

    def __format__(self, spec: str) -> str:
        """As a word of a message, which `Batch.message` makes a number of."""
        self.batch.written[self._text] = self
        return f"«{self._text}»"

    def __index__(self) -> int:
        raise SizeError(f"{self!r} taken for a number")

    __int__ = __index__

    def __float__(self) -> float:
        raise SizeError(f"{self!r} taken for a number")


def _size(batch: Batch, terms: Terms) -> Any:
    """The size with these terms; an int where it does not depend on the batch."""
    kept = {factors: n for factors, n in sorted(terms.items(), reverse=True) if n}
    if kept.keys() <= {()}:
        return kept.get((), 0)
    return Size(batch, kept)


def _compares(difference: float, how: str) -> bool:
    if how == "eq":
        return difference == 0
    return difference < 0 if how == "lt" else difference <= 0


class Ratio:
    """A float that is the quotient of two sizes; no stage may decide anything about it."""

    __slots__ = ("above", "below")

    def __init__(self, above: int, below: int) -> None:
        self.above, self.below = above, below

    def at(self, batch: int) -> float:
        """What it is for a batch size; no number where that would be divided by zero."""
        below = at(self.below, batch)
        return float(at(self.above, batch) / below) if below else math.nan

    def __repr__(self) -> str:
        return f"({self.above!r}) / ({self.below!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ratio):
            return identical((self.above, self.below), (other.above, other.below))
        raise SizeError(f"{self!r} compared with {other!r}")

    def __lt__(self, other: object) -> bool:
        raise SizeError(f"{self!r} compared with {other!r}")

    __le__ = __gt__ = __ge__ = __lt__

    def __hash__(self) -> int:
        return hash(repr(self))

    def __bool__(self) -> bool:
        raise SizeError(f"whether {self!r} is 0")


def ratio(above: Any, below: Any) -> Any:
    """The quotient of two sizes."""
    if identical(below, 1):
        return above
    return Ratio(above, below)


def varies(n: Any) -> bool:
    """Whether a number depends on the batch."""
    return isinstance(n, (Size, Ratio))


def is_undecided(n: Any, most: int) -> bool:
    """Whether a size is greater than a number for some batches and not for others."""
    if not isinstance(n, Size):
        return False
    low, high = n.bounds()
    return low <= most < high


def hint(n: Any) -> Any:
    """A size as a number, for choices that are right whatever it is when the program runs."""
    return n.hint if isinstance(n, Size) else n


def at(n: Any, batch: int) -> Any:
    """A size as it is for a batch size."""
    return n.at(batch) if isinstance(n, (Size, Ratio)) else n


def identical(x: Any, y: Any) -> bool:
    """Whether two sizes, or tuples of them, are equal for every batch size."""
    if isinstance(x, tuple) and isinstance(y, tuple):
        return len(x) == len(y) and all(map(identical, x, y))
    if isinstance(x, Size) and isinstance(y, Size):
        return x.batch is y.batch and x.terms == y.terms
    return not isinstance(x, Size) and not isinstance(y, Size) and bool(x == y)


def larger(x: Any, y: Any) -> Any:
    """A size at least as large as both; the larger one where that is known."""
    difference = x - y
    low, high = difference.bounds() if isinstance(difference, Size) else (difference, difference)
    if low >= 0:
        return x
    return y if high <= 0 else x + y
