"""The rewriting of expressions: reads, operators, calls and conditions become calls of hooks.

What Python may skip (the second operand of `and`, a branch of a conditional expression) becomes a
function of its own, over the variables of the function around it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from kuai.compiler.rewrite import names
from kuai.compiler.rewrite.nodes import (
    HOOKS,
    SIGNS,
    SYMBOLS,
    binds,
    hook,
    hook_name,
    load,
    no_arguments,
    place,
    store,
)

_KEPT_CALLS = {"locals", "globals", "vars", "dir", "eval", "exec", "breakpoint", "__import__"}


class Expressions(ast.NodeTransformer):
    """Rewrites the expressions of one function.

    Args:
        free: the names of the variables that the function takes from the functions around it.
    """

    def __init__(self, free: Sequence[str]) -> None:
        self.free = set(free)
        self.scope: Any = None  # the innermost `Scope`
        self._count = 0
        self._static = False
        # Inner functions that the statement being rewritten needs before it; None where there
        # is no such place, as in a lambda.
        self._pending: list[ast.stmt] | None = None

    # -- expressions ------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> Any:
        if not isinstance(node.ctx, ast.Load) or node.id == HOOKS:
            return node
        scope = self.scope
        if scope.is_local(node.id):
            if scope.is_guarded(node.id):
                return place(hook("load", node, ast.Constant(node.id)), node)
            return node
        if node.id.startswith("__kuai_"):
            return node  # a parameter that the rewriting has made
        if node.id in self.free and node.id not in scope.globals:
            if node.id == "__class__":
                return node
            return place(hook("cell", node, ast.Constant(node.id)), node)
        return place(hook("global_", ast.Constant(node.id)), node)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        value = self.visit(node.value)
        return place(hook("attribute", value, ast.Constant(node.attr)), node)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return place(hook("item", self.visit(node.value), self._index(node.slice)), node)

    def _index(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Slice):
            parts = [
                ast.Constant(None) if p is None else self.visit(p)
                for p in (node.lower, node.upper, node.step)
            ]
            return place(hook("slice", *parts), node)
        if isinstance(node, ast.Tuple):
            node.elts = [self._index(e) for e in node.elts]
            return node
        return self.visit(node)

    def visit_Call(self, node: ast.Call) -> Any:
        function = node.func
        if isinstance(function, ast.Name) and not self.scope.is_local(function.id):
            if function.id == "super" and not node.args and self.scope.first is not None:
                outermost = self.scope
                while outermost.outer is not None and "__class__" not in outermost.locals:
                    outermost = outermost.outer
                first = load(self.scope.first)
                call = ast.Call(load("super"), [load("__class__"), first], [])
                return place(call, node)
            if function.id in _KEPT_CALLS and not node.args:
                return place(hook("namespace", node), node)
        arguments = [
            ast.Starred(hook("iterate", self.visit(a.value)), ast.Load())
            if isinstance(a, ast.Starred)
            else self.visit(a)
            for a in node.args
        ]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        for old, new in zip(node.keywords, keywords, strict=True):
            ast.copy_location(new, old)
            if new.arg is None:
                new.value = hook("mapping", new.value)
        call = ast.Call(hook_name("call"), [self.visit(function), *arguments], keywords)
        return place(call, node)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        return self._chain(node, "and_" if isinstance(node.op, ast.And) else "or_", self.visit)

    def _chain(self, node: ast.BoolOp, name: str, visit: Callable[[Any], Any]) -> Any:
        """`and` and `or`, with operands that are computed only where Python would."""
        if not self._can_defer(node):
            return self.generic_visit(node)
        state = self._assigned_within(node)
        thunks = [self._thunk(v, visit) for v in node.values]
        return place(hook(name, state, *thunks), node)

    def _condition(self, node: ast.expr) -> ast.expr:
        """An expression of which only the truth matters."""
        if isinstance(node, ast.BoolOp):
            name = "all_" if isinstance(node.op, ast.And) else "any_"
            return self._chain(node, name, self._condition)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return place(hook("not_", self._condition(node.operand)), node)
        return self.visit(node)

    def _can_defer(self, node: ast.AST) -> bool:
        """Whether parts of an expression can become functions of their own."""
        kinds = {type(n) for n in ast.walk(node)}
        if kinds & {ast.Yield, ast.YieldFrom, ast.Await}:
            return False
        return ast.NamedExpr not in kinds or self._pending is not None

    def _assigned_within(self, node: ast.AST) -> ast.expr:
        """Access to the variables that an expression assigns; None where it assigns none."""
        assigned = self._variables([node]) if binds(node) else []
        if not assigned:
            return ast.Constant(None)
        functions, state = self._state(assigned)
        assert self._pending is not None
        self._pending += functions
        return ast.Tuple(state, ast.Load())

    def _thunk(self, node: ast.expr, visit: Callable[[Any], Any]) -> ast.expr:
        """A function without arguments that computes an expression."""
        if not binds(node):
            return ast.Lambda(no_arguments(), visit(node))
        assert self._pending is not None
        name = self._fresh("thunk")
        assigned = self._variables([node])
        outer, self._pending = self._pending, []
        value = visit(node)
        inner, self._pending = self._pending, outer
        self._pending.append(self._closure(name, [*inner, ast.Return(value)], assigned))
        return load(name)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return place(hook("not_", operand), node)
        if isinstance(node.operand, ast.Constant):
            return node
        return place(hook("sign", ast.Constant(SIGNS[type(node.op)]), operand), node)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        if isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            return node
        symbol = ast.Constant(SYMBOLS[type(node.op)])
        left, right = self.visit(node.left), self.visit(node.right)
        return place(hook("operate", symbol, left, right), node)

    def visit_Compare(self, node: ast.Compare) -> Any:
        operators = [SYMBOLS[type(op)] for op in node.ops]
        if len(operators) == 1 and operators[0] not in ("in", "not in"):
            left, right = self.visit(node.left), self.visit(node.comparators[0])
            return place(hook("compared", ast.Constant(operators[0]), left, right), node)
        if not self._can_defer(node):
            return self.generic_visit(node)
        parts: list[ast.expr] = []
        state = self._assigned_within(node)
        left = self.visit(node.left)
        for symbol, operand in zip(operators, node.comparators, strict=True):
            parts.append(ast.Constant(symbol))
            parts.append(self._thunk(operand, self.visit))
        return place(hook("compare", state, left, *parts), node)

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        if not self._can_defer(node):
            node.test = place(hook("truth", self.visit(node.test)), node)
            node.body = self.visit(node.body)
            node.orelse = self.visit(node.orelse)
            return node
        state = self._assigned_within(node)
        test = self._condition(node.test)
        then, orelse = self._thunk(node.body, self.visit), self._thunk(node.orelse, self.visit)
        return place(hook("if_expression", state, test, then, orelse), node)

    def _comprehension(self, node: Any) -> Any:
        first = node.generators[0]
        first.iter = place(hook("iterate", self.visit(first.iter)), first.iter)
        self.scope.comprehension.append(names.comprehension_targets(node))
        pending, self._pending = self._pending, None
        for i, generator in enumerate(node.generators):
            if i:
                generator.iter = place(hook("iterate", self.visit(generator.iter)), node)
            generator.ifs = [place(hook("truth", self.visit(c)), c) for c in generator.ifs]
        for field in ("elt", "key", "value"):
            if hasattr(node, field):
                setattr(node, field, self.visit(getattr(node, field)))
        self.scope.comprehension.pop()
        self._pending = pending
        return place(hook("made", node), node)

    def visit_ListComp(self, node: ast.ListComp) -> Any:
        return self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> Any:
        return self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> Any:
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> Any:
        return self._comprehension(node)

    def _display(self, node: Any) -> Any:
        if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
            return self.generic_visit(node)
        node = self.generic_visit(node)
        return place(hook("made", node), node)

    def visit_List(self, node: ast.List) -> Any:
        return self._display(node)

    def visit_Set(self, node: ast.Set) -> Any:
        return self._display(node)

    def visit_Dict(self, node: ast.Dict) -> Any:
        self.generic_visit(node)
        for i, key in enumerate(node.keys):
            if key is None:
                node.values[i] = place(hook("mapping", node.values[i]), node)
        return place(hook("made", node), node)

    def visit_Starred(self, node: ast.Starred) -> Any:
        if isinstance(node.ctx, ast.Load):
            node.value = place(hook("iterate", self.visit(node.value)), node)
            return node
        return self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> Any:
        node.value = place(hook("text", self.visit(node.value)), node)
        if node.format_spec is not None:
            node.format_spec = self.visit(node.format_spec)
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Any:
        node.value = self.visit(node.value)
        return node

    # -- functions within the function ------------------------------------------------------

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"__kuai_{stem}_{self._count}"

    def _closure(
        self, name: str, body: list[ast.stmt], assigned: list[str], parameter: str | None = None
    ) -> ast.stmt:
        """`body` as an inner function over the variables of this one."""
        scope = self.scope
        start: list[ast.stmt] = []
        shared = [n for n in assigned if n not in scope.globals]
        if shared:
            start.append(ast.Nonlocal(shared))
        outer = sorted((names.bound(body) | set(assigned)) & scope.globals)
        if outer:
            start.append(ast.Global(outer))
        arguments = no_arguments()
        if parameter is not None:
            arguments.args = [ast.arg(parameter)]
        return ast.FunctionDef(name, arguments, start + body, [], None)

    def _variables(self, nodes: Sequence[ast.AST]) -> list[str]:
        scope = self.scope
        found = names.bound(nodes) - scope.globals
        return sorted((found | scope.inner_nonlocals) & (scope.locals | scope.nonlocals))

    def _state(self, assigned: list[str]) -> tuple[list[ast.stmt], list[ast.expr]]:
        """Functions that read and write the variables, and the arguments that pass them on."""
        get, put = self._fresh("get"), self._fresh("set")
        thunks: list[ast.expr] = [ast.Lambda(no_arguments(), load(n)) for n in assigned]
        reader = ast.FunctionDef(
            get, no_arguments(), [ast.Return(hook("state", *thunks))], [], None
        )
        target = ast.Tuple([store(n) for n in assigned], ast.Store())
        values = "__kuai_values"
        statements: list[ast.stmt] = [ast.Pass()]
        if assigned:
            statements = [
                ast.Nonlocal(list(assigned)),
                ast.Assign([target], load(values)),
            ]
        arguments = no_arguments()
        arguments.args = [ast.arg(values)]
        writer = ast.FunctionDef(put, arguments, statements, [], None)
        texts: list[ast.expr] = [ast.Constant(n) for n in assigned]
        return [reader, writer], [load(get), load(put), ast.Tuple(texts, ast.Load())]

    def _temporaries(self, assigned: list[str], nodes: Sequence[ast.AST]) -> ast.expr:
        """Those of the variables that nothing outside these nodes reads."""
        here = names.read(nodes)
        found: list[ast.expr] = [
            ast.Constant(n)
            for n in assigned
            if n in self.scope.locals
            and n not in self.scope.inner_nonlocals
            and self.scope.reads.count(n) == here.count(n)
            and not n.startswith("__kuai")
        ]
        return ast.Tuple(found, ast.Load())
