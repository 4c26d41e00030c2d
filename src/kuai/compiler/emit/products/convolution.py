"""Convolutions as code: the convolution itself, and the gradients of its input and its weight."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.products.convolve import (
    Convolution,
    StoreImage,
    Windows,
    forward_plan,
    input_gradient_plan,
)
from kuai.compiler.emit.products.product import Part, Store
from kuai.compiler.emit.products.weight_gradient import Operand, WeightGradient
from kuai.compiler.native.target import Target


def forward(c: Convolution, target: Target) -> Windows:
    """How a convolution is computed; `blocks` and `workspace` say what it needs."""
    inner, outer = c.channels // c.groups, c.outputs // c.groups
    return Windows(c, target, forward_plan(c), inner, outer, turned=False)


def input_gradient(c: Convolution, target: Target) -> Windows:
    """How the gradient of a convolution's input is computed."""
    inner, outer = c.outputs // c.groups, c.channels // c.groups
    return Windows(c, target, input_gradient_plan(c), inner, outer, turned=True)


def weight_gradient(c: Convolution, target: Target) -> WeightGradient:
    """How the gradient of a convolution's weight is computed."""
    return WeightGradient(c, target)


def emit_convolution(
    f: Function,
    c: Convolution,
    x: Operand,
    weight: Operand,
    store: StoreImage,
    target: Target,
    workspace: Ref,
    part: Part | None = None,
) -> None:
    """Build code into `f` that computes a convolution.

    Args:
        f: the function; for vectors of 512 bits it needs the attributes that allow them.
        c: the sizes and type.
        x, weight: the addresses of the first elements, and four strides each, in elements.
        store: takes each element of the result exactly once, in vectors: see `StoreImage`.
        target: the machine that it is for.
        workspace: address of `forward(c, target).workspace` bytes of memory, aligned to 64, that
            only this thread uses.
        part: the first block and the one after the last, of `forward(c, target).blocks`; all by
            default. What an element becomes does not depend on the part that computes it.
    """
    forward(c, target).emit(f, x, weight, store, workspace, part)


def emit_input_gradient(
    f: Function,
    c: Convolution,
    y: Operand,
    weight: Operand,
    store: StoreImage,
    target: Target,
    workspace: Ref,
    part: Part | None = None,
) -> None:
    """Build code that computes the gradient of the input from that of the output, `y`.

    The arguments are those of `emit_convolution`.
    """
    input_gradient(c, target).emit(f, y, weight, store, workspace, part)


def emit_weight_gradient(
    f: Function,
    c: Convolution,
    x: Operand,
    y: Operand,
    store: Store,
    target: Target,
    workspace: Ref,
    part: Part | None = None,
) -> None:
    """Build code that computes the gradient of the weight from the input and the output's gradient.

    `store` gets the weight as a matrix: a row for each output channel. The other arguments are
    those of `emit_convolution`.
    """
    weight_gradient(c, target).emit(f, x, y, store, workspace, part)
