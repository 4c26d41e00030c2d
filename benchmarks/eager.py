"""Times the mission's networks in kuai's eager mode beside PyTorch's, one thread each.

    python -m benchmarks.eager
    python -m benchmarks.eager --network chimera --json benchmarks/results/eager.json

The two libraries take turns in one process, in rounds of a few dozen calls, so that a machine that
slows down or speeds up does so for both; each figure is the median over the rounds. Both networks
hold the same numbers and must give the same results and gradients before they are timed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import kuai
from benchmarks.networks import give_same_numbers, networks
from benchmarks.report import Row, add_output_options, write

BATCH = 2
# So small that thousands of steps leave the numbers, and with them the trips of the loop in
# `FixedHiddenMLP`, as they are: every step does the same work.
LEARNING_RATE = 1e-9

Work = Callable[[], Any]


def forward(library: Any, net: Any, X: Any) -> Work:
    """A forward pass that could be differentiated."""
    return lambda: net(X)


def inference(library: Any, net: Any, X: Any) -> Work:
    """A forward pass under `no_grad`."""

    def run() -> Any:
        with library.no_grad():
            return net(X)

    return run


def training_step(library: Any, net: Any, X: Any) -> Work:
    """A whole step: gradients cleared, forward, sum as the loss, backward, SGD."""
    optimizer = library.optim.SGD(net.parameters(), lr=LEARNING_RATE)

    def run() -> Any:
        optimizer.zero_grad()
        loss = net(X).sum()
        loss.backward()
        optimizer.step()
        return loss

    return run


KINDS = {"forward": forward, "inference": inference, "training step": training_step}


def numbers(tensor: Any) -> np.ndarray:
    """A tensor of either library as an array."""
    return np.asarray(tensor.detach().numpy())


def check_equal(name: str, kind: str, ours: tuple[Work, Any], theirs: tuple[Work, Any]) -> None:
    """Runs the work of both libraries once; results and gradients must agree.

    Raises:
        AssertionError: they differ by more than float32's rounding, so timing them is pointless.
    """
    message = f"{kind} of {name}: kuai and PyTorch differ"
    results = [numbers(work()) for work, _ in (ours, theirs)]
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5, err_msg=message)
    if kind == "training step":
        for p, q in zip(ours[1].parameters(), theirs[1].parameters(), strict=True):
            np.testing.assert_allclose(
                numbers(p.grad), numbers(q.grad), rtol=1e-4, atol=1e-5, err_msg=message
            )


def microseconds(work: Work, calls: int) -> float:
    """The mean time of one call, over `calls` calls."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        work()
    return (time.perf_counter_ns() - start) / calls / 1000


def interleaved(works: list[Work], rounds: int, calls: int) -> list[float]:
    """The median time in microseconds of each work, the works taking turns.

    Args:
        works: what to time.
        rounds: how often each has a turn, an even number: in every other round the turns go the
            other way, and each work must come first equally often for the medians to be fair.
        calls: how often it is called in a turn, after a few calls that are not timed, which bring
            its code and numbers back into the caches.
    """
    times: list[list[float]] = [[] for _ in works]
    for turn in range(rounds):
        order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
        for i in order:
            gc.collect()
            microseconds(works[i], calls // 5 + 1)
            times[i].append(microseconds(works[i], calls))
    return [statistics.median(series) for series in times]


def measurements(torch: Any, options: argparse.Namespace) -> Iterator[Row]:
    """One row for each network and kind of work.

    Args:
        torch: PyTorch, or None where it is not installed; then kuai alone is timed.
        options: the command's options.
    """
    ours, theirs = networks(kuai), networks(torch) if torch else {}
    kuai.manual_seed(0)
    X = kuai.rand(BATCH, 20)
    for name in ours:
        if options.network.lower() not in name.lower():
            continue
        for kind, make in KINDS.items():
            kuai.manual_seed(1)  # the same numbers, so the same trips of the loop, in every row
            net = ours[name]()
            works = [make(kuai, net, X)]
            if torch:
                reference = theirs[name]()
                give_same_numbers(net, reference)
                works.append(make(torch, reference, torch.from_numpy(X.numpy().copy())))
                check_equal(name, kind, (works[0], net), (works[1], reference))
            times = interleaved(works, options.rounds, options.calls)
            yield {
                "network": name,
                "work": kind,
                "kuai µs": times[0],
                "PyTorch µs": times[1] if torch else None,
                "PyTorch / kuai": times[1] / times[0] if torch else None,
            }


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description="kuai eager beside PyTorch eager")
    parser.add_argument("--network", default="", help="only those whose name has this in it")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each library, even")
    parser.add_argument("--calls", type=int, default=100, help="calls in one turn")
    add_output_options(parser)
    options = parser.parse_args()
    if options.rounds % 2:
        parser.error("--rounds must be even, so that each library comes first equally often")
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not installed: kuai is timed alone")
    else:
        torch.set_num_threads(1)
    with threadpool_limits(1):
        rows = list(measurements(torch, options))
    if not rows:
        parser.error(f"no network has {options.network!r} in its name")
    title = f"eager, batch {BATCH}, one thread, median of {options.rounds} interleaved rounds"
    write(title, rows, options)


if __name__ == "__main__":
    main()
