"""The rewriting itself: statements and expressions become calls of hooks.

The hooks are the methods of `kuai.compiler.capture.hooks.Hooks`; rewritten code finds them in the
free variable `__kuai__`. A block under a condition becomes an inner function over the same
variables, so that the hook may run it once, many times, or only to see what it would do.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from kuai.compiler.rewrite import names
from kuai.compiler.rewrite.exits import STOP, Exits

HOOKS = "__kuai__"

_SYMBOLS: dict[type[ast.AST], str] = {
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

_SIGNS = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}
_KEPT_CALLS = {"locals", "globals", "vars", "dir", "eval", "exec", "breakpoint", "__import__"}


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


class Transformer(ast.NodeTransformer):
    """Rewrites one function and those defined in it.

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

    # -- functions --------------------------------------------------------------------------

    def function(self, node: ast.FunctionDef | ast.Lambda) -> ast.FunctionDef | ast.Lambda:
        """The rewritten form of a definition."""
        outer, static, pending = self.scope, self._static, self._pending
        scope = self.scope = Scope(node, outer)
        self._static = scope.generator
        if isinstance(node, ast.Lambda):
            self._pending = None
            body: Any = self.visit(node.body)
            result: Any = ast.Lambda(self._plain(node.args, outer), body)
        else:
            exits = Exits()
            statements = node.body
            if not self._static:
                statements = exits.function(node.body)
            scope.locals |= exits.flags
            self._find_guarded(statements, scope)
            changed = self._statements(statements)
            hidden = sorted(scope.locals - set(scope.parameters))
            declarations: list[ast.stmt] = [
                ast.AnnAssign(ast.Name(n, ast.Store()), ast.Constant(0), None, 1) for n in hidden
            ]
            declared: list[ast.stmt] = []
            if scope.globals:
                declared.append(ast.Global(sorted(scope.globals)))
            if scope.nonlocals:
                shared = sorted(scope.nonlocals)
                declared.append(ast.Nonlocal(shared))
                thunks: list[ast.expr] = [
                    ast.Lambda(_no_arguments(), _load(n)) for n in shared if n not in self.free
                ]
                if thunks:
                    declared.append(ast.Expr(_hook("shares", *thunks)))
            result = ast.FunctionDef(
                node.name,
                self._plain(node.args, outer),
                [*declared, *declarations, *changed],
                [],
                None,
            )
        ast.copy_location(result, node)
        ast.fix_missing_locations(result)
        self.scope, self._static, self._pending = outer, static, pending
        return result

    def _plain(self, arguments: ast.arguments, outer: Scope | None) -> ast.arguments:
        """Parameters without annotations; defaults belong to the scope around."""

        def plain(a: ast.arg) -> ast.arg:
            return ast.copy_location(ast.arg(a.arg), a)

        inner, self.scope = self.scope, outer
        defaults = [self._default(d) for d in arguments.defaults]
        kw_defaults = [None if d is None else self._default(d) for d in arguments.kw_defaults]
        self.scope = inner
        return ast.arguments(
            posonlyargs=[plain(a) for a in arguments.posonlyargs],
            args=[plain(a) for a in arguments.args],
            vararg=None if arguments.vararg is None else plain(arguments.vararg),
            kwonlyargs=[plain(a) for a in arguments.kwonlyargs],
            kw_defaults=kw_defaults,
            kwarg=None if arguments.kwarg is None else plain(arguments.kwarg),
            defaults=defaults,
        )

    def _default(self, node: ast.expr) -> Any:
        if self.scope is None:
            return ast.copy_location(ast.Constant(None), node)  # given to the function object
        return self.visit(node)

    def _find_guarded(self, statements: Sequence[ast.stmt], scope: Scope) -> None:
        if self._static:
            return
        for node in names.inside(statements):
            if isinstance(node, (ast.If, ast.While)):
                scope.guarded |= names.bound([*node.body, *node.orelse])
            elif isinstance(node, ast.For):
                scope.guarded |= names.bound([node.target, *node.body])
            elif isinstance(node, (ast.BoolOp, ast.IfExp, ast.Compare)):
                scope.guarded |= names.bound([node])
        scope.guarded |= scope.inner_nonlocals
        scope.guarded &= scope.locals

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        decorators = [self.visit(d) for d in node.decorator_list]
        result: Any = self.function(node)
        result.decorator_list = decorators
        return result

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return self.function(node)

    # -- blocks -----------------------------------------------------------------------------

    def _statements(self, nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for node in nodes:
            outer, self._pending = self._pending, None if self._static else []
            changed = self.visit(node)
            before, self._pending = self._pending or [], outer
            result.extend(self._placed(before, node))
            if isinstance(changed, list):
                result.extend(changed)
            elif changed is not None:
                result.append(changed)
        return result or [ast.Pass()]

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
        arguments = _no_arguments()
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
        thunks: list[ast.expr] = [ast.Lambda(_no_arguments(), _load(n)) for n in assigned]
        reader = ast.FunctionDef(
            get, _no_arguments(), [ast.Return(_hook("state", *thunks))], [], None
        )
        target = ast.Tuple([_store(n) for n in assigned], ast.Store())
        values = "__kuai_values"
        statements: list[ast.stmt] = [ast.Pass()]
        if assigned:
            statements = [
                ast.Nonlocal(list(assigned)),
                ast.Assign([target], _load(values)),
            ]
        arguments = _no_arguments()
        arguments.args = [ast.arg(values)]
        writer = ast.FunctionDef(put, arguments, statements, [], None)
        texts: list[ast.expr] = [ast.Constant(n) for n in assigned]
        return [reader, writer], [_load(get), _load(put), ast.Tuple(texts, ast.Load())]

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

    # -- statements -------------------------------------------------------------------------

    def visit_If(self, node: ast.If) -> Any:
        if self._static:
            return self._inline(node)
        returning = any(isinstance(n, ast.Return) for n in names.inside([*node.body, *node.orelse]))
        assigned = self._variables([*node.body, *node.orelse])
        then, orelse = self._fresh("then"), self._fresh("else")
        functions, state = self._state(assigned)
        test = self._condition(node.test)
        body = [
            self._closure(then, self._statements(node.body), assigned),
            self._closure(orelse, self._statements(node.orelse), assigned),
            *functions,
        ]
        call = _hook("if_", test, _load(then), _load(orelse), *state)
        body.append(ast.Return(call) if returning else ast.Expr(call))
        return self._placed(body, node)

    def visit_While(self, node: ast.While) -> Any:
        if self._static:
            return self._inline(node)
        assigned = self._variables([node.test, *node.body])
        test, loop = self._fresh("test"), self._fresh("body")
        functions, state = self._state(assigned)
        outer, self._pending = self._pending, []
        condition = self._condition(node.test)
        before, self._pending = self._pending, outer
        body = [
            self._closure(test, [*before, ast.Return(condition)], assigned),
            self._closure(loop, self._statements(node.body), assigned),
            *functions,
        ]
        temporaries = self._temporaries(assigned, [node])
        call = _hook("while_", _load(test), _load(loop), *state, temporaries)
        return self._placed([*body, ast.Expr(call)], node)

    def visit_For(self, node: ast.For) -> Any:
        if self._static:
            return self._inline(node)
        assigned = self._variables([node.target, *node.body])
        loop, item = self._fresh("body"), "__kuai_item"
        functions, state = self._state(assigned)
        iterable = self.visit(node.iter)
        bind = ast.copy_location(ast.Assign([node.target], _load(item)), node)
        ast.fix_missing_locations(bind)
        statements = self._statements([bind, *node.body])
        body = [self._closure(loop, statements, assigned, item), *functions]
        stop = getattr(node, STOP, None)
        goes_on: ast.expr = ast.Constant(None)
        if stop is not None:
            goes_on = ast.Lambda(_no_arguments(), self._condition(stop))
        temporaries = self._temporaries(assigned, [node])
        call = _hook("for_", iterable, _load(loop), goes_on, *state, temporaries)
        return self._placed([*body, ast.Expr(call)], node)

    def _placed(self, body: list[ast.stmt], node: ast.stmt) -> list[ast.stmt]:
        for statement in body:
            _place(statement, node)
        return body

    def _inline(self, node: Any) -> Any:
        """A statement of a generator: it stays; what it computes goes through hooks."""
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        message = ast.Constant(None) if node.msg is None else self.visit(node.msg)
        thunk = ast.Lambda(_no_arguments(), message)
        return _place(ast.Expr(_hook("assert_", self._condition(node.test), thunk)), node)

    def visit_Try(self, node: ast.Try) -> Any:
        for handler in node.handlers:
            if handler.type is not None:
                handler.type = self.visit(handler.type)
            handler.body = [
                _place(ast.Expr(_hook("caught")), handler),
                *self._statements(handler.body),
            ]
        node.body = self._statements(node.body)
        if node.handlers:
            within: ast.stmt = ast.With([ast.withitem(_hook("trying"), None)], node.body)
            node.body = [_place(within, node)]
        node.orelse = self._statements(node.orelse) if node.orelse else []
        node.finalbody = self._statements(node.finalbody) if node.finalbody else []
        return node

    def visit_With(self, node: ast.With) -> Any:
        after: list[ast.stmt] = []
        for item in node.items:
            item.context_expr = _place(
                _hook("context", self.visit(item.context_expr)), item.context_expr
            )
            if item.optional_vars is not None:
                item.optional_vars = self._target(item.optional_vars, after)
        node.body = [*self._statements(after), *self._statements(node.body)]
        return node

    def visit_Match(self, node: ast.Match) -> Any:
        node.subject = self.visit(node.subject)
        for case in node.cases:
            if case.guard is not None:
                case.guard = _hook("truth", self.visit(case.guard))
            case.body = self._statements(case.body)
        return node

    # -- assignments ------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> Any:
        value = self.visit(node.value)
        plain = all(isinstance(t, ast.Name) for t in node.targets)
        if any(isinstance(t, (ast.Tuple, ast.List)) for t in node.targets):
            value = _hook("iterate", value)
        result: list[ast.stmt] = self._outer_assignments(node.targets)
        if plain:
            node.value = value
            return [*result, node]
        if len(node.targets) > 1 or isinstance(node.targets[0], (ast.Tuple, ast.List)):
            after: list[ast.stmt] = []
            targets = [self._target(t, after) for t in node.targets]
            assign = ast.Assign(targets, value)
            return self._placed([*result, assign, *self._statements(after)], node)
        return _place(ast.Expr(self._stored(node.targets[0], value)), node)

    def _target(self, target: ast.expr, after: list[ast.stmt]) -> ast.expr:
        """A target made of names; assignments from these to the real places come `after`."""
        if isinstance(target, (ast.Tuple, ast.List)):
            target.elts = [self._target(t, after) for t in target.elts]
            return target
        if isinstance(target, ast.Starred):
            target.value = self._target(target.value, after)
            return target
        if isinstance(target, ast.Name):
            return target
        name = self._fresh("part")
        self.scope.locals.add(name)
        assign = ast.Assign([target], ast.Name(name, ast.Load()))
        after.append(_place(assign, target))
        return ast.copy_location(ast.Name(name, ast.Store()), target)

    def _stored(self, target: ast.expr, value: ast.expr) -> ast.expr:
        if isinstance(target, ast.Attribute):
            name = ast.Constant(target.attr)
            return _hook("set_attribute", self.visit(target.value), name, value)
        assert isinstance(target, ast.Subscript)
        return _hook("set_item", self.visit(target.value), self._index(target.slice), value)

    def _outer_assignments(self, targets: Sequence[ast.expr]) -> list[ast.stmt]:
        """Refusals of assignments that would be seen outside the compiled function."""
        scope = self.scope
        outer = scope.globals | (scope.nonlocals & self.free)
        found = sorted(names.bound(targets) & outer)
        return [ast.Expr(_hook("assigns_outside", ast.Constant(name))) for name in found]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        symbol = ast.Constant(_SYMBOLS[type(node.op)])
        value = self.visit(node.value)
        target = node.target
        if isinstance(target, ast.Name):
            have = self.visit(ast.copy_location(ast.Name(target.id, ast.Load()), target))
            assign: ast.stmt = ast.Assign([target], _hook("augment", symbol, have, value))
            return self._placed([*self._outer_assignments([target]), assign], node)
        owner = self.visit(target.value)
        if isinstance(target, ast.Attribute):
            name = ast.Constant(target.attr)
            call = _hook("augment_attribute", symbol, owner, name, value)
        else:
            call = _hook("augment_item", symbol, owner, self._index(target.slice), value)
        return _place(ast.Expr(call), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return ast.Pass()
        return self.visit_Assign(_place(ast.Assign([node.target], node.value), node))

    def visit_Delete(self, node: ast.Delete) -> Any:
        result: list[ast.stmt] = []
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                name = ast.Constant(target.attr)
                call = _hook("delete_attribute", self.visit(target.value), name)
                result.append(ast.Expr(call))
            elif isinstance(target, ast.Subscript):
                call = _hook("delete_item", self.visit(target.value), self._index(target.slice))
                result.append(ast.Expr(call))
            else:
                result.append(ast.Delete([target]))
        return self._placed(result, node)

    # -- expressions ------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> Any:
        if not isinstance(node.ctx, ast.Load) or node.id == HOOKS:
            return node
        scope = self.scope
        if scope.is_local(node.id):
            if scope.is_guarded(node.id):
                return _place(_hook("load", node, ast.Constant(node.id)), node)
            return node
        if node.id.startswith("__kuai_"):
            return node  # a parameter that the rewriting has made
        if node.id in self.free and node.id not in scope.globals:
            if node.id == "__class__":
                return node
            return _place(_hook("cell", node, ast.Constant(node.id)), node)
        return _place(_hook("global_", ast.Constant(node.id)), node)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        value = self.visit(node.value)
        return _place(_hook("attribute", value, ast.Constant(node.attr)), node)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return _place(_hook("item", self.visit(node.value), self._index(node.slice)), node)

    def _index(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Slice):
            parts = [
                ast.Constant(None) if p is None else self.visit(p)
                for p in (node.lower, node.upper, node.step)
            ]
            return _place(_hook("slice", *parts), node)
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
                first = _load(self.scope.first)
                call = ast.Call(_load("super"), [_load("__class__"), first], [])
                return _place(call, node)
            if function.id in _KEPT_CALLS and not node.args:
                return _place(_hook("namespace", node), node)
        arguments = [
            ast.Starred(_hook("iterate", self.visit(a.value)), ast.Load())
            if isinstance(a, ast.Starred)
            else self.visit(a)
            for a in node.args
        ]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        for old, new in zip(node.keywords, keywords, strict=True):
            ast.copy_location(new, old)
            if new.arg is None:
                new.value = _hook("mapping", new.value)
        call = ast.Call(_hook_name("call"), [self.visit(function), *arguments], keywords)
        return _place(call, node)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        return self._chain(node, "and_" if isinstance(node.op, ast.And) else "or_", self.visit)

    def _chain(self, node: ast.BoolOp, hook: str, visit: Callable[[Any], Any]) -> Any:
        """`and` and `or`, with operands that are computed only where Python would."""
        if not self._can_defer(node):
            return self.generic_visit(node)
        state = self._assigned_within(node)
        thunks = [self._thunk(v, visit) for v in node.values]
        return _place(_hook(hook, state, *thunks), node)

    def _condition(self, node: ast.expr) -> ast.expr:
        """An expression of which only the truth matters."""
        if isinstance(node, ast.BoolOp):
            name = "all_" if isinstance(node.op, ast.And) else "any_"
            return self._chain(node, name, self._condition)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _place(_hook("not_", self._condition(node.operand)), node)
        return self.visit(node)

    def _can_defer(self, node: ast.AST) -> bool:
        """Whether parts of an expression can become functions of their own."""
        kinds = {type(n) for n in ast.walk(node)}
        if kinds & {ast.Yield, ast.YieldFrom, ast.Await}:
            return False
        return ast.NamedExpr not in kinds or self._pending is not None

    def _assigned_within(self, node: ast.AST) -> ast.expr:
        """Access to the variables that an expression assigns; None where it assigns none."""
        assigned = self._variables([node]) if _binds(node) else []
        if not assigned:
            return ast.Constant(None)
        functions, state = self._state(assigned)
        assert self._pending is not None
        self._pending += functions
        return ast.Tuple(state, ast.Load())

    def _thunk(self, node: ast.expr, visit: Callable[[Any], Any]) -> ast.expr:
        """A function without arguments that computes an expression."""
        if not _binds(node):
            return ast.Lambda(_no_arguments(), visit(node))
        assert self._pending is not None
        name = self._fresh("thunk")
        assigned = self._variables([node])
        outer, self._pending = self._pending, []
        value = visit(node)
        inner, self._pending = self._pending, outer
        self._pending.append(self._closure(name, [*inner, ast.Return(value)], assigned))
        return _load(name)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return _place(_hook("not_", operand), node)
        if isinstance(node.operand, ast.Constant):
            return node
        return _place(_hook("sign", ast.Constant(_SIGNS[type(node.op)]), operand), node)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        if isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            return node
        symbol = ast.Constant(_SYMBOLS[type(node.op)])
        left, right = self.visit(node.left), self.visit(node.right)
        return _place(_hook("operate", symbol, left, right), node)

    def visit_Compare(self, node: ast.Compare) -> Any:
        operators = [_SYMBOLS[type(op)] for op in node.ops]
        if len(operators) == 1 and operators[0] not in ("in", "not in"):
            left, right = self.visit(node.left), self.visit(node.comparators[0])
            return _place(_hook("compared", ast.Constant(operators[0]), left, right), node)
        if not self._can_defer(node):
            return self.generic_visit(node)
        parts: list[ast.expr] = []
        state = self._assigned_within(node)
        left = self.visit(node.left)
        for symbol, operand in zip(operators, node.comparators, strict=True):
            parts.append(ast.Constant(symbol))
            parts.append(self._thunk(operand, self.visit))
        return _place(_hook("compare", state, left, *parts), node)

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        if not self._can_defer(node):
            node.test = _place(_hook("truth", self.visit(node.test)), node)
            node.body = self.visit(node.body)
            node.orelse = self.visit(node.orelse)
            return node
        state = self._assigned_within(node)
        test = self._condition(node.test)
        then, orelse = self._thunk(node.body, self.visit), self._thunk(node.orelse, self.visit)
        return _place(_hook("if_expression", state, test, then, orelse), node)

    def _comprehension(self, node: Any) -> Any:
        first = node.generators[0]
        first.iter = _place(_hook("iterate", self.visit(first.iter)), first.iter)
        self.scope.comprehension.append(names.comprehension_targets(node))
        pending, self._pending = self._pending, None
        for i, generator in enumerate(node.generators):
            if i:
                generator.iter = _place(_hook("iterate", self.visit(generator.iter)), node)
            generator.ifs = [_place(_hook("truth", self.visit(c)), c) for c in generator.ifs]
        for field in ("elt", "key", "value"):
            if hasattr(node, field):
                setattr(node, field, self.visit(getattr(node, field)))
        self.scope.comprehension.pop()
        self._pending = pending
        return _place(_hook("made", node), node)

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
        return _place(_hook("made", node), node)

    def visit_List(self, node: ast.List) -> Any:
        return self._display(node)

    def visit_Set(self, node: ast.Set) -> Any:
        return self._display(node)

    def visit_Dict(self, node: ast.Dict) -> Any:
        self.generic_visit(node)
        for place, key in enumerate(node.keys):
            if key is None:
                node.values[place] = _place(_hook("mapping", node.values[place]), node)
        return _place(_hook("made", node), node)

    def visit_Starred(self, node: ast.Starred) -> Any:
        if isinstance(node.ctx, ast.Load):
            node.value = _place(_hook("iterate", self.visit(node.value)), node)
            return node
        return self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> Any:
        node.value = _place(_hook("text", self.visit(node.value)), node)
        if node.format_spec is not None:
            node.format_spec = self.visit(node.format_spec)
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Any:
        node.value = self.visit(node.value)
        return node


def _binds(node: ast.AST) -> bool:
    return any(isinstance(n, ast.NamedExpr) for n in ast.walk(node))


def _no_arguments() -> ast.arguments:
    return ast.arguments([], [], None, [], [], None, [])


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _hook_name(name: str) -> ast.expr:
    return ast.Attribute(ast.Name(HOOKS, ast.Load()), name, ast.Load())


def _hook(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_hook_name(name), list(arguments), [])


def _place(node: Any, at: ast.AST) -> Any:
    """`node`, which was made in the place of `at`: errors in it point there."""
    if "lineno" in node._attributes:
        if hasattr(node, "lineno"):  # so have those below it
            return node
        ast.copy_location(node, at)
    for child in ast.iter_child_nodes(node):
        _place(child, at)
    return node
