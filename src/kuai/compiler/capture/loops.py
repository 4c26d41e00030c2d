"""A loop on a captured condition: one round is captured, and what it changes is carried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kuai import dtypes
from kuai.compiler.capture import numbers
from kuai.compiler.capture.aliases import identity, nodes
from kuai.compiler.capture.branches import (
    Get,
    Put,
    note_again,
)
from kuai.compiler.capture.building import finish_loop, parameter
from kuai.compiler.capture.carried import Carried
from kuai.compiler.capture.control import stack_item
from kuai.compiler.capture.numbers import Number, number
from kuai.compiler.capture.places import Memory, Place, Scope
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.undecided import UNDEFINED
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta
from kuai.core.tape import mode
from kuai.errors import CompileError, DataDependentError
from kuai.tensor import Tensor

ATTEMPTS = 60


class _TestChangesError(Exception):
    """The condition of a loop changes something each time it is computed."""


class Rolled:
    """The lists that grow by the same number of tensors in each round of a loop.

    Args:
        depth: how many regions are open in a round.
        surely: whether there is one round in any case.

    Attributes:
        lists: those that were appended to, and the values in their order.
        stacks: of a captured loop, what was kept of each appended value.
    """

    def __init__(self, depth: int, surely: bool) -> None:
        self.depth, self.surely = depth, surely
        self.appended: list[tuple[list[Any], Any]] = []
        self.stacks: list[Tensor] = []
        self.looked_at: set[int] = set()

    def begin(self) -> None:
        """A round begins."""
        self.appended.clear()

    def pushed(self) -> list[Tensor]:
        """What the round has appended."""
        return [value for _, value in self.appended]

    def fill(self, recorder: Recorder, rounds: int) -> None:
        """Append what all rounds have appended."""
        item: Any = stack_item
        for place in range(rounds):
            for (target, value), stack in zip(self.appended, self.stacks, strict=True):
                index = numbers.as_tensor(place, dtypes.int64)
                x = recorder.record(item, (stack, index), {})
                target.append(number(x) if isinstance(value, Number) else x)


class Loop:
    """A loop that is being captured, round by round, until a round changes nothing unforeseen."""

    def __init__(
        self,
        recorder: Recorder,
        test: Callable[[], Any],
        body: Callable[[], Any],
        get: Get,
        put: Put,
        names: Sequence[str],
        temporaries: Sequence[str],
        rolled: Rolled | None = None,
    ) -> None:
        self.recorder = recorder
        self.rolled = rolled
        self.test, self.body, self.get, self.put = test, body, get, put
        self.before = get()
        self.variables = [
            Carried(value, f"`{name}`", recorder)
            for name, value in zip(names, self.before, strict=True)
        ]
        self.temporary = [name in temporaries for name in names]
        for carried, temporary in zip(self.variables, self.temporary, strict=True):
            carried.skipped = temporary and carried.initial is UNDEFINED
        self.places: dict[tuple[Any, ...], tuple[Place, Carried]] = {}
        self.latest: list[Any] = []
        self._given: dict[int, list[Any]] = {}
        self._shared: list[Any] = []
        self._spoiled: dict[int, str] = {}

    def run(self, accept: Callable[[Loop], object] = lambda loop: None) -> None:
        """Capture the loop, and leave in variables and places what it leaves.

        `accept` may raise an exception before it leaves anything.
        """
        recorder = self.recorder
        poisoned = recorder.poisoned
        for _ in range(ATTEMPTS):
            recorder.poisoned = {**poisoned, **self._spoiled}
            attempt = self._attempt()
            if attempt is not None:
                accept(self)
                self._finish(*attempt)
                return
        recorder.refuse("a loop whose rounds go on changing new objects")

    def hides_numbers(self) -> bool:
        """Whether Python numbers other than the counter are carried that are known otherwise."""
        return any(
            slot.kind == "number" and not isinstance(slot.initial, TensorBase)
            for carried in [*self.variables[:-1], *(c for _, c in self.places.values())]
            if not carried.skipped
            for slot in carried.slots()
        )

    def _everything(self) -> list[Carried]:
        return [*self.variables, *(carried for _, carried in self.places.values())]

    def _metas(self) -> list[tuple[Meta, bool]]:
        return [
            meta
            for carried in self._everything()
            if not carried.skipped
            for slot in carried.slots()
            for meta in slot.metas()
        ]

    def _begin(self, scope: Scope, with_gradients: bool) -> None:
        """Let variables and places hold the parameters of a region."""
        recorder = self.recorder
        given = [
            parameter(recorder, scope, meta, flag and with_gradients)
            for meta, flag in self._metas()
        ]
        self.put(tuple([carried.value(given) for carried in self.variables]))
        values = list(self.get())
        for key, (place, carried) in self.places.items():
            values.append(carried.value(given))
            scope.note(key, lambda place=place: place)  # type: ignore[misc]
            place.begin(values[-1])  # type: ignore[attr-defined]
        self._stand_for(values)

    def _known(self, values: Sequence[Any]) -> list[Any]:
        """Of the values of variables and places, what is known by other names, too."""
        count = len(self.variables)
        of_places = zip(self.places.values(), values[count:], strict=True)
        return [
            *(
                None if c.skipped else x
                for c, x in zip(self.variables, values[:count], strict=True)
            ),
            *(place.within(x) for (place, _), x in of_places),
        ]

    def _stand_for(self, values: Sequence[Any]) -> None:
        """What is carried is what it was before the loop, or what a round has left."""
        initial = self._known([carried.initial for carried in self._everything()])
        values = self._known(values)
        for i, (value, first) in enumerate(zip(values, initial, strict=True)):
            self.recorder.stands_for(value, first, *self.latest[i : i + 1])
        self._given = _places_of(values, self.recorder)

    def _attempt(self) -> Any:
        recorder = self.recorder
        self.put(self.before)
        opened: list[Scope] = []
        seen, recorder.aliases.read = recorder.aliases.read, set()
        poisoned = recorder.poisoned.keys()
        try:
            with recorder.region("test") as test:
                opened.append(test)
                self._begin(test, False)
                known = set(test.places)
                proceeds = self.test()
                if set(test.places) != known:
                    raise _TestChangesError
            test.restore()
            with recorder.region("body") as body:
                opened.append(body)
                self._begin(body, True)
                if self.rolled is not None:
                    self.rolled.begin()
                try:
                    self.body()
                except UnboundLocalError as error:
                    if not self._unskip(error):
                        raise
                    body.restore()
                    return None
            new = self.get()
            if self._widen(new, body):
                body.restore()
                return None
            read = [place.read() for place, _ in self.places.values()]
            self.latest = self._known([*new, *read])
            if self._is_seen_late(body, recorder.poisoned.keys() - poisoned):
                body.restore()
                return None
            with recorder.inside(body):
                yielded = [
                    t
                    for carried, value in zip(self.variables, new, strict=True)
                    for t in carried.yielded(value)
                ]
                for place, carried in self.places.values():
                    yielded += carried.yielded(place.read())
                if self.rolled is not None:
                    yielded += self.rolled.pushed()
            body.restore()
        except BaseException:
            for scope in reversed(opened):
                scope.restore()
            raise
        finally:
            recorder.aliases.read |= seen
            self.put(self.before)
        return test, body, proceeds, yielded

    def _unskip(self, error: UnboundLocalError) -> bool:
        """A variable that a round reads before it assigns it has to be carried after all."""
        for carried in self.variables:
            if carried.skipped and carried.name in str(error).replace("'", "`"):
                carried.skipped, carried.needed = False, True
                return True
        return False

    def _is_seen_late(self, body: Scope, spoiled: set[int]) -> bool:
        """Whether a round changes something that a part of the round before it knows, too.

        That is known only when the round has been captured, which then begins anew.

        Args:
            body: the round.
            spoiled: what must not be read any more since the round began.
        """
        recorder = self.recorder
        late = {
            key: why
            for key, why in recorder.poisoned.items()
            if key in spoiled & recorder.aliases.read and recorder.is_older(key)
        }
        shared = self._shared
        if body.places or spoiled:
            shared = [
                (key if recorder.is_older(key) else 0, places)
                for key, places in _places_of(self.latest, recorder).items()
                if places != self._given.get(key, [] if recorder.is_older(key) else places[:1])
            ]
        if shared == self._shared and late.keys() <= self._spoiled.keys():
            return False
        self._shared = shared
        self._spoiled.update(late)
        return True

    def _widen(self, new: tuple[Any, ...], body: Scope) -> bool:
        recorder = self.recorder
        changed = False
        for carried, value, temporary in zip(self.variables, new, self.temporary, strict=True):
            try:
                changed |= carried.widen(value, recorder)
            except CompileError:
                if not temporary or carried.skipped or carried.needed:
                    raise
                recorder.failure = None
                carried.skipped = changed = True
        for key, place in body.places.items():
            if key not in self.places:
                now = place.read()
                place.restore()
                name = place.name or "a tensor changed in place"
                carried = Carried(place.read(), name, recorder)
                if isinstance(place, Memory) and not place.is_leaf:
                    carried.content.requires_grad = (  # type: ignore[union-attr]
                        mode.grad and carried.initial._requires_grad
                    )
                place.check(recorder, carried.initial, now)
                carried.widen(now, recorder)
                self.places[key] = (place, carried)
                changed = True
            else:
                place.check(recorder, self.places[key][1].initial, place.read())
                changed |= self.places[key][1].widen(place.read(), recorder)
        return changed

    def _finish(self, test: Scope, body: Scope, proceeds: Any, yielded: list[Tensor]) -> None:
        recorder = self.recorder
        everything = [c for c in self._everything() if not c.skipped]
        initial = [t for c in everything for slot in c.slots() for t in slot.start(recorder)]
        flags = [flag for _, flag in self._metas()]
        if not isinstance(proceeds, TensorBase):
            proceeds = wrap(numbers.as_tensor(bool(proceeds), dtypes.bool_)._payload)
        poisoned, recorder.poisoned = recorder.poisoned, {}
        results, operation = finish_loop(recorder, initial, flags, test, body, proceeds, yielded)
        recorder.poisoned = poisoned
        if self.rolled is not None and self.rolled.surely:
            recorder.surely.add(operation)
        given = results[: len(initial)]
        if self.rolled is not None:
            self.rolled.stacks = results[len(initial) + 1 :]
        values = [carried.value(given) for carried in self._everything()]
        self._stand_for(values)
        for (place, _), value in zip(
            self.places.values(), values[len(self.variables) :], strict=True
        ):
            note_again(recorder, place)
            place.write(value)
        self.put(tuple(values[: len(self.variables)]))


def _places_of(values: Sequence[Any], recorder: Recorder) -> dict[int, list[Any]]:
    """Where among the carried values each tensor, container and object has its places."""
    found: dict[int, list[Any]] = {}
    for i, value in enumerate(values):
        for path, x in nodes(value, recorder.opened):
            found.setdefault(id(identity(x)), []).append((i, path))
    return found


def loop(
    recorder: Recorder,
    test: Callable[[], Any],
    body: Callable[[], Any],
    get: Get,
    put: Put,
    names: Sequence[str],
    temporaries: Sequence[str] = (),
) -> None:
    """Capture `while test(): body()`.

    Args:
        recorder: the capture.
        test: gives the condition: a captured bool.
        body: one round.
        get, put: read and write the variables that the round assigns.
        names: what these are called.
        temporaries: those of them that are not read outside of the loop.

    Raises:
        CompileError: a round changes the shape, type or structure of something.
    """
    before = get()
    try:
        Loop(recorder, test, body, get, put, names, temporaries).run()
    except _TestChangesError:
        asking(recorder, test(), test, body, get, put, names, temporaries)
    except (CompileError, DataDependentError):
        raise
    except Exception as error:  # the first round, if there is one, ends in it
        put(before)
        recorder.check(~test(), type(error), str(error))


def asking(
    recorder: Recorder,
    first: Any,
    test: Callable[[], Any],
    body: Callable[[], Any],
    get: Get,
    put: Put,
    names: Sequence[str],
    temporaries: Sequence[str] = (),
) -> None:
    """As `loop`, for a condition that changes something: it is computed before each round.

    `first` is what it was before the first one.
    """
    goes_on = first

    def round_() -> None:
        nonlocal goes_on
        body()
        goes_on = test()

    def read() -> tuple[Any, ...]:
        return (*get(), goes_on)

    def write(values: tuple[Any, ...]) -> None:
        nonlocal goes_on
        goes_on = values[-1]
        put(values[:-1])

    every = (*names, "the condition")
    Loop(recorder, lambda: goes_on, round_, read, write, every, temporaries).run()


__all__ = ["Loop", "Number", "asking", "loop"]
