"""What a contestant is: something that can be prepared for a task, checked, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.workloads import Task


class AbsentError(Exception):
    """A contestant cannot take part in a task; the message says why."""


@dataclass
class Prepared:
    """A contestant that is ready for one task.

    Args:
        run: does the work once, and waits until it is done.
        numbers: what the result of `run` and the trained parameters are, as arrays in the order
            and layout of the workload: `[result]`, or `[loss, *parameters]` for a training step.
        repeat: does the work that many times, for contestants that need no Python in between.
        context: what the calls stand in, such as `no_grad`; entered once for many calls.
    """

    run: Callable[[], Any]
    numbers: Callable[[Any], list[np.ndarray]]
    repeat: Callable[[int], Any] | None = None
    context: Callable[[], AbstractContextManager[Any]] = nullcontext

    def after(self, calls: int) -> list[np.ndarray]:
        """The numbers after that many calls."""
        with self.context():
            for _ in range(calls):
                result = self.run()
        return [np.array(x) for x in self.numbers(result)]

    def seconds(self, calls: int) -> float:
        """How long that many calls take."""
        run = self.run
        with self.context():
            if self.repeat is not None:
                start = time.perf_counter()
                self.repeat(calls)
            else:
                start = time.perf_counter()
                for _ in range(calls):
                    run()
            return time.perf_counter() - start


@dataclass(frozen=True)
class Contestant:
    """A column of the table.

    Args:
        name: the column's name.
        prepare: makes it ready for a task, or raises `AbsentError`.
        optional: whether it takes part only when asked for, because it takes long to get ready.
    """

    name: str
    prepare: Callable[[Task], Prepared]
    optional: bool = False
