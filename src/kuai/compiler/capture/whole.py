"""Looking at objects as a whole: comparing them, spelling them out, handing them on.

Code that is not captured sees all that is in an object. What of that came from outside is noted
as read.
"""

from __future__ import annotations

from collections import deque
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture.records import BUFFERS, items_of
from kuai.compiler.capture.sameness import COMPARED
from kuai.core.base import TensorBase
from kuai.nn.module import Module

if TYPE_CHECKING:
    from kuai.compiler.capture.access import Access

_CONTAINERS = (list, tuple, set, frozenset, deque, dict, MappingProxyType)
_CLOSED = (
    *COMPARED,
    type(None),
    type,
    TensorBase,
    Module,
    ModuleType,
    FunctionType,
    MethodType,
    BuiltinFunctionType,
)


def look_through(session: Access, x: Any, objects: bool = True) -> None:
    """Note all that is in `x`.

    Args:
        session: the capture.
        x: any value.
        objects: whether the attributes of objects are among it, beside the items of containers.
    """
    seen: set[int] = set()
    pending = [x]
    while pending:
        x = pending.pop()
        if isinstance(x, _CLOSED) or id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, BUFFERS):
            session.reads.buffer(x)
        elif isinstance(x, _CONTAINERS):
            session.walked(x)
            pending += items_of(x)
        elif objects and session.reads.is_outside(x):
            pending += [session.attribute(x, name) for name in _fields_of(x)]


def _fields_of(x: Any) -> list[str]:
    names = [
        name
        for cls in type(x).__mro__
        for name in getattr(cls, "__slots__", ())
        if name != "__dict__" and hasattr(x, name)
    ]
    return [*getattr(x, "__dict__", ()), *names]
