"""Times `import kuai` beside `import numpy` and `import torch`, each in fresh processes.

    python -m benchmarks.import_time

The processes take turns; each figure is the median. Python's own start is not counted. The goal is
that `import kuai`, which imports NumPy, takes at most twice `import numpy`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys

from benchmarks.report import Row, add_output_options, write

MODULES = ["numpy", "kuai", "torch"]
PROGRAM = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def seconds(module: str) -> float:
    """How long a fresh process takes for the import."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(module=module)]
    # With bytecode kept, as it is wherever the environment does not forbid it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(run.stdout)


def measurements(rounds: int) -> list[Row]:
    """One row for each module that is installed."""
    modules = [module for module in MODULES if importlib.util.find_spec(module)]
    for module in modules:
        seconds(module)  # so that its files are compiled and in the system's cache
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            times[module].append(seconds(module))
    medians = {module: statistics.median(series) for module, series in times.items()}
    return [
        {
            "import": module,
            "median ms": 1000 * median,
            "fastest ms": 1000 * min(times[module]),
            "x numpy": median / medians["numpy"],
        }
        for module, median in medians.items()
    ]


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description="how long the imports take")
    parser.add_argument("--rounds", type=int, default=15, help="processes for each module")
    add_output_options(parser)
    options = parser.parse_args()
    title = f"imports in fresh processes, median of {options.rounds} interleaved"
    write(title, measurements(options.rounds), options)


if __name__ == "__main__":
    main()
