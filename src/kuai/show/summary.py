"""`kuai.summary`: a network's blocks in a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from kuai.show.calls import Call
from kuai.show.recorder import tensors_of
from kuai.show.text import shape_text
from kuai.show.trace import timed, trace

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from kuai.nn import Module

HEADINGS = ("block", "output", "parameters", "trainable", "constant", "multiply-adds", "time")
NUMBERS = ("parameters", "constant", "multiply-adds", "time")


@dataclass
class Row:
    """One block. What is counted includes the blocks inside it.

    Attributes:
        path: where it is in the network, such as `net.0`; empty for the network itself.
        name: the last part of the path.
        type: its class's name.
        depth: how deep it is nested.
        output: the shapes that it returned (of its last call); empty if it was not called.
        parameters: elements of its parameters, shared ones once.
        trainable: elements of those that require a gradient.
        constant: elements of its buffers and of tensors kept as plain attributes.
        multiply_adds: products multiplied and added in all its calls.
        seconds: time of all its calls, those of the blocks inside included.
        calls: how often it was called.
        shared: the path of its first appearance, where this is another one.
    """

    path: str
    name: str
    type: str
    depth: int
    output: list[tuple[int, ...]]
    parameters: int
    trainable: int
    constant: int
    multiply_adds: int
    seconds: float
    calls: int
    shared: str

    @property
    def label(self) -> str:
        """The block as the table names it."""
        name = f"({self.name}) {self.type}" if self.name else self.type
        return f"{name} × {self.calls}" if self.calls > 1 and not self.shared else name

    def cells(self) -> tuple[str, ...]:
        """The row's columns after the first, as text."""
        output = ", ".join(map(shape_text, self.output)) or "not called"
        if self.shared:
            return (output, f"as {self.shared}", "", "", "", "")
        return (
            output,
            f"{self.parameters:,}" if self.parameters else "",
            _trainable(self.parameters, self.trainable),
            f"{self.constant:,}" if self.constant else "",
            f"{self.multiply_adds:,}" if self.multiply_adds else "",
            _time(self.seconds) if self.calls else "",
        )


class Summary:
    """The table of a network's blocks; printing it shows it, and so does a notebook.

    Attributes:
        rows: the blocks, as they are nested, the network first.
        parameters: elements of all parameters, shared ones once.
        trainable: elements of those that require a gradient.
        constant: elements of buffers and other constants.
        multiply_adds: products multiplied and added in one run, in linear maps and convolutions.
        seconds: time of one run, in eager mode.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        net = rows[0]
        self.parameters = net.parameters
        self.trainable = net.trainable
        self.constant = net.constant
        self.multiply_adds = net.multiply_adds
        self.seconds = net.seconds

    @property
    def totals(self) -> str:
        """The last line of the table."""
        trainable = "all" if self.trainable == self.parameters else f"{self.trainable:,}"
        parts = [f"{self.parameters:,} parameters, {trainable} trainable"]
        if self.constant:
            parts.append(f"{self.constant:,} constants")
        parts.append(f"{self.multiply_adds:,} multiply-adds")
        parts.append(_time(self.seconds))
        return " · ".join(parts)

    def __str__(self) -> str:
        from rich.console import Console

        table = self._table()
        width = Console(file=StringIO(), width=1000).measure(table).maximum
        text = StringIO()
        Console(file=text, width=width, color_system=None, legacy_windows=False).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        return "\n".join([*lines, self.totals])

    def __repr__(self) -> str:
        return f"<Summary: {self.totals}>"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table()
        yield self.totals

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        shown = self._columns()
        for n in shown:
            table.add_column(
                HEADINGS[n].replace("-", "-\n"),
                justify="right" if HEADINGS[n] in NUMBERS else "left",
                no_wrap=HEADINGS[n] != "output",
            )
        for row, branch in zip(self.rows, _branches(self.rows), strict=True):
            label = Text(branch, style="dim") + Text(row.label)
            cells: tuple[Text | str, ...] = (label, *row.cells())
            table.add_row(*(cells[n] for n in shown), style="dim" if row.shared else "")
        return table

    def _columns(self) -> list[int]:
        """The columns that tell something of this network."""
        silent = set()
        if self.trainable == self.parameters:
            silent.add("trainable")
        if not self.constant:
            silent.add("constant")
        return [n for n, heading in enumerate(HEADINGS) if heading not in silent]

    def _repr_html_(self) -> str:
        shown = self._columns()
        head = "".join(f"<th>{HEADINGS[n]}</th>" for n in shown)
        lines = [f"<table><thead><tr>{head}</tr></thead><tbody>"]
        for row in self.rows:
            first = (
                f'<td style="text-align:left;padding-left:{row.depth * 1.4 + 0.4:.1f}em">'
                f"{escape(row.label)}</td>"
            )
            cells = (row.label, *row.cells())
            rest = "".join(f"<td>{escape(cells[n])}</td>" for n in shown[1:])
            lines.append(f"<tr>{first}{rest}</tr>")
        totals = f'<td colspan="{len(shown)}" style="text-align:left">{self.totals}</td>'
        lines.append(f"</tbody><tfoot><tr>{totals}</tr></tfoot></table>")
        return "\n".join(lines)


def summary(net: Module, X: Any) -> Summary:
    """Run a network on an input and tell what each of its blocks is, gives, holds and costs.

    The network runs in evaluation mode, without gradients, and is left as it was: modes, buffers,
    gradients, hooks and random state.

    Args:
        net: any block.
        X: an input: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Returns:
        The table.
    """
    record = trace(net, X)
    net = record.net
    seconds = timed(net, X)
    calls: dict[int, list[Call]] = {}
    for call in record.calls:
        calls.setdefault(id(call.module), []).append(call)
    rows = []
    seen: dict[int, str] = {}
    for path, name, depth, module in _nested(net, "", "", 0):
        mine = calls.get(id(module), [])
        parameters = list(module.parameters())
        rows.append(
            Row(
                path=path,
                name=name,
                type=type(module).__name__,
                depth=depth,
                output=mine[-1].output if mine else [],
                parameters=sum(p.numel() for p in parameters),
                trainable=sum(p.numel() for p in parameters if p.requires_grad),
                constant=_constants(module),
                multiply_adds=sum(c.multiply_adds for c in mine),
                seconds=seconds.get(id(module), 0.0),
                calls=len(mine),
                shared=seen.get(id(module), ""),
            )
        )
        seen.setdefault(id(module), path)
    return Summary(rows)


def _nested(
    module: Module, path: str, name: str, depth: int, inside: tuple[int, ...] = ()
) -> Iterator[tuple[str, str, int, Module]]:
    yield path, name, depth, module
    if id(module) in inside:
        return
    for key, child in module._modules.items():
        if child is not None:
            below = f"{path}.{key}" if path else key
            yield from _nested(child, below, key, depth + 1, (*inside, id(module)))


def _constants(module: Module) -> int:
    parameters = {id(p) for p in module.parameters()}
    found = {
        id(t): t.numel()
        for m in module.modules()
        for _, t in tensors_of(m)
        if id(t) not in parameters
    }
    return sum(found.values())


def _branches(rows: list[Row]) -> list[str]:
    """The lines of the tree in front of each row."""
    branches = []
    for i, row in enumerate(rows):
        text = ""
        for depth in range(1, row.depth + 1):
            follows = False
            for later in rows[i + 1 :]:
                if later.depth <= depth:
                    follows = later.depth == depth
                    break
            if depth == row.depth:
                text += "├ " if follows else "└ "
            else:
                text += "│ " if follows else "  "
        branches.append(text)
    return branches


def _trainable(parameters: int, trainable: int) -> str:
    if not parameters:
        return ""
    if trainable == parameters:
        return "yes"
    return f"{trainable:,}" if trainable else "no"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
