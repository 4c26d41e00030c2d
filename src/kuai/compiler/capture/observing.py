"""What a capture notices of objects: which ones it made, what it walks through and calls.

Functions of the user's are rewritten when they are called; everything else stays as it is.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from kuai.compiler.capture.aliases import CHANGE_A_COPY
from kuai.compiler.capture.held import Held, HeldAttributes
from kuai.compiler.capture.loops import Rolled
from kuai.compiler.capture.numbers import number
from kuai.compiler.capture.outer import user_place
from kuai.compiler.capture.places import Contents
from kuai.compiler.capture.reads import Reads
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.stepping import Stepping
from kuai.compiler.rewrite.functions import is_library, is_own
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.nn.module import Module

CONTAINERS = (list, dict, set, deque)
TRUSTED = (
    "builtins",
    "math",
    "operator",
    "functools",
    "itertools",
    "collections",
    "typing",
    "dataclasses",
    "enum",
    "abc",
    "copy",
    "contextlib",
    "types",
    "warnings",
    "string",
    "re",
    "bisect",
    "heapq",
    "numbers",
    "inspect",
)
"""Modules of Python's whose functions and classes do what they are known to do."""


class Observing:
    """What the parts of a capture have in common.

    Args:
        recorder: records the operations.
        reads: notes what is read.
        held: the attributes from outside that are arguments.
    """

    stepping: Stepping

    def __init__(self, recorder: Recorder, reads: Reads, held: Sequence[Held] = ()) -> None:
        self.recorder = recorder
        self.reads = reads
        self.held = HeldAttributes(recorder, reads, held)
        self.blocks: list[tuple[Module, str]] = []
        self.custom_functions: dict[type, type[Any]] = {}  # in their rewritten form
        self._describing = False
        self.rolled: Rolled | None = None
        self._spent: dict[int, Iterator[Any]] = {}

    def is_active(self) -> bool:
        """Whether this capture is under way in this thread."""
        recorder = self.recorder
        return primitives.intercept is recorder and threading.get_ident() == recorder.thread

    # -- functions ------------------------------------------------------------------------------

    def function(self, function: FunctionType) -> FunctionType:
        """A function in its rewritten form; kuai's and Python's own stay as they are."""
        raise NotImplementedError

    def method_of(self, x: Any, name: str) -> Callable[..., Any] | None:
        """A method that Python looks up in the class, rewritten, where it is the user's."""
        found = getattr(type(x), name, None)
        if not isinstance(found, FunctionType) or is_own(found) or is_library(found):
            return None
        self.reads.kind_of(x)
        generated = found.__code__.co_filename.startswith("<")  # by a dataclass
        return functools.partial(found if generated else self.function(found), x)

    # -- objects --------------------------------------------------------------------------------

    def made(self, x: Any) -> Any:
        """Note an object that the captured code made itself."""
        self.recorder.note_made(x)
        return x

    @contextmanager
    def rolling(self, rolled: Rolled) -> Iterator[None]:
        """While a loop is captured whose rounds are known to be alike."""
        before, self.rolled = self.rolled, rolled
        try:
            yield
        finally:
            self.rolled = before

    def _is_rolled(self, target: Any, args: tuple[Any, ...]) -> bool:
        """Whether an append is one that each round of such a loop makes; notes it."""
        rolled = self.rolled
        if (
            rolled is None
            or len(self.recorder.scopes) != rolled.depth
            or type(target) is not list
            or self._is_local(target)
            or self.reads.is_outside(target)
            or id(target) in rolled.looked_at
            or not self.recorder.is_captured(args[0])
        ):
            return False
        rolled.appended.append((target, args[0]))
        return True

    def walked(self, x: Any) -> Any:
        """What is to be walked through, noted as read where it came from outside; returns it."""
        self.looks_at(x)
        self.advances(x)
        return x if self.stepping.is_state(x) else self.reads.walked(x)

    def iterable(self, x: Any) -> Any:
        """What is to be walked through by a function that is not captured."""
        method = self.method_of(x, "__iter__")
        if method is None:
            return self.walked(x)
        found = method()
        return self.made(found) if isinstance(found, Iterator) else found

    def ancestry(self, cls: Any) -> None:
        """Note what a class of the user's is derived from."""
        if isinstance(cls, type) and cls.__module__.split(".")[0] not in ("kuai", *TRUSTED):
            self.reads.attribute(cls, "__bases__", cls.__bases__)

    def readable(self, x: Any) -> None:
        """Refuse to look at a container or an object that a change may have reached."""
        if isinstance(x, TensorBase):
            return
        reason = self.recorder.aliases.reads(x)
        if reason:
            self.recorder.refuse(reason, CHANGE_A_COPY)

    def spoils(self, x: Any) -> None:
        """Note a change of a container or an object that may be the same as another one."""
        self.recorder.spoils(x, self.reads.is_outside)

    def looks_at(self, x: Any) -> None:
        """Note that a container is looked at, which a loop may be appending to."""
        self.readable(x)
        rolled = self.rolled
        if rolled is not None and isinstance(x, list):
            rolled.looked_at.add(id(x))
            if any(target is x for target, _ in rolled.appended):
                self.recorder.refuse("a list that is read and appended to in one loop")

    def advances(self, x: Any) -> None:
        """Refuse to take items of an iterator where values decide which ones they are."""
        if not isinstance(x, Iterator):
            return
        if not self.has_made(x):
            self.recorder.refuse(
                f"a {type(x).__name__} from outside of the compiled function: it would be advanced "
                "once, when the function is compiled, and not in each call",
                "take the next item outside, and pass it as an argument",
            )
        inner = len(self.recorder.scopes) > 1 and not self._is_local(x)
        if inner or self._spent.get(id(x)) is x:
            self.recorder.refuse(
                f"a {type(x).__name__} that is advanced in a loop or branch whose course depends "
                "on the values of tensors: how far it is would depend on them",
                "index a tensor or a list with a counter of your own",
            )

    def spends(self, x: Any) -> None:
        """Note that values decide how far an iterator is from now on."""
        if isinstance(x, Iterator):
            self._spent[id(x)] = x

    def has_made(self, x: Any) -> bool:
        """Whether the captured code made an object itself."""
        return self.recorder.has_made(x)

    def _is_local(self, x: Any) -> bool:
        """Whether an object was made in the innermost region that is being captured."""
        return self.recorder.made.get(id(x), (None, 0))[1] >= len(self.recorder.scopes)

    def negated(self, x: Any) -> Any:
        """`not x`, for a bool."""
        if not self.recorder.is_captured(x):
            return not x
        return number(self.recorder.negated(wrap(x._payload)))

    def changes_container(self, x: Any, how: str) -> None:
        """Note a change of a list or dict; refuse one that would be seen outside, or only once."""
        kind = type(x).__name__
        self.looks_at(x)
        self.spoils(x)
        if self.reads.is_outside(x):
            self.recorder.refuse(
                f"a change ({how}) of a {kind} that lives outside of the compiled function: it "
                "would happen once, when the function is compiled, and not in each call",
                "build a new one and return it, or keep the values in a buffer (register_buffer)",
            )
        if len(self.recorder.scopes) > 1 and not self._is_local(x):
            if isinstance(x, set):
                self.recorder.refuse(
                    f"a change ({how}) of a set in a loop or branch whose course depends on the "
                    "values of tensors: what is in it would depend on them",
                    "keep a tensor of bools, one for each element that may be in the set",
                )
            self._notes_contents(x, how)

    def _notes_contents(self, x: Any, how: str) -> None:
        self.recorder.note(("contents", id(x)), lambda: Contents(x, how, user_place()))
