"""Losses that eager mode computes in one kernel each.

For float32 and float64 operands of one shape; the functions of `kuai.nn.functional` compose
everything else, from the same parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kuai import ops
from kuai.core.fused import Fused
from kuai.core.primitive import Meta, primitive
from kuai.nn.functional.reduction import reduced
from kuai.ops.transcendental import log1p

Array = np.ndarray


def _reduced(values: Array, reduction: str) -> Any:
    if reduction == "none":
        return values
    total = np.add.reduce(values, None)
    return total if reduction == "sum" else total / np.array(values.size, values.dtype)


def _share(grad: Array, x: Array, reduction: str) -> Array:
    """The gradient of each element's loss."""
    return grad / np.array(x.size, x.dtype) if reduction == "mean" else grad


class ElementLoss(Fused):
    """One value for each pair of elements, then reduced.

    A subclass has `values` on arrays, and `elements`, the same on tensors.
    """

    inputs = ("x", "y")
    values: Callable[..., Array]
    elements: Callable[..., Any]

    def infer(self, x: Meta, y: Meta, reduction: str, **parameters: Any) -> Meta:
        return Meta(x.shape if reduction == "none" else (), x.dtype)

    def kernel(self, x: Array, y: Array, reduction: str, **parameters: Any) -> Any:
        return _reduced(self.values(x, y, **parameters), reduction)

    def decompose(self, x: Any, y: Any, reduction: str, **parameters: Any) -> Any:
        return reduced(self.elements(x, y, **parameters), reduction)


@primitive
class fused_mse(ElementLoss):
    """Squared error."""

    gradient_name = "MseLossBackward0"

    def values(self, x: Array, y: Array) -> Array:
        difference = x - y
        difference *= difference
        return difference

    def backward(self, grad: Array, x: Array, y: Array, reduction: str) -> Any:
        slope = (x - y) * (_share(grad, x, reduction) * 2)
        return slope, lambda: -slope

    def elements(self, x: Any, y: Any) -> Any:
        difference = x - y
        return difference * difference


@primitive
class fused_l1(ElementLoss):
    """Absolute error."""

    gradient_name = "L1LossBackward0"

    def values(self, x: Array, y: Array) -> Array:
        return np.absolute(x - y)

    def backward(self, grad: Array, x: Array, y: Array, reduction: str) -> Any:
        slope = np.sign(x - y) * _share(grad, x, reduction)
        return slope, lambda: -slope

    def elements(self, x: Any, y: Any) -> Any:
        return ops.abs(x - y)


@primitive
class fused_smooth_l1(ElementLoss):
    """`scale * (absolute error - beta / 2)`; a parabola where the error is below `beta`.

    With a scale of 1 that is the smooth L1 loss, with a scale of `beta` Huber's.
    """

    gradient_name = "SmoothL1LossBackward0"

    def values(self, x: Array, y: Array, beta: float, scale: float) -> Array:
        error = np.absolute(x - y)
        return np.where(
            error < beta, error * error * (0.5 * scale / beta), (error - 0.5 * beta) * scale
        )

    def backward(
        self, grad: Array, x: Array, y: Array, reduction: str, beta: float, scale: float
    ) -> Any:
        slope = np.minimum(np.maximum((x - y) / beta, -1), 1)
        slope *= _share(grad, x, reduction) * scale
        return slope, lambda: -slope

    def elements(self, x: Any, y: Any, beta: float, scale: float) -> Any:
        error = ops.abs(x - y)
        near = error < beta
        small = ops.where(near, error, 0.0)
        return ops.where(near, small * small * (0.5 * scale / beta), (error - 0.5 * beta) * scale)


@primitive
class fused_bce_with_logits(ElementLoss):
    """Cross entropy of yes-or-no targets with `sigmoid(x)`."""

    gradient_name = "BinaryCrossEntropyWithLogitsBackward0"

    def values(self, x: Array, y: Array) -> Array:
        result = np.log1p(np.exp(-np.absolute(x)))
        result += np.maximum(x, 0)
        result -= x * y
        return result

    def backward(self, grad: Array, x: Array, y: Array, reduction: str) -> Any:
        share = _share(grad, x, reduction)
        return lambda: (1 / (1 + np.exp(-x)) - y) * share, lambda: -x * share

    def elements(self, x: Any, y: Any) -> Any:
        negative = x < 0
        minus_abs = ops.where(negative, x, -x)
        log_yes = ops.where(negative, x, 0.0) - log1p(ops.exp(minus_abs))
        return (1 - y) * x - log_yes


class ClassLoss(Fused):
    """A loss of the scores `(N, C)` against class numbers `(N,)`, all of them from 0 to C - 1."""

    inputs = ("x", "target")

    def infer(self, x: Meta, target: Meta, reduction: str) -> Meta:
        return Meta(target.shape if reduction == "none" else (), x.dtype)


def _places(x: Array, target: Array) -> Array:
    """Where the scores of the targets stand in the flat scores."""
    return np.arange(0, x.size, x.shape[1]) + target


def _picked(x: Array, target: Array) -> Array:
    return x.ravel().take(_places(x, target))


def _scattered(values: Any, x: Array, target: Array) -> Array:
    result = np.zeros(x.size, x.dtype)
    result[_places(x, target)] = values
    return result.reshape(x.shape)


@primitive
class fused_nll(ClassLoss):
    """Minus the input at the target's class."""

    gradient_name = "NllLossBackward0"

    def kernel(self, x: Array, target: Array, reduction: str) -> Any:
        return _reduced(-_picked(x, target), reduction)

    def backward(self, grad: Array, x: Array, target: Array, reduction: str) -> Any:
        return _scattered(-_share(grad, target, reduction).astype(x.dtype), x, target), None

    def decompose(self, x: Any, target: Any, reduction: str) -> Any:
        picked = ops.gather(x, 1, target.unsqueeze(1))
        return -reduced(picked.reshape(target.shape) if reduction == "none" else picked, reduction)


@primitive
class fused_cross_entropy(ClassLoss):
    """Minus the log-softmax of the scores at the target's class."""

    gradient_name = "NllLossBackward0"

    def kernel(self, x: Array, target: Array, reduction: str) -> Any:
        shifted = x - np.maximum.reduce(x, 1, None, None, True)  # type: ignore[call-overload]
        total = np.log(np.add.reduce(np.exp(shifted), 1))
        total -= _picked(shifted, target)
        return _reduced(total, reduction)

    def backward(self, grad: Array, x: Array, target: Array, reduction: str) -> Any:
        raised = np.exp(x - np.maximum.reduce(x, 1, None, None, True))  # type: ignore[call-overload]
        share = np.broadcast_to(_share(grad, target, reduction).astype(x.dtype), target.shape)
        raised *= (share / np.add.reduce(raised, 1))[:, None]
        raised.reshape(-1)[_places(x, target)] -= share
        return raised, None

    def decompose(self, x: Any, target: Any, reduction: str) -> Any:
        picked = ops.gather(ops.log_softmax(x, 1), 1, target.unsqueeze(1))
        return -reduced(picked.reshape(target.shape) if reduction == "none" else picked, reduction)
