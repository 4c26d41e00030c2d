"""Checks of hyperparameters, and what steps do with those that are numbers or tensors alike."""

from __future__ import annotations

from typing import Any, TypeAlias

from kuai import dtypes, ops
from kuai.core import primitive as primitives
from kuai.tensor import Tensor

Number: TypeAlias = float | Tensor
"""A hyperparameter that may be given as a one-element tensor, to be learned or changed outside."""


def check_lr(lr: Number, message: str = "Invalid learning rate: {}") -> None:
    """Raise where `lr` is no learning rate.

    Raises:
        ValueError: it is negative, or a tensor of several elements.
    """
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not lr >= 0.0:
        raise ValueError(message.format(lr))


def check_not_negative(value: Number, name: str) -> None:
    """Raise where the hyperparameter `name` is negative.

    Raises:
        ValueError: it is.
    """
    if not value >= 0.0:
        raise ValueError(f"Invalid {name} value: {value}")


def check_betas(betas: tuple[Number, Number]) -> None:
    """Raise where one of two decay rates does not lie in `[0, 1)`.

    Raises:
        ValueError: it does not.
    """
    for i in range(2):
        if not 0.0 <= betas[i] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")


def check_fused(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raise where flags contradict each other; they choose between equal implementations.

    Raises:
        RuntimeError: `fused` stands with `foreach` or with `differentiable`.
    """
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def scalar(value: Any) -> Any:
    """A number as it is, a one-element tensor as a zero-dimensional one."""
    return value.squeeze() if isinstance(value, Tensor) and value.ndim != 0 else value


def counter_dtype() -> dtypes.dtype:
    """The type in which steps are counted: float64 where that is the default, else float32."""
    return dtypes.float64 if dtypes.get_default_dtype() is dtypes.float64 else dtypes.float32


def counter(start: float = 0.0) -> Tensor:
    """A zero-dimensional tensor to count steps with."""
    return ops.tensor(start, dtype=counter_dtype())


def advance(step: Tensor) -> Number:
    """Count one step; returns the count as a number, or while capturing, as a tensor."""
    step.add_(1)
    return value_of(step)


def value_of(entry: Tensor) -> Number:
    """A zero-dimensional tensor as a number; while capturing, as a tensor as precise as one."""
    return entry.item() if primitives.intercept is None else entry.double()
