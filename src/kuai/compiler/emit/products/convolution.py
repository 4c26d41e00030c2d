"""Convolutions as code: the convolution itself, and the gradients of its input and its weight.

Each function says how one of the three is computed. The strategy that it returns has

* `workspace`: the bytes of scratch memory that each thread needs;
* `blocks`: into how many blocks the work can be divided;
* `emit(f, first, second, store, workspace, part)`: builds the code into a function `f`, which for
  vectors of 512 bits needs the attributes that allow them. `first` and `second` are the addresses
  of the operands, in the order of their strides here; `store` takes each element of the result
  exactly once, in vectors; `workspace` is the address of scratch memory, aligned to 64, that only
  this thread uses; `part` is the first block and the one after the last, all by default. What an
  element becomes does not depend on the part that computes it.
"""

from __future__ import annotations

from kuai.compiler.emit.products.convolve import StoreImage, Windows
from kuai.compiler.emit.products.geometry import (
    Convolution,
    Strides,
    forward_plan,
    input_gradient_plan,
)
from kuai.compiler.emit.products.pointwise import Pointwise, is_pointwise
from kuai.compiler.emit.products.weight_gradient import WeightGradient
from kuai.compiler.native.target import Target


def forward(c: Convolution, x: Strides, weight: Strides, target: Target) -> Windows | Pointwise:
    """How the convolution of `x` with `weight` is computed; it stores as a `StoreImage`."""
    inner, outer = c.channels // c.groups, c.outputs // c.groups
    if is_pointwise(c, x):
        return Pointwise(c, target, x, weight[:2], inner, outer, outer * weight[0])
    return Windows(c, target, forward_plan(c), x, weight, inner, outer, turned=False)


def input_gradient(
    c: Convolution, y: Strides, weight: Strides, target: Target
) -> Windows | Pointwise:
    """How the gradient of the input is computed from that of the output, `y`, and `weight`.

    It stores as a `StoreImage`.
    """
    inner, outer = c.outputs // c.groups, c.channels // c.groups
    if is_pointwise(c, y):
        return Pointwise(c, target, y, (weight[1], weight[0]), inner, outer, inner * weight[0])
    return Windows(c, target, input_gradient_plan(c), y, weight, inner, outer, turned=True)


def weight_gradient(c: Convolution, x: Strides, y: Strides, target: Target) -> WeightGradient:
    """How the gradient of the weight is computed from the input `x` and the output's gradient `y`.

    It stores as the `Store` of a matrix that has a row for each output channel.
    """
    return WeightGradient(c, target, x, y)


__all__ = [
    "Convolution",
    "Pointwise",
    "StoreImage",
    "Strides",
    "WeightGradient",
    "Windows",
    "forward",
    "input_gradient",
    "weight_gradient",
]
