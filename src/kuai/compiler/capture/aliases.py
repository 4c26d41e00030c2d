"""Which tensors, containers and objects may be one and the same, as values decide.

After `x = a if test else b`, or after a loop that assigns `x`, what stands for `x` in the program
has memory of its own. Eagerly it is `a`, or `b`: a change of the one would be seen in the other.
Such a change is allowed as long as nothing reads afterwards what it might have reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kuai.compiler.capture import trees
from kuai.compiler.capture.undecided import Maybe
from kuai.core.base import TensorBase

CHANGE_A_CLONE = "change a clone(), or write y = y + 1 in the place of y += 1"
CHANGE_A_COPY = "change a copy of it: list(x), dict(x) or copy.copy(x)"


class Aliases:
    """What stands for what, in one capture.

    Attributes:
        unreadable: by the ids of what must not be read any more, why.
        read: the ids of what has been read, since somebody began to ask.
    """

    def __init__(self) -> None:
        self.unreadable: dict[int, str] = {}
        self.read: set[int] = set()
        self._sources: dict[int, list[Any]] = {}
        self._results: dict[int, list[Any]] = {}
        self._parts: set[tuple[int, int]] = set()  # pairs of a view and its source

    def add(self, x: Any, source: Any, is_part: bool = False) -> None:
        """Note that `x` stands for `source`, or for a part of it, or for something else."""
        x, source = identity(x), identity(source)
        if is_part:
            self._parts.add((id(x), id(source)))
        if x is not source and not any(source is known for known in self._sources.get(id(x), ())):
            self._sources.setdefault(id(x), []).append(source)
            self._results.setdefault(id(source), []).append(x)

    def reached(self, x: Any) -> list[Any]:
        """What else may be the same as `x`: of tensors, the counters of their memory."""
        x = identity(x)
        if id(x) not in self._sources and id(x) not in self._results:
            return []
        over = _closure([x], self._sources)
        return _closure(over, self._results)[1:]

    def may_be(self, x: Any, other: Any) -> bool:
        """Whether two things may be one."""
        x, other = identity(x), identity(other)
        if (id(x), id(other)) in self._parts or (id(other), id(x)) in self._parts:
            return False
        return any(other is found for found in self.reached(x))

    def why_unreadable(self, x: Any) -> str:
        """Why something must not be read any more; nothing where it may be."""
        return self.unreadable.get(id(identity(x)), "") if self.unreadable else ""

    def reads(self, x: Any) -> str:
        """Note that something is read; returns why it must not be."""
        key = id(x._counter if isinstance(x, TensorBase) else x)
        self.read.add(key)
        return self.unreadable.get(key, "") if self.unreadable else ""


def change_of(x: Any) -> tuple[str, str]:
    """Why a change of `x` may be refused, and what to do."""
    is_tensor = isinstance(x, TensorBase)
    reason = (
        f"a change in place of a {'tensor' if is_tensor else type(x).__name__} that may or may not "
        "be the same as another one, as a condition or a number of rounds decides"
    )
    return reason, CHANGE_A_CLONE if is_tensor else CHANGE_A_COPY


def nodes(x: Any, opened: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """Tensors, containers and objects in `x`, itself included, that can be changed."""
    pending = [("", x)]
    while pending:
        path, x = pending.pop()
        x = x.value if isinstance(x, Maybe) else x
        found = trees.parts(opened(x))
        if isinstance(x, TensorBase):
            if not x._weak:
                yield path, x
        elif found is not None:
            if not isinstance(x, tuple):
                yield path, x
            pending += [(path + label, item) for label, item in found[1]]


def identity(x: Any) -> Any:
    """What is the same for all that share their memory: of a tensor, its counter."""
    return x._counter if isinstance(x, TensorBase) else x


def _closure(start: list[Any], steps: dict[int, list[Any]]) -> list[Any]:
    found = list(start)
    known = {id(x) for x in found}
    for x in found:
        for other in steps.get(id(x), ()):
            if id(other) not in known:
                known.add(id(other))
                found.append(other)
    return found
