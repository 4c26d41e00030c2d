"""Calls of `autograd.Function`: the user's `forward` and `backward` are captured as source."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from kuai.autograd.function import Function, FunctionCtx

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

_METHODS = ("forward", "backward", "setup_context")


def applied(session: Session, function: type[Function], args: tuple[Any, ...]) -> Any:
    """`function.apply(*args)`."""
    known = session.custom_functions.get(function)
    if known is None:
        known = session.custom_functions[function] = _rewritten(session, function)
    apply: Any = vars(Function)["apply"]
    return apply.__func__(known, *args)


def _rewritten(session: Session, function: type[Function]) -> type[Function]:
    methods = {}
    for name in _METHODS:
        method = getattr(function, name)
        if isinstance(method, FunctionType):
            session.reads.attribute(function, name, method)
            methods[name] = staticmethod(_captured(session, session.callable(method)))
    return type(function.__name__, (function,), methods)


def _captured(session: Session, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, for which its context is an object that the captured code made itself."""

    def call(*args: Any) -> Any:
        if isinstance(args[0], FunctionCtx):
            session.made(args[0])
        return method(*args)

    return call
