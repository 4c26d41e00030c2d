"""The lines that steps are made of, each of which changes one tensor in place.

Where nothing is recorded or captured, they work on the arrays themselves. That takes a third of
the time of the operations on tensors, which counts where parameters are small and many.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from kuai.core import primitive as primitives
from kuai.core.base import wrap
from kuai.core.tape import mode
from kuai.optim.hyperparameters import Number
from kuai.tensor import Tensor

_numbers = (float, int)


def add_scaled_(p: Tensor, direction: Tensor, factor: Number) -> None:
    """`p += factor * direction`, in place."""
    if type(factor) in _numbers and _are_plain(p, direction):
        before = primitives.silence(primitives.SILENT)
        _add(p, np.multiply(direction._payload, factor))
        primitives.unsilence(before)
    elif isinstance(factor, Tensor):
        p.addcmul_(direction, factor)
    else:
        p.add_(direction, alpha=factor)


def add_quotient_(p: Tensor, numerator: Tensor, denominator: Tensor, factor: Number) -> None:
    """`p += factor * numerator / denominator`, in place."""
    if type(factor) in _numbers and _are_plain(p, numerator, denominator):
        before = primitives.silence(primitives.SILENT)
        change = np.divide(numerator._payload, denominator._payload)
        change *= factor
        _add(p, change)
        primitives.unsilence(before)
    elif isinstance(factor, Tensor):
        p.add_(numerator * factor / denominator)
    else:
        p.addcdiv_(numerator, denominator, value=factor)


def keep_mean_(mean: Tensor, value: Tensor, kept: Number) -> Tensor:
    """`mean = kept * mean + (1 - kept) * value`, in place; returns it."""
    if type(kept) in _numbers and kept > 0.5 and _are_plain(mean, value):
        before = primitives.silence(primitives.SILENT)
        change = np.subtract(value._payload, mean._payload)
        change *= 1 - kept
        _add(mean, change)
        primitives.unsilence(before)
        return mean
    if _is_tensor(kept):
        kept = kept.to(mean.dtype)
    return mean.lerp_(value, 1 - kept)


def keep_mean_square_(square: Tensor, value: Tensor, kept: Number) -> Tensor:
    """`square = kept * square + (1 - kept) * value**2`, in place; returns it."""
    if type(kept) in _numbers and _are_plain(square, value):
        before = primitives.silence(primitives.SILENT)
        change = np.multiply(value._payload, value._payload)
        change *= 1 - kept
        mine = square._payload
        np.multiply(mine, kept, mine)
        _add(square, change)
        primitives.unsilence(before)
        return square
    if _is_tensor(kept):
        return square.lerp_(value.square(), 1 - kept.to(square.dtype))
    return square.mul_(kept).addcmul_(value, value, value=1 - kept)


def root(square: Tensor, correction: Number, eps: float) -> Tensor:
    """`sqrt(square / correction) + eps`, as a new tensor."""
    if type(correction) in _numbers and type(eps) is float and _are_plain(square):
        before = primitives.silence(primitives.SILENT)
        result = np.sqrt(square._payload)
        result *= 1 / correction**0.5
        result += eps
        primitives.unsilence(before)
        return wrap(np.asarray(result))
    return square.sqrt() * (1 / correction**0.5) + eps  # one division, of a number


def _is_tensor(x: Any) -> TypeGuard[Tensor]:
    """Whether a hyperparameter was given as a tensor: a captured number is as precise as one."""
    return isinstance(x, Tensor) and not x._weak


def _are_plain(changed: Tensor, *others: Tensor) -> bool:
    """Whether these are arrays of one floating type and shape, and nobody watches them."""
    if mode.grad or primitives.intercept is not None:
        return False
    mine: Any = changed._payload
    if type(mine) is not np.ndarray or mine.dtype.kind != "f" or 0 in mine.strides:
        return False
    for x in others:
        array = x._payload
        if (
            type(array) is not np.ndarray
            or array.dtype is not mine.dtype
            or array.shape != mine.shape
        ):
            return False
    return True


def _add(x: Tensor, change: Any) -> None:
    array = x._payload
    np.add(array, change, array)
    x._counter[0] += 1
