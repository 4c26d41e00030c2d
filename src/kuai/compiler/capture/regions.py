"""The regions of a capture that are open, and what is changed and known in them.

A branch or a loop is captured as a region of its own. What changes in it is noted as a place
(`places.py`), so that it can be undone, merged and carried.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

import kuai
from kuai.compiler.capture import trees
from kuai.compiler.capture.aliases import Aliases, change_of, nodes
from kuai.compiler.capture.outer import Outer
from kuai.compiler.capture.places import Gradient, Memory, Place, Scope
from kuai.compiler.graph import Graph, Region, Value
from kuai.core import base
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.tape import mode
from kuai.errors import CompileError


class Regions:
    """The regions that are open, the memory that was made in each, and what changes.

    Attributes:
        graph: what has been recorded.
        scopes: the open regions, outermost first; the graph itself is the first.
        outer: for each tensor from outside, what it was and the value that stands for it.
        made: by their ids, the objects that the captured code has made, each with the number of
            regions that were open then.
        failure: the refusal that ends the capture, even if the user's code swallowed it.
        tries: for each `try` with handlers around what is captured, what gives their types.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.thread = threading.get_ident()
        self.scopes = [Scope(self.graph)]
        self.outer: dict[int, Outer] = {}
        self.made: dict[int, tuple[Any, int]] = {}
        self.failure: CompileError | None = None
        self.tries: list[Callable[[], Any]] = []
        self._born: dict[int, tuple[list[int], int]] = {}
        self._moved: list[tuple[Any, Any, Any, Any]] = []
        self._leaves: dict[int, Any] = {}
        self.aliases = Aliases()
        self._facts: dict[Any, bool] = {}
        self._negations: dict[Value, Value] = {}
        self._changes = 0

    def value(self, x: Any) -> Value:
        """The value that stands for a tensor, or for the one that it has become."""
        raise NotImplementedError

    def refuse(self, reason: str, advice: str = "", at: tuple[str, int] | None = None) -> NoReturn:
        """Give up, with the user's line."""
        raise NotImplementedError

    # -- being active -----------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hear of the memory that this thread makes."""
        base.births[self.thread] = self._birth
        base.inferring.add(0)
        try:
            yield
        finally:
            del base.births[self.thread]
            if not base.births:
                base.inferring.discard(0)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Make tensors that count as ones from outside."""
        del base.births[self.thread]
        try:
            with primitives.plainly():
                yield
        finally:
            base.births[self.thread] = self._birth

    def _birth(self, counter: list[int]) -> None:
        self._born[id(counter)] = (counter, len(self.scopes) - 1)

    def adopt(self, x: TensorBase) -> None:
        """Let a tensor count as one from outside."""
        self._born.pop(id(x._counter), None)

    def is_born(self, x: TensorBase) -> bool:
        """Whether a tensor's memory was made during the capture."""
        return id(x._counter) in self._born

    def is_local(self, x: TensorBase) -> bool:
        """Whether a tensor's memory was made in the innermost open region."""
        return self._born.get(id(x._counter), (None, -1))[1] >= len(self.scopes) - 1

    # -- changes ----------------------------------------------------------------------------

    def changing(self, x: Any) -> None:
        """Note a tensor, and what it is a view of, before it is changed in place."""
        while True:
            if isinstance(x._payload, np.ndarray):
                self.value(x)
            if x._view is None:
                break
            x = x._view.source
        self.spoils(x, lambda counter: id(counter) not in self._born)
        self._changes += 1
        if not self.is_local(x):
            self.scopes[-1].note(("memory", id(x)), lambda: Memory(x))

    def retaking(self, x: Any) -> None:
        """Note a view before it is taken anew, in the region that is open."""
        if threading.get_ident() != self.thread:
            return
        if isinstance(x._payload, np.ndarray):
            self._moved.append((x, x._payload, x._node, x._requires_grad))
        self.scopes[-1].retaken.append(x)

    def reshaping(self, x: Any) -> None:
        """Note a tensor before it becomes a view of another shape."""
        if threading.get_ident() != self.thread:
            return
        if isinstance(x._payload, np.ndarray):
            self.value(x)
        if not self.is_born(x):
            self.refuse(
                "a tensor from outside of the compiled function that changes its shape in place",
                "assign the result of the out-of-place method to a new variable",
            )
        if len(self.scopes) > 1 and not self.is_local(x):
            self.refuse(
                "a tensor that changes its shape in place under a condition or in a loop",
                "assign the result of the out-of-place method to a new variable",
            )

    @property
    def is_nested(self) -> bool:
        """Whether a region of a branch or a loop is being captured."""
        return len(self.scopes) > 1

    def note_made(self, x: Any) -> None:
        """Note an object that the captured code has made, and in how many open regions."""
        if not self.has_made(x):
            self.made[id(x)] = (x, len(self.scopes))

    def has_made(self, x: Any) -> bool:
        """Whether the captured code has made an object itself."""
        return self.made.get(id(x), (None, 0))[0] is x

    def opened(self, x: Any) -> Any:
        """An object that the captured code has made, taken apart if it has tensors in it."""
        return trees.as_fields(x) if self.has_made(x) else x

    def rebuilt(self, like: Any, items: list[Any]) -> Any:
        """A container or an object like another, of other parts."""
        new = trees.rebuild(like, items)
        if not isinstance(new, tuple):
            self.note_made(new)
        return new

    def note(self, key: tuple[Any, ...], make: Callable[[], Place]) -> None:
        """Note a place before it changes."""
        self._changes += 1
        if len(self.scopes) > 1:
            self.scopes[-1].note(key, make)

    def stands_for(self, new: Any, *olds: Any) -> None:
        """Note that `new`, part by part, is one of `olds`, as values decide."""
        places = dict(nodes(new, self.opened))
        for old in olds:
            for path, source in nodes(old, self.opened):
                if path in places:
                    self.aliases.add(places[path], source)

    def spoils(self, x: Any, is_outside: Callable[[Any], bool]) -> None:
        """Note a change of `x`: nothing may read any more what else may be the same.

        Args:
            x: a tensor, a container, or an object.
            is_outside: whether something, of a tensor its counter, lives outside of the capture.
        """
        for other in self.aliases.reached(x):
            reason, advice = change_of(x)
            if is_outside(other):
                self.refuse(reason, advice)
            self.aliases.unreadable[id(other)] = reason

    def is_older(self, key: int) -> bool:
        """Whether memory, a container or an object was there before a region that has closed."""
        if key in self._born:
            return self._born[key][1] < len(self.scopes)
        return self.made.get(key, (None, 0))[1] <= len(self.scopes)

    def comes_from_round(self, x: Any) -> bool:
        """Whether a number is computed of nothing but what the innermost region is given."""
        region = self.scopes[-1].region
        makers = {value: op for op in region.operations for value in op.results}
        pending = [x._payload]
        while pending:
            value = pending.pop()
            if value in makers:
                pending += makers[value].used
            elif value not in region.parameters and value not in dict(self.graph.constants):
                return False
        return True

    def mark(self) -> tuple[int, int, int]:
        """Where the innermost region and the count of changes stand."""
        scope = self.scopes[-1]
        return len(scope.region.operations), len(scope.retaken), self._changes

    def rewind(self, mark: tuple[int, int, int]) -> bool:
        """Forget the operations since `mark`, whose results nobody has; false if they changed
        something.
        """
        if self._changes != mark[2]:
            return False
        self._forget(self.scopes[-1], mark)
        return True

    def _forget(self, scope: Scope, mark: tuple[int, int, int]) -> None:
        gone = scope.forget(*mark[:2])
        pairs = self._negations.items()
        self._negations = {k: v for k, v in pairs if k not in gone and v not in gone}

    @contextmanager
    def trial(self) -> Iterator[None]:
        """A part that may fail, after which everything is as before it."""
        scope, mark = self.scopes[-1], self.mark()
        poisoned, failure, tries = self.poisoned, self.failure, list(self.tries)
        try:
            yield
        except BaseException:
            self._forget(scope, mark)
            self.poisoned, self.failure, self.tries = poisoned, failure, tries
            raise

    # -- regions ----------------------------------------------------------------------------

    @contextmanager
    def region(self, name: str) -> Iterator[Scope]:
        """Capture into a region of its own."""
        scope = Scope(Region(name))
        with self.inside(scope):
            yield scope

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Capture into an open or reopened region."""
        before = {key: leaf._grad for key, leaf in self._leaves.items()}
        known = mode.grad
        self.scopes.append(scope)
        try:
            yield
        finally:
            for key, leaf in list(self._leaves.items()):
                old = before.get(key, self.outer[key].grad if key in self.outer else None)
                if leaf._grad is not old and not self.is_local(leaf):
                    # Not what it was when a region within this one began.
                    scope.places["grad", key] = Gradient(leaf, old)
            self.scopes.pop()
            scope.forget(len(scope.region.operations), 0)  # views are taken anew outside
            mode.grad = known

    @property
    def poisoned(self) -> dict[int, str]:
        """A copy of the notes on what must not be read any more, to return to."""
        return dict(self.aliases.unreadable)

    @poisoned.setter
    def poisoned(self, notes: dict[int, str]) -> None:
        self.aliases.unreadable = dict(notes)

    # -- what is known ----------------------------------------------------------------------

    def known(self, condition: Any) -> bool | None:
        """What a bool is in the regions that are open; `None` where only the program knows."""
        if not isinstance(condition, TensorBase):
            return bool(condition)
        value = condition._payload
        return self._facts.get(value) if isinstance(value, Value) else None

    def negated(self, condition: Any) -> Any:
        """The opposite of a captured bool: of that of another one, the other one."""
        value = self.value(condition)
        known = self._negations.get(value)
        if known is not None and any(known.region is scope.region for scope in self.scopes):
            return wrap(known)
        result = kuai.logical_not(condition)
        self._negations[value] = result._payload
        self._negations[result._payload] = value
        return result

    @contextmanager
    def given(self, condition: Any, holds: bool) -> Iterator[None]:
        """In a side of a branch: it is known which one."""
        before = self._facts
        value = self.value(condition)
        self._facts = {**before, value: holds}
        if value in self._negations:
            self._facts[self._negations[value]] = not holds
        try:
            yield
        finally:
            self._facts = before
