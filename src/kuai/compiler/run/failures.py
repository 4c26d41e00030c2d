"""What a call of a program raises where it fails, and what the traceback shows of kuai."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import kuai
from kuai import config
from kuai.compiler.emit.statuses import MOST_VALUES, message_with
from kuai.errors import CompileError

if TYPE_CHECKING:
    from kuai.compiler.graph import Origin

_OWN = os.path.dirname(kuai.__file__) + os.sep
_COMPILER = os.path.join(_OWN, "compiler", "")
_FOR_USERS = tuple(
    os.path.join(_COMPILER, name)
    for name in (
        "capture/access.py",
        "capture/changes.py",
        "capture/condition_hooks.py",
        "capture/hooks.py",
        "capture/loop_hooks.py",
        "capture/mathematics.py",
        "capture/observing.py",
        "capture/operators.py",
        "capture/python_functions.py",
        "capture/session.py",
        "capture/tensor_functions.py",
        "native/hosts.py",
        "run/bind.py",
        "run/block.py",
        "run/compiled.py",
    )
)
"""Where the compiler runs the user's code or tells its failures; elsewhere, it is wrong itself."""


_PASSING = (_COMPILER, *[os.path.join(_OWN, "nn", name) for name in ("module.py", "hooks.py")])
"""What calls go through; that an error came by there tells nothing."""


class Failure(NamedTuple):
    """What a status of a program means.

    Attributes:
        exception: the class of what is raised.
        message: its text, with a place for each of the values.
        values: how many integers the program tells with it.
        origin: where in the user's program it arose.
    """

    exception: type[Exception]
    message: str
    values: int
    origin: Origin

    def error(self, told: Callable[[], Sequence[int]]) -> Exception:
        """The exception to raise.

        Args:
            told: reads what the program told, or more.
        """
        values = told()[: self.values] if self.values else ()
        error = self.exception(message_with(self.message, values))
        self.origin.annotate(error)
        return error


def told(table: int, buffers: Sequence[tuple[str, int]]) -> list[int]:
    """The values that a kernel told with its failure.

    Args:
        table: the address of the table of buffers.
        buffers: kind and number of each.
    """
    first = table + 8 * buffers.index(("failure", 1))
    return list((ctypes.c_int64 * MOST_VALUES).from_address(first))


def shorten(error: BaseException) -> None:
    """Let a traceback show the user's frames, and no more of kuai than helps.

    The same goes for the errors that this one came from. An error of the compiler's own keeps its
    frames. Raised again with a bare `raise`, the error does not get the current frame back.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending and not config.full_tracebacks:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = _users(one)
            pending += [one.__cause__, one.__context__]


def _users(error: BaseException) -> TracebackType | None:
    """The user's part of a traceback, and where in kuai it ended."""
    entries = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    files = [e.tb_frame.f_code.co_filename for e in entries]
    own = [file for file in files if file.startswith(_OWN)]
    if not any(file.startswith(_COMPILER) for file in own):
        return error.__traceback__
    is_refusal = isinstance(error, CompileError)
    if own[-1].startswith(_COMPILER) and not own[-1].startswith(_FOR_USERS) and not is_refusal:
        return error.__traceback__
    ours = (_OWN, contextlib.__file__)
    kept = [e for e, file in zip(entries, files, strict=True) if not file.startswith(ours)]
    if files[-1].startswith(_OWN) and not files[-1].startswith(_PASSING) and not is_refusal:
        kept.append(entries[-1])
    result: TracebackType | None = None
    for e in reversed(kept):
        result = TracebackType(result, e.tb_frame, e.tb_lasti, e.tb_lineno)
    return result
