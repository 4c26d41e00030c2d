"""How long each step of a program takes: it is made once more with a clock around each step, and
run on copies of what it works on, so that nothing outside notices.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kuai.compiler.emit.statuses import INTERRUPTED, OUT_OF_MEMORY
from kuai.compiler.emit.timed import WORDS, Row, emit_timed
from kuai.compiler.graph import StackMeta, Value
from kuai.compiler.memory import ALIGNMENT
from kuai.compiler.native import hosts, jit, runtime
from kuai.compiler.native.interface import Form, tensor_of
from kuai.compiler.native.target import host
from kuai.compiler.run.bind import Loose
from kuai.compiler.run.code import Code
from kuai.compiler.run.failures import told
from kuai.compiler.run.program import Program
from kuai.compiler.sizes import at

MOST_RUNS = 300
ENOUGH = 0.3  # seconds of runs after which there are no more, if there were a few
FEW = 5
SHORT = 1e-4  # seconds of a program that runs several times in a row, its memory at hand
TOGETHER = 16  # times
LIMIT = 5.0  # seconds after which loops are taken to be endless


@dataclass
class Line:
    """What one step takes.

    Attributes:
        row: the step.
        times: how often it ran.
        nanoseconds: all of these together.
        share: of the whole program's time.
    """

    row: Row
    times: float
    nanoseconds: float
    share: float


@dataclass
class Times:
    """What the steps of one half of a program take; without lines, `why` says why.

    Attributes:
        half: `"forward"` or `"backward"`.
        lines: in the order of the program.
        nanoseconds: the whole program, without clocks.
        runs: of how many runs these are the medians.
        drawn: whether arguments were gone, and others were drawn in their place.
    """

    half: str
    lines: list[Line]
    nanoseconds: float = 0.0
    runs: int = 0
    drawn: bool = False
    why: str = ""

    def top(self, count: int) -> list[Line]:
        """The steps in no other one that take longest."""
        outer = [line for line in self.lines if line.row.depth == 0]
        return sorted(outer, key=lambda line: -line.nanoseconds)[:count]


def measure(program: Program) -> list[Times]:
    """The times of a program, and of its backward half if it has one."""
    drawing = _Drawing()
    leaves = [argument.get(drawing.draw) for argument in program.arguments]
    inputs: list[Any] = []
    for given in program.recorded.inputs:
        if isinstance(given, Loose):
            number = given.use(0).value(leaves)
            inputs.append(np.asarray(number, np.float64 if given.kind is float else np.int64))
        else:
            inputs.append(tensor_of(given.source, leaves)._payload)
    with _Run(program.code, inputs) as run:
        found = [run.times("forward", drawing.used)]
        if program.backward is None or found[0].why:
            return found
        saved, arguments = program.taken_over
        first = len(program.recorded.result.outputs)
        taken = [run.output(i) for i in range(first, first + saved)]
        taken += [inputs[i] for i in arguments]
        grads = program.backward.inputs[len(taken) :]
        taken += [np.ones(v.shape, v.dtype) for v in grads]
        with _Run(program.backward, taken) as backward:
            found.append(backward.times("backward", drawing.used))
        return found


class _Drawing:
    """Arrays for arguments that are gone: numbers around 0, and indices that are always right."""

    def __init__(self) -> None:
        self.used = False
        self._generator = np.random.default_rng(0)

    def draw(self, form: Form) -> np.ndarray:
        """An array of a form."""
        self.used = True
        array = _of_form(form)
        if form.dtype.kind in "fc":
            array[...] = self._generator.standard_normal(form.shape)
        else:
            array[...] = 0
        return array


def _of_form(form: Form) -> np.ndarray:
    """A new array whose elements lie as a form says."""
    low, high = form.extent()
    memory = np.zeros(high - low + ALIGNMENT, np.uint8)
    start = -low + -(memory.ctypes.data - low) % ALIGNMENT
    return np.ndarray(form.shape, form.dtype, memory, start, form.steps())


def _copy(array: np.ndarray) -> np.ndarray:
    copy = _of_form(Form(array.dtype, array.shape, array.strides))
    np.copyto(copy, array)
    return copy


class _Run:
    """A program with a clock, in memory, with copies of all that it works on.

    Args:
        code: what is timed.
        inputs: for each input, an array, or the address of a loop's stack.
    """

    def __init__(self, code: Code, inputs: Sequence[Any]) -> None:
        self.code = code
        self.timed = emit_timed(code.built.plan, host(), code.built.batch)
        self._raised: BaseException | None = None
        self._failed: BaseException | None = None
        self._deadline = math.inf
        self._hosts = hosts.register(code.hosts) if code.hosts else 0
        calls = runtime.Host(self._run_host), runtime.Interrupted(self._interrupted)
        timed = jit.compiled(self.timed.emitted.text)
        self.library = runtime.load_program(timed, ("program", "ticks", "repeat"), *calls)
        self.plain = runtime.load_program(code.object_file, ("program",), *calls)
        words = [ctypes.c_void_p] * 3
        self._entry = ctypes.CFUNCTYPE(ctypes.c_int, *words[:2])(self.library["program"])
        self._ticks = ctypes.CFUNCTYPE(ctypes.c_int64)(self.library["ticks"])
        repeat = self.library["repeat"]
        self._repeat = ctypes.CFUNCTYPE(ctypes.c_int64, *words, ctypes.c_int64)(repeat)
        self._arrays: dict[Value, Any] = dict(zip(code.inputs, map(self._own, inputs), strict=True))
        for value, tensor in code.captured:
            self._arrays[value] = self._own(tensor._payload)
        changed = [self._arrays[old] for old, _ in code.updates]
        self._before = [(array, array.copy()) for array in changed]
        self._made: dict[tuple[str, int], np.ndarray] = {}
        self._times = np.zeros((len(self.timed.rows), WORDS), np.int64)
        self._buffers = [[(b.kind, b.index) for b in self.timed.emitted.buffers], code.buffers]
        self._tables = [self._addresses(buffers) for buffers in self._buffers]
        self._stacks = [[i for i, b in enumerate(bs) if b[0] == "stack"] for bs in self._buffers]
        arena = max(code.arena, at(self.timed.emitted.arena, code.batch or 0))
        self._memory = np.empty(arena + ALIGNMENT, np.uint8)
        self._arena = -(-self._memory.ctypes.data // ALIGNMENT) * ALIGNMENT

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._free()
        if self.code.hosts:
            hosts.forget(self._hosts, len(self.code.hosts))

    @staticmethod
    def _own(x: Any) -> Any:
        return _copy(x) if isinstance(x, np.ndarray) else x

    def _addresses(self, buffers: Sequence[tuple[str, int]]) -> np.ndarray:
        """A table of buffers; memory for what the program makes is made with the first one."""
        code = self.code
        fixed = {"hosts": self._hosts, "batch": code.batch or 0, "times": self._times.ctypes.data}
        table = np.zeros(len(buffers) + 1, np.int64)
        for place, (kind, number) in enumerate(buffers):
            if kind in fixed:
                table[place] = fixed[kind]
            elif kind in ("input", "captured"):
                value = code.inputs[number] if kind == "input" else code.captured[number][0]
                held = self._arrays[value]
                table[place] = held.ctypes.data if isinstance(held, np.ndarray) else held
            elif kind in ("output", "gradient"):
                made = code.outputs[number] if kind == "output" else code.gradients[number][1]
                assert made is not None
                if (kind, number) not in self._made:
                    self._made[kind, number] = np.empty(made.shape, made.dtype)
                table[place] = self._made[kind, number].ctypes.data
        return table

    def output(self, number: int) -> Any:
        """What the program left as an output: an array, or the address of a loop's stack."""
        if isinstance(self.code.outputs[number].meta, StackMeta):
            return int(self._tables[0][self._buffers[0].index(("stack", number))])
        return self._made["output", number]

    def _free(self) -> None:
        for table, stacks in zip(self._tables, self._stacks, strict=True):
            for place in stacks:
                runtime.free_memory(int(table[place]))
                table[place] = 0

    # -- what the program calls -------------------------------------------------------------

    def _run_host(self, number: int, pointers: int) -> int:
        """A NumPy kernel, unless it matters beyond its results, as printing does."""
        operation = self.code.hosts[number - self._hosts].operation
        if operation.has_effects and not operation.results:
            return 0
        try:
            hosts.run(number, pointers)
        except BaseException as error:
            self._failed = error
            return 1
        return 0

    def _interrupted(self) -> int:
        try:  # a signal is handled here, between two steps of Python
            return int(time.perf_counter() > self._deadline)
        except BaseException as error:  # it goes on when the program has ended
            self._raised = error
            return 1

    # -- running ----------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._free()
        for array, before in self._before:
            np.copyto(array, before)
        self._times[:] = 0

    def _ticks_of(self, plain: bool, times: int) -> float:
        """The ticks that the program takes, without or with its clocks."""
        self._prepare()
        entry = (self.plain if plain else self.library)["program"]
        ticks = self._repeat(entry, self._tables[plain].ctypes.data, self._arena, times)
        if self._raised is not None:
            raise self._raised
        return float(ticks) / times

    def times(self, half: str, drawn: bool) -> Times:
        """Run it often; the medians of what each step took."""
        self._deadline = time.perf_counter() + LIMIT
        self._prepare()
        begun = time.perf_counter()
        status = self._entry(self._tables[0].ctypes.data, self._arena)
        if self._raised is not None:
            raise self._raised
        if status:
            return Times(half, [], drawn=drawn, why=self._why(status))
        self._deadline = math.inf
        is_short = time.perf_counter() - begun < SHORT
        # A loop that goes on from what the run before has changed may have other rounds, or no end.
        goes_on = self.code.loops and bool(self.code.updates)
        together = TOGETHER if is_short and not goes_on and not any(self._stacks) else 1
        start, ticks = time.perf_counter_ns(), self._ticks()
        plain: list[float] = []
        clocked: list[float] = []
        tables: list[np.ndarray] = []
        while len(tables) < MOST_RUNS:
            if len(tables) >= FEW and time.perf_counter_ns() - start > 1e9 * ENOUGH:
                break
            plain.append(self._ticks_of(True, together))
            clocked.append(self._ticks_of(False, together))
            tables.append(self._times / together)
        unit = (time.perf_counter_ns() - start) / max(self._ticks() - ticks, 1)
        total = float(np.median(plain))
        lines = self._lines(np.median(tables, axis=0), total, float(np.median(clocked)), unit)
        return Times(half, lines, total * unit, len(tables) * together, drawn)

    def _why(self, status: int) -> str:
        if status == INTERRUPTED:
            return f"its loops did not end within {LIMIT:g} s"
        if status > 0:
            failure = self.code.failures[status - 1]
            return f"it fails: {failure.error(self._told)}"
        if status == OUT_OF_MEMORY:
            return "there is not enough memory"
        return f"it fails: {self._failed!r}"

    def _told(self) -> list[int]:
        return told(self._tables[0].ctypes.data, self._buffers[0])

    def _lines(self, table: np.ndarray, total: float, clocked: float, unit: float) -> list[Line]:
        """The steps, without what the clocks take, which is found by running without them."""
        rows = self.timed.rows
        count = table[:, 1]
        outer = np.array([row.depth == 0 for row in rows], bool)
        cost = max(clocked - total, 0.0) / max(count.sum(), 1.0)  # of a clock, altogether
        seen = table[outer, 0].sum() - total - cost * count[~outer].sum()
        own = min(max(seen / max(count[outer].sum(), 1.0), 0.0), cost)  # what it sees of that
        lines = []
        for i, row in enumerate(rows):
            end = next(
                (j for j in range(i + 1, len(rows)) if rows[j].depth <= row.depth), len(rows)
            )
            inside = count[i + 1 : end].sum()
            ticks = max(float(table[i, 0] - own * count[i] - cost * inside), 0.0)
            lines.append(Line(row, float(count[i]), ticks * unit, ticks / max(total, 1.0)))
        return lines
