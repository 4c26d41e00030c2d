"""Which names a piece of a function binds, reads and declares, without entering inner functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPES = (*FUNCTIONS, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def inside(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """These nodes and all below them that belong to the same function.

    Inner functions and classes come, as the statements that bind their names, without their
    bodies.
    """
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, SCOPES):
            if not isinstance(node, ast.Lambda):
                pending.extend(node.decorator_list)
            if isinstance(node, FUNCTIONS):
                pending.extend(node.args.defaults)
                pending.extend(d for d in node.args.kw_defaults if d is not None)
            continue
        pending.extend(ast.iter_child_nodes(node))


def bound(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that these nodes bind (or delete) in their function."""
    found: set[str] = set()
    hidden: list[ast.AST] = []
    for node in inside(nodes):
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((a.asname or a.name).split(".")[0] for a in node.names)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            if node.name:
                found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
        elif isinstance(node, COMPREHENSIONS):
            hidden.append(node)
    for comprehension in hidden:
        found -= comprehension_targets(comprehension) - _bound_elsewhere(nodes, comprehension)
    return found


def comprehension_targets(node: ast.AST) -> set[str]:
    """The names that a comprehension binds for itself."""
    found: set[str] = set()
    for generator in getattr(node, "generators", ()):
        for child in ast.walk(generator.target):
            if isinstance(child, ast.Name):
                found.add(child.id)
    return found


def _bound_elsewhere(nodes: Iterable[ast.AST], without: ast.AST) -> set[str]:
    found: set[str] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if isinstance(node, COMPREHENSIONS):
            for child in ast.walk(node):
                if isinstance(child, ast.NamedExpr):
                    found.add(child.target.id)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(node.id)
        if isinstance(node, SCOPES):
            if not isinstance(node, ast.Lambda):
                found.add(node.name)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((a.asname or a.name).split(".")[0] for a in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found


def read(nodes: Iterable[ast.AST]) -> list[str]:
    """The names that these nodes read, once for each place, inner functions included."""
    return [
        node.id
        for root in nodes
        for node in ast.walk(root)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    ]


def declared(nodes: Iterable[ast.AST], kind: type[ast.Global] | type[ast.Nonlocal]) -> set[str]:
    """The names that the function declares `global`, or `nonlocal`."""
    return {name for node in inside(nodes) if isinstance(node, kind) for name in node.names}


def parameters(arguments: ast.arguments) -> list[str]:
    """The names of a function's parameters."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [a.arg for a in every]


def yields(nodes: Iterable[ast.AST]) -> bool:
    """Whether the function is a generator, or a coroutine."""
    return any(
        isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith))
        for node in inside(nodes)
        if not isinstance(node, SCOPES)
    )


def inner_nonlocals(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that functions within declare `nonlocal`: a call may change them."""
    found: set[str] = set()
    for root in nodes:
        for node in ast.walk(root):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found |= declared(node.body, ast.Nonlocal)
    return found
