"""A branch on a captured condition: both sides are captured, and what they leave is merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai.compiler.capture import numbers, trees
from kuai.compiler.capture.aliases import CHANGE_A_CLONE, CHANGE_A_COPY
from kuai.compiler.capture.building import finish_branch
from kuai.compiler.capture.gradients import zeros
from kuai.compiler.capture.numbers import Number, is_number, number
from kuai.compiler.capture.places import Differing, Place, is_tensor
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.undecided import (
    UNDEFINED,
    Choice,
    Maybe,
    is_known,
    is_same,
    place_of,
    settled,
)
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import meta_of
from kuai.errors import CompileError, DataDependentError
from kuai.tensor import Tensor

Get = Callable[[], tuple[Any, ...]]
Put = Callable[[tuple[Any, ...]], None]
Build = Callable[[Sequence[Tensor]], Any]
SAME_ON_BOTH_SIDES = "give it the same structure, shape and type on both sides"


class _DifferingError(Exception):
    """The sides of a branch leave a variable as different things: why, and what to do."""


class Side:
    """One side of a branch, captured: what it returned, and what it left in variables and places.

    Attributes:
        error: the exception that it ends in, if it does.
        poisoned: what must not be read any more where it has run.
    """

    def __init__(
        self,
        recorder: Recorder,
        predicate: Tensor,
        holds: bool,
        block: Callable[[], Any],
        get: Get,
        put: Put,
    ) -> None:
        before = get()
        self.error: Exception | None = None
        self.result: Any = None
        with recorder.given(predicate, holds):
            with recorder.region("then" if holds else "else") as self.scope:
                try:
                    self.result = settled(block())
                except Exception as error:
                    if isinstance(error, (CompileError, DataDependentError)):
                        self.scope.restore()
                        put(before)
                        raise
                    self.error = error
            self.poisoned = recorder.poisoned
            self.variables = tuple(map(settled, get()))
            self.places: dict[tuple[Any, ...], Any] = {
                key: settled(place.read()) for key, place in self.scope.places.items()
            }
        self.scope.restore()
        put(before)


def branch(
    recorder: Recorder,
    predicate: Tensor,
    then: Callable[[], Any],
    orelse: Callable[[], Any],
    get: Get,
    put: Put,
    names: Sequence[str],
) -> Any:
    """Capture `then()` if `predicate` else `orelse()`.

    Args:
        recorder: the capture.
        predicate: a captured bool.
        then, orelse: the two blocks.
        get, put: read and write the variables that they assign.
        names: what these are called.

    Returns:
        What the blocks return, merged.

    Raises:
        CompileError: they leave values that do not fit together.
    """
    before, poisoned = get(), recorder.poisoned
    one = Side(recorder, predicate, True, then, get, put)
    recorder.poisoned = poisoned
    other = Side(recorder, predicate, False, orelse, get, put)
    if one.error is not None or other.error is not None:
        recorder.poisoned = poisoned
        return _with_error(recorder, predicate, one, other, then, orelse)
    merger = Merger(recorder, predicate, one, other)
    result = merger.merge(one.result, other.result, "the value returned")
    variables = [
        merger.variable(a, b, f"`{name}`") if a is not before[i] or b is not before[i] else None
        for i, (name, a, b) in enumerate(zip(names, one.variables, other.variables, strict=True))
    ]
    places: dict[tuple[Any, ...], Place] = {**one.scope.places, **other.scope.places}
    builds = {}
    sides = {}
    for key, place in places.items():
        a = one.places[key] if key in one.places else place.read()
        b = other.places[key] if key in other.places else place.read()
        place.check(recorder, a, b)
        sides[key] = (a, b)
        builds[key] = merger.merge(a, b, place.name or "a tensor changed in place")
    tensors = merger.finish()
    for key, build in builds.items():
        place = places[key]
        value = build(tensors)
        recorder.stands_for(place.within(value), *map(place.within, sides[key]))
        note_again(recorder, place)
        place.write(value)
    values = [before[i] if build is None else build(tensors) for i, build in enumerate(variables)]
    for new, a, b in zip(values, one.variables, other.variables, strict=True):
        recorder.stands_for(new, a, b)
    put(tuple(values))
    returned = result(tensors)
    recorder.stands_for(returned, one.result, other.result)
    return returned


def note_again(recorder: Recorder, place: Place) -> None:
    """Let the region around know of a place that is about to change there."""
    tensor = getattr(place, "tensor", None)
    if place.key[0] == "memory":
        recorder.changing(tensor)
    elif len(recorder.scopes) > 1:
        recorder.scopes[-1].note(place.key, lambda: place)


def _with_error(
    recorder: Recorder,
    predicate: Tensor,
    one: Side,
    other: Side,
    then: Callable[[], Any],
    orelse: Callable[[], Any],
) -> Any:
    """A branch of which a side raises: a check, and the other side."""
    if one.error is not None and other.error is not None:
        if type(one.error) is type(other.error) and one.error.args == other.error.args:
            raise one.error
        recorder.refuse(
            f"a branch on a tensor that ends in an error on both sides: {one.error!r} and "
            f"{other.error!r}",
            "raise one exception for both, or raise it outside of the branch",
        )
    error = one.error if one.error is not None else other.error
    assert error is not None
    condition = ~predicate if one.error is not None else predicate
    recorder.check(condition, type(error), str(error))
    with recorder.given(predicate, one.error is None):
        return settled(orelse() if one.error is not None else then())


class Merger:
    """Merges what two sides leave into results of one branch."""

    def __init__(self, recorder: Recorder, predicate: Tensor, then: Side, orelse: Side) -> None:
        self.recorder = recorder
        self.predicate = predicate
        self.scopes = (then.scope, orelse.scope)
        self.poisoned = (then.poisoned, orelse.poisoned)
        self.sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._lazily = False
        self._paired: dict[Any, tuple[int, Build]] = {}  # numbers that are the same on both sides

    def finish(self) -> list[Tensor]:
        """The tensors of the branch's results."""
        return finish_branch(self.recorder, self.predicate, self.scopes, self.sides, self.poisoned)

    def variable(self, a: Any, b: Any, name: str) -> Build:
        """`merge` of a variable: what does not fit together is refused where it is read."""
        first = len(self.sides[0])
        self._lazily = True
        try:
            return self.merge(a, b, name)
        except _DifferingError as error:
            found = Differing(*error.args)
            for side in self.sides:
                del side[first:]
            self._paired = {k: pair for k, pair in self._paired.items() if pair[0] < first}
            return lambda _: found
        finally:
            self._lazily = False

    def merge(self, a: Any, b: Any, name: str) -> Build:
        """How to build one value of two, once the branch's results are there."""
        if a is b:
            return lambda _: a
        for x in (a, b):
            if isinstance(x, Differing):
                self._refuse(x.message, x.advice)
        if isinstance(a, Maybe) or isinstance(b, Maybe) or _is_missing(a) or _is_missing(b):
            return self._maybe(a, b, name)
        if isinstance(a, TensorBase) or isinstance(b, TensorBase):
            return self._tensors(a, b, name)
        if is_number(a) and is_number(b):
            if type(a) is type(b) and (a == b or (a != a and b != b)):
                return lambda _: a
            return self._numbers(a, b)
        for x, poisoned in zip((a, b), self.poisoned, strict=True):
            if id(x) in poisoned:
                self._refuse(poisoned[id(x)], CHANGE_A_COPY)
        if type(a) is type(b):
            a, b = self.recorder.opened(a), self.recorder.opened(b)
        one, other = trees.parts(a), trees.parts(b)
        if one is not None and other is not None:
            if one[0] != other[0]:
                self._differ(a, b, name)
            if any(scope.changes(x) for scope in self.scopes for x in (a, b)):
                self._refuse(
                    f"the sides of this branch leave {name} as different objects, of which one "
                    "changes on a side",
                    "build a new list, dict or object in the place of changing one",
                )
            builds = [
                self.merge(x, y, name + label)
                for (label, x), (_, y) in zip(one[1], other[1], strict=True)
            ]
            return lambda tensors: self.recorder.rebuilt(a, [build(tensors) for build in builds])
        if type(a) is type(b) and not isinstance(a, Choice) and _equal(a, b):
            return lambda _: a
        if all(is_known(x) or isinstance(x, Choice) for x in (a, b)):
            return self._choice(a, b)
        self._differ(a, b, name)
        return lambda _: a

    def _choice(self, a: Any, b: Any) -> Build:
        """An object that is another one on each side."""
        options: list[Any] = []
        for x in (a, b):
            for option in x.options if isinstance(x, Choice) else (x,):
                if not any(is_same(option, known) for known in options):
                    options.append(option)
        places = []
        for x, scope in zip((a, b), self.scopes, strict=True):
            with self.recorder.inside(scope):
                places.append(place_of(x, options))
        which = self._numbers(*places)
        return lambda tensors: Choice(which(tensors), options)

    def _pair(self, a: Tensor, b: Tensor) -> Build:
        if self._lazily:
            for x, poisoned in zip((a, b), self.poisoned, strict=True):
                reason = poisoned.get(id(x._counter))
                if reason:
                    raise _DifferingError(reason, CHANGE_A_CLONE)
        place = len(self.sides[0])
        self.sides[0].append(a)
        self.sides[1].append(b)
        return lambda tensors: tensors[place]

    def _tensors(self, a: Any, b: Any, name: str) -> Build:
        if is_number(a) and is_number(b):
            return self._numbers(a, b)
        if is_number(a) or is_number(b):
            like, plain = (b, a) if is_number(a) else (a, b)
            if not is_tensor(like) or (like._payload.shape and isinstance(plain, Number)):
                self._differ(a, b, name)
            if like._payload.shape:
                return self._maybe(a, b, name)
            x = self._as(a, like.dtype, 0) if is_number(a) else a
            y = self._as(b, like.dtype, 1) if is_number(b) else b
            return self._pair(x, y)
        if not (is_tensor(a) and is_tensor(b)):
            self._differ(a, b, name)
        if a._payload.shape != b._payload.shape or a.dtype is not b.dtype:
            self._differ(a, b, name)
        return self._pair(a, b)

    def _numbers(self, a: Any, b: Any) -> Build:
        if type(a) is type(b) is bool:  # known, and not the same: which side it is
            return lambda _: number(
                wrap(self.predicate._payload) if a else self.recorder.negated(self.predicate)
            )
        key = tuple([id(x._payload) if isinstance(x, Number) else (type(x), x) for x in (a, b)])
        if key not in self._paired:
            dtype = numbers.common_dtype(a, b)
            place = len(self.sides[0])
            self._paired[key] = (place, self._pair(self._as(a, dtype, 0), self._as(b, dtype, 1)))
        pair = self._paired[key][1]
        return lambda tensors: number(pair(tensors))

    def _as(self, x: Any, dtype: Any, side: int) -> Tensor:
        with self.recorder.inside(self.scopes[side]):
            return numbers.as_tensor(x, dtype)

    def _maybe(self, a: Any, b: Any, name: str) -> Build:
        """A variable that one side leaves without a value, or as something that is no tensor."""
        found = [x.otherwise for x in (a, b) if isinstance(x, Maybe)]
        missing = [x for x in (a, b) if _is_missing(x)]
        otherwise = [*found, *missing, *(x for x in (a, b) if is_number(x))][0]
        values, flags = [], []
        for x in (a, b):
            if isinstance(x, Maybe) and is_same(x.otherwise, otherwise):
                values.append(x.value)
                flags.append(x.defined)
            elif is_same(x, otherwise):
                values.append(None)
                flags.append(False)
            elif isinstance(x, Maybe) or _is_missing(x):
                self._differ(a, b, name)
            else:
                values.append(x)
                flags.append(True)
        like = values[0] if values[1] is None else values[1]
        blank = [trees.map_leaves(_nothing_like, like) if v is None else v for v in values]
        value = self.merge(blank[0], blank[1], name)
        defined = self.merge(flags[0], flags[1], name)
        return lambda tensors: Maybe(value(tensors), defined(tensors), otherwise)

    def _differ(self, a: Any, b: Any, name: str) -> None:
        self._refuse(
            f"the sides of this branch leave {name} as different things: {described(a)} on one "
            f"side, {described(b)} on the other",
            SAME_ON_BOTH_SIDES,
        )

    def _refuse(self, message: str, advice: str) -> None:
        if self._lazily:
            raise _DifferingError(message, advice)
        self.recorder.refuse(message, advice)


def _is_missing(x: Any) -> bool:
    return x is UNDEFINED or x is None


def _nothing_like(x: Any) -> Any:
    if isinstance(x, Number):
        return number(wrap(np.zeros((), x._payload.dtype)))
    if isinstance(x, TensorBase):
        return zeros(meta_of(x))
    return x


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:
        return False


def described(x: Any) -> str:
    """A value as a message names it."""
    if isinstance(x, Number):
        return f"a {numbers.KINDS[x.dtype].__name__}"
    if isinstance(x, TensorBase):
        return f"{x.dtype.name}{list(x._payload.shape)}"
    if x is UNDEFINED:
        return "nothing"
    if isinstance(x, Maybe):
        return f"{described(x.value)} or {described(x.otherwise)}"
    if isinstance(x, Choice):
        return " or ".join(map(described, x.options))
    found = trees.parts(x)
    if found is not None:
        return f"a {type(x).__name__} of {len(found[1])}"
    return f"{x!r:.60}"
