"""Straight C: the programs in benchmarks/c, built with the machine's compiler."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers.contestant import AbsentError, Contestant, Prepared
from benchmarks.workloads import Task

SOURCES = Path(__file__).parents[1] / "c"
# `-fno-math-errno`: a square root sets no errno, so that it can be one instruction. Nothing here
# lets the compiler assume that NaN does not occur.
FLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-std=c11", "-shared", "-fPIC"]
# The functions for forward and for a training step, by network.
FUNCTIONS = {
    "chimera (S6)": ("chimera_forward", "chimera_train"),
    "Sequential (S1)": ("mlp_forward", "mlp_train"),
}

Pointer = ctypes.POINTER(ctypes.c_float)


@functools.cache
def library() -> ctypes.CDLL:
    """The programs as a shared library.

    Raises:
        AbsentError: there is no compiler, or it does not take the programs.
    """
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise AbsentError("there is no C compiler")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "straight.so"
        sources = sorted(str(path) for path in SOURCES.glob("*.c"))
        command = [compiler, *FLAGS, *sources, "-o", str(output), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AbsentError(f"the C compiler says {done.stderr[:200]}")
        return ctypes.CDLL(str(output))


def pointer(array: np.ndarray) -> ctypes._Pointer[ctypes.c_float]:
    """The address of an array."""
    return array.ctypes.data_as(Pointer)


def is_narrow(weight: np.ndarray) -> bool:
    """Whether a weight has so few outputs that it lies in C as it does in PyTorch."""
    return len(weight) < 16


def as_in_c(parameter: np.ndarray) -> np.ndarray:
    """A copy in the layout of the C programs: weights are (inputs, outputs), narrow ones not."""
    return np.array(parameter if is_narrow(parameter) else parameter.T, order="C")


class Program:
    """A C function and the arrays that it works on, which live as long as it."""

    def __init__(self, task: Task) -> None:
        given = task.workload.numbers
        self.originals = given.parameters
        self.parameters = [as_in_c(x) for x in given.parameters]
        self.arrays = [*self.parameters, *(np.array(x) for x in given.constants)]
        if task.workload.optimizer == "Adam":
            moments = [np.zeros_like(x) for _ in range(2) for x in self.parameters]
            self.arrays += [*moments, np.zeros(1, np.float32)]
        self.X = np.array(given.X)
        gives_rows = task.workload.network == "Sequential (S1)" and not task.trains
        self.result = np.zeros((2, 10) if gives_rows else (), np.float32)
        self.trains = task.trains
        self.arguments = (
            getattr(library(), FUNCTIONS[task.workload.network][task.trains]),
            pointer(self.X),
            (Pointer * len(self.arrays))(*map(pointer, self.arrays)),
            ctypes.c_float(task.learning_rate),
            pointer(self.result),
        )

    def repeat(self, times: int) -> None:
        """Does the work that many times."""
        library().repeat(ctypes.c_long(times), *self.arguments)

    def numbers(self) -> list[np.ndarray]:
        """The result, and the trained parameters in PyTorch's layout."""
        if not self.trains:
            return [self.result]
        pairs = zip(self.parameters, self.originals, strict=True)
        return [self.result, *(x if is_narrow(original) else x.T for x, original in pairs)]


def prepare(task: Task) -> Prepared:
    """The C program, ready for a task."""
    if task.workload.network not in FUNCTIONS:
        raise AbsentError("there is no C program for this workload")
    program = Program(task)
    return Prepared(
        run=lambda: program.repeat(1),
        numbers=lambda _: program.numbers(),
        repeat=program.repeat,
    )


STRAIGHT_C = Contestant("C", prepare)
