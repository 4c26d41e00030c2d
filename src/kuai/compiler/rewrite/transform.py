"""The rewriting itself: statements and expressions become calls of hooks.

The hooks are the methods of `kuai.compiler.capture.hooks.Hooks`; rewritten code finds them in the
free variable `__kuai__`. A block under a condition becomes an inner function over the same
variables, so that the hook may run it once, many times, or only to see what it would do.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import Any

from kuai.compiler.rewrite import names
from kuai.compiler.rewrite.exits import STOP, Exits
from kuai.compiler.rewrite.expressions import Expressions
from kuai.compiler.rewrite.nodes import (
    SYMBOLS,
    hook,
    load,
    no_arguments,
    place,
)
from kuai.compiler.rewrite.scope import Scope


class Transformer(Expressions):
    """Rewrites one function and those defined in it.

    Args:
        free: the names of the variables that the function takes from the functions around it.
    """

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
                    ast.Lambda(no_arguments(), load(n)) for n in shared if n not in self.free
                ]
                if thunks:
                    declared.append(ast.Expr(hook("shares", *thunks)))
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
        call = hook("if_", test, load(then), load(orelse), *state)
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
        call = hook("while_", load(test), load(loop), *state, temporaries)
        return self._placed([*body, ast.Expr(call)], node)

    def visit_For(self, node: ast.For) -> Any:
        if self._static:
            return self._inline(node)
        assigned = self._variables([node.target, *node.body])
        loop, item = self._fresh("body"), "__kuai_item"
        functions, state = self._state(assigned)
        iterable = self.visit(node.iter)
        bind = ast.copy_location(ast.Assign([node.target], load(item)), node)
        ast.fix_missing_locations(bind)
        statements = self._statements([bind, *node.body])
        body = [self._closure(loop, statements, assigned, item), *functions]
        stop = getattr(node, STOP, None)
        goes_on: ast.expr = ast.Constant(None)
        if stop is not None:
            goes_on = ast.Lambda(no_arguments(), self._condition(stop))
        temporaries = self._temporaries(assigned, [node])
        call = hook("for_", iterable, load(loop), goes_on, *state, temporaries)
        return self._placed([*body, ast.Expr(call)], node)

    def _placed(self, body: list[ast.stmt], node: ast.stmt) -> list[ast.stmt]:
        for statement in body:
            place(statement, node)
        return body

    def _inline(self, node: Any) -> Any:
        """A statement of a generator: it stays; what it computes goes through hooks."""
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        message = ast.Constant(None) if node.msg is None else self.visit(node.msg)
        thunk = ast.Lambda(no_arguments(), message)
        return place(ast.Expr(hook("assert_", self._condition(node.test), thunk)), node)

    def visit_Try(self, node: ast.Try) -> Any:
        kinds: list[ast.expr] = []
        for handler in node.handlers:
            if handler.type is not None:
                handler.type = self.visit(handler.type)
            caught = handler.type or ast.Name("BaseException", ast.Load())
            kinds.append(ast.Lambda(no_arguments(), copy.deepcopy(caught)))
            handler.body = [
                place(ast.Expr(hook("caught")), handler),
                *self._statements(handler.body),
            ]
        node.body = self._statements(node.body)
        if node.handlers:
            within: ast.stmt = ast.With([ast.withitem(hook("trying", *kinds), None)], node.body)
            node.body = [place(within, node)]
        node.orelse = self._statements(node.orelse) if node.orelse else []
        node.finalbody = self._statements(node.finalbody) if node.finalbody else []
        return node

    def visit_With(self, node: ast.With) -> Any:
        after: list[ast.stmt] = []
        for item in node.items:
            item.context_expr = place(
                hook("context", self.visit(item.context_expr)), item.context_expr
            )
            if item.optional_vars is not None:
                item.optional_vars = self._target(item.optional_vars, after)
        node.body = [*self._statements(after), *self._statements(node.body)]
        return node

    def visit_Match(self, node: ast.Match) -> Any:
        node.subject = self.visit(node.subject)
        for case in node.cases:
            if case.guard is not None:
                case.guard = hook("truth", self.visit(case.guard))
            case.body = self._statements(case.body)
        return node

    # -- assignments ------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> Any:
        value = self.visit(node.value)
        plain = all(isinstance(t, ast.Name) for t in node.targets)
        if any(isinstance(t, (ast.Tuple, ast.List)) for t in node.targets):
            value = hook("iterate", value)
        result: list[ast.stmt] = self._outer_assignments(node.targets)
        if plain:
            node.value = value
            return [*result, node]
        if len(node.targets) > 1 or isinstance(node.targets[0], (ast.Tuple, ast.List)):
            after: list[ast.stmt] = []
            targets = [self._target(t, after) for t in node.targets]
            assign = ast.Assign(targets, value)
            return self._placed([*result, assign, *self._statements(after)], node)
        return place(ast.Expr(self._stored(node.targets[0], value)), node)

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
        after.append(place(assign, target))
        return ast.copy_location(ast.Name(name, ast.Store()), target)

    def _stored(self, target: ast.expr, value: ast.expr) -> ast.expr:
        if isinstance(target, ast.Attribute):
            name = ast.Constant(target.attr)
            return hook("set_attribute", self.visit(target.value), name, value)
        assert isinstance(target, ast.Subscript)
        return hook("set_item", self.visit(target.value), self._index(target.slice), value)

    def _outer_assignments(self, targets: Sequence[ast.expr]) -> list[ast.stmt]:
        """Refusals of assignments that would be seen outside the compiled function."""
        scope = self.scope
        outer = scope.globals | (scope.nonlocals & self.free)
        found = sorted(names.bound(targets) & outer)
        return [ast.Expr(hook("assigns_outside", ast.Constant(name))) for name in found]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        symbol = ast.Constant(SYMBOLS[type(node.op)])
        value = self.visit(node.value)
        target = node.target
        if isinstance(target, ast.Name):
            have = self.visit(ast.copy_location(ast.Name(target.id, ast.Load()), target))
            assign: ast.stmt = ast.Assign([target], hook("augment", symbol, have, value))
            return self._placed([*self._outer_assignments([target]), assign], node)
        owner = self.visit(target.value)
        if isinstance(target, ast.Attribute):
            name = ast.Constant(target.attr)
            call = hook("augment_attribute", symbol, owner, name, value)
        else:
            call = hook("augment_item", symbol, owner, self._index(target.slice), value)
        return place(ast.Expr(call), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return ast.Pass()
        return self.visit_Assign(place(ast.Assign([node.target], node.value), node))

    def visit_Delete(self, node: ast.Delete) -> Any:
        result: list[ast.stmt] = []
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                name = ast.Constant(target.attr)
                call = hook("delete_attribute", self.visit(target.value), name)
                result.append(ast.Expr(call))
            elif isinstance(target, ast.Subscript):
                call = hook("delete_item", self.visit(target.value), self._index(target.slice))
                result.append(ast.Expr(call))
            else:
                result.append(ast.Delete([target]))
        return self._placed(result, node)
