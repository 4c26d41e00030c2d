"""Functions in whose place a capture does something else.

Most stand in `python_functions.py` and `tensor_functions.py`. Those that few programs call are in
modules that are imported when one of them is first called.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture import trees

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

SPECIAL: dict[Any, Callable[..., Any]] = {}
_LATER: dict[Any, str] = dict.fromkeys((sorted, min, max), "ordering")
_LATER |= dict.fromkeys((abs, operator.abs, pow, divmod, round), "mathematics")
_LATER_OF = {"math": "mathematics"} | dict.fromkeys(("heapq", "_heapq", "_bisect"), "heaps")


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


def replacement(function: Any) -> Callable[..., Any] | None:
    """What is called in the place of a function, if anything is."""
    try:
        found = SPECIAL.get(function)
        if found is None:
            name = _LATER_OF.get(getattr(function, "__module__", None) or "")
            name = name or _LATER.get(function)
            if name is not None:
                import_module(f"kuai.compiler.capture.{name}")
                found = SPECIAL.get(function)
    except TypeError:  # it is not hashable
        return None
    return found


def has_captured(session: Any, x: Any) -> bool:
    """Whether a captured value is among the parts of `x`."""
    return is_captured(session, *trees.leaves(x))
