"""Activation functions, element by element.

Where a formula would overflow on one side (`exp` of something large), that side is fed zeros
before, so that its gradient, which is not wanted there, is 0 and not NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai import ops
from kuai.core.inplace import inplace as in_place
from kuai.errors import ShapeError
from kuai.nn.functional.fused_activations import (
    fused_elu,
    fused_gelu,
    fused_gelu_tanh,
    fused_hardtanh,
    fused_leaky_relu,
    fused_logsigmoid,
    fused_silu,
    fused_softplus,
)
from kuai.nn.functional.precision import narrow, widen
from kuai.ops.pointwise import write_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Rectified linear unit, `max(x, 0)`."""
    return in_place(input, ops.relu) if inplace else ops.relu(input)


def relu_(input: Tensor) -> Tensor:
    """In-place `relu`."""
    return in_place(input, ops.relu)


def sigmoid(input: Tensor) -> Tensor:
    """Logistic function, `1 / (1 + exp(-x))`."""
    return ops.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return ops.tanh(input)


prelu, hardshrink = ops.prelu, ops.hardshrink


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`x` where it is positive, else `negative_slope * x`."""
    if inplace:
        return in_place(input, leaky_relu, negative_slope)
    x = widen(input, "leaky_relu")
    return narrow(fused_leaky_relu(x, slope=float(negative_slope)), input)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """In-place `leaky_relu`."""
    return leaky_relu(input, negative_slope, inplace=True)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Leaky ReLU whose negative slope is drawn from `[lower, upper)` for every element.

    Outside training the slope is the middle of the range. Source: Xu et al. (2015), Empirical
    Evaluation of Rectified Activations in Convolutional Network.
    """
    if inplace:
        return in_place(input, rrelu, lower, upper, training)
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound, got {lower} > {upper}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    x = widen(input, "rrelu")
    slope = ops.rand_like(x) * (upper - lower) + lower
    return narrow(ops.where(x > 0, x, x * slope), input)


def rrelu_(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Tensor:
    """In-place `rrelu`."""
    return rrelu(input, lower, upper, training, inplace=True)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`x` where it is greater than the threshold, else `value`."""
    if inplace:
        return in_place(input, _threshold, threshold, value)
    return _threshold(input, threshold, value)


def _threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    if not input.is_floating_point():
        threshold, value = int(threshold), int(value)
    return ops.where(input <= threshold, value, input)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """In-place `threshold`."""
    return in_place(input, _threshold, threshold, value)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """`x` kept between `min_val` and `max_val`; the gradient at both ends is 0."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if inplace:
        return in_place(input, hardtanh, min_val, max_val)
    if not input.is_floating_point():
        return ops.clamp(input, int(min_val), int(max_val))
    x = widen(input, "hardtanh")
    return narrow(fused_hardtanh(x, low=float(min_val), high=float(max_val)), input)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """In-place `hardtanh`."""
    return hardtanh(input, min_val, max_val, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """`relu6(x + 3) / 6`, a sigmoid made of straight lines."""
    if inplace:
        return in_place(input, hardsigmoid)
    x = widen(input, "hardsigmoid")
    sloping = (x > -3) & (x < 3)
    flat = ops.clamp(x.detach() + 3, 0.0, 6.0)
    return narrow(ops.where(sloping, x + 3, flat) / 6, input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * relu6(x + 3) / 6`. Source: Howard et al. (2019), Searching for MobileNetV3."""
    if inplace:
        return in_place(input, hardswish)
    x = widen(input, "hardswish")
    curved = (x > -3) & (x < 3)
    middle = ops.where(curved, x, 0.0)
    straight = ops.where(x <= -3, x * 0.0, x)
    return narrow(ops.where(curved, middle * (middle + 3) / 6, straight), input)


def softshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """`x` drawn towards 0 by `lambd`, and 0 where it lies between `-lambd` and `lambd`."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    x = widen(input, "softshrink")
    inner = (x >= -lambd) & (x <= lambd)
    result = narrow(ops.where(inner, 0.0, ops.where(x > 0, x - lambd, x + lambd)), input)
    return result if out is None else write_out(out, result)


def tanhshrink(input: Tensor) -> Tensor:
    """`x - tanh(x)`."""
    return input - ops.tanh(input)


def softsign(input: Tensor) -> Tensor:
    """`x / (1 + |x|)`."""
    return input / (ops.abs(input) + 1)


def softplus(
    input: Tensor, beta: float = 1.0, threshold: float = 20.0, *, out: Tensor | None = None
) -> Tensor:
    """`log(1 + exp(beta x)) / beta`, a smooth ReLU; `x` itself where `beta x > threshold`."""
    x = widen(input, "softplus")
    result = narrow(fused_softplus(x, beta=float(beta), threshold=float(threshold)), input)
    return result if out is None else write_out(out, result)


def logsigmoid(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`log(1 / (1 + exp(-x)))`, without overflow."""
    x = widen(input, "logsigmoid")
    result = narrow(fused_logsigmoid(x), input)
    return result if out is None else write_out(out, result)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where it is positive, else `alpha * (exp(x) - 1)`.

    Source: Clevert et al. (2016), Fast and Accurate Deep Network Learning by Exponential Linear
    Units.
    """
    if inplace:
        return in_place(input, elu, alpha)
    return _exponential_linear(input, "elu", alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """In-place `elu`."""
    return in_place(input, elu, alpha)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`.

    Source: Barron (2017), Continuously Differentiable Exponential Linear Units.
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    if inplace:
        return in_place(input, celu, alpha)
    return _exponential_linear(input, "celu", alpha, input_scale=1.0 / alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """In-place `celu`."""
    return celu(input, alpha, inplace=True)


# The values for which activations of mean 0 and variance 1 keep them.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`scale * elu(x, alpha)`. Source: Klambauer et al. (2017), Self-Normalizing Networks."""
    if inplace:
        return in_place(input, selu)
    return _exponential_linear(input, "selu", SELU_ALPHA, SELU_SCALE)


def selu_(input: Tensor) -> Tensor:
    """In-place `selu`."""
    return in_place(input, selu)


def _exponential_linear(
    input: Tensor, name: str, alpha: float, scale: float = 1.0, input_scale: float = 1.0
) -> Tensor:
    x = widen(input, name)
    scales = {"alpha": float(alpha), "scale": scale, "input_scale": input_scale}
    return narrow(fused_elu(x, **scales), input)


def gelu(input: Tensor, approximate: str = "none", *, out: Tensor | None = None) -> Tensor:
    """`x` times the probability that a standard normal variable is below `x`.

    Args:
        input: any shape.
        approximate: `"none"`, or `"tanh"` for an approximation by that function.
        out: the tensor to write the result to.

    Source: Hendrycks and Gimpel (2016), Gaussian Error Linear Units.
    """
    x = widen(input, "gelu")
    if approximate == "none":
        result = narrow(fused_gelu(x), input)
    elif approximate == "tanh":
        result = narrow(fused_gelu_tanh(x), input)
    else:
        raise RuntimeError("approximate argument must be either none or tanh.")
    return result if out is None else write_out(out, result)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * sigmoid(x)`, also called swish."""
    if inplace:
        return in_place(input, silu)
    x = widen(input, "silu")
    return narrow(fused_silu(x), input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * tanh(softplus(x))`. Source: Misra (2020), Mish."""
    if inplace:
        return in_place(input, mish)
    x = widen(input, "mish")
    return narrow(x * ops.tanh(softplus(x)), input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Gated linear unit: the first half times the sigmoid of the second.

    Args:
        input: any shape with an even size at `dim`.
        dim: the dimension to halve.

    Raises:
        ShapeError: the dimension is not even.

    Source: Dauphin et al. (2017), Language Modeling with Gated Convolutional Networks.
    """
    if input.ndim == 0:
        raise ShapeError("glu does not support scalars because halving size must be even")
    size = input.size(dim)
    if size % 2:
        raise ShapeError(
            f"Halving dimension must be even, but dimension {dim % input.ndim} is size {size}"
        )
    x = widen(input, "glu")
    a = ops.narrow(x, dim, 0, size // 2)
    b = ops.narrow(x, dim, size // 2, size // 2)
    return narrow(a * ops.sigmoid(b), input)
