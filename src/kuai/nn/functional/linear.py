"""Linear and bilinear maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai import ops
from kuai.errors import ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor

linear = ops.linear


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`y[k] = x1ᵀ weight[k] x2 + bias[k]`.

    Shape:
        input1 `(*, in1)`, input2 `(*, in2)`, weight `(out, in1, in2)`, bias `(out,)`;
        the result `(*, out)`.

    Raises:
        ShapeError: the sizes do not fit.
    """
    _check_bilinear(input1, input2, weight, bias)
    out, in1, in2 = weight.shape
    batch = input1.shape[:-1]
    x = ops.reshape(input1, -1, in1) if input1.ndim != 2 else input1
    y = ops.reshape(input2, -1, 1, in2)
    w = ops.reshape(ops.permute(weight, 1, 0, 2), in1, out * in2)
    partial = ops.reshape(ops.matmul(x, w), -1, out, in2)
    result = ops.reshape(ops.sum(partial * y, -1, dtype=partial.dtype), *batch, out)
    return result if bias is None else result + bias


def _check_bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input1.ndim != input2.ndim:
        raise ShapeError(
            f"bilinear(): input dimensions do not match: got {input1.ndim} and {input2.ndim}"
        )
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            "bilinear(): input batch dimensions do not match: "
            f"got {list(input1.shape[:-1])} and {list(input2.shape[:-1])}"
        )
    for name, x, axis in (("input1", input1, 1), ("input2", input2, 2)):
        if x.shape[-1] != weight.shape[axis]:
            raise ShapeError(
                f"bilinear(): {name} size does not match weight size: "
                f"got {x.shape[-1]} but expected {weight.shape[axis]}"
            )
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise ShapeError(
            "bilinear(): bias size does not match weight size: "
            f"got {bias.shape[0]} but expected {weight.shape[0]}"
        )
