"""The names of a function that is being rewritten."""

from __future__ import annotations

import ast

from kuai.compiler.rewrite import names


class Scope:
    """The names of one function, as its rewritten form needs to know them."""

    def __init__(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, outer: Scope | None
    ) -> None:
        body = node.body if isinstance(node.body, list) else [node.body]
        self.outer = outer
        self.globals = names.declared(body, ast.Global)
        self.nonlocals = names.declared(body, ast.Nonlocal)
        self.parameters = names.parameters(node.args)
        self.locals = set(self.parameters) | (names.bound(body) - self.globals - self.nonlocals)
        self.guarded: set[str] = set()  # those that a hook may set, to what is not a plain value
        self.inner_nonlocals = names.inner_nonlocals(body) & (self.locals | self.nonlocals)
        self.generator = names.yields(body)
        self.first = next(iter(self.parameters), None)
        self.comprehension: list[set[str]] = []
        self.reads = names.read(body)

    def is_guarded(self, name: str) -> bool:
        """Whether reads of the name are to be checked."""
        scope: Scope | None = self
        while scope is not None:
            if any(name in targets for targets in scope.comprehension):
                return False
            if name in scope.locals:
                return name in scope.guarded
            scope = scope.outer
        return False

    def is_local(self, name: str) -> bool:
        """Whether the name belongs to this function or to a rewritten one around it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.locals or any(name in t for t in scope.comprehension):
                return True
            if name in scope.globals:
                return False
            scope = scope.outer
        return False
