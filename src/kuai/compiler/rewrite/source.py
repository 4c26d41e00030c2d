"""The syntax tree of a function, found by its code object, with the line numbers of its file."""

from __future__ import annotations

import ast
import inspect
import linecache
from types import CodeType

from kuai.compiler.rewrite.functions import SourceError

FunctionNode = ast.FunctionDef | ast.Lambda | ast.AsyncFunctionDef


def function_node(code: CodeType) -> FunctionNode:
    """The definition that `code` was compiled from.

    Raises:
        SourceError: its source cannot be found.
    """
    lines = linecache.getlines(code.co_filename)
    if not lines or code.co_firstlineno > len(lines):
        raise SourceError(f"the source of {code.co_name} is not available")
    if code.co_name == "<lambda>":
        return _lambda_node(code, lines)
    return _definition_node(code, lines)


def _definition_node(code: CodeType, lines: list[str]) -> FunctionNode:
    first = code.co_firstlineno
    try:
        tree = _tree_from(first, _indented_block(lines[first - 1 :]))
    except (SyntaxError, IndexError):
        try:
            tree = _tree_from(first, inspect.getblock(lines[first - 1 :]))
        except (SyntaxError, IndexError):
            tree = ast.parse("".join(lines))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name:
            starts = [node.lineno, *[d.lineno for d in node.decorator_list]]
            if first == min(starts):
                return node
    raise SourceError(f"the source of {code.co_name} has changed, or was made by a program")


def _indented_block(lines: list[str]) -> list[str]:
    """A definition, as its indentation shows it: quicker than to look at its tokens.

    What goes on farther left (a long string, a line after a backslash) is cut off where it is no
    Python any more.
    """
    margin = len(lines[0]) - len(lines[0].lstrip())
    is_inside = False
    for i, line in enumerate(lines):
        text = line.lstrip()
        if len(line) - len(text) > margin or not text or text[0] in "#)]}":
            continue
        if is_inside:
            return lines[:i]
        is_inside = text.startswith(("def ", "async "))
    return lines


def _tree_from(first: int, block: list[str]) -> ast.Module:
    """The tree of a block of lines, of which the first one has a number."""
    # What is indented stays so: columns are those of the file, and so are long strings.
    inside = block[0][:1].isspace()
    tree = ast.parse("".join(["if True:\n"] * inside + block))
    ast.increment_lineno(tree, first - 1 - inside)
    return tree


def _lambda_node(code: CodeType, lines: list[str]) -> FunctionNode:
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError as error:
        raise SourceError(f"the source of a lambda cannot be read: {error}") from None
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
    ]
    if len(found) > 1:
        spans = [
            (line, column)
            for line, _, column, _ in code.co_positions()
            if line is not None and column is not None and (line, column) != (node_line(code), 0)
        ]
        start = min(spans, default=(code.co_firstlineno, 0))
        exact = [n for n in found if _starts(n.body) == start]
        found = exact or [n for n in found if _contains(n.body, start)][-1:]
    if not found:
        raise SourceError("the source of a lambda cannot be found")
    return found[0]


def node_line(code: CodeType) -> int:
    """The line that the code's first instruction, which is no part of the body, stands on."""
    return code.co_firstlineno


def _starts(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _contains(node: ast.expr, place: tuple[int, int]) -> bool:
    end = (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)
    return _starts(node) <= place < end
