"""Products of matrices, and what is composed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import DtypeError, ShapeError
from kuai.ops import movement
from kuai.ops.pointwise import broadcast_shapes, sum_to

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _matmul(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`x @ y`; NumPy has no product of bfloat16, and those of float16 are summed in float32."""
    if x.dtype is not y.dtype and x.dtype != y.dtype:
        raise DtypeError(
            f"expected m1 and m2 to have the same dtype, but got: {x.dtype.name} != {y.dtype.name}"
        )
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    return np.matmul(x, y)


@primitive
class matmul_(Primitive):
    """Product of matrices, or of batches of them that broadcast; both have 2 dimensions or more."""

    inputs = ("x", "y")
    gradient_name = "MmBackward0"
    kernel = staticmethod(_matmul)

    def infer(self, x: Meta, y: Meta) -> Meta:
        _same_dtype(x, y)
        if x.shape[-1] != y.shape[-2]:
            raise ShapeError(
                "mat1 and mat2 shapes cannot be multiplied "
                f"({x.shape[-2]}x{x.shape[-1]} and {y.shape[-2]}x{y.shape[-1]})"
            )
        batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
        return Meta((*batch, x.shape[-2], y.shape[-1]), x.dtype)

    def gradient(self, grad, x, y):
        def of_x() -> Any:
            return sum_to(matmul_(grad, movement.matrix_transpose(y)), x._payload.shape)

        def of_y() -> Any:
            return sum_to(matmul_(movement.matrix_transpose(x), grad), y._payload.shape)

        return of_x, of_y


def _same_dtype(x: Meta, y: Meta) -> None:
    if x.dtype is not y.dtype:
        raise DtypeError(
            f"expected m1 and m2 to have the same dtype, but got: {x.dtype.name} != {y.dtype.name}"
        )


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product of vectors, matrices, or broadcasting batches of matrices.

    Raises:
        ShapeError: the inner dimensions differ, or one tensor has no dimensions.
    """
    a, b = input._payload.ndim, other._payload.ndim
    if a >= 2 and b >= 2:
        return matmul_(input, other)
    if a == 0 or b == 0:
        raise ShapeError(
            f"both arguments to matmul need to be at least 1D, but they are {a}D and {b}D"
        )
    x = movement.reshape(input, 1, -1) if a == 1 else input
    y = movement.reshape(other, -1, 1) if b == 1 else other
    result = matmul_(x, y)
    shape = result._payload.shape
    if a == 1:
        shape = shape[:-2] + shape[-1:]
    if b == 1:
        shape = shape[:-1]
    return movement.reshape(result, shape)


@primitive
class linear_(Primitive):
    """`x @ weight.T + bias`, for any number of leading dimensions."""

    inputs = ("x", "weight", "bias")
    gradient_name = "AddmmBackward0"

    def kernel(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        result = _matmul(x, weight.T)
        result += bias
        return result

    def infer(self, x: Meta, weight: Meta, bias: Meta) -> Meta:
        _check_linear(x, weight)
        if x.dtype is not bias.dtype:
            raise DtypeError(f"linear: the input is {x.dtype.name}, but bias is {bias.dtype.name}")
        if bias.shape not in ((weight.shape[0],), (), (1,)):
            raise ShapeError(
                f"linear: bias has the shape {list(bias.shape)}, but weight "
                f"{weight.shape} needs [{weight.shape[0]}]"
            )
        return Meta((*x.shape[:-1], weight.shape[0]), x.dtype)

    def gradient(self, grad, x, weight, bias_shape):
        def of_weight() -> Any:
            g, a = grad, x
            if g._payload.ndim != 2:
                g = movement.reshape(g, -1, g._payload.shape[-1])
                a = movement.reshape(a, -1, a._payload.shape[-1])
            return matmul_(movement.matrix_transpose(g), a)

        return (
            lambda: matmul(grad, weight),
            of_weight,
            lambda: sum_to(grad, bias_shape),
        )


def _check_linear(x: Meta, weight: Meta) -> None:
    if x.dtype is not weight.dtype:
        raise DtypeError(
            f"linear: the input is {x.dtype.name}, but weight is {weight.dtype.name}; "
            "convert one of them (mat1 and mat2 must have the same dtype)"
        )
    if not x.shape or x.shape[-1] != weight.shape[-1]:
        last = x.shape[-1] if x.shape else "missing"
        raise ShapeError(
            f"linear: the input's last dimension is {last}, but weight {weight.shape} needs "
            f"{weight.shape[-1]} (the input's shape is {list(x.shape)})"
        )


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The affine map `input @ weight.T + bias`.

    Shape:
        input `(*, in_features)`, weight `(out_features, in_features)` or `(in_features,)`,
        bias `(out_features,)`; the result `(*, out_features)`.

    Raises:
        ShapeError: the input's last dimension is not `in_features`.
        DtypeError: the types differ.
    """
    x, w = input._payload, weight._payload
    if (
        x.dtype != w.dtype
        or not x.ndim
        or x.shape[-1] != w.shape[-1]
        or (bias is not None and bias._payload.dtype != w.dtype)
    ):
        metas = [Meta(t._payload.shape, t.dtype) for t in (input, weight)]
        _check_linear(*metas)
        if bias is not None:
            linear_.infer(*metas, Meta(bias._payload.shape, bias.dtype))
    if w.ndim == 1:
        result = matmul(input, weight)
        return result if bias is None else result + bias
    if bias is not None and x.ndim > 1 and bias._payload.ndim == 1:
        return linear_(input, weight, bias)
    result = matmul(input, movement.matrix_transpose(weight))
    return result if bias is None else result + bias


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    if input._payload.ndim != 2 or mat2._payload.ndim != 2:
        raise ShapeError(
            f"mm: both must be matrices, got {input._payload.ndim}D and {mat2._payload.ndim}D"
        )
    return matmul_(input, mat2)



