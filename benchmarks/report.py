"""What the benchmarks write: the machine, and one table as text, JSON or Markdown."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """The processor and the versions that the figures depend on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "kuai-nn", "torch")},
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
    """Prints the table and writes the files that were asked for.

    Args:
        title: what was measured, and how.
        rows: dictionaries with the same keys, which become the columns' names.
        options: the parsed options of `add_output_options`.
    """
    from rich.console import Console
    from rich.table import Table

    where = machine()
    columns = list(rows[0])
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*[text(row[column]) for column in columns])
    console = Console()
    console.print(table)
    console.print(in_words(where), highlight=False)
    if options.json:
        save(options.json, json.dumps({"title": title, "machine": where, "rows": rows}, indent=2))
    if options.markdown:
        save(options.markdown, markdown(title, rows, where))


def text(cell: Any) -> str:
    """A cell as it is shown: three or four significant digits."""
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell >= 100 else f"{cell:.3g}"
    return "-" if cell is None else str(cell)


def markdown(title: str, rows: list[Row], where: dict[str, Any]) -> str:
    """The table in Markdown, with the machine below it."""
    columns = list(rows[0])
    sides = ["---" if isinstance(rows[0][column], str) else "---:" for column in columns]
    lines = [columns, sides, *([text(row[column]) for column in columns] for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{title}:\n\n{table}\n\n{in_words(where)}"


def in_words(where: dict[str, Any]) -> str:
    """The machine on one line."""
    return ", ".join(f"{name} {x}" for name, x in where.items())


def save(path: Path, content: str) -> None:
    """Writes a file, making the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + "\n", encoding="utf-8")
