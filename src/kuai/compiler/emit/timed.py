"""A program that takes its own time: the same steps, with a clock read around each of them.

The ticks are added up in a table that the caller provides, a buffer of the kind "times": for each
step its ticks, and how often it ran. Steps inside loops and branches have rows of their own, and
count for the step that they stand in too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kuai.compiler.emit.builder import Ref
from kuai.compiler.emit.emitted import Emitted
from kuai.compiler.emit.program import Program
from kuai.compiler.memory import Buffer, Plan
from kuai.compiler.native.target import Target
from kuai.compiler.sizes import Batch
from kuai.compiler.steps import Step

WORDS = 2  # of a row of the table: ticks, and how often


@dataclass
class Row:
    """A step that is timed.

    Attributes:
        title: what it is.
        depth: in how many loops and branches it stands.
        path: the block that it comes from.
        kernels: the kernels that it calls, without those of steps inside.
    """

    title: str
    depth: int
    path: str
    kernels: list[str]


@dataclass
class Timed:
    """A program that takes its own time.

    Attributes:
        emitted: its text, which also defines `i64 @ticks()`, the clock, and
            `i64 @repeat(ptr program, ptr buffers, ptr arena, i64 times)`: the ticks that a
            program takes, this one or another.
        rows: what the rows of the table are.
    """

    emitted: Emitted
    rows: list[Row]


def emit_timed(plan: Plan, target: Target, batch: Batch | None = None) -> Timed:
    """The program of a plan, as `emit_program` makes it, with a clock around each step."""
    program = _Timed(plan, target, batch)
    return Timed(program.finish(), program.rows)


def clock(triple: str) -> str:
    """The LLVM intrinsic that reads a clock which programs may read, on this machine."""
    is_x86 = triple.split("-")[0] in ("x86_64", "i386", "i686")
    return "llvm.readcyclecounter" if is_x86 else "llvm.readsteadycounter"


class _Timed(Program):
    """The program under construction."""

    def __init__(self, plan: Plan, target: Target, batch: Batch | None) -> None:
        super().__init__(plan, target, batch)
        self.rows: list[Row] = []
        self._depth = 0
        self._clock = clock(target.triple)
        self.module.declare(self._clock, "i64", [])
        self._times = self.slot(Buffer("times"))
        ticks = self.module.function("ticks", "i64", [], internal=False)
        ticks.ret(ticks.call(self._clock, "i64"))
        self._repeat()

    def _repeat(self) -> None:
        pointers = [("ptr", name) for name in ("program", "buffers", "arena")]
        f = self.module.function("repeat", "i64", [*pointers, ("i64", "times")], internal=False)
        program, buffers, arena, times = f.arguments
        start = f.call(self._clock, "i64")
        with f.loop(0, times, 1):
            f.op("i32", f"call i32 {program.text}({buffers}, {arena})")
        f.ret(f.sub(f.call(self._clock, "i64"), start))

    @contextmanager
    def _timing(self, title: str, path: str) -> Iterator[None]:
        """Time what is emitted inside."""
        f, row = self.main, len(self.rows)
        before = dict(self.emitted.kernels)
        self.rows.append(Row(title, self._depth, path, []))
        self._depth += 1
        start = f.call(self._clock, "i64")
        yield
        passed = f.sub(f.call(self._clock, "i64"), start)
        self._depth -= 1
        for word, more in ((0, passed), (1, Ref("1", "i64"))):
            place = f.at(self._times, WORDS * row + word, "i64")
            f.store(f.add(f.load("i64", place), more), place)
        inner = {kernel for r in self.rows[row + 1 :] for kernel in r.kernels}
        called = [k for k, n in self.emitted.kernels.items() if n > before.get(k, 0)]
        self.rows[row].kernels = [k for k in called if k not in inner]

    def steps(self, steps: Iterable[Step]) -> None:
        """Emit steps in their order, each with its time."""
        for step in steps:
            with self._timing(step.title(), step.operations[0].path if step.operations else ""):
                super().steps([step])

    def results(self) -> None:
        """Bring the results to their places, with the time of all of it."""
        if self.plan.copies:
            with self._timing("results to their places", ""):
                super().results()
