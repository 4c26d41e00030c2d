"""Checks and times the contestants on the workloads of one thread count, in one process.

`benchmarks.compiled` runs this in a process of its own for each thread count, since several
libraries read how many threads they may use only once, when they start.

    python -m benchmarks.turns --threads 1 --output times.json
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peers.blocks import KUAI_COMPILED, KUAI_EAGER, TORCH_COMPILED, TORCH_EAGER
from benchmarks.peers.contestant import AbsentError, Contestant, Prepared
from benchmarks.peers.jax_jit import JAX
from benchmarks.peers.onnx_runtime import ONNX_RUNTIME
from benchmarks.peers.straight_c import STRAIGHT_C
from benchmarks.peers.tensorflow_function import TENSORFLOW
from benchmarks.workloads import WORKLOADS, Task, Workload

CONTESTANTS = [
    KUAI_COMPILED,
    KUAI_EAGER,
    TORCH_EAGER,
    TORCH_COMPILED,
    JAX,
    ONNX_RUNTIME,
    TENSORFLOW,
    STRAIGHT_C,
]
# The first whose numbers can be had is what the others are compared with.
REFERENCES = [TORCH_EAGER, KUAI_EAGER, JAX]
TOLERANCE = 1e-4
STEPS_CHECKED = 2
# In the check a step must change the numbers by more than the tolerance; in the timing it must
# leave them, and with them the trips of the chimera's loop, as they are.
RATES_CHECKED = {"SGD": 0.05, "Adam": 1e-3}
RATE_TIMED = 1e-9
# Beyond this ratio of the median to the fastest round, something else was running.
NOISY = 1.5


@dataclass
class Outcome:
    """The time of one contestant in one task, or why there is none.

    Args:
        workload: the workload's name.
        kind: the kind of work.
        contestant: the contestant's name.
        microseconds: the median over the rounds.
        fastest: the fastest round, in microseconds.
        note: why there is no time, or why it should not be trusted.
    """

    workload: str
    kind: str
    contestant: str
    microseconds: float | None
    fastest: float | None
    note: str


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Ends what runs inside with an `AbsentError` when it takes longer."""

    def ring(signal_number: int, frame: Any) -> None:
        raise AbsentError(f"not ready within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def checked_task(workload: Workload, kind: str) -> Task:
    """The task with a learning rate whose effect can be seen."""
    return Task(workload, kind, RATES_CHECKED[workload.optimizer])


def reference_numbers(workload: Workload, kind: str) -> tuple[str, list[np.ndarray]]:
    """What the task must give, and who says so."""
    task = checked_task(workload, kind)
    for contestant in REFERENCES:
        try:
            return contestant.name, contestant.prepare(task).after(STEPS_CHECKED)
        except AbsentError:
            continue
    return "the inputs", [workload.numbers.X + (workload.network == "x + 1")]


def ready(contestant: Contestant, workload: Workload, kind: str, limit: int) -> Prepared:
    """The contestant, having shown that it computes the same as the others.

    Raises:
        AbsentError: it cannot take part, or its numbers differ.
    """
    reference, expected = reference_numbers(workload, kind)
    with time_limit(limit):
        numbers = contestant.prepare(checked_task(workload, kind)).after(STEPS_CHECKED)
        for ours, theirs in zip(numbers, expected, strict=True):
            if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
                worst = np.abs(np.subtract(ours, theirs)).max()
                raise AbsentError(f"differs from {reference} by {worst:.2g}")
        prepared = contestant.prepare(Task(workload, kind, RATE_TIMED))
        prepared.seconds(2)
    return prepared


def interleaved(works: dict[str, Prepared], rounds: int, turn: float) -> dict[str, list[float]]:
    """The time of a call of each contestant in each round, in seconds, taken in turns.

    Args:
        works: the contestants by name.
        rounds: how often each has a turn; in every other round the turns go the other way.
        turn: how long a turn lasts, about, in seconds. Half as much time goes into calls
            before it that are not counted: they bring code and numbers back into the caches.
    """
    calls = {name: calls_in(turn, work) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    # The libraries' own objects, a million or so, need not be looked through before every turn.
    gc.collect()
    gc.freeze()
    for i in range(rounds):
        for name in list(works) if i % 2 == 0 else list(reversed(works)):
            gc.collect()
            wait_for_quiet()
            works[name].seconds(max(1, calls[name] // 2))
            times[name].append(works[name].seconds(calls[name]) / calls[name])
    gc.unfreeze()
    return times


def wait_for_quiet(longest: float = 2.0) -> None:
    """Wait until no other thread of this process runs.

    The threads of several libraries look for work for up to a tenth of a second after their last
    call, on a core that the next contestant would have to share with them.
    """
    end = time.monotonic() + longest
    while _others_that_run() and time.monotonic() < end:
        time.sleep(0.01)


def _others_that_run() -> bool:
    own = str(threading.get_native_id())
    for path in Path("/proc/self/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended
            state = path.read_text().rpartition(")")[2].split()[0]
            if state == "R" and path.parent.name != own:
                return True
    return False


def calls_in(seconds: float, work: Prepared) -> int:
    """How many calls take about that long, at least 1."""
    calls = 1
    while (taken := work.seconds(calls)) < seconds / 4:
        calls *= 4
    return max(1, int(calls * seconds / taken))


def outcomes(workload: Workload, kind: str, options: argparse.Namespace) -> Iterator[Outcome]:
    """What comes of one task, for every contestant."""
    works: dict[str, Prepared] = {}
    notes: dict[str, str] = {}
    for contestant in CONTESTANTS:
        if contestant.optional and not options.torch_compile:
            notes[contestant.name] = "only with --torch-compile"
            continue
        try:
            works[contestant.name] = ready(contestant, workload, kind, options.limit)
        except AbsentError as error:
            notes[contestant.name] = str(error)
        except Exception as error:  # one that fails must not cost the others their figures
            notes[contestant.name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    times = interleaved(works, options.rounds, options.turn / 1000)
    for contestant in CONTESTANTS:
        name = contestant.name
        if name not in times:
            yield Outcome(workload.name, kind, name, None, None, notes[name])
            continue
        median, fastest = 1e6 * statistics.median(times[name]), 1e6 * min(times[name])
        noisy = median > NOISY * fastest
        note = f"the machine was not quiet: median above {NOISY} x the fastest" if noisy else ""
        yield Outcome(workload.name, kind, name, median, fastest, note)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `benchmarks.compiled` hands on."""
    parser.add_argument("--only", default="", help="only workloads whose name has this in it")
    parser.add_argument("--kind", default="", help="only kinds of work with this in their name")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contestant, even")
    parser.add_argument("--turn", type=float, default=20, help="milliseconds of a turn, about")
    parser.add_argument("--limit", type=int, default=120, help="seconds to get ready, at most")
    parser.add_argument("--torch-compile", action="store_true", help="PyTorch's compiler, too")


def main() -> None:
    """Measures the workloads of one thread count and writes the outcomes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with threadpool_limits(options.threads):
        for workload in WORKLOADS:
            if workload.threads != options.threads or options.only not in workload.name:
                continue
            for kind in workload.kinds:
                if options.kind in kind:
                    print(f"  {workload.name}, {kind}", flush=True)
                    found.extend(vars(x) for x in outcomes(workload, kind, options))
                    options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
