"""Counts, operator by operator, how many of PyTorch's samples kuai passes.

python -m tests.parity.report --family elementwise
python -m tests.parity.report --op linalg.norm --dtype float64 --failures
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tests.parity.blocks import BLOCKS, run_block
from tests.parity.operators import (
    DTYPES,
    OPERATORS,
    Case,
    Count,
    Result,
    dtypes_of,
    full_name,
)
from tests.parity.supported import FAMILIES, MODULES


def family_of(name: str) -> str:
    """The family that claims the operator, or `other`."""
    for family, names in FAMILIES.items():
        if name in names:
            return family
    return "modules" if name in MODULES else "other"


def row(name: str, dtype: str, result: Result, seconds: float) -> dict[str, Any]:
    """One line of the report."""
    line: dict[str, Any] = {
        "name": name,
        "family": family_of(name.partition("|")[0]),
        "dtype": dtype,
        "seconds": round(seconds, 2),
        "excluded": result.excluded,
    }
    for kind in Result.KINDS:
        count: Count = getattr(result, kind)
        line[kind] = {"passed": count.passed, "total": count.total, "reason": count.reason}
    return line


def rows(arguments: argparse.Namespace, target: Any) -> list[dict[str, Any]]:
    """Runs what the command line asks for."""
    wanted = tuple(getattr(torch, name) for name in arguments.dtype) or DTYPES
    lines = []
    for name, ops in OPERATORS.items():
        if not chosen(name, arguments):
            continue
        for op in ops:
            for number, dtype in enumerate(dtypes_of(op, wanted)):
                start = time.perf_counter()
                case = Case(op, target)
                result = case.run(dtype, arguments.limit)
                if number == 0:
                    case.run_errors(result)
                lines.append(
                    row(full_name(op), str(dtype)[6:], result, time.perf_counter() - start)
                )
    for name, info in BLOCKS.items():
        if not chosen(name, arguments):
            continue
        for dtype in wanted:
            if dtype in info.dtypes and dtype.is_floating_point:
                start = time.perf_counter()
                result = run_block(info, target, dtype, arguments.limit)
                lines.append(row(name, str(dtype)[6:], result, time.perf_counter() - start))
    return lines


def chosen(name: str, arguments: argparse.Namespace) -> bool:
    """Whether the command line asks for this operator or block."""
    if arguments.op:
        return name in arguments.op
    if arguments.family:
        return family_of(name) in arguments.family
    return arguments.all or family_of(name) != "other"


def complete(line: dict[str, Any]) -> bool:
    """Whether every sample passed (wrong inputs are only reported)."""
    return all(line[k]["passed"] == line[k]["total"] for k in Result.KINDS if k != "errors")


def table(lines: list[dict[str, Any]], only_failures: bool) -> str:
    """The report as text: one line an operator and dtype, and why the first sample failed."""
    heads = ("forward", "gradient", "second", "out=", "errors")
    text = [f"{'operator':44} {'dtype':8} " + " ".join(f"{h:>9}" for h in heads)]
    family = None
    for line in sorted(lines, key=lambda line: line["family"]):
        if only_failures and complete(line):
            continue
        if line["family"] != family:
            family = line["family"]
            text.append(f"--- {family}")
        counts = " ".join(
            f"{line[k]['passed']:>4}/{line[k]['total']:<4}" if line[k]["total"] else " " * 9
            for k in Result.KINDS
        )
        text.append(f"{line['name']:44} {line['dtype']:8} {counts}")
        for kind in Result.KINDS:
            if line[kind]["reason"]:
                text.append(f"      {kind}: {line[kind]['reason']}")
    text.append("")
    text += [f"{count:4}  {reason}" for reason, count in common_reasons(lines)]
    text.append("")
    for name in [*FAMILIES, "modules", "other"]:
        members = [line for line in lines if line["family"] == name]
        if members:
            text.append(f"{name:16} " + totals(members))
    text.append(f"{'all':16} " + totals(lines))
    return "\n".join(text)


def common_reasons(lines: list[dict[str, Any]], most: int = 30) -> list[tuple[str, int]]:
    """The reasons that stop the most lines, without the samples that they were met with."""
    reasons = Counter(
        line[kind]["reason"].partition(";")[0]
        for line in lines
        for kind in Result.KINDS
        if line[kind]["reason"]
    )
    return reasons.most_common(most)


def totals(lines: list[dict[str, Any]]) -> str:
    """The sums over some lines."""
    parts = [f"{sum(map(complete, lines))}/{len(lines)} complete"]
    for kind in Result.KINDS:
        passed = sum(line[kind]["passed"] for line in lines)
        total = sum(line[kind]["total"] for line in lines)
        parts.append(f"{kind} {passed}/{total}")
    return ", ".join(parts)


def main() -> None:
    """Prints the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--op", nargs="+", default=[], help="operators or blocks, by name")
    parser.add_argument("--family", nargs="+", default=[], help=", ".join([*FAMILIES, "modules"]))
    parser.add_argument("--all", action="store_true", help="also what kuai does not claim to have")
    parser.add_argument("--dtype", nargs="+", default=[], help="such as float32; four by default")
    parser.add_argument("--limit", type=int, help="the most samples an operator and dtype")
    parser.add_argument("--failures", action="store_true", help="only what is not complete")
    parser.add_argument("--json", type=Path, help="write the lines to this file too")
    parser.add_argument("--target", default="kuai", help="the module under test")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = rows(arguments, importlib.import_module(arguments.target))
    print(table(lines, arguments.failures))
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
