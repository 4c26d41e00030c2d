"""Channels brought to a common scale, by statistics of the batch or of each sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kuai import ops
from kuai.core.tape import called, no_grad
from kuai.errors import ShapeError
from kuai.nn.functional.precision import narrow, widen

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """`(x - mean) / √(variance + eps) * weight + bias`, for each channel.

    Args:
        input: `(N, C, *)`.
        running_mean: `(C,)`: the mean to use outside training, and what training moves towards
            the batch's.
        running_var: the same of the variance; it moves towards the unbiased estimate.
        weight: what to multiply the channels with afterwards, `(C,)`.
        bias: what to add to the channels afterwards, `(C,)`.
        training: whether mean and variance are those of the batch.
        momentum: how far the running statistics move, from 0 to 1.
        eps: what keeps the denominator from 0.

    Raises:
        ValueError: in training, there is only one value in a channel.
        RuntimeError: outside training, a running statistic is missing.
        ShapeError: the shapes do not fit.

    Source: Ioffe and Szegedy (2015), Batch Normalization: Accelerating Deep Network Training by
    Reducing Internal Covariate Shift.
    """
    shape = input._payload.shape
    if shape == (0,):
        return ops.clone(input)  # nothing, in no channel
    _check(shape, running_mean, running_var, weight, bias)
    x = widen(input, "batch_norm")
    per_channel = (-1, *(1,) * (len(shape) - 2))
    if training:
        count = shape[0] * math.prod(shape[2:])
        if count == 1:
            raise ValueError(
                "Expected more than 1 value per channel when training, got input size "
                f"{input.shape}"
            )
        dims = (0, *range(2, len(shape)))
        mean = ops.mean(x, dims)
        centred = x - ops.reshape(mean, per_channel)
        variance = ops.mean(centred * centred, dims)
        if count:
            _move(running_mean, mean, momentum)
            _move(running_var, variance * (count / (count - 1)), momentum)
    else:
        for name, running in (("running_mean", running_mean), ("running_var", running_var)):
            if running is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        assert running_mean is not None
        assert running_var is not None
        centred = x - ops.reshape(widen(running_mean, "batch_norm"), per_channel)
        variance = widen(running_var, "batch_norm")
    scale = ops.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    result = centred * ops.reshape(scale, per_channel)
    if bias is not None:
        result = result + ops.reshape(bias, per_channel)
    return called(narrow(result, input), "NativeBatchNormBackward0")


def _move(running: Tensor | None, current: Tensor, momentum: float | Tensor) -> None:
    """Move a running statistic towards the current one, in place."""
    if running is None:
        return
    with no_grad():
        kept = widen(running, "batch_norm") * (1 - momentum)
        running.copy_(kept + current.detach() * momentum)


def _check(
    shape: tuple[int, ...],
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    if len(shape) < 2:
        raise IndexError(
            f"batch_norm: the input needs 2 dimensions or more, but its shape is {list(shape)}"
        )
    named = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, x in named.items():
        if x is not None and math.prod(x._payload.shape) != shape[1]:
            raise ShapeError(
                f"{name} should contain {shape[1]} elements not {math.prod(x._payload.shape)}"
            )


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """`batch_norm` with the statistics of each sample by itself.

    Args:
        input: `(N, C, *)`.
        running_mean: `(C,)`: the mean to use without `use_input_stats`; otherwise it moves towards
            the mean over the samples.
        running_var: the same of the variance.
        weight: what to multiply the channels with afterwards, `(C,)`.
        bias: what to add to the channels afterwards, `(C,)`.
        use_input_stats: whether mean and variance are those of the samples.
        momentum: how far the running statistics move, from 0 to 1.
        eps: what keeps the denominator from 0.

    Raises:
        ValueError: there is only one value in a channel.
        ShapeError: the shapes do not fit.

    Source: Ulyanov et al. (2016), Instance Normalization: The Missing Ingredient for Fast
    Stylization.
    """
    shape = input._payload.shape
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    batch, channels = shape[0], shape[1]
    means, variances = (
        None if running is None else ops.repeat_interleave(running.detach().unsqueeze(0), batch, 0)
        for running in (running_mean, running_var)
    )
    means, variances = (None if x is None else x.reshape(-1) for x in (means, variances))
    rows = ops.reshape(input, 1, batch * channels, *shape[2:])
    result = ops.reshape(
        batch_norm(rows, means, variances, None, None, True, momentum, eps), *shape
    )
    for running, each in ((running_mean, means), (running_var, variances)):
        if running is not None and each is not None:
            with no_grad():
                running.copy_(ops.mean(each.reshape(batch, channels), 0))
    per_channel = (-1, *(1,) * (len(shape) - 2))
    if weight is not None:
        result = result * ops.reshape(weight, per_channel)
    if bias is not None:
        result = result + ops.reshape(bias, per_channel)
    return narrow(result, input)


__all__ = ["batch_norm", "instance_norm"]
