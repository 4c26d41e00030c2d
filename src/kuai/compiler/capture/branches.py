"""A branch on a captured condition: both sides are captured, and what they leave is merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai.compiler.capture import numbers, trees
from kuai.compiler.capture.building import finish_branch
from kuai.compiler.capture.gradients import zeros
from kuai.compiler.capture.numbers import Number, is_number, number
from kuai.compiler.capture.places import UNDEFINED, Differing, Maybe, Place, Scope, is_tensor
from kuai.compiler.capture.recorder import Recorder
from kuai.core.base import TensorBase, wrap
from kuai.errors import CompileError, DataDependentError
from kuai.tensor import Tensor

Get = Callable[[], tuple[Any, ...]]
Put = Callable[[tuple[Any, ...]], None]
Build = Callable[[Sequence[Tensor]], Any]
SAME_ON_BOTH_SIDES = "give it the same structure, shape and type on both sides"


class _DifferingError(Exception):
    """The sides of a branch leave a variable as different things."""


class Side:
    """One side of a branch, captured: what it returned, and what it left in variables and places.

    Attributes:
        error: the exception that it ends in, if it does.
        poisoned: what must not be read any more where it has run.
    """

    def __init__(
        self, recorder: Recorder, name: str, block: Callable[[], Any], get: Get, put: Put
    ) -> None:
        before = get()
        self.error: Exception | None = None
        self.result: Any = None
        with recorder.region(name) as self.scope:
            try:
                self.result = block()
            except Exception as error:
                if isinstance(error, (CompileError, DataDependentError)):
                    self.scope.restore()
                    put(before)
                    raise
                self.error = error
        self.poisoned = recorder.poisoned
        self.variables = get()
        self.places: dict[tuple[Any, ...], Any] = {
            key: place.read() for key, place in self.scope.places.items()
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
    one = Side(recorder, "then", then, get, put)
    recorder.poisoned = poisoned
    other = Side(recorder, "else", orelse, get, put)
    if one.error is not None or other.error is not None:
        recorder.poisoned = poisoned
        return _with_error(recorder, predicate, one, other, then, orelse)
    merger = Merger(recorder, one, other)
    result = merger.merge(one.result, other.result, "the value returned")
    variables = [
        merger.variable(a, b, f"`{name}`") if a is not before[i] or b is not before[i] else None
        for i, (name, a, b) in enumerate(zip(names, one.variables, other.variables, strict=True))
    ]
    places: dict[tuple[Any, ...], Place] = {**one.scope.places, **other.scope.places}
    builds = {}
    for key, place in places.items():
        a = one.places[key] if key in one.places else place.read()
        b = other.places[key] if key in other.places else place.read()
        builds[key] = merger.merge(a, b, place.name or "a tensor changed in place")
    tensors = merger.finish(predicate)
    for key, build in builds.items():
        place = places[key]
        value = build(tensors)
        note_again(recorder, place)
        place.write(value)
    put(tuple(before[i] if build is None else build(tensors) for i, build in enumerate(variables)))
    return result(tensors)


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
    return orelse() if one.error is not None else then()


class Merger:
    """Merges what two sides leave into results of one branch."""

    def __init__(self, recorder: Recorder, then: Side, orelse: Side) -> None:
        self.recorder = recorder
        self.scopes = (then.scope, orelse.scope)
        self.poisoned = (then.poisoned, orelse.poisoned)
        self.sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._lazily = False

    def finish(self, predicate: Tensor) -> list[Tensor]:
        """The tensors of the branch's results."""
        tensors = finish_branch(self.recorder, predicate, self.scopes, self.sides, self.poisoned)
        for i, x in enumerate(tensors):
            for side, scope in zip(self.sides, self.scopes, strict=True):
                source = side[i]
                if not was_made_in(source, scope):
                    self.recorder.entangle(x, source)
        return tensors

    def variable(self, a: Any, b: Any, name: str) -> Build:
        """`merge` of a variable: what does not fit together is refused where it is read."""
        first = len(self.sides[0])
        self._lazily = True
        try:
            build = self.merge(a, b, name)
            for side, poisoned in zip(self.sides, self.poisoned, strict=True):
                for x in side[first:]:
                    if id(x._counter) in poisoned:
                        raise _DifferingError(poisoned[id(x._counter)])
            return build
        except _DifferingError as error:
            found = Differing(str(error))
            for side in self.sides:
                del side[first:]
            return lambda _: found
        finally:
            self._lazily = False

    def merge(self, a: Any, b: Any, name: str) -> Build:
        """How to build one value of two, once the branch's results are there."""
        if a is b:
            return lambda _: a
        for x in (a, b):
            if isinstance(x, Differing):
                self._refuse(x.message)
        if a is UNDEFINED or b is UNDEFINED or isinstance(a, Maybe) or isinstance(b, Maybe):
            return self._maybe(a, b, name)
        if isinstance(a, TensorBase) or isinstance(b, TensorBase):
            return self._tensors(a, b, name)
        if is_number(a) and is_number(b):
            if type(a) is type(b) and (a == b or (a != a and b != b)):
                return lambda _: a
            return self._numbers(a, b)
        one, other = trees.parts(a), trees.parts(b)
        if one is not None and other is not None:
            if one[0] != other[0]:
                self._differ(a, b, name)
            builds = [
                self.merge(x, y, name + label)
                for (label, x), (_, y) in zip(one[1], other[1], strict=True)
            ]
            return lambda tensors: trees.rebuild(a, [build(tensors) for build in builds])
        if type(a) is type(b) and _equal(a, b):
            return lambda _: a
        self._differ(a, b, name)
        return lambda _: a

    def _pair(self, a: Tensor, b: Tensor) -> Build:
        place = len(self.sides[0])
        self.sides[0].append(a)
        self.sides[1].append(b)
        return lambda tensors: tensors[place]

    def _tensors(self, a: Any, b: Any, name: str) -> Build:
        if is_number(a) and is_number(b):
            return self._numbers(a, b)
        if is_number(a) or is_number(b):
            like = b if is_number(a) else a
            if not is_tensor(like) or like._payload.shape:
                self._differ(a, b, name)
            x = self._as(a, like.dtype, 0) if is_number(a) else a
            y = self._as(b, like.dtype, 1) if is_number(b) else b
            return self._pair(x, y)
        if not (is_tensor(a) and is_tensor(b)):
            self._differ(a, b, name)
        if a._payload.shape != b._payload.shape or a.dtype is not b.dtype:
            self._differ(a, b, name)
        return self._pair(a, b)

    def _numbers(self, a: Any, b: Any) -> Build:
        dtype = numbers.common_dtype(a, b)
        pair = self._pair(self._as(a, dtype, 0), self._as(b, dtype, 1))
        return lambda tensors: number(pair(tensors))

    def _as(self, x: Any, dtype: Any, side: int) -> Tensor:
        with self.recorder.inside(self.scopes[side]):
            return numbers.as_tensor(x, dtype)

    def _maybe(self, a: Any, b: Any, name: str) -> Build:
        """A variable that one side leaves without a value."""
        have = b if a is UNDEFINED else a
        like = have.value if isinstance(have, Maybe) else have
        values, flags = [], []
        for x in (a, b):
            if isinstance(x, Maybe):
                values.append(x.value)
                flags.append(x.defined)
            elif x is UNDEFINED:
                values.append(trees.map_leaves(_nothing_like, like))
                flags.append(False)
            else:
                values.append(x)
                flags.append(True)
        value = self.merge(values[0], values[1], name)
        defined = self.merge(flags[0], flags[1], name)
        return lambda tensors: Maybe(value(tensors), defined(tensors))

    def _differ(self, a: Any, b: Any, name: str) -> None:
        self._refuse(
            f"the sides of this branch leave {name} as different things: {described(a)} on one "
            f"side, {described(b)} on the other"
        )

    def _refuse(self, message: str) -> None:
        if self._lazily:
            raise _DifferingError(message)
        self.recorder.refuse(message, SAME_ON_BOTH_SIDES)


def _nothing_like(x: Any) -> Any:
    if isinstance(x, Number):
        return number(wrap(np.zeros((), x._payload.dtype)))
    if isinstance(x, TensorBase):
        from kuai.core.primitive import meta_of

        return zeros(meta_of(x))
    return x


def was_made_in(x: Any, scope: Scope) -> bool:
    """Whether a tensor's memory was computed in a region, and is no part of another's."""
    value = x._payload
    made = getattr(value, "region", None) is scope.region
    return made and x._view is None


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
    found = trees.parts(x)
    if found is not None:
        return f"a {type(x).__name__} of {len(found[1])}"
    return f"{x!r:.60}"
