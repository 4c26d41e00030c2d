"""What a kernel has to refuse, and what it tells of it.

`emit.check(bad, exception, message, *values)` refuses elements. What fails is told in a few words
of memory: the number of the check, and its values. They are written on the way that is taken only
where something fails; the kernel runs on, so that what it tells does not depend on the order in
which it happens to go through its elements: the first of its operations that refuses anything, as
eager would meet it, and of that the first element that the kernel comes to.
"""

from __future__ import annotations

from typing import NamedTuple

from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.scalars import Check, Emit
from kuai.compiler.graph import Operation


class Refusal(NamedTuple):
    """One kind of failure of a kernel.

    Attributes:
        exception: the class that eager raises.
        message: its text, with a place for each of the values.
        values: how many integers are told.
        operation: what refuses.
    """

    exception: type[Exception]
    message: str
    values: int
    operation: Operation


class Checks:
    """Notes which of a kernel's checks failed, while the kernel runs on.

    Attributes:
        refusals: what the kernel may fail with; it returns 1 for the first of them, and so on.
    """

    told = Ref("%failed", "ptr")
    """The argument of a kernel that may fail: where it tells what failed."""

    def __init__(self, function: Function) -> None:
        self.f = function
        self.refusals: list[Refusal] = []

    def note(self, emit: Emit, mask: Ref | None, operation: Operation) -> None:
        """Take over the checks of an operation's result; only the lanes of `mask` count."""
        f = self.f
        for check in emit.checks:
            refusal = Refusal(check.exception, check.message, len(check.values), operation)
            if not self.refusals:
                f.store_first(Ref("0", "i64"), self.told)
            if refusal not in self.refusals:
                self.refusals.append(refusal)
            bad = check.bad
            if mask is not None and bad.lanes:
                bad = f.binary("and", bad, mask)
            some = f.intrinsic("vector.reduce.or", bad, result="i1") if bad.lanes else bad
            with f.when(some, rarely=True):
                self._tell(self.refusals.index(refusal) + 1, bad, check)
        emit.checks = []

    def _tell(self, number: int, bad: Ref, check: Check) -> None:
        """Write down what failed, unless an earlier operation or element has failed before."""
        f, told = self.f, self.told
        lane = None
        if bad.lanes:
            bits = f.op(f"i{bad.lanes}", f"bitcast {bad} to i{bad.lanes}")
            lane = f.cast("zext", f.intrinsic("cttz", bits, extra=", i1 true"), "i64")
        one = Ref("1", "i64")
        before = f.sub(f.load("i64", told), one)  # nothing is the greatest of all numbers
        is_first = f.compare("ult", Ref(str(number - 1), "i64"), before)
        words = [Ref(str(number), "i64")]
        for value in check.values:
            words.append(f.extract(value, lane) if value.lanes and lane else value)
        for i, word in enumerate(words):
            place = f.at(told, i, "i64")
            f.store(f.select(is_first, word, f.load("i64", place)), place)

    def finish(self) -> None:
        """End the kernel's function, if there are checks, with what failed."""
        if self.refusals:
            f = self.f
            f.arguments.append(self.told)
            f.ret(f.cast("trunc", f.load("i64", self.told), "i32"))
