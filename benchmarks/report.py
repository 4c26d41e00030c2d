"""What the benchmarks write: the machine, and tables as text, JSON or Markdown."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A title, and rows with the same keys, which become the columns' names."""

    title: str
    rows: list[Row]


def machine(others: Sequence[str] = ()) -> dict[str, Any]:
    """The processor and the versions that the figures depend on.

    Args:
        others: distributions that matter beside those that always do.
    """
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "kuai-nn", "torch", *others)},
    }


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def version(distribution: str) -> str:
    """The version of an installed distribution, or `none`."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--json` and `--markdown`, the files that `write` writes."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table")


def write(title: str, rows: list[Row], options: argparse.Namespace) -> None:
    """Prints one table and writes the files that were asked for.

    Args:
        title: what was measured, and how.
        rows: dictionaries with the same keys, which become the columns' names.
        options: the parsed options of `add_output_options`.
    """
    where = machine()
    show([Table(title, rows)], [in_words(where)])
    if options.json:
        save(options.json, json.dumps({"title": title, "machine": where, "rows": rows}, indent=2))
    if options.markdown:
        save(options.markdown, f"{markdown(title, rows)}\n\n{in_words(where)}")


def write_tables(
    tables: list[Table],
    options: argparse.Namespace,
    notes: list[str],
    others: Sequence[str] = (),
) -> None:
    """Prints several tables with notes below them and writes the files that were asked for.

    Args:
        tables: those that are not empty are written.
        options: the parsed options of `add_output_options`.
        notes: lines for below the tables.
        others: distributions whose versions matter beside those that always do.
    """
    where = machine(others)
    full = [table for table in tables if table.rows]
    show(full, [*notes, in_words(where)])
    if options.json:
        content = {"machine": where, "notes": notes, "tables": [vars(table) for table in full]}
        save(options.json, json.dumps(content, indent=2))
    if options.markdown:
        parts = [markdown(table.title, table.rows) for table in full]
        lines = "\n".join(f"- {note}" for note in notes)
        save(options.markdown, "\n\n".join([*parts, *([lines] if lines else []), in_words(where)]))


def show(tables: list[Table], lines: list[str]) -> None:
    """Prints tables, and lines below them."""
    import rich.table
    from rich.console import Console

    console = Console()
    for table in tables:
        shown = rich.table.Table(title=table.title)
        for column, cell in table.rows[0].items():
            shown.add_column(column, justify="left" if isinstance(cell, str) else "right")
        for row in table.rows:
            shown.add_row(*[text(cell) for cell in row.values()])
        console.print(shown)
    for line in lines:
        console.print(line, highlight=False, markup=False)


def text(cell: Any) -> str:
    """A cell as it is shown: three or four significant digits."""
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell >= 100 else f"{cell:.3g}"
    return "-" if cell is None else str(cell)


def markdown(title: str, rows: list[Row]) -> str:
    """The table in Markdown."""
    columns = list(rows[0])
    sides = ["---" if isinstance(rows[0][column], str) else "---:" for column in columns]
    lines = [columns, sides, *([text(row[column]) for column in columns] for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{title}:\n\n{table}"


def in_words(where: dict[str, Any]) -> str:
    """The machine on one line."""
    return ", ".join(f"{name} {x}" for name, x in where.items())


def save(path: Path, content: str) -> None:
    """Writes a file, making the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + "\n", encoding="utf-8")
