"""What a kernel has to refuse: its checks, gathered into the number that it returns."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref, Variable
from kuai.compiler.emit.scalars import Emit


class Checks:
    """Notes which of a kernel's checks failed, while the kernel runs on.

    Attributes:
        failures: what a kernel may fail with; it returns 1 for the first of them, and so on.
    """

    def __init__(self, function: Function) -> None:
        self.f = function
        self.failures: list[tuple[type[Exception], str]] = []
        self._failed: Variable | None = None

    def note(self, emit: Emit, mask: Ref | None) -> None:
        """Take over the checks of what was just computed; only the lanes of `mask` count."""
        f = self.f
        for bad, exception, message in emit.checks:
            if self._failed is None:
                self._failed = Variable(f, "i32", None)
                f.store_first(Ref("0", "i32"), self._failed.pointer)
            failure = (exception, message)
            if failure not in self.failures:
                self.failures.append(failure)
            if mask is not None and bad.lanes:
                bad = f.binary("and", bad, mask)
            if bad.lanes:
                bad = f.intrinsic("vector.reduce.or", bad, result="i1")
            number = Ref(str(self.failures.index(failure) + 1), "i32")
            self._failed.set(f.select(bad, number, self._failed.get()))
        emit.checks = []

    def finish(self) -> None:
        """End the kernel's function, if there are checks, with what failed."""
        if self._failed is not None:
            self.f.ret(self._failed.get())
