"""Times the compilation of the chimera's training step, in fresh processes.

    python -m benchmarks.compile_time

Cold is with an empty cache on disk, cached with the one that a process before has filled. What is
timed is the first call, from Python to the first result. The time that Python takes to import
llvmlite, which no process needs before its first compilation, stands apart: a cold process pays it
once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.goals import CACHED, COLD
from benchmarks.report import Row, add_output_options, write

PROGRAM = """
import sys, time
import kuai
from benchmarks.peers.blocks import network, training_step
from benchmarks.workloads import TRAINING, WORKLOADS, Task

task = Task(WORKLOADS[0], TRAINING, 1e-9)
step = training_step(kuai, network(kuai, task), task)
X = kuai.from_numpy(task.workload.numbers.X)
step(X)
start = time.perf_counter()
if sys.argv[1] == "llvmlite first":
    import llvmlite.binding
imported = time.perf_counter()
compiled = kuai.compile(step)
compiled(X)
print(imported - start, time.perf_counter() - imported)
"""


def seconds(folder: str, order: str) -> tuple[float, float]:
    """How long a fresh process takes to import llvmlite, and for the first call.

    Args:
        folder: the cache on disk.
        order: `"llvmlite first"`, or anything else to leave its import to the compiler.
    """
    # With bytecode kept, as it is wherever the environment does not forbid it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, order],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"KUAI_CACHE_DIR": folder},
    )
    imported, first_call = run.stdout.split()
    return float(imported), float(first_call)


def measurements(rounds: int) -> list[Row]:
    """Cold and cached, with the import apart and within; None where kuai cannot compile yet."""
    import kuai

    if not hasattr(kuai, "compile"):
        return [COLD.row(None), CACHED.row(None)]
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            imported, cold = seconds(folder, "llvmlite first")
            _, cached = seconds(folder, "llvmlite first")
            _, cached_within = seconds(folder, "llvmlite as needed")
        with tempfile.TemporaryDirectory() as folder:
            _, cold_within = seconds(folder, "llvmlite as needed")
        measured = {
            "import llvmlite": imported,
            "cold": cold,
            "cached": cached,
            "cold within": cold_within,
            "cached within": cached_within,
        }
        for name, value in measured.items():
            times.setdefault(name, []).append(value)
    medians = {name: statistics.median(series) for name, series in times.items()}
    return [
        COLD.row(medians["cold"]),
        unjudged("the same, importing llvmlite", medians["cold within"]),
        CACHED.row(medians["cached"]),
        unjudged("the same, llvmlite not imported before", medians["cached within"]),
        unjudged("import llvmlite", medians["import llvmlite"]),
    ]


def unjudged(work: str, measured: float) -> Row:
    """A row beside those of the limits that has no limit itself."""
    return {
        "work": work,
        "measure": "s",
        "measured": measured,
        "needed": None,
        "goal": None,
        "state": "-",
    }


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description="how long kuai.compile takes")
    parser.add_argument("--rounds", type=int, default=5, help="processes for each figure")
    add_output_options(parser)
    options = parser.parse_args()
    title = f"compile time in fresh processes, median of {options.rounds}"
    write(title, measurements(options.rounds), options)


if __name__ == "__main__":
    main()
