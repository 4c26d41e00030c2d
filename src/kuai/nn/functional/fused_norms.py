"""Layer normalisation, computed by eager mode in one kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kuai import ops
from kuai.core.fused import Fused
from kuai.core.primitive import Meta, primitive

Array = np.ndarray


def _mean(rows: Array) -> Array:
    total = np.add.reduce(rows, -1, None, None, True)  # type: ignore[call-overload]
    total /= rows.shape[-1] or math.nan
    return total


def _rows(x: Array, ndim: int) -> Array:
    """The last `ndim` dimensions as one: what is normalised together."""
    return x if ndim == 1 else x.reshape(*x.shape[:-ndim], math.prod(x.shape[-ndim:]))


def _over_batch(values: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of what each row is multiplied with, or what is added to it."""
    return np.add.reduce(values.reshape(-1, values.shape[-1]), 0).reshape(shape)


@primitive
class fused_layer_norm(Fused):
    """`(x - mean) / sqrt(variance + eps) * weight + bias` over the last `ndim` dimensions."""

    inputs = ("x", "weight", "bias")
    gradient_name = "NativeLayerNormBackward0"

    def kernel(
        self, x: Array, weight: Array | None, bias: Array | None, ndim: int, eps: float
    ) -> Array:
        rows = _rows(x, ndim)
        result = rows - _mean(rows)
        result *= 1 / np.sqrt(_mean(result * result) + eps)
        result = result.reshape(x.shape)
        if weight is not None:
            result *= weight
        if bias is not None:
            result += bias
        return result

    def infer(self, x: Meta, *rest: Meta, **parameters: Any) -> Meta:
        return x

    def backward(
        self,
        grad: Array,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        ndim: int,
        eps: float,
    ) -> Any:
        rows, upstream = _rows(x, ndim), _rows(grad, ndim)
        normal = rows - _mean(rows)
        scale = 1 / np.sqrt(_mean(normal * normal) + eps)
        normal *= scale

        def of_x() -> Array:
            g = upstream if weight is None else upstream * weight.reshape(-1)
            result = g - _mean(g)
            result -= normal * _mean(g * normal)
            result *= scale
            return result.reshape(x.shape)

        return (
            of_x,
            lambda: _over_batch(upstream * normal, x.shape[-ndim:]),
            lambda: _over_batch(upstream, x.shape[-ndim:]),
        )

    def decompose(self, x: Any, weight: Any, bias: Any, ndim: int, eps: float) -> Any:
        dims = tuple(range(-ndim, 0))
        centred = x - ops.mean(x, dims, keepdim=True)
        variance = ops.mean(centred * centred, dims, keepdim=True)
        result = centred * ops.rsqrt(variance + eps)
        if weight is not None:
            result = result * weight
        return result if bias is None else result + bias


@primitive
class fused_rms_norm(Fused):
    """`x / sqrt(mean(x²) + eps) * weight` over the last `ndim` dimensions."""

    inputs = ("x", "weight")
    gradient_name = "FusedRmsNormBackward0"

    def kernel(self, x: Array, weight: Array | None, ndim: int, eps: float) -> Array:
        rows = _rows(x, ndim)
        result = (rows * (1 / np.sqrt(_mean(rows * rows) + eps))).reshape(x.shape)
        if weight is not None:
            result *= weight
        return result

    def infer(self, x: Meta, *rest: Meta, **parameters: Any) -> Meta:
        return x

    def backward(self, grad: Array, x: Array, weight: Array | None, ndim: int, eps: float) -> Any:
        rows, upstream = _rows(x, ndim), _rows(grad, ndim)
        scale = 1 / np.sqrt(_mean(rows * rows) + eps)
        normal = rows * scale

        def of_x() -> Array:
            g = upstream if weight is None else upstream * weight.reshape(-1)
            result = g - normal * _mean(g * normal)
            result *= scale
            return result.reshape(x.shape)

        return of_x, lambda: _over_batch(upstream * normal, x.shape[-ndim:])

    def decompose(self, x: Any, weight: Any, ndim: int, eps: float) -> Any:
        dims = tuple(range(-ndim, 0))
        result = x * ops.rsqrt(ops.mean(x * x, dims, keepdim=True) + eps)
        return result if weight is None else result * weight
