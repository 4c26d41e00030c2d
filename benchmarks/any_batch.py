"""Times programs for any batch beside those made for one batch size.

    python -m benchmarks.any_batch

Networks of the other benchmarks, forward without the tape on one thread; the two programs take
turns, and the figure is the ratio of the medians. The goal: a program for any batch takes at most
1.2 times as long as one made for the size.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import kuai
from benchmarks.larger_networks import larger_networks
from benchmarks.networks import networks
from benchmarks.report import Row, add_output_options, write

LIMIT = 1.2
TURN = 0.01  # seconds
SIZES = (2, 7, 32, 64)
INPUTS: dict[str, tuple[int, ...]] = {
    "Sequential (S1)": (20,),
    "chimera (S6)": (20,),
    "MLP 784-256-10": (784,),
    "LeNet": (1, 28, 28),
    "LSTM": (32, 32),
}


def seconds(run: Callable[[], Any], calls: int) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def medians(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """The median times of functions that take turns."""
    for run in runs:
        run()
    calls = max(1, int(TURN / seconds(runs[0], 3)))
    times = [[seconds(run, calls) for run in runs] for _ in range(rounds)]
    return [statistics.median(series) for series in zip(*times, strict=True)]


def measurements(rounds: int) -> list[Row]:
    """A row for each network and batch size."""
    makers = networks(kuai) | larger_networks(kuai)
    rows: list[Row] = []
    for name, shape in INPUTS.items():
        net = makers[name]()
        any_batch = kuai.compile(net, dynamic_batch=True)
        for size in SIZES:
            x = kuai.rand(size, *shape)
            runs = [functools.partial(program, x) for program in (kuai.compile(net), any_batch)]
            with kuai.no_grad():
                specialised, general = medians(runs, rounds)
            rows.append(
                {
                    "network": name,
                    "batch": size,
                    "made for it µs": specialised * 1e6,
                    "for any µs": general * 1e6,
                    "ratio": general / specialised,
                    "state": "good" if general <= LIMIT * specialised else "not yet",
                }
            )
    return rows


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description="programs for any batch beside special ones")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each program")
    add_output_options(parser)
    options = parser.parse_args()
    kuai.set_num_threads(1)
    title = f"forward on one thread, median of {options.rounds} interleaved rounds"
    write(title, measurements(options.rounds), options)


if __name__ == "__main__":
    main()
