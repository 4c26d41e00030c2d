"""Rewritten functions: which functions are rewritten, and how a new one shares the old one's world.

The new function has the globals, the defaults and the very cells of the old one, and the line
numbers of its file, so that a traceback shows the user's source.
"""

from __future__ import annotations

import marshal
import os
import sys
from types import CellType, CodeType, FunctionType
from typing import Any

from kuai.compiler.rewrite.nodes import HOOKS

_templates: dict[CodeType, CodeType] = {}

_LIBRARY = os.path.dirname(os.__file__) + os.sep
# Parts of kuai whose loops become loops of the program, and so are rewritten too.
_WITH_LOOPS = {
    "kuai.compiler.capture.heaps",
    "kuai.nn.recurrent",
    "kuai.nn.functional.recurrent",
    "kuai.optim.lbfgs_captured",
    "kuai.optim.line_search",
    "kuai.optim.swa_utils",
}
_PACKAGES = ("site-packages", "dist-packages")


class SourceError(Exception):
    """The source of a function is not there, or is not the one that was compiled."""


def is_own(function: FunctionType) -> bool:
    """Whether a function is kuai's own, which needs no rewriting."""
    module = str(function.__globals__.get("__name__", ""))
    return (module == "kuai" or module.startswith("kuai.")) and module not in _WITH_LOOPS


def is_library(function: FunctionType) -> bool:
    """Whether a function belongs to Python's standard library."""
    return is_library_file(function.__code__.co_filename)


def is_library_file(file: str) -> bool:
    """Whether a file is one of Python's standard library."""
    if file.startswith("<frozen"):
        return True
    return file.startswith(_LIBRARY) and not any(p in file for p in _PACKAGES)


def is_rewritten(function: FunctionType) -> bool:
    """Whether a function's code already goes through the hooks."""
    return HOOKS in function.__code__.co_freevars


def rewritten(function: FunctionType, hooks: Any) -> FunctionType:
    """The function with its control flow, calls and reads going through `hooks`.

    Raises:
        SourceError: its source is not available.
    """
    code = function.__code__
    template = _templates.get(code)
    if template is None:
        template = _templates[code] = _template(function)
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    cells[HOOKS] = CellType(hooks)
    closure = tuple([cells[name] for name in template.co_freevars])
    result = FunctionType(
        template, function.__globals__, function.__name__, function.__defaults__, closure
    )
    result.__kwdefaults__ = function.__kwdefaults__
    result.__qualname__ = function.__qualname__
    result.__module__ = function.__module__
    return result


def _template(function: FunctionType) -> CodeType:
    """The code of the rewritten form, kept on disk: to parse and rewrite takes milliseconds."""
    from kuai.compiler.native import cache

    facts = repr((function.__qualname__, _facts(function.__code__), sys.hexversion))
    name = cache.key("rewritten", cache.sources(), facts)
    kept = cache.read(name)
    if kept is not None:
        known: CodeType = marshal.loads(kept)
        return known
    from kuai.compiler.rewrite.template import template

    made = template(function)
    cache.write(name, marshal.dumps(made))
    return made


def _facts(x: Any) -> Any:
    """All that tells a code object, or a constant in one, from others."""
    if isinstance(x, frozenset):
        return "frozenset", sorted(map(repr, x))
    if isinstance(x, tuple):
        return tuple([_facts(item) for item in x])
    if not isinstance(x, CodeType):
        return type(x).__name__, x
    return [(name, _facts(getattr(x, name))) for name in _CODE]


_CODE = [
    f"co_{name}"
    for name in (
        "filename firstlineno name qualname flags argcount posonlyargcount kwonlyargcount code "
        "consts names varnames freevars cellvars linetable exceptiontable"
    ).split()
]
