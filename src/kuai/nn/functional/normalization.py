"""Activations brought to a common scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai import dtypes, ops
from kuai.core.fused import fits
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.fused_norms import fused_layer_norm, fused_rms_norm
from kuai.nn.functional.padding import pad
from kuai.nn.functional.precision import narrow, widen

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimensions.

    Args:
        input: `(*, *normalized_shape)`.
        normalized_shape: the sizes of the last dimensions, over which to normalise.
        weight: of `normalized_shape`.
        bias: of `normalized_shape`.
        eps: what keeps the denominator from 0.

    Raises:
        ShapeError: the shapes do not fit.

    Source: Ba et al. (2016), Layer Normalization.
    """
    shape = tuple(normalized_shape)
    _check_shapes(input, shape, weight, bias)
    if (weight is not None and input.dtype is dtypes.float64 is not weight.dtype) or (
        weight is not None and weight.dtype is not input.dtype and input.dtype.itemsize > 2
    ):
        raise DtypeError(
            "layer_norm: mixed dtype (CPU): all inputs must share same datatype, got "
            f"{input.dtype.name} and {weight.dtype.name}"
        )
    if fits(*[t for t in (input, weight, bias) if t is not None]):
        return fused_layer_norm(input, weight, bias, ndim=len(shape), eps=float(eps))
    x = widen(input, "layer_norm")
    result = fused_layer_norm.decompose(x, weight, bias, len(shape), eps)  # type: ignore[call-arg]
    return narrow(result, input)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """`x / sqrt(mean(x²) + eps) * weight` over the last dimensions.

    Args:
        input: `(*, *normalized_shape)`.
        normalized_shape: the sizes of the last dimensions, over which to normalise.
        weight: of `normalized_shape`.
        eps: what keeps the denominator from 0; by default the input type's machine epsilon.

    Raises:
        ShapeError: the shapes do not fit.

    Source: Zhang and Sennrich (2019), Root Mean Square Layer Normalization.
    """
    shape = tuple(normalized_shape)
    _check_shapes(input, shape, weight, None)
    x = widen(input, "rms_norm")
    if eps is None:
        eps = dtypes.finfo(x.dtype).eps
    if fits(*[t for t in (input, weight) if t is not None]):
        return fused_rms_norm(input, weight, ndim=len(shape), eps=float(eps))
    result = fused_rms_norm.decompose(x, weight, len(shape), eps)  # type: ignore[call-arg]
    return narrow(result, input)


def _check_shapes(
    input: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> None:
    if not shape:
        raise ShapeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    if input._payload.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size {list(input.shape)}"
        )
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and x._payload.shape != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of "
                f"shape {list(x.shape)} and normalized_shape = {list(shape)}"
            )


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """Each sample's groups of channels brought to mean 0 and variance 1.

    Args:
        input: `(N, C, *)`.
        num_groups: a divisor of C.
        weight: what to multiply the channels with afterwards, `(C,)`.
        bias: what to add to the channels afterwards, `(C,)`.
        eps: what keeps the denominator from 0.

    Raises:
        ShapeError: the channels cannot be divided.
        ValueError: there is only one value in a group.

    Source: Wu and He (2018), Group Normalization.
    """
    if input.ndim < 2:
        raise ShapeError(
            f"Expected at least 2 dimensions for input tensor but received {input.ndim}"
        )
    samples, channels = input.shape[0], input.shape[1]
    inner = tuple(input.shape[2:])
    values = samples * channels // num_groups
    for n in inner:
        values *= n
    if values == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{[samples * channels // num_groups, num_groups, *inner]}"
        )
    if channels % num_groups:
        raise ShapeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(input.shape)} and num_groups={num_groups}"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and tuple(parameter.shape) != (channels,):
            raise ShapeError(
                f"Expected {name} to be a vector of size equal to the number of channels in "
                f"input, but got {name} of shape {list(parameter.shape)} and input of shape "
                f"{list(input.shape)}"
            )
    x = widen(input, "group_norm")
    size = input.numel() // (samples * num_groups) if input.numel() else 0
    groups = ops.reshape(x, samples, num_groups, size)
    centred = groups - ops.mean(groups, -1, keepdim=True)
    variance = ops.mean(centred * centred, -1, keepdim=True)
    result = ops.reshape(centred * ops.rsqrt(variance + eps), *input.shape)
    per_channel = (-1,) + (1,) * len(inner)
    if weight is not None:
        result = result * ops.reshape(weight, *per_channel)
    if bias is not None:
        result = result + ops.reshape(bias, *per_channel)
    return narrow(result, input)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """`x / (k + alpha * mean of x² over `size` neighbouring channels) ** beta`.

    Shape:
        input `(N, C, *)`; the result the same.

    Raises:
        ValueError: the input has fewer than 3 dimensions.

    Source: Krizhevsky et al. (2012), ImageNet Classification with Deep Convolutional Networks.
    """
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality (got {input.ndim} dimensions)")
    if input.numel() == 0:
        return input
    spatial = (0, 0) * (input.ndim - 2)
    squares = pad(input * input, [*spatial, size // 2, (size - 1) // 2])
    channels = input.shape[1]
    total = ops.narrow(squares, 1, 0, channels)
    for offset in range(1, size):
        total = total + ops.narrow(squares, 1, offset, channels)
    mean = (
        total / size if input.is_floating_point() else ops.div(total, size, rounding_mode="trunc")
    )
    return input / (mean * alpha + k) ** beta


def normalize(
    input: Tensor,
    p: float = 2.0,
    dim: int | tuple[int, ...] = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    """`x / max(norm of x along dim, eps)`.

    Args:
        input: any shape.
        p: of the norm.
        dim: one or several dimensions.
        eps: what keeps the denominator from 0.
        out: the tensor to write the result to.
    """
    lengths = ops.clamp_min(ops.norm(input, p, dim, keepdim=True), eps)
    return ops.div(input, ops.expand_as(lengths, input), out=out)
