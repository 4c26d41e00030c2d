"""The kernels of convolutions with the elementwise operations on their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kuai.compiler.emit import cost
from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.domain import Part
from kuai.compiler.emit.epilogue import Epilogue
from kuai.compiler.graph import Value
from kuai.compiler.memory import Buffer
from kuai.compiler.products import Convolved
from kuai.compiler.sizes import hint, varies
from kuai.compiler.steps import Product as ProductStep

PER_ELEMENT = 1.0  # nanoseconds to bring an element into order

if TYPE_CHECKING:
    from kuai.compiler.emit.products.convolution import (
        Pointwise,
        Strides,
        WeightGradient,
        Windows,
    )
    from kuai.compiler.emit.program import Program


def emit_step(program: Program, step: ProductStep, kind: Convolved) -> None:
    """Call the kernel of a convolution or of one of its gradients."""
    operation = step.product
    first, second = operation.inputs[:2]
    strategy = _strategy(program, kind, first, second)
    epilogue = Epilogue(program, operation.results[0], step.body)
    buffers = program.buffers_of([first, second, *epilogue.values])
    parts = _parts(program, step, kind, strategy.blocks)
    size = strategy.workspace
    most = cost.PARTS if varies(parts) else parts
    workspace = program.scratch(size * most) if size else None

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
        operands = [program.source(f, pointers, v)[1] for v in (first, second)]
        own = pointers[workspace] if workspace else Ref("null", "ptr")
        share = None
        if part is not None:
            own = f.at(own, f.mul(part.number, Ref(str(size), "i64")), "i8")
            share = part.range(f, strategy.blocks)
        strategy.emit(f, operands[0], operands[1], _store(f, pointers), own, share)

    def _store(f: Function, pointers: dict[Buffer, Ref]) -> Any:
        dims = len(step.domain)
        if kind.of == "weight":
            matrix = epilogue.into(f, pointers, (1, dims - 1), rows=False)

            def store(
                f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None
            ) -> None:
                matrix.finish(f, (row, column), value, lanes, mask)

            return store
        from kuai.compiler.emit.products.convolution import Windows

        images = epilogue.into(f, pointers, (1, 1, dims - 2), isinstance(strategy, Windows))

        def store_image(
            f: Function,
            image: Ref,
            channel: Ref,
            position: Ref,
            value: Ref,
            lanes: int,
            mask: Ref | None,
        ) -> None:
            images.finish(f, (image, channel, position), value, lanes, mask)

        return store_image

    name = step.kernel_name
    program.kernel(name, [*buffers, *([workspace] if workspace else [])], build, parts)


def _parts(program: Program, step: ProductStep, kind: Convolved, blocks: int) -> int:
    """Into how many parts the work is divided.

    Each part brings into order for itself what all of them use, the weights or the images: of more
    of them than there are cores, that must not take much of the time.
    """
    x, second = step.product.inputs[:2]
    by_images = kind.of != "weight" and hint(kind.geometry.batch) > 1
    shared = PER_ELEMENT * hint((second if by_images else x).size)
    if program.batch is not None and varies(blocks):
        worth = max(cost.WORTH_A_PART, 10 * shared)
        return cost.for_any_batch(cost.of_step(step), program.batch, worth)
    most = max(program.target.cores, int(cost.of_step(step) / 10 / shared))
    return cost.parts_of_blocks(step, min(hint(blocks), most))


def _strategy(
    program: Program, kind: Convolved, first: Value, second: Value
) -> Windows | Pointwise | WeightGradient:
    from kuai.compiler.emit.products import convolution

    ways: dict[str, Any] = {
        "output": convolution.forward,
        "input": convolution.input_gradient,
        "weight": convolution.weight_gradient,
    }
    strides = [_strides(program, v) for v in (first, second)]
    strategy: Windows | Pointwise | WeightGradient = ways[kind.of](
        kind.geometry, strides[0], strides[1], program.target
    )
    return strategy


def _strides(program: Program, value: Value) -> Strides:
    """In elements, with two dimensions of planes."""
    where = program.kernels.layout_of(value)
    strides = [s // where.dtype.itemsize for s in where.strides]
    if len(strides) == 3:
        strides.insert(2, 0)
    i, j, k, m = strides
    return i, j, k, m
