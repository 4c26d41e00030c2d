"""Arrays laid into parts of another one: `pieces` of a primitive, as copies.

`pieces(self, result, *inputs, **parameters)` gets arrays without elements, and gives what lies
where: for each piece, a view of the result, the number of an input, and a view of that input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kuai.compiler.emit import cost, nests
from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.domain import Part
from kuai.compiler.emit.nest_code import Code
from kuai.compiler.graph import Operation, Value
from kuai.compiler.layout import Layout
from kuai.compiler.memory import Buffer
from kuai.compiler.sizes import hint
from kuai.compiler.steps import Move

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program

PER_BYTE = 0.05  # nanoseconds


def emit_move(program: Program, step: Move) -> None:
    """Copy the inputs into their places in the result."""
    operation = step.operations[0]
    (result,) = operation.results
    covered = sum(to.size for to, _, _ in step.pieces)
    missing = [p for p in step.pieces if not _lies_there(program, operation, *p)]
    if not missing and result.size and covered == result.size:
        return
    zeros = operation.primitive.zeros_between and covered < result.size

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
        if zeros:
            fill(program, f, pointers, result, 0)
        for to, number, view in missing:
            copy(program, f, pointers, result, to, operation.inputs[number], view, part)

    size = hint(result.size) * result.meta.dtype.itemsize
    program.kernel(
        operation.primitive.name,
        program.buffers_of([*operation.inputs, result]),
        build,
        cost.parts(size * PER_BYTE) if covered == result.size else 1,  # then none overlap
    )


def _lies_there(
    program: Program, operation: Operation, to: Layout, number: int, view: Layout
) -> bool:
    """Whether an input was computed where it shall lie."""
    value, (result,) = operation.inputs[number], operation.results
    if value in program.kernels.constants:
        return False
    same = program.plan.buffer_of(value) is program.plan.buffer_of(result)
    return same and program.kernels.layout_of(value) == to


def copy(
    program: Program,
    f: Function,
    pointers: dict[Buffer, Ref],
    result: Value,
    to: Layout,
    source: Value,
    view: Layout | None = None,
    part: Part | None = None,
) -> None:
    """Loops that copy (a part of) a value into a part of a result, broadcasting it."""
    constants = program.kernels.constants
    if source in constants:
        fill(program, f, pointers, result, constants[source], to)
        return
    plan, here = program.plan, view or program.kernels.layout_of(source)
    if plan.buffer_of(source) is plan.buffer_of(result) and here == to:
        return  # a loop changes what it carries in place
    code = Code([([], [], [])], {}, [result])
    place = program.access(f, pointers, result, to.shape, to)
    read = program.access(f, pointers, source, to.shape, view)
    nest = nests.Nest(
        f, program.target, to.shape, (), {(result, False): read}, [(result, place)], code, part
    )
    nest.emit()


def fill(
    program: Program,
    f: Function,
    pointers: dict[Buffer, Ref],
    result: Value,
    number: Any,
    to: Layout | None = None,
) -> None:
    """Loops that put one number everywhere in (a part of) a result."""
    to = to or program.kernels.layout_of(result)
    code = Code([([], [], [])], {result: number}, [result])
    place = program.access(f, pointers, result, to.shape, to)
    nests.Nest(f, program.target, to.shape, (), {}, [(result, place)], code).emit()
