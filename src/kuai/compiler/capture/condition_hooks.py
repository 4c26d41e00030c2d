"""The hooks of conditions: `if`, `and`, `or`, `not`, comparisons, and what decides them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

from kuai import ops
from kuai.compiler.capture import branches
from kuai.compiler.capture.arrivals import as_variable
from kuai.compiler.capture.branches import Get, Put
from kuai.compiler.capture.numbers import number
from kuai.compiler.capture.operators import OPERATORS, is_simple, operate
from kuai.compiler.capture.places import Differing
from kuai.compiler.capture.special import has_captured
from kuai.compiler.capture.undecided import UNDEFINED, Maybe, is_none, is_open, lifted
from kuai.core.base import TensorBase, wrap
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

State = tuple[Get, Put, Sequence[str]]

_COMPARED = OPERATORS | {"is": operator.is_, "is not": operator.is_not}
_IDENTITY = ("is", "is not")


class ConditionHooks:
    """The hooks that decide.

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

    def load(self, value: Any, name: str) -> Any:
        """A variable that a branch or a loop may have left without a value."""
        if value is UNDEFINED:
            raise UnboundLocalError(
                f"cannot access local variable '{name}' where it is not associated with a value"
            )
        if isinstance(value, Differing):
            self.session.recorder.refuse(value.message, value.advice)
        if isinstance(value, Maybe) and value.otherwise is UNDEFINED:
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

    def condition(self, x: Any) -> Any:
        """The truth of a value: a bool, or for a captured tensor, a captured bool."""
        if isinstance(x, Maybe):
            x = self.load(x, "a variable")
        if is_open(x):
            return self._predicate(lifted(x, self._truth))
        if type(x) is dict and any(isinstance(v, Maybe) for v in x.values()):
            return self.any_(None, *[lambda v=v: _is_defined(v) for v in x.values()])
        if not self.active:
            return bool(x)
        if isinstance(x, TensorBase):
            return self._predicate(x) if self.session.recorder.is_captured(x) else bool(x)
        for name in ("__bool__", "__len__"):
            method = self.session.method_of(x, name)
            if method is not None:
                return self.condition(method())
        return bool(self.session.walked(x))

    def _truth(self, x: Any) -> Any:
        found = self.condition(x)
        return number(found) if isinstance(found, Tensor) else found

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
    ) -> Any:
        """`if`: what the side that is taken returns."""
        test = self.condition(test)
        if isinstance(test, Tensor):
            recorder = self.session.recorder
            return branches.branch(recorder, test, then, orelse, get, put, names)
        return then() if test else orelse()

    def if_expression(
        self, state: State | None, test: Any, then: Callable[[], Any], orelse: Callable[[], Any]
    ) -> Any:
        """`a if test else b`."""
        return self.if_(test, then, orelse, *(state or _STATELESS))

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
        return lambda: self._truth(thunk())

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
        if isinstance(test, Tensor):
            return number(self.session.recorder.negated(test))
        return not test

    def compare(self, state: State | None, first: Any, *parts: Any) -> Any:
        """A chain of comparisons, or one of `in`: operators and thunks of operands in turn."""
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        left = first

        def link(place: int) -> Callable[[], Any]:
            def compared() -> Any:
                nonlocal left
                symbol, thunk = pairs[place]
                right = thunk()
                result = self.compared(symbol, left, right)
                left = right
                return result

            return compared

        return self.and_(state, *(link(i) for i in range(len(pairs))))

    def compared(self, symbol: str, left: Any, right: Any) -> Any:
        """One comparison."""
        if symbol in _IDENTITY and (left is None or right is None):
            x = as_variable(right if left is None else left)
            if isinstance(x, Maybe) and is_open(x):
                return is_none(x) if symbol == "is" else self.not_(is_none(x))
        if is_open(left) or is_open(right):
            return lifted(left, lambda x: lifted(right, lambda y: self.compared(symbol, x, y)))
        if symbol == "in":
            return self._contains(left, right)
        if symbol == "not in":
            return self.not_(self._contains(left, right))
        if symbol in _IDENTITY and self.active and left is not right:
            self._told_apart(left, right)
        if symbol in _IDENTITY or not self.active or (is_simple(left) and is_simple(right)):
            return _COMPARED[symbol](left, right)
        return operate(self.session, symbol, left, right)

    def _told_apart(self, left: Any, right: Any) -> None:
        recorder = self.session.recorder
        if recorder.aliases.may_be(left, right):
            recorder.refuse(
                "whether two things are one and the same, which a condition or a number of rounds "
                "decides",
                "keep a bool, or an int, that says which one it is",
            )

    def _contains(self, element: Any, container: Any) -> Any:
        if not self.active:
            return element in container
        recorder = self.session.recorder
        if isinstance(container, TensorBase) and (
            recorder.is_captured(container) or recorder.is_captured(element)
        ):
            return number(ops.any(ops.eq(container, element)))
        method = self.session.method_of(container, "__contains__")
        if method is not None:
            return self._truth(method(element))
        if isinstance(container, dict) and not isinstance(element, TensorBase):
            found = container.get(element)
            if isinstance(found, Maybe) and found.otherwise is UNDEFINED:
                return found.defined
        container = self.session.walked(container)
        parts = isinstance(container, (list, tuple, set, frozenset, dict))
        if parts and has_captured(self.session, [element, list(container)]):
            thunks = [
                lambda item=item: item is element or self.compared("==", item, element)
                for item in container
            ]
            return self._truth(self.or_(None, *thunks)) if thunks else False
        return element in container


def _is_defined(x: Any) -> Any:
    return x.defined if isinstance(x, Maybe) else True


def _nothing() -> tuple[Any, ...]:
    return ()


def _keep(_: tuple[Any, ...]) -> None:
    return


_STATELESS: State = (_nothing, _keep, ())
