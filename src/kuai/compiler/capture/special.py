"""Functions in whose place a capture does something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

SPECIAL: dict[Any, Callable[..., Any]] = {}


def special(*functions: Any) -> Callable[[Any], Any]:
    """Decorator: call this, with the session first, in the place of these functions."""

    def register(replacement: Any) -> Any:
        for function in functions:
            SPECIAL[function] = replacement
        return replacement

    return register


def is_captured(session: Session, *values: Any) -> bool:
    """Whether any of these has a value that only the program knows."""
    return any(session.recorder.is_captured(x) for x in values)
