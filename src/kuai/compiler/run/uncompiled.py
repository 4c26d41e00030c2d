"""What stands behind a compiled function: a capture looks through it, and captures that."""

from __future__ import annotations

from types import BuiltinFunctionType, MethodType
from typing import Any

from kuai.compiler.native.builtin import FunctionMemory

_OWNERS = ("kuai.compiler.run.compiled", "kuai.compiler.run.block")


def uncompiled(function: Any) -> Any:
    """The function, method or block behind a compiled one; anything else as it is."""
    kind = type(function)
    if kind is MethodType:
        if type(function.__self__).__module__ in _OWNERS:  # the way in through Python
            return function.__self__.function
        inner = uncompiled(function.__func__)
        return function if inner is function.__func__ else MethodType(inner, function.__self__)
    if kind is BuiltinFunctionType and isinstance(function.__self__, FunctionMemory):
        return function.__self__.slow.__self__.function
    found = kind.__dict__.get("_compiled_from")
    return function if found is None else found(function)
