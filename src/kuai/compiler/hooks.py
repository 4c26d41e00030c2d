"""What rewritten code calls: Python's own behaviour on plain values, a capture's on tensors.

`Hooks` has a method for each thing that `kuai.compiler.rewrite.transform` turns into a call. An
instance belongs to one function: it knows the function's globals.
"""

from __future__ import annotations

import builtins
import itertools
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

from kuai import ops
from kuai.compiler import branches, loops, numbers
from kuai.compiler.branches import Get, Put
from kuai.compiler.numbers import Number, number
from kuai.compiler.places import UNDEFINED, Differing, Maybe
from kuai.core.base import TensorBase, wrap
from kuai.errors import CompileError, DataDependentError
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.session import Session

MANY_ROUNDS = 8  # so many are captured as one loop, where they are alike

State = tuple[Get, Put, Sequence[str]]

_AUGMENTED: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "@": operator.imatmul,
    "&": operator.iand,
    "|": operator.ior,
    "^": operator.ixor,
    "<<": operator.ilshift,
    ">>": operator.irshift,
}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "is": operator.is_,
    "is not": operator.is_not,
}


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


class Hooks:
    """The hooks of one function.

    Args:
        session: what the function is captured into.
        function: the function as it was.
    """

    def __init__(self, session: Session, function: FunctionType) -> None:
        self.session = session
        self.function = function
        self.globals = function.__globals__

    @property
    def active(self) -> bool:
        """Whether the capture that these hooks belong to is under way in this thread."""
        return self.session.is_active()

    # -- conditions -------------------------------------------------------------------------

    def condition(self, x: Any) -> Any:
        """The truth of a value: a bool, or for a captured tensor, a captured bool."""
        if isinstance(x, Maybe):
            x = self.load(x, "a variable")
        if isinstance(x, TensorBase) and self.active and self.session.recorder.is_captured(x):
            return self._predicate(x)
        return bool(x)

    def _predicate(self, x: Any) -> Tensor:
        plain = wrap(x._payload) if x._weak else x
        size = plain._payload.size
        if size != 1:
            which = "more than one value" if size else "no values"
            raise RuntimeError(f"Boolean value of Tensor with {which} is ambiguous")
        if plain._payload.shape:
            plain = ops.reshape(plain, ())
        if plain._payload.dtype.kind != "b":
            plain = ops.ne(plain, 0)
        return plain

    def truth(self, x: Any) -> bool:
        """The truth of a value that decides how long a list is, or which case is taken."""
        found = self.condition(x)
        if isinstance(found, Tensor):
            self.session.recorder.refuse(
                "a condition on the value of a tensor in a comprehension or a `match`",
                "use kuai.where, or a `for` loop with `if`",
            )
        return bool(found)

    def if_(
        self,
        test: Any,
        then: Callable[[], Any],
        orelse: Callable[[], Any],
        get: Get,
        put: Put,
        names: Sequence[str],
    ) -> None:
        """`if`."""
        self.if_value(test, then, orelse, get, put, names)

    def if_value(
        self,
        test: Any,
        then: Callable[[], Any],
        orelse: Callable[[], Any],
        get: Get,
        put: Put,
        names: Sequence[str],
    ) -> Any:
        """`if` of which both sides return: what is returned."""
        test = self.condition(test)
        if isinstance(test, Tensor):
            recorder = self.session.recorder
            return branches.branch(recorder, test, then, orelse, get, put, names)
        return then() if test else orelse()

    def if_expression(
        self, state: State | None, test: Any, then: Callable[[], Any], orelse: Callable[[], Any]
    ) -> Any:
        """`a if test else b`."""
        return self.if_value(test, then, orelse, *(state or _STATELESS))

    def and_(self, state: State | None, *thunks: Callable[[], Any]) -> Any:
        """`a and b and ...`."""
        return self._chain(thunks, True, state or _STATELESS)

    def or_(self, state: State | None, *thunks: Callable[[], Any]) -> Any:
        """`a or b or ...`."""
        return self._chain(thunks, False, state or _STATELESS)

    def all_(self, state: State | None, *thunks: Callable[[], Any]) -> Any:
        """`a and b and ...` as a condition, of which only the truth matters."""
        return self._chain([self._truth_of(t) for t in thunks], True, state or _STATELESS)

    def any_(self, state: State | None, *thunks: Callable[[], Any]) -> Any:
        """`a or b or ...` as a condition."""
        return self._chain([self._truth_of(t) for t in thunks], False, state or _STATELESS)

    def _truth_of(self, thunk: Callable[[], Any]) -> Callable[[], Any]:
        def truth() -> Any:
            found = self.condition(thunk())
            return number(found) if isinstance(found, Tensor) else found

        return truth

    def _chain(self, thunks: Sequence[Callable[[], Any]], goes_on: bool, state: State) -> Any:
        value = thunks[0]()
        if len(thunks) == 1:
            return value
        test = self.condition(value)
        if not isinstance(test, Tensor):
            return self._chain(thunks[1:], goes_on, state) if test is goes_on else value
        sides = (lambda: self._chain(thunks[1:], goes_on, state), lambda: value)
        then, orelse = sides if goes_on else sides[::-1]
        return branches.branch(self.session.recorder, test, then, orelse, *state)

    def not_(self, x: Any) -> Any:
        """`not x`."""
        test = self.condition(x)
        return number(ops.logical_not(test)) if isinstance(test, Tensor) else not test

    def compare(self, state: State | None, first: Any, *parts: Any) -> Any:
        """A chain of comparisons, or one of `in`: operators and thunks of operands in turn."""
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        left = first

        def link(place: int) -> Callable[[], Any]:
            def compared() -> Any:
                nonlocal left
                symbol, thunk = pairs[place]
                right = thunk()
                result = self._compared(symbol, left, right)
                left = right
                return result

            return compared

        return self.and_(state, *(link(i) for i in range(len(pairs))))

    def _compared(self, symbol: str, left: Any, right: Any) -> Any:
        if symbol == "in":
            return self._contains(left, right)
        if symbol == "not in":
            return self.not_(self._contains(left, right))
        return _COMPARED[symbol](left, right)

    def _contains(self, element: Any, container: Any) -> Any:
        if not self.active:
            return element in container
        recorder = self.session.recorder
        if isinstance(container, TensorBase) and (
            recorder.is_captured(container) or recorder.is_captured(element)
        ):
            return number(ops.any(ops.eq(container, element)))
        container = self.session.walked(container)
        if isinstance(container, (list, tuple, set, frozenset, dict)):
            captured = [x for x in [element, *container] if recorder.is_captured(x)]
            if captured:
                thunks = [
                    lambda item=item: item is element or item == element for item in container
                ]
                return self.or_(None, *thunks) if thunks else False
        return element in container

    # -- loops ------------------------------------------------------------------------------

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
        rolled = loops.Rolled(len(recorder.scopes) + 1)

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

        every = (*names, "the counter")
        try:
            with recorder.trial(), session.rolling(rolled):
                loop = loops.Loop(recorder, test, round_, read, write, every, temporaries, rolled)
                loop.run()
                if goes_on is None and loop.hides_numbers():
                    raise _NotAlikeError  # a number that is known would not be known any more
                if goes_on is not None and rolled.appended:
                    raise _NotAlikeError  # how long the list is would depend on values
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

    # -- variables and reads ----------------------------------------------------------------

    def state(self, *thunks: Callable[[], Any]) -> tuple[Any, ...]:
        """The values of variables, of which some may have none."""
        return tuple([_value_of(thunk) for thunk in thunks])

    def load(self, value: Any, name: str) -> Any:
        """A variable that a branch or a loop may have left without a value."""
        if value is UNDEFINED:
            raise UnboundLocalError(
                f"cannot access local variable '{name}' where it is not associated with a value"
            )
        if isinstance(value, Differing):
            self.session.recorder.refuse(value.message, branches.SAME_ON_BOTH_SIDES)
        if isinstance(value, Maybe):
            if not name.startswith("__kuai"):
                message = (
                    f"cannot access local variable '{name}' where it is not associated with a value"
                )
                test = self.condition(value.defined)
                if isinstance(test, Tensor):
                    self.session.recorder.check(test, UnboundLocalError, message)
                elif not test:
                    raise UnboundLocalError(message)
            return value.value
        return value

    def global_(self, name: str) -> Any:
        """A global variable, or a name of Python's."""
        if name in self.globals:
            value = self.globals[name]
            if self.active:
                return self.session.reads.item(self.globals, name, value, f"global {name}")
            return value
        try:
            value = getattr(builtins, name)
        except AttributeError:
            raise NameError(f"name '{name}' is not defined", name=name) from None
        if self.active:
            self.session.reads.missing(self.globals, name)
        return value

    def cell(self, value: Any, name: str) -> Any:
        """A variable of a function around this one."""
        if not self.active:
            return value
        closure = self.function.__closure__ or ()
        free = self.function.__code__.co_freevars
        return self.session.reads.cell(closure[free.index(name)], value, name)

    def attribute(self, owner: Any, name: str) -> Any:
        """`owner.name`."""
        if not self.active:
            return getattr(owner, name)
        return self.session.attribute(owner, name)

    def item(self, owner: Any, index: Any) -> Any:
        """`owner[index]`."""
        if not self.active:
            return owner[index]
        return self.session.item(owner, index)

    def slice(self, start: Any, stop: Any, step: Any) -> Any:
        """`start:stop:step`."""
        if self.active:
            for bound in (start, stop, step):
                if self.session.recorder.is_captured(bound):
                    self.session.recorder.refuse(
                        "a slice whose bounds are the values of tensors: its size depends on them",
                        "index with kuai.arange(size) + start, or use a mask with kuai.where",
                    )
        return slice(start, stop, step)

    def iterate(self, x: Any) -> Any:
        """What is to be walked through, noted as read if it came from outside."""
        if isinstance(x, Range):
            if not self.active:
                return x
            self.session.recorder.refuse(
                "a range of captured length where a list is made of it",
                "walk through it with a `for` loop",
            )
        return self.session.walked(x) if self.active else x

    def mapping(self, x: Any) -> Any:
        """What `**` takes, noted as read if it came from outside."""
        return self.session.walked(x) if self.active else x

    def text(self, x: Any) -> Any:
        """What is to become part of a text."""
        if self.active:
            self.session.spelled(x)
        return x

    def made(self, x: Any) -> Any:
        """A list, set or dict that this code has just made."""
        if self.active:
            self.session.made(x)
        return x

    # -- writes -----------------------------------------------------------------------------

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """`owner.name = value`."""
        if self.active:
            self.session.set_attribute(owner, name, value)
        else:
            setattr(owner, name, value)

    def set_item(self, owner: Any, index: Any, value: Any) -> None:
        """`owner[index] = value`."""
        if self.active:
            self.session.set_item(owner, index, value)
        else:
            owner[index] = value

    def delete_attribute(self, owner: Any, name: str) -> None:
        """`del owner.name`."""
        if self.active:
            self.session.changes_object(owner, name)
        delattr(owner, name)

    def delete_item(self, owner: Any, index: Any) -> None:
        """`del owner[index]`."""
        if self.active:
            self.session.changes_container(owner, "del")
        del owner[index]

    def augment(self, symbol: str, x: Any, value: Any) -> Any:
        """`x op= value`: what `x` becomes."""
        if self.active and isinstance(x, (list, set, dict)):
            self.session.changes_container(x, f"{symbol}=")
        return _AUGMENTED[symbol](x, value)

    def augment_attribute(self, symbol: str, owner: Any, name: str, value: Any) -> None:
        """`owner.name op= value`."""
        self.set_attribute(owner, name, self.augment(symbol, self.attribute(owner, name), value))

    def augment_item(self, symbol: str, owner: Any, index: Any, value: Any) -> None:
        """`owner[index] op= value`."""
        self.set_item(owner, index, self.augment(symbol, self.item(owner, index), value))

    def assigns_outside(self, name: str) -> None:
        """An assignment to a global variable, or one of a function around the compiled one."""
        if self.active:
            self.session.recorder.refuse(
                f"an assignment to `{name}`, which lives outside of the compiled function",
                "return the value, and assign it where the compiled function is called",
            )

    # -- calls and exceptions ---------------------------------------------------------------

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """`function(*args, **kwargs)`."""
        if not self.active:
            return function(*args, **kwargs)
        return self.session.call(function, args, kwargs)

    def assert_(self, test: Any, message: Callable[[], Any]) -> None:
        """`assert`."""
        found = self.condition(test)
        if isinstance(found, Tensor):
            with self.session.describing():
                text = message()
            self.session.recorder.check(found, AssertionError, "" if text is None else str(text))
        elif not found:
            text = message()
            raise AssertionError(*(() if text is None else (text,)))

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Around the body of a `try` with handlers."""
        if not self.active:
            yield
            return
        recorder = self.session.recorder
        recorder.tries += 1
        try:
            yield
        finally:
            recorder.tries -= 1

    def caught(self) -> None:
        """At the start of a handler: what ends a capture is not the user's to handle."""
        error = sys.exc_info()[1]
        if isinstance(error, (CompileError, DataDependentError)):
            raise error


def _skip() -> None:
    return


def _nothing() -> tuple[Any, ...]:
    return ()


def _keep(_: tuple[Any, ...]) -> None:
    return


_STATELESS: State = (_nothing, _keep, ())


def _value_of(thunk: Callable[[], Any]) -> Any:
    try:
        return thunk()
    except NameError:
        return UNDEFINED


__all__ = ["Hooks", "Number", "Range"]
