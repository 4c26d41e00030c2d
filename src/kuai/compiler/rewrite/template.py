"""The rewritten form of a function as code: its source is parsed, rewritten, and compiled."""

from __future__ import annotations

import ast
import copy
from types import CodeType, FunctionType

from kuai.compiler.rewrite.functions import SourceError
from kuai.compiler.rewrite.nodes import HOOKS
from kuai.compiler.rewrite.source import function_node
from kuai.compiler.rewrite.transform import Transformer

_trees: dict[CodeType, ast.AST] = {}


def rewritten_text(function: FunctionType) -> str:
    """The rewritten form of a function as Python, in which operators look like operators."""
    if function.__code__ not in _trees:
        template(function)
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


def template(function: FunctionType) -> CodeType:
    """The code of a function's rewritten form, with the hooks as its first free variable.

    Raises:
        SourceError: its source is not available.
    """
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
