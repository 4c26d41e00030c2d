"""Times kuai compiled beside kuai eager, PyTorch, JAX, ONNX Runtime, TensorFlow and straight C.

    python -m benchmarks.compiled
    python -m benchmarks.compiled --only chimera --torch-compile --json results.json

Every contestant starts from the same numbers, and must give the same results, and after a training
step the same parameters, before it is timed. They take turns in one process for each thread count;
each figure is the median over the rounds. Who is not installed leaves a column empty.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import compile_time
from benchmarks.goals import CALL, GOALS
from benchmarks.report import Row, Table, add_output_options, write_tables
from benchmarks.turns import CONTESTANTS, add_options
from benchmarks.workloads import WORKLOADS

PEERS = ("jax", "onnxruntime", "tensorflow-cpu")


def environment(threads: int) -> dict[str, str]:
    """The environment of a process whose libraries compute on that many threads."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    count = {name: str(threads) for name in (*variables, "PJRT_NPROC")}
    several = str(threads > 1).lower()
    return (
        os.environ
        | count
        | {
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={several}",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
    )


def outcomes(threads: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What came of the workloads of one thread count, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "times.json"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.turns"]
        command += ["--threads", str(threads), "--output", str(output)]
        for name in ("only", "kind", "rounds", "turn", "limit"):
            command += [f"--{name}", str(getattr(options, name))]
        if options.torch_compile:
            command.append("--torch-compile")
        print(f"{threads} thread{'s' * (threads > 1)}:", flush=True)
        # The libraries' messages are of interest only where something went wrong.
        messages = Path(folder) / "messages"
        with messages.open("w") as stream:
            run = subprocess.run(command, env=environment(threads), check=False, stderr=stream)
        if run.returncode:
            print(
                f"this process ended with status {run.returncode}: {messages.read_text()[-2000:]}"
            )
        return json.loads(output.read_text(encoding="utf-8")) if output.exists() else []


def time_rows(found: list[dict[str, Any]], figure: str) -> list[Row]:
    """The table of times: a row for each task, a column for each contestant that has a time.

    Args:
        found: the outcomes.
        figure: `"microseconds"`, the medians, or `"fastest"`.
    """
    measured = {x["contestant"] for x in found if x["microseconds"] is not None}
    names = [c.name for c in CONTESTANTS if c.name in measured or c.name == "kuai compiled"]
    rows: dict[tuple[str, str], Row] = {}
    threads = {workload.name: workload.threads for workload in WORKLOADS}
    for outcome in found:
        workload, kind = outcome["workload"], outcome["kind"]
        first: Row = {"workload": workload, "threads": str(threads[workload]), "work": kind}
        row = rows.setdefault((workload, kind), first | dict.fromkeys(names))
        if outcome["contestant"] in names:
            row[outcome["contestant"]] = outcome[figure]
    return list(rows.values())


def goal_rows(times: list[Row], options: argparse.Namespace) -> list[Row]:
    """The table of goals, for the tasks that were measured."""
    tasks = {(row["workload"], row["work"]): row for row in times}
    rows = [
        goal.row(kind, tasks[goal.workload, kind])
        for goal in GOALS
        for kind in goal.kinds
        if (goal.workload, kind) in tasks
    ]
    if ("identity", "inference") in tasks:
        rows.append(CALL.row(tasks["identity", "inference"]["kuai compiled"]))
    if not options.only:
        print("compile time", flush=True)
        rows.extend(compile_time.measurements(options.compile_rounds))
    return rows


def notes(found: list[dict[str, Any]]) -> list[str]:
    """Why figures are missing: one line for each contestant and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for outcome in found:
        if outcome["note"]:
            tasks = reasons.setdefault((outcome["contestant"], outcome["note"]), [])
            tasks.append(f"{outcome['workload']}, {outcome['kind']}")
    count = len({(x["workload"], x["kind"]) for x in found})
    return [
        f"{contestant}: {note}" + (f" ({'; '.join(tasks)})" if len(tasks) < count else "")
        for (contestant, note), tasks in reasons.items()
    ]


def main() -> None:
    """Measures and writes the tables."""
    parser = argparse.ArgumentParser(description="kuai compiled beside its peers")
    add_options(parser)
    parser.add_argument("--compile-rounds", type=int, default=5, help="processes to compile in")
    parser.add_argument("--fastest", action="store_true", help="the fastest rounds, too")
    add_output_options(parser)
    options = parser.parse_args()
    if options.rounds % 2:
        parser.error("--rounds must be even, so that the turns go both ways equally often")
    if not any(options.only in w.name and options.kind in " ".join(w.kinds) for w in WORKLOADS):
        parser.error(f"no workload has {options.only!r} in its name")
    thread_counts = sorted({w.threads for w in WORKLOADS if options.only in w.name})
    found = [x for threads in thread_counts for x in outcomes(threads, options)]
    times = time_rows(found, "microseconds")
    title = f"microseconds, median of {options.rounds} interleaved rounds"
    tables = [Table(title, times), Table("kuai compiled and its goals", goal_rows(times, options))]
    if options.fastest:
        title = f"microseconds, fastest of {options.rounds} rounds"
        tables.insert(1, Table(title, time_rows(found, "fastest")))
    write_tables(tables, options, notes(found), PEERS)


if __name__ == "__main__":
    main()
