"""Clipping of gradients, by their norm or by their values."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from types import GeneratorType

from kuai import ops
from kuai.core.tape import no_grad
from kuai.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _list_of(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients_of(parameters: Tensors) -> list[Tensor]:
    return [p.grad for p in _list_of(parameters) if p.grad is not None]


def _norm(x: Tensor, order: float) -> Tensor:
    """The vector norm of all elements."""
    x = x.reshape(-1)
    if order == 2.0:
        return (x * x).sum().sqrt()
    if order == 1.0:
        return x.abs().sum()
    if order == float("inf"):
        return x.abs().max() if x.numel() else ops.zeros((), dtype=x.dtype)
    if order == float("-inf"):
        return x.abs().min()
    if order == 0.0:
        return (x != 0).sum().to(x.dtype)
    return (x.abs() ** order).sum() ** (1.0 / order)


@no_grad()
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of several tensors, as if they were one vector.

    Args:
        tensors: one tensor or several.
        norm_type: the order of the norm; `"inf"` or `float("inf")` for the largest value.
        error_if_nonfinite: whether a norm that is not finite is an error.
        foreach: accepted and ignored.

    Returns:
        The norm, zero-dimensional.

    Raises:
        RuntimeError: the norm is NaN or infinite, and `error_if_nonfinite` is set.
    """
    norm_type = float(norm_type)
    tensors = _list_of(tensors)
    if not tensors:
        return ops.tensor(0.0)
    norms = [_norm(x, norm_type) for x in tensors]
    total = _norm(ops.stack(norms), norm_type)
    if error_if_nonfinite and not bool(ops.isfinite(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients, in place, by `max_norm / total_norm` where that is less than 1.

    Args:
        parameters: one tensor or several; those without a gradient are passed over.
        max_norm: the largest norm that the gradients together may have.
        total_norm: the norm that they have.
        foreach: accepted and ignored.
    """
    grads = _gradients_of(parameters)
    if grads:
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor)


@no_grad()
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of parameters, in place, so that their common norm is at most `max_norm`.

    Args:
        parameters: one tensor or several; those without a gradient are passed over.
        max_norm: the largest norm that the gradients together may have.
        norm_type: the order of the norm.
        error_if_nonfinite: whether a norm that is not finite is an error.
        foreach: accepted and ignored.

    Returns:
        The norm before clipping.

    Raises:
        RuntimeError: the norm is NaN or infinite, and `error_if_nonfinite` is set.
    """
    exhausted = isinstance(parameters, GeneratorType)
    parameters = _list_of(parameters)
    if exhausted and not parameters:
        warnings.warn(
            "`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3
        )
    total = get_total_norm(_gradients_of(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The deprecated name of `clip_grad_norm_`."""
    warnings.warn(
        "`kuai.nn.utils.clip_grad_norm` is deprecated in favor of `clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of the gradients, in place, between `-clip_value` and `clip_value`.

    Args:
        parameters: one tensor or several; those without a gradient are passed over.
        clip_value: the largest absolute value that stays.
        foreach: accepted and ignored.
    """
    clip_value = float(clip_value)
    for grad in _gradients_of(parameters):
        grad.clamp_(min=-clip_value, max=clip_value)


__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]
