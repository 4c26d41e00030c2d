"""What the documents show is true: their programs run, and print what the page says they print.

The Python blocks of a page run in order, in one namespace. What they show is checked:

- `expression  # -> text`: the expression's `repr` is the text.
- A `text` block right after a Python block: what the block printed. `...` stands for anything.
  If it shows a traceback, the block must fail with that error, and that traceback's notes.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import itertools
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import kuai

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# The architecture quotes the source without its surroundings.
PAGES_WITH_PROGRAMS = [
    page
    for page in PAGES
    if page.name != "architecture.md" and "```python" in page.read_text("utf-8")
]
CHINESE_PAGES = [page for page in PAGES if page.name.endswith(".zh-CN.md")]
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text("utf-8")]

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
SHOWN = "  # -> "
TRACEBACK = "Traceback (most recent call last):"


class Block(NamedTuple):
    """A Python block of a page, with the output that the page shows below it, if any."""

    line: int
    source: str
    output: str | None


def fences(page: Path) -> Iterator[re.Match[str]]:
    return FENCE.finditer(page.read_text("utf-8"))


def python_blocks(page: Path) -> list[Block]:
    found = list(fences(page))
    blocks = []
    for fence, after in itertools.zip_longest(found, found[1:]):
        if fence[1] != "python":
            continue
        between = after and fence.string[fence.end() : after.start()].strip()
        output = after[2] if after and after[1] == "text" and not between else None
        blocks.append(Block(fence.string.count("\n", 0, fence.start()) + 2, fence[2], output))
    return blocks


def program(source: str) -> str:
    """What a block does: its source without the comments and the docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


def run(block: Block, page: Path, namespace: dict[str, Any]) -> str:
    """Run a block, checking each `# ->`; returns what it printed, its traceback at the end."""
    # Lines are numbered as on the page, so that a failure points to it.
    program = ast.parse("\n" * (block.line - 1) + block.source)
    lines = ["", *[""] * (block.line - 1), *block.source.splitlines()]
    checked = 0
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            for statement in program.body:
                shown = lines[statement.end_lineno].partition(SHOWN)[2]
                if shown and isinstance(statement, ast.Expr):
                    code = compile(ast.Expression(statement.value), str(page), "eval")
                    where = f"{page.name}, line {statement.end_lineno}"
                    assert repr(eval(code, namespace)) == shown, where
                    checked += 1
                else:
                    exec(compile(ast.Module([statement], []), str(page), "exec"), namespace)
        except Exception as error:
            if not block.output or TRACEBACK not in block.output:
                raise
            return printed.getvalue() + "".join(traceback.format_exception(error))
    assert checked == block.source.count(SHOWN), "`# ->` stands only after an expression"
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES_WITH_PROGRAMS, ids=lambda page: page.name)
def test_the_programs_of_a_page_run_and_show_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in python_blocks(page):
        printed = run(block, page, namespace)
        if block.output is not None:
            same = doctest.OutputChecker().check_output(block.output, printed, doctest.ELLIPSIS)
            assert same, f"{page.name}, line {block.line}: it shows\n{block.output}\nnot\n{printed}"


@pytest.mark.parametrize("page", CHINESE_PAGES, ids=lambda page: page.name)
def test_a_page_has_the_same_programs_in_both_languages(page):
    english = page.with_name(page.name.replace(".zh-CN", ""))
    programs = [
        [(program(block.source), block.output) for block in python_blocks(language)]
        for language in (english, page)
    ]
    assert programs[0] == programs[1]
    commands = [
        [fence[2] for fence in fences(language) if fence[1] in ("sh", "bash")]
        for language in (english, page)
    ]
    assert commands[0] == commands[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_files_that_are_there(page):
    prose = FENCE.sub("", page.read_text("utf-8"))
    for match in LINK.finditer(prose):
        target = (match[1] or match[2]).partition("#")[0]
        if target and "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_examples_of_a_docstring_run_and_show_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    given = {"kuai": kuai, "nn": kuai.nn, "F": kuai.nn.functional}
    kuai.manual_seed(0)
    assert doctest.testmod(module, extraglobs=given, optionflags=doctest.ELLIPSIS).failed == 0
