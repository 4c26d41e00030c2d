"""Short forms for the nodes of the syntax tree that rewriting makes."""

from __future__ import annotations

import ast
from typing import Any

HOOKS = "__kuai__"
"""The free variable in which rewritten code finds the hooks."""

SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}

SIGNS = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}


def binds(node: ast.AST) -> bool:
    """Whether an expression assigns variables."""
    return any(isinstance(n, ast.NamedExpr) for n in ast.walk(node))


def no_arguments() -> ast.arguments:
    """The parameters of a function without any."""
    return ast.arguments([], [], None, [], [], None, [])


def load(name: str) -> ast.Name:
    """A variable that is read."""
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    """A variable that is assigned."""
    return ast.Name(name, ast.Store())


def hook_name(name: str) -> ast.expr:
    """A hook."""
    return ast.Attribute(ast.Name(HOOKS, ast.Load()), name, ast.Load())


def hook(name: str, *arguments: ast.expr) -> ast.Call:
    """A call of a hook."""
    return ast.Call(hook_name(name), list(arguments), [])


def place(node: Any, at: ast.AST) -> Any:
    """`node`, which was made in the place of `at`: errors in it point there."""
    if "lineno" in node._attributes:
        if hasattr(node, "lineno"):  # so have those below it
            return node
        ast.copy_location(node, at)
    for child in ast.iter_child_nodes(node):
        place(child, at)
    return node
