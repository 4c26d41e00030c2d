"""Rewritten functions: which functions are rewritten, and how a new one shares the old one's world.

The new function has the globals, the defaults and the very cells of the old one, and the line
numbers of its file, so that a traceback shows the user's source.
"""

from __future__ import annotations

import ast
import copy
import os
from types import CellType, CodeType, FunctionType
from typing import Any

from kuai.compiler.rewrite.nodes import HOOKS
from kuai.compiler.rewrite.source import SourceError, function_node
from kuai.compiler.rewrite.transform import Transformer

_templates: dict[CodeType, CodeType] = {}
_trees: dict[CodeType, ast.AST] = {}

_LIBRARY = os.path.dirname(os.__file__) + os.sep
# Parts of kuai whose loops become loops of the program, and so are rewritten too.
_WITH_LOOPS = {
    "kuai.nn.recurrent",
    "kuai.nn.functional.recurrent",
    "kuai.optim.lbfgs_captured",
    "kuai.optim.line_search",
}
_PACKAGES = ("site-packages", "dist-packages")


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
        template = _templates[code] = _compile(function)
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


def rewritten_text(function: FunctionType) -> str:
    """The rewritten form of a function as Python, in which operators look like operators."""
    if function.__code__ not in _trees:
        _compile(function)
    return ast.unparse(_WithOperators().visit(copy.deepcopy(_trees[function.__code__])))


class _WithOperators(ast.NodeTransformer):
    """Puts operators in the place of calls of their hooks."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        hook = node.func
        if not (
            isinstance(hook, ast.Attribute)
            and isinstance(hook.value, ast.Name)
            and hook.value.id == HOOKS
            and hook.attr in ("operate", "compared", "sign")
        ):
            return node
        symbol, *operands = node.args
        assert isinstance(symbol, ast.Constant)
        text = str(symbol.value).join(("x ", " y") if len(operands) == 2 else ("", "x"))
        found = ast.parse(text, mode="eval").body
        if isinstance(found, ast.Compare):
            found.left, found.comparators = operands[0], operands[1:]
        elif isinstance(found, ast.BinOp):
            found.left, found.right = operands
        elif isinstance(found, ast.UnaryOp):
            found.operand = operands[0]
        return found


def _compile(function: FunctionType) -> CodeType:
    code = function.__code__
    node = function_node(code)
    if isinstance(node, ast.AsyncFunctionDef):
        raise SourceError(f"{code.co_name} is a coroutine")
    parts = function.__qualname__.split(".")
    class_name = parts[-2] if len(parts) > 1 and parts[-2] != "<locals>" else ""
    free = [name for name in code.co_freevars if name != HOOKS]
    try:
        _Mangled(class_name).visit(node)
        changed = Transformer(free).function(node)
    except RecursionError:
        raise SourceError(f"{code.co_name} is nested too deeply") from None
    name = code.co_name
    if isinstance(changed, ast.Lambda):
        made: ast.stmt = ast.Return(changed)
        body: list[ast.stmt] = [made]
    else:
        body = [changed]
    factory = ast.FunctionDef(
        "__kuai_factory",
        ast.arguments([], [ast.arg(n) for n in [HOOKS, *free]], None, [], [], None, []),
        body,
        [],
        None,
    )
    module = ast.Module([factory], [])
    ast.copy_location(factory, node)
    ast.fix_missing_locations(module)
    _trees[code] = changed
    try:
        compiled = compile(module, code.co_filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise SourceError(f"{name} cannot be rewritten: {error}") from error
    inner = _code_in(_code_in(compiled, "__kuai_factory"), name)
    return inner.replace(co_qualname=function.__qualname__)


class _Mangled(ast.NodeVisitor):
    """Gives private names (`__name`) in a method the form that the class gives them."""

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name.lstrip("_")

    def visit(self, node: ast.AST) -> None:
        """Rename what this node names, and go on below."""
        if not self.class_name or isinstance(node, ast.ClassDef):
            return
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                setattr(node, field, self._mangled(value))
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            node.names = [self._mangled(n) for n in node.names]
        self.generic_visit(node)

    def _mangled(self, name: str) -> str:
        if name.startswith("__") and not name.endswith("__") and "." not in name:
            return f"_{self.class_name}{name}"
        return name


def _code_in(code: CodeType, name: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and constant.co_name == name:
            return constant
    raise SourceError(f"{name} is not in its own source")
