"""Activations that eager mode computes in one kernel each.

What they are composed of stands in `kuai.nn.functional.activation`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kuai import ops
from kuai.core.fused import Fused
from kuai.core.primitive import Meta, primitive
from kuai.ops.special_kernels import erf
from kuai.ops.transcendental import sigmoid

Array = np.ndarray


class Activation(Fused):
    """Element by element, of one input, float32 or float64."""

    def infer(self, x: Meta, **parameters: Any) -> Meta:
        return x


@primitive
class fused_gelu(Activation):
    """`x` times the probability that a standard normal variable is below `x`."""

    gradient_name = "GeluBackward0"

    def kernel(self, x: Array) -> Array:
        result = erf(x * x.dtype.type(math.sqrt(0.5)))
        result += 1
        result *= x
        result *= 0.5
        return result

    def backward(self, grad: Array, x: Array) -> Array:
        below = erf(x * x.dtype.type(math.sqrt(0.5)))
        below += 1
        below *= 0.5
        density = np.exp(x * x * -0.5)
        density *= 1 / math.sqrt(2 * math.pi)
        density *= x
        below += density
        below *= grad
        return below

    def decompose(self, x: Any) -> Any:
        return x * 0.5 * (1 + ops.erf(x * math.sqrt(0.5)))


# What the tanh approximation of gelu puts its argument through.
_SLOPE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


@primitive
class fused_gelu_tanh(Activation):
    """The approximation of gelu by tanh."""

    gradient_name = "GeluBackward0"

    def kernel(self, x: Array) -> Array:
        result = _bent(x)
        result += 1
        result *= x
        result *= 0.5
        return result

    def backward(self, grad: Array, x: Array) -> Array:
        bent = _bent(x)
        slope = x * x
        slope *= 3 * _CUBIC
        slope += 1
        slope *= x
        slope *= _SLOPE
        slope *= 1 - bent * bent
        slope += bent
        slope += 1
        slope *= grad
        slope *= 0.5
        return slope

    def decompose(self, x: Any) -> Any:
        inner = _SLOPE * (x + _CUBIC * (x * x * x))
        return 0.5 * x * (1 + ops.tanh(inner))


def _bent(x: Array) -> Array:
    inner = x * x
    inner *= _CUBIC
    inner += 1
    inner *= x
    inner *= _SLOPE
    return np.tanh(inner)


@primitive
class fused_silu(Activation):
    """`x * sigmoid(x)`."""

    gradient_name = "SiluBackward0"

    def kernel(self, x: Array) -> Array:
        return _logistic(x) * x

    def backward(self, grad: Array, x: Array) -> Array:
        s = _logistic(x)
        slope = 1 - s
        slope *= x
        slope += 1
        slope *= s
        slope *= grad
        return slope

    def decompose(self, x: Any) -> Any:
        return x * sigmoid(x)


def _logistic(x: Array) -> Array:
    result = np.exp(-x)
    result += 1
    return np.reciprocal(result)


@primitive
class fused_logsigmoid(Activation):
    """`log(1 / (1 + exp(-x)))`, without overflow."""

    gradient_name = "LogSigmoidBackward0"

    def kernel(self, x: Array) -> Array:
        return np.minimum(x, 0) - np.log1p(np.exp(-np.absolute(x)))

    def backward(self, grad: Array, x: Array) -> Array:
        return grad * _logistic(-x)

    def decompose(self, x: Any) -> Any:
        negative = x < 0
        minus_abs = ops.where(negative, x, -x)
        return ops.where(negative, x, 0.0) - ops.log1p(ops.exp(minus_abs))


@primitive
class fused_softplus(Activation):
    """`log(1 + exp(beta x)) / beta`; `x` itself where `beta x > threshold`."""

    gradient_name = "SoftplusBackward0"

    def kernel(self, x: Array, beta: float, threshold: float) -> Array:
        scaled = x * beta
        return np.where(scaled > threshold, x, np.log1p(np.exp(scaled)) / beta)

    def backward(self, grad: Array, x: Array, beta: float, threshold: float) -> Array:
        scaled = x * beta
        return np.where(scaled > threshold, grad, grad * _logistic(scaled))

    def decompose(self, x: Any, beta: float, threshold: float) -> Any:
        scaled = x * beta
        linear = scaled > threshold
        curve = ops.log1p(ops.exp(ops.where(linear, 0.0, scaled))) / beta
        return ops.where(linear, x, curve)


@primitive
class fused_leaky_relu(Activation):
    """`x` where it is positive, else `slope * x`."""

    gradient_name = "LeakyReluBackward0"

    def kernel(self, x: Array, slope: float) -> Array:
        return np.where(x > 0, x, x * slope)

    def backward(self, grad: Array, x: Array, slope: float) -> Array:
        return np.where(x > 0, grad, grad * slope)

    def decompose(self, x: Any, slope: float) -> Any:
        return ops.where(x > 0, x, x * slope)


@primitive
class fused_elu(Activation):
    """`scale * x` where it is positive, else `scale * alpha * (exp(input_scale * x) - 1)`."""

    gradient_name = "EluBackward0"

    def kernel(self, x: Array, alpha: float, scale: float, input_scale: float) -> Array:
        curve = np.expm1(np.minimum(x, 0) * input_scale)
        curve *= alpha * scale
        return np.where(x <= 0, curve, x * scale)

    def backward(
        self, grad: Array, x: Array, alpha: float, scale: float, input_scale: float
    ) -> Array:
        slope = np.exp(np.minimum(x, 0) * input_scale)
        slope *= alpha * scale * input_scale
        return grad * np.where(x <= 0, slope, x.dtype.type(scale))

    def decompose(self, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
        curved = x <= 0
        exponent = ops.where(curved, x, 0.0)
        if input_scale != 1.0:
            exponent = exponent * input_scale
        curve = ops.expm1(exponent) * (alpha * scale)
        return ops.where(curved, curve, x if scale == 1.0 else x * scale)


@primitive
class fused_hardtanh(Activation):
    """`x` kept between two limits; the gradient at both ends is 0."""

    gradient_name = "HardtanhBackward0"

    def kernel(self, x: Array, low: float, high: float) -> Array:
        return np.minimum(np.maximum(x, low), high)

    def backward(self, grad: Array, x: Array, low: float, high: float) -> Array:
        return np.where((x <= low) | (x >= high), grad.dtype.type(0), grad)

    def decompose(self, x: Any, low: float, high: float) -> Any:
        outside = (x <= low) | (x >= high)
        return ops.where(outside, ops.clamp(x.detach(), low, high), x)
