"""Panels of a product's operands that are made before the product, in a kernel of their own.

Parts of a product that would each make the same panels read these instead. What a loop multiplies
by in each round, such as the weight of a recurrent network, is brought into panels once, before the
loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kuai.compiler.emit import cost
from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.epilogue import Epilogue
from kuai.compiler.graph import Value
from kuai.compiler.memory import Buffer
from kuai.compiler.products import Matrices
from kuai.compiler.steps import Control, Step, walk_steps
from kuai.compiler.steps import Product as ProductStep

if TYPE_CHECKING:
    from kuai.compiler.emit.domain import Part
    from kuai.compiler.emit.product_step import Shape
    from kuai.compiler.emit.products import Panels, Shared
    from kuai.compiler.emit.program import Program


@dataclass(frozen=True)
class Made:
    """Panels that lie in memory.

    Attributes:
        panels: which ones.
        buffer: where they start.
        outlives: whether the memory is theirs; else it is the start of the product's own.
    """

    panels: Panels
    buffer: Buffer
    outlives: bool

    def shared(self, pointer: Ref) -> Shared:
        """For the code of the product, where the buffer lies at `pointer`."""
        from kuai.compiler.emit.products import Shared

        return Shared(**{self.panels.operand: pointer})


def of_parts(program: Program, step: ProductStep, shape: Shape) -> Made | None:
    """Make the panels that several parts of a product need, if there are such."""
    from kuai.compiler.emit.products import panels

    found = None if shape.lead else panels(shape.product, program.target)
    if found is None:
        return None
    value = step.product.inputs["ab".index(found.operand)]
    buffer = program.scratch(found.size)
    _make(program, step, found, value, buffer)
    return Made(found, buffer, outlives=False)


def before_loop(program: Program, loop: Control) -> None:
    """Make the panels of what the products in a loop multiply by in each round."""
    for step in walk_steps(s for steps in loop.steps for s in steps):
        if not isinstance(step, ProductStep) or not isinstance(step.kind, Matrices):
            continue
        value = step.product.inputs[1]
        found = None if _changes(program, loop, value) else _of_second(program, step)
        if found is None or (key := _key(program, value, found)) in program.panels:
            continue
        buffer = program.memory(found.size)
        _make(program, step, found, value, buffer)
        program.panels[key] = buffer


def of_loop(program: Program, step: ProductStep, shape: Shape) -> Made | None:
    """The panels that were made before the loop in which a product stands."""
    found = _panels_of_second(program, shape) if program.panels else None
    if found is None:
        return None
    buffer = program.panels.get(_key(program, step.product.inputs[1], found))
    return None if buffer is None else Made(found, buffer, outlives=True)


def _of_second(program: Program, step: ProductStep) -> Panels | None:
    from kuai.compiler.emit.product_step import Shape
    from kuai.compiler.emit.products import variants

    assert isinstance(step.kind, Matrices)
    epilogue = Epilogue(program, step.product.results[0], step.body)
    shape = Shape(program, step, step.kind, epilogue.values)
    ways = variants(shape.product, program.target)
    if ways.within is not ways.beyond:
        return None
    shape.product = ways.within
    return _panels_of_second(program, shape)


def _panels_of_second(program: Program, shape: Shape) -> Panels | None:
    """The panels of a product's second operand, if all products of a batch have the same one."""
    from kuai.compiler.emit.products import panels

    if any(shape.b[: len(shape.lead)]):
        return None
    return panels(shape.product, program.target, "b")


def _changes(program: Program, loop: Control, value: Value) -> bool:
    """Whether a value is another one in each round of a loop."""
    base = program.kernels.base_of(value)
    return any(v is base for v in _made_in(loop.operation.regions, loop.steps))


def _made_in(regions: Iterable[Any], steps: Iterable[Iterable[Step]]) -> Iterator[Value]:
    for region in regions:
        yield from region.parameters
    for step in (s for inner in steps for s in inner):
        yield from step.made
        if isinstance(step, Control):
            yield from _made_in(step.operation.regions, step.steps)


def _key(program: Program, value: Value, found: Panels) -> Any:
    """What tells panels from others."""
    kernels, s = program.kernels, found.strategy
    of = s.height if found.place == "a" else s.width
    return kernels.base_of(value), kernels.layout_of(value), s.product.k, s.depth, of, s.lanes


def _make(program: Program, step: ProductStep, found: Panels, value: Value, buffer: Buffer) -> None:
    """Call the kernel that makes panels of a value."""
    where = program.kernels.layout_of(value)
    source = program.plan.buffer_of(value)
    wanted = cost.parts(value.size * cost.PER_PACKED)
    share = -(-found.blocks // max(1, min(wanted, found.blocks)))

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
        at = f.at(pointers[source], where.offset, "i8")
        blocks = None if part is None else part.range(f, found.blocks)
        found.emit(f, at, pointers[buffer], blocks)

    program.kernel("panels", [source, buffer], build, -(-found.blocks // share))
