"""Losses between numbers and numbers, and between distributions."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from kuai import ops
from kuai.core.fused import fits
from kuai.core.primitive import checked_when_run
from kuai.core.tape import called, no_grad
from kuai.errors import DtypeError
from kuai.nn.functional.fused_losses import fused_l1, fused_mse, fused_smooth_l1
from kuai.nn.functional.precision import require_floating, widen
from kuai.nn.functional.reduction import legacy, reduced, resolve
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _warn_of_broadcasting(input: Tensor, target: Tensor) -> None:
    if input._payload.shape != target._payload.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )


def _is_plain(input: Tensor, target: Tensor) -> bool:
    """Whether a fused loss takes these."""
    return fits(input, target) and input._payload.shape == target._payload.shape


def _difference(input: Tensor, target: Tensor, name: str) -> Tensor:
    if input._payload.dtype.kind in "fV":
        return widen(input, name) - target
    require_floating(target, name)
    return input - widen(target, name)


def _finish(loss: Tensor, input: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The loss in the common type of input and target, reduced."""
    common = ops.result_type(input, target)
    return reduced(to_dtype(loss, common), reduction)


def _weighted(loss: Tensor, weight: Tensor, input: Tensor, reduction: str) -> Tensor:
    if weight._payload.shape != input._payload.shape:
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    if reduction == "mean":
        return ops.sum(loss) / ops.sum(weight)
    return reduced(loss, reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Squared error, `(x - y)²`.

    Args:
        input: any shape.
        target: of the same shape.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
        weight: of each element, in the input's shape; `"mean"` divides by their sum.
    """
    reduction = resolve(reduction, size_average, reduce)
    if weight is None and _is_plain(input, target):
        return fused_mse(input, target, reduction=reduction)
    _warn_of_broadcasting(input, target)
    difference = _difference(input, target, "mse_loss")
    loss = difference * difference
    if weight is not None:
        return _weighted(loss, weight, input, reduction)
    return called(_finish(loss, input, target, reduction), "MseLossBackward0")


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Absolute error, `|x - y|`; arguments as in `mse_loss`."""
    reduction = resolve(reduction, size_average, reduce)
    if weight is None and _is_plain(input, target):
        return fused_l1(input, target, reduction=reduction)
    _warn_of_broadcasting(input, target)
    loss = ops.abs(input - target)
    if weight is not None:
        return _weighted(loss, weight, input, reduction)
    return reduced(loss, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Absolute error, but a parabola where it is less than `beta`.

    Args:
        input: any shape.
        target: of the same shape.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
        beta: where the parabola ends; 0 gives `l1_loss`.

    Source: Girshick (2015), Fast R-CNN.
    """
    _warn_of_broadcasting(input, target)
    reduction = resolve(reduction, size_average, reduce)
    if beta == 0.0:
        return reduced(ops.abs(input - target), reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if _is_plain(input, target):
        scales = {"beta": float(beta), "scale": 1.0}
        return fused_smooth_l1(input, target, reduction=reduction, **scales)
    error = ops.abs(_difference(input, target, "smooth_l1_loss"))
    near = error < beta
    small = ops.where(near, error, 0.0)
    loss = ops.where(near, small * small * (0.5 / beta), error - 0.5 * beta)
    return _finish(loss, input, target, reduction)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """`(x - y)² / 2` where `|x - y|` is at most `delta`, else `delta (|x - y| - delta / 2)`.

    Args:
        input: any shape.
        target: of the same shape.
        reduction: `"mean"`, `"sum"` or `"none"`.
        delta: where the parabola ends, positive.
        weight: of each element, in the input's shape.

    Source: Huber (1964), Robust Estimation of a Location Parameter.
    """
    _warn_of_broadcasting(input, target)
    reduction = resolve(reduction)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is None and _is_plain(input, target):
        scales = {"beta": float(delta), "scale": float(delta)}
        return fused_smooth_l1(input, target, reduction=reduction, **scales)
    error = ops.abs(_difference(input, target, "huber_loss"))
    near = error <= delta
    small = ops.where(near, error, 0.0)
    loss = ops.where(near, 0.5 * small * small, delta * (error - 0.5 * delta))
    if weight is not None:
        if weight._payload.shape != input._payload.shape:
            raise ValueError("Weights and input must have the same size.")
        return reduced(loss * weight, reduction)
    return _finish(loss, input, target, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of a distribution given by logarithms, `y (log y - x)`.

    Args:
        input: log probabilities.
        target: probabilities, or with `log_target`, their logarithms.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"` (over all elements), `"batchmean"` (the sum, divided by the size of
            the first dimension: the mathematical definition), `"sum"` or `"none"`.
        log_target: whether the target is given by logarithms.
    """
    by_batch = False
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    elif reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next "
            "major release.",
            stacklevel=2,
        )
    elif reduction == "batchmean":
        by_batch, reduction = True, "sum"
    else:
        reduction = resolve(reduction)
    if not (input.is_floating_point() and target.is_floating_point()):
        raise DtypeError("kl_div: Integral inputs not supported.")
    if log_target:
        loss = ops.exp(target) * (target - input)
    else:
        loss = ops.xlogy(target, target) - target * input
    loss = reduced(loss, reduction)
    return loss / input.shape[0] if by_batch and input.ndim else loss


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-08,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of counts under a Poisson distribution, without `log(y!)`.

    Args:
        input: the expected counts, or with `log_input`, their logarithms.
        target: the counts.
        log_input: whether the input is given by logarithms.
        full: whether to add Stirling's approximation of `log(y!)`.
        size_average: deprecated (see `reduction`).
        eps: what keeps the argument of the logarithm from 0, without `log_input`.
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
    """
    reduction = resolve(reduction, size_average, reduce)
    if log_input:
        loss = ops.exp(input) - target * input
    else:
        loss = input - target * ops.log(input + eps)
    if full:
        several = target > 1
        count = ops.where(several, target, 1)
        log_factorial = count * ops.log(count) - count + 0.5 * ops.log(2 * math.pi * count)
        loss = loss + ops.where(several, log_factorial, 0.0)
    return reduced(loss, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-06,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood under normal distributions, `(log v + (x - y)² / v) / 2`.

    Args:
        input: the expected values.
        target: the values.
        var: the variances: in the input's shape, or with the last dimension missing or 1.
        full: whether to add the constant `log(2π) / 2`.
        eps: the least variance; smaller ones are raised to it, outside of the gradient.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: a variance is negative, or `var` does not fit the input.
    """
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        variance = ops.full_like(input, var)
    elif hasattr(var._payload, "graph"):
        nowhere = lambda: ops.all(~(var < 0))  # noqa: E731
        checked_when_run(nowhere, ValueError, "var has negative entry/entries")
        variance = var
    elif bool(ops.any(var < 0)):
        raise ValueError("var has negative entry/entries")
    else:
        variance = var
    have, wanted = tuple(variance.shape), tuple(input.shape)
    if have != wanted:
        if have == wanted[:-1]:
            variance = variance.unsqueeze(-1)
        else:
            differing = [h for h, w in zip(have, wanted, strict=False) if h != w]
            if len(have) != len(wanted) or differing != [1]:
                raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    variance = variance.clone()
    with no_grad():
        variance.clamp_(min=eps)
    difference = input - target
    loss = 0.5 * (ops.log(variance) + difference * difference / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


__all__ = [
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]
