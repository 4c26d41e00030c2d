"""The hooks of loops: `while` and `for`, run round by round or captured as one loop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kuai.compiler.capture import loops, numbers
from kuai.compiler.capture.branches import Get, Put, described
from kuai.compiler.capture.condition_hooks import ConditionHooks
from kuai.compiler.capture.undecided import Maybe, Undecided
from kuai.core.base import TensorBase
from kuai.tensor import Tensor

MANY_ROUNDS = 8  # so many are captured as one loop, where they are alike


class _NotAlikeError(Exception):
    """The rounds of a loop cannot be captured as one."""


class Range:
    """`range(start, stop, step)` where one of them is captured."""

    def __init__(self, *bounds: Any) -> None:
        plain = [numbers.to_kind(b, int) if isinstance(b, TensorBase) else b for b in bounds]
        self.start: Any = 0
        self.stop: Any = plain[0]
        self.step: Any = 1
        if len(plain) > 1:
            self.start, self.stop = plain[0], plain[1]
        if len(plain) > 2:
            self.step = plain[2]


class LoopHooks(ConditionHooks):
    """The hooks that repeat."""

    def iterate(self, x: Any) -> Any:
        """What is to be walked through, noted as read if it came from outside."""
        if isinstance(x, Range):
            if not self.active:
                return x
            self.session.recorder.refuse(
                "a range of captured length where a list is made of it",
                "walk through it with a `for` loop",
            )
        if isinstance(x, Undecided):
            x = self._iterable(x)
        return self.session.iterable(x) if self.active else x

    def _iterable(self, x: Undecided) -> Any:
        """What can be walked through of what may be something else."""
        recorder = self.session.recorder
        if not isinstance(x, Maybe):
            recorder.refuse(
                f"a walk through what is {described(x)}, as the values of tensors decide",
                "walk through a tensor, or through a list that is the same in any case",
            )
        message = f"cannot unpack non-iterable {type(x.otherwise).__name__} object"
        recorder.check(self.condition(x.defined), TypeError, message)
        return x.value

    def while_(
        self,
        test: Callable[[], Any],
        body: Callable[[], Any],
        get: Get,
        put: Put,
        names: Sequence[str],
        temporaries: Sequence[str],
    ) -> None:
        """`while`; rounds on plain conditions run, and the rest becomes a loop of the program."""
        while True:
            if not self.active:
                if not test():
                    return
                body()
                continue
            recorder = self.session.recorder
            mark, before = recorder.mark(), get()
            found = self.condition(test())
            if isinstance(found, Tensor):
                pure = all(x is y for x, y in zip(before, get(), strict=True))

                def proceeds() -> Any:
                    return self.condition(test())

                if pure and recorder.rewind(mark):
                    loops.loop(recorder, proceeds, body, get, put, names, temporaries)
                else:
                    loops.asking(recorder, found, proceeds, body, get, put, names, temporaries)
                return
            if not found:
                return
            body()

    def for_(
        self,
        iterable: Any,
        body: Callable[[Any], Any],
        goes_on: Callable[[], Any] | None,
        get: Get,
        put: Put,
        names: Sequence[str],
        temporaries: Sequence[str],
    ) -> None:
        """`for`; over a captured range, it is a loop of the program."""
        if isinstance(iterable, Range):
            self._for_range(iterable, body, goes_on, get, put, names, temporaries)
            return
        if isinstance(iterable, itertools.count) and goes_on is not None:
            start = next(iterable)
            step = next(iterable) - start
            self._counting(start, step, None, body, goes_on, get, put, names, temporaries)
            return
        whole = self._rows(iterable)
        if whole is not None and goes_on is None:
            counters, rows = whole
            done = self._rolls(counters, rows, body, None, get, put, names, temporaries)
            if done:
                return
        items = iter(self.iterate(iterable))
        for place, item in enumerate(items):
            body(item)
            if goes_on is None:
                continue
            found = self.condition(goes_on())
            if isinstance(found, Tensor):
                self.session.spends(iterable)
                if whole is not None and len(left := whole[0][place + 1 :]) >= MANY_ROUNDS:
                    rows = whole[1]
                    if self._rolls(left, rows, body, goes_on, get, put, names, temporaries):
                        return
                self._rest(items, found, body, goes_on, get, put, names)
                return
            if not found:
                return

    def _rows(self, iterable: Any) -> tuple[range, Any] | None:
        """What many rounds walk through: their counters, and the tensor whose rows they get."""
        if not self.active:
            return None
        if type(iterable) is range and len(iterable) >= MANY_ROUNDS:
            return iterable, None
        if isinstance(iterable, Tensor) and self.session.recorder.is_captured(iterable):
            shape = iterable._payload.shape
            if shape and shape[0] >= MANY_ROUNDS:
                return range(shape[0]), iterable
        return None

    def _rolls(
        self,
        counters: range,
        rows: Any,
        body: Callable[[Any], Any],
        goes_on: Callable[[], Any] | None,
        get: Get,
        put: Put,
        names: Sequence[str],
        temporaries: Sequence[str],
    ) -> bool:
        """Capture many rounds as one loop of the program, where they are alike."""
        session, recorder = self.session, self.session.recorder
        before, counter = get(), counters.start
        rolled = loops.Rolled(len(recorder.scopes) + 1, surely=goes_on is None)

        def test() -> Any:
            ends = counter < counters.stop if counters.step > 0 else counter > counters.stop
            return self.condition(
                ends if goes_on is None else self.and_(None, lambda: ends, goes_on)
            )

        def round_() -> None:
            nonlocal counter
            item, counter = counter, counter + counters.step
            body(item if rows is None else session.item(rows, item))

        def read() -> tuple[Any, ...]:
            return (*get(), counter)

        def write(values: tuple[Any, ...]) -> None:
            nonlocal counter
            counter = values[-1]
            put(values[:-1])

        def accept(loop: loops.Loop) -> None:
            if goes_on is None and loop.hides_numbers():
                raise _NotAlikeError  # a number that is known would not be known any more
            if goes_on is not None and rolled.appended:
                raise _NotAlikeError  # how long the list is would depend on values

        every = (*names, "the counter")
        try:
            with recorder.trial(), session.rolling(rolled):
                loop = loops.Loop(recorder, test, round_, read, write, every, temporaries, rolled)
                loop.run(accept)
                rolled.fill(recorder, len(counters))
        except Exception:  # whatever it was, rounds that are run one by one may not meet it
            put(before)
            return False
        return True

    def _rest(
        self,
        items: Iterator[Any],
        goes_on: Any,
        body: Callable[[Any], Any],
        ask: Callable[[], Any],
        get: Get,
        put: Put,
        names: Sequence[str],
    ) -> None:
        """The rounds that are left after one that a tensor's value may have ended."""
        for item in items:
            self.if_(goes_on, lambda item=item: body(item), _skip, get, put, names)  # type: ignore[misc]
            goes_on = self.condition(ask())
            if not isinstance(goes_on, TensorBase) and not goes_on:
                return

    def _for_range(
        self,
        bounds: Range,
        body: Callable[[Any], Any],
        goes_on: Callable[[], Any] | None,
        get: Get,
        put: Put,
        names: Sequence[str],
        temporaries: Sequence[str],
    ) -> None:
        if isinstance(bounds.step, TensorBase):
            self.session.recorder.refuse(
                "a range whose step is the value of a tensor", "give range() a constant step"
            )
        start, step = bounds.start, bounds.step
        if step == 0:
            raise ValueError("range() arg 3 must not be zero")
        self._counting(start, step, bounds.stop, body, goes_on, get, put, names, temporaries)

    def _counting(
        self,
        start: Any,
        step: int,
        stop: Any,
        body: Callable[[Any], Any],
        goes_on: Callable[[], Any] | None,
        get: Get,
        put: Put,
        names: Sequence[str],
        temporaries: Sequence[str],
    ) -> None:
        """Rounds from `start` on, by `step`, before `stop` where there is one."""
        counter = start

        def test() -> Any:
            terms: list[Callable[[], Any]] = []
            if stop is not None:
                terms.append(lambda: counter < stop if step > 0 else counter > stop)
            if goes_on is not None:
                terms.append(goes_on)
            return self.and_(None, *terms)

        def round_() -> None:
            nonlocal counter
            item, counter = counter, counter + step
            body(item)

        def read() -> tuple[Any, ...]:
            return (*get(), counter)

        def write(values: tuple[Any, ...]) -> None:
            nonlocal counter
            counter = values[-1]
            put(values[:-1])

        self.while_(test, round_, read, write, (*names, "the counter"), temporaries)


def _skip() -> None:
    return
