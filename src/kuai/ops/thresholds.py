"""Activations that are methods of tensors, too: straight lines on each side of a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai.errors import DtypeError, ShapeError
from kuai.ops.elementwise import ge, gt, le, where
from kuai.ops.movement import reshape
from kuai.ops.out import takes_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _need_floats(name: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise DtypeError(
            f"{name}: not implemented for {x.dtype.name}; the input must be a floating-point "
            "tensor, which input.float() makes"
        )


@takes_out
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """`x`, but 0 where it lies between `-lambd` and `lambd`."""
    _need_floats("hardshrink", input)
    return where(ge(input, -lambd) & le(input, lambd), 0.0, input)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`x` where it is positive, else `weight * x`, with one weight, or one a channel.

    Shape:
        input `(N, C, *)` or any, weight `(C,)`, `(1,)` or `()`; the result as the input.

    Raises:
        ShapeError: the number of weights is neither 1 nor the number of channels.
        DtypeError: the types differ.
    """
    _need_floats("prelu", input)
    if weight.dtype is not input.dtype:
        raise DtypeError(
            f"prelu: Type promoting not supported. Got {input.dtype.name} and {weight.dtype.name}"
        )
    if weight.ndim > 1:
        raise ShapeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if input.ndim == 0:
            raise ShapeError("prelu: Not allow zero-dim input tensor.")
        if channels != weight.numel():
            raise ShapeError(
                "prelu: Mismatch of parameter numbers and input channel size. Found parameter "
                f"numbers = {weight.numel()} and channel size = {channels}."
            )
    if weight.ndim == 1 and input.ndim != 1:
        weight = reshape(weight, (-1,) + (1,) * (input.ndim - 2) if input.ndim else ())
    positive = gt(input, 0)
    return where(positive, input, weight * where(positive, 0.0, input))


__all__ = ["hardshrink", "prelu"]
