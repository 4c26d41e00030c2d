"""What became of a compiled function, at each stage, as text."""

from __future__ import annotations

from collections.abc import Callable

from kuai.compiler.build import Built
from kuai.compiler.capture.records import OfFunction
from kuai.compiler.native import jit
from kuai.compiler.rewrite.template import rewritten_text
from kuai.compiler.run.compiled import Compiled
from kuai.compiler.run.program import Program
from kuai.compiler.run.timing import Line, Times, measure

TOP = 5  # steps whose times the report shows


def _python(program: Program) -> str:
    """The user's functions as they were captured, rewritten."""
    functions = [r.function for r in program.guards.records if isinstance(r, OfFunction)]
    return "\n\n".join(f"# {f.__qualname__}\n{rewritten_text(f)}" for f in functions)


STAGES: dict[str, Callable[[Program, Built], str]] = {
    "python": lambda program, built: _python(program),
    "graph": lambda program, built: str(built.graph),
    "kernels": lambda program, built: str(built.kernels),
    "memory": lambda program, built: str(built.plan),
    "llvm": lambda program, built: built.emitted.text,
    "assembly": lambda program, built: jit.assembly(built.emitted.text),
}


def explain(compiled: Compiled, stage: str = "") -> None:
    """Print what became of a function.

    Args:
        compiled: the function.
        stage: `"python"`, `"graph"`, `"kernels"`, `"memory"`, `"llvm"` or `"assembly"`, for that
            stage of the program that ran last in full; `"times"` for what each of its steps
            takes; a short report on all programs without. For the times, the program runs some
            hundred times, on copies of what it works on.

    Raises:
        ValueError: there is no such stage.
    """
    print(text(compiled, stage))


def text(compiled: Compiled, stage: str = "") -> str:
    """What `explain` prints."""
    if stage and stage != "times" and stage not in STAGES:
        raise ValueError(f"no stage {stage!r}; there are {', '.join(STAGES)}, times")
    programs = list(compiled.programs.values())
    if not programs:
        return "nothing is compiled yet: call it first"
    if not stage:
        lines = [_report(i, program) for i, program in enumerate(programs)]
        lines += [_times(times, times.top(TOP), "  ") for times in measure(programs[-1])]
        refused = dict.fromkeys(compiled.any_batch.refused.values())
        lines += [f"no program for batches of any size: {why}" for why in refused]
        return "\n".join(lines)
    program = programs[-1]
    if stage == "times":
        return "\n".join(_times(times, times.lines) for times in measure(program))
    show = STAGES[stage]
    parts = [show(program, program.code.built)]
    if program.backward is not None and stage != "python":
        parts = ["forward:", *parts, "backward:", show(program, program.backward.built)]
    return "\n".join(parts)


def _report(number: int, program: Program) -> str:
    tensors = [t for t in program.bound.interface.tensors if isinstance(t.source, int)]
    forms = ", ".join(f"{t.form.dtype}{list(t.form.shape)}" for t in tensors if t.form is not None)
    lines = [f"program {number} for {forms or 'no tensors'}"]
    if program.code.batch is not None:
        lines.append(f"  one for batches of any size, here of {program.code.batch}")
    for name, code in (("forward", program.code), ("backward", program.backward)):
        if code is None:
            continue
        built, emitted = code.built, code.built.emitted
        lines.append(
            f"  {name}: {sum(1 for _ in built.graph.walk())} operations, "
            f"{sum(emitted.kernels.values())} kernels ({len(emitted.kernels)} different), "
            f"{emitted.arena} bytes of scratch memory, {len(emitted.text)} bytes of LLVM"
        )
    lines.append(f"  guards: {len(program.guards.records)} reads")
    stages = (f"{name} {1e3 * t:.1f} ms" for name, t in program.times.stages.items())
    lines.append(f"  made in: {', '.join(stages)}")
    return "\n".join(lines)


def _times(times: Times, lines: list[Line], margin: str = "") -> str:
    """What steps take, as a table."""
    if times.why:
        return f"{margin}{times.half}: no times: {times.why}"
    drawn = ", with arguments drawn anew" if times.drawn else ""
    head = f"{times.half}: {_with_unit(times.nanoseconds)}, the median of {times.runs} runs{drawn}"
    rows = [("step", "kernel", "block")]
    for line in lines:
        row = line.row
        block = row.path.partition(": ")[0]
        rows.append(("  " * row.depth + row.title, " ".join(row.kernels), block))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    numbers = [f"{'ns':>12} {'share':>6} {'times':>6}  "]
    numbers += [
        f"{line.nanoseconds:12,.1f} {100 * line.share:5.1f}% {line.times:6.4g}  " for line in lines
    ]
    body = [
        f"{n}{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip()
        for n, row in zip(numbers, rows, strict=True)
    ]
    return "\n".join(f"{margin}{line}" for line in (head, *body))


def _with_unit(nanoseconds: float) -> str:
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.2f} {unit}"
    return f"{nanoseconds:.0f} ns"
