"""Early exits as plain branches: what follows an exit moves into the branch that does not take it.

After this, `break` and `continue` are gone, and `return` stands only where a function ends, or
ends one of the branches that it ends with. Where a part may exit but need not, it sets a flag,
which guards the rest. On plain values all of this runs as Python would.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import Any

from kuai.compiler.rewrite.names import SCOPES

DID_RETURN = "__kuai_did_return"
RETURNED = "__kuai_returned"
STOP = "kuai_stop"  # the attribute of a `for` that tells when it goes on

LOOPS = (ast.While, ast.For, ast.AsyncFor)


def exits(nodes: Sequence[ast.AST], in_loop: bool = False) -> set[str]:
    """Which of return, break and continue leave these statements."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Return):
            found.add("return")
        elif isinstance(node, ast.Break) and not in_loop:
            found.add("break")
        elif isinstance(node, ast.Continue) and not in_loop:
            found.add("continue")
        elif isinstance(node, LOOPS):
            found |= exits(node.body, True) | exits(node.orelse, in_loop)
        elif not isinstance(node, SCOPES) and isinstance(
            node, (ast.stmt, ast.ExceptHandler, ast.match_case)
        ):
            found |= exits(list(ast.iter_child_nodes(node)), in_loop)
    return found


def always(nodes: Sequence[ast.stmt]) -> bool:
    """Whether no way leads past the end of these statements."""
    for node in nodes:
        if isinstance(node, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
            return True
        if isinstance(node, ast.If):
            if node.orelse and always(node.body) and always(node.orelse):
                return True
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            # A context manager may swallow an exception, but nobody's swallows a return.
            if always(node.body) and "return" in exits(node.body):
                return True
        elif isinstance(node, ast.Try):
            body = always(node.body) or always(node.orelse)
            if always(node.finalbody) or (body and all(always(h.body) for h in node.handlers)):
                return True
        elif (
            isinstance(node, ast.While)
            and isinstance(node.test, ast.Constant)
            and node.test.value
            and "break" not in exits(node.body)
        ):
            return True
    return False


class Exits:
    """Rewrites the exits of one function."""

    def __init__(self) -> None:
        self._count = 0
        self.flags: set[str] = set()

    def function(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The body of a function, which ends in `return` on every way."""
        if not always(body):
            body = [*body, _at(ast.Return(_constant(None)), body[-1])]
        return self._block(body, _Context())

    def _flag(self, stem: str) -> str:
        self._count += 1
        name = f"__kuai_{stem}_{self._count}"
        self.flags.add(name)
        return name

    def _block(self, nodes: Sequence[ast.stmt], context: _Context) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for i, node in enumerate(nodes):
            rest = list(nodes[i + 1 :])
            if isinstance(node, (ast.Return, ast.Break, ast.Continue)):
                return result + self._exit(node, context)
            if isinstance(node, LOOPS):
                return result + self._loop(node, rest, context)
            if not exits([node]) or isinstance(node, SCOPES):
                result.append(self._within(node, context))
                continue
            if isinstance(node, ast.If):
                return result + self._branch(node, rest, context)
            return result + self._compound(node, rest, context)
        return result

    def _within(self, node: ast.stmt, context: _Context) -> ast.stmt:
        """A statement that nothing leaves; loops in it may have exits of their own."""
        if isinstance(node, (ast.If, ast.With, ast.Try, ast.Match)):
            node = copy.copy(node)
            inner = context.flagged()
            for field in ("body", "orelse", "finalbody"):
                if getattr(node, field, None):
                    setattr(node, field, self._block(getattr(node, field), inner))
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                part.body = self._block(part.body, inner)
        return node

    def _exit(self, node: ast.stmt, context: _Context) -> list[ast.stmt]:
        if isinstance(node, ast.Return):
            if context.direct:
                return [node]
            self.flags |= {DID_RETURN, RETURNED}
            value = node.value if node.value is not None else _constant(None)
            return [
                _assign(RETURNED, value, node),
                _assign(DID_RETURN, _constant(True), node),
            ]
        if isinstance(node, ast.Break):
            assert context.broke is not None
            return [_assign(context.broke, _constant(True), node)]
        if context.at_end:
            return [_at(ast.Pass(), node)]
        assert context.continued is not None
        return [_assign(context.continued, _constant(True), node)]

    def _branch(self, node: ast.If, rest: list[ast.stmt], context: _Context) -> list[ast.stmt]:
        if rest and (always(node.body) or always(node.orelse)):
            body, orelse = node.body, node.orelse
            if always(body):
                orelse = [*orelse, *rest]
            else:
                body = [*body, *rest]
            node = _at(ast.If(node.test, body, orelse), node)
            rest = []
        if rest:
            return self._flagged(node, rest, context)
        body = self._block(node.body, context)
        orelse = self._block(node.orelse, context)
        return [_at(ast.If(node.test, body, orelse), node)]

    def _flagged(self, node: ast.stmt, rest: list[ast.stmt], context: _Context) -> list[ast.stmt]:
        """A statement that may exit, and after it the rest, which its flags guard."""
        kinds = exits([node])
        before: list[ast.stmt] = []
        inner = context.flagged()
        if "return" in kinds and context.direct:
            self.flags |= {DID_RETURN, RETURNED}
            before.append(_assign(DID_RETURN, _constant(False), node))
        if "continue" in kinds and inner.continued is None:
            inner.continued = self._flag("continued")
            before.append(_assign(inner.continued, _constant(False), node))
        changed = self._block([node], inner)
        return before + changed + self._guarded(kinds, rest, context, inner, node)

    def _guarded(
        self,
        kinds: set[str],
        rest: list[ast.stmt],
        context: _Context,
        inner: _Context,
        node: ast.stmt,
    ) -> list[ast.stmt]:
        if context.direct:
            leave = _at(ast.Return(_name(RETURNED)), node)
            if not rest:
                return [leave]
            return self._block([_at(ast.If(_name(DID_RETURN), [leave], rest), node)], context)
        flags = []
        if "return" in kinds:
            flags.append(DID_RETURN)
        if "break" in kinds and inner.broke is not None:
            flags.append(inner.broke)
        if "continue" in kinds and inner.continued is not None:
            flags.append(inner.continued)
        changed = self._block(rest, context)
        return [_at(ast.If(_none_of(flags), changed, []), node)] if changed else []

    def _compound(self, node: ast.stmt, rest: list[ast.stmt], context: _Context) -> list[ast.stmt]:
        """`with`, `try` and `match`, which stay; their blocks end where they end."""
        if rest and not always([node]):
            return self._flagged(node, rest, context)
        node = copy.copy(node)
        inner = context
        if isinstance(node, ast.Try) and (node.orelse or node.finalbody) and not context.direct:
            inner = context.flagged()
            if inner.continued is None and "continue" in exits([node]):
                inner = context  # nothing of the loop's body follows
        for field in ("body", "orelse", "finalbody"):
            if getattr(node, field, None):
                setattr(node, field, self._block(getattr(node, field), inner))
        if isinstance(node, ast.Try):
            node.handlers = [copy.copy(h) for h in node.handlers]
            for handler in node.handlers:
                handler.body = self._block(handler.body, inner)
            if node.orelse and not context.direct and exits(node.body):
                raise SyntaxError("`else` of a `try` whose body leaves a loop")
        if isinstance(node, ast.Match):
            node.cases = [copy.copy(c) for c in node.cases]
            for case in node.cases:
                case.body = self._block(case.body, inner)
        return [node]

    def _loop(
        self, node: ast.While | ast.For | ast.AsyncFor, rest: list[ast.stmt], context: _Context
    ) -> list[ast.stmt]:
        if isinstance(node, ast.AsyncFor):
            return [node, *self._block(rest, context)]
        kinds = exits(node.body)
        before: list[ast.stmt] = []
        flags: list[str] = []
        inner = _Context(direct=False, at_end=True)
        if "break" in kinds:
            inner.broke = self._flag("broke")
            before.append(_assign(inner.broke, _constant(False), node))
            flags.append(inner.broke)
        if "return" in kinds:
            flags.append(DID_RETURN)
            self.flags |= {DID_RETURN, RETURNED}
            if context.direct:
                before.append(_assign(DID_RETURN, _constant(False), node))
        if node.orelse:
            if inner.broke is not None:
                rest = [_at(ast.If(_none_of([inner.broke]), node.orelse, []), node), *rest]
            else:
                rest = [*node.orelse, *rest]
        body = self._block(node.body, inner)
        if isinstance(node, ast.While):
            test = node.test
            if flags:
                test = _at(ast.BoolOp(ast.And(), [_none_of(flags), test]), node.test)
            changed = _at(ast.While(test, body, []), node)
        else:
            changed = _at(ast.For(node.target, node.iter, body, []), node)
            setattr(changed, STOP, _none_of(flags) if flags else None)
        if "return" in kinds:
            guarded = self._guarded({"return"}, rest, context, inner, node)
            return [*before, changed, *guarded]
        return [*before, changed, *self._block(rest, context)]


class _Context:
    """Where a block stands: what its exits have to do."""

    def __init__(
        self,
        direct: bool = True,
        broke: str | None = None,
        continued: str | None = None,
        at_end: bool = False,
    ) -> None:
        self.direct = direct  # `return` may stay: nothing follows, and no loop is around
        self.broke = broke
        self.continued = continued
        self.at_end = at_end  # the loop's body ends where the block does

    def flagged(self) -> _Context:
        """The context of a part after which something follows."""
        return _Context(False, self.broke, self.continued, False)


def _constant(value: object) -> ast.Constant:
    return ast.Constant(value)  # type: ignore[arg-type]


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _assign(name: str, value: ast.expr, at: ast.stmt) -> ast.stmt:
    return _at(ast.Assign([ast.Name(name, ast.Store())], value), at)


def _none_of(flags: list[str]) -> ast.expr:
    terms: list[ast.expr] = [ast.UnaryOp(ast.Not(), _name(flag)) for flag in flags]
    return terms[0] if len(terms) == 1 else ast.BoolOp(ast.And(), terms)


def _at(node: Any, place: ast.AST) -> Any:
    ast.copy_location(node, place)
    ast.fix_missing_locations(node)
    return node
