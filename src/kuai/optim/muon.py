"""Muon: momentum made orthogonal, for the weights of hidden layers."""

from __future__ import annotations

import math

from kuai import ops
from kuai.optim.hyperparameters import check_lr, scalar
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.tensor import Tensor

Coefficients = tuple[float, float, float]


class Muon(Optimizer):
    """Steps along the orthogonal matrix nearest to the momentum of a weight matrix.

    Other parameters (biases, embeddings, norms) need an optimizer of their own, such as AdamW.

    Args:
        params: matrices, `(name, matrix)` pairs, or dicts with a group of them.
        lr: the learning rate.
        weight_decay: each step takes `lr * weight_decay * p` from the parameter.
        momentum: how much of the running mean of the gradient is kept.
        nesterov: looks ahead by the momentum.
        ns_coefficients: of the polynomial that the iteration applies.
        eps: the least norm that the momentum is divided by.
        ns_steps: how often the polynomial is applied.
        adjust_lr_fn: how the rate depends on the shape: `"original"` (also `None`) multiplies by
            `sqrt(max(1, rows / columns))`, `"match_rms_adamw"` by `0.2 sqrt(max(rows, columns))`.

    Raises:
        ValueError: a hyperparameter out of range, or a parameter that is no matrix.

    Source:
        Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Coefficients = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: {}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(ns_coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with "
                        f"size: {p.shape}"
                    )

    def _update_group(self, group: Group) -> None:
        lr, momentum = scalar(group["lr"]), group["momentum"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = ops.zeros_like(grad)
            buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
            direction = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
            update = _orthogonalised(
                direction, group["ns_coefficients"], group["ns_steps"], group["eps"]
            )
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(update, alpha=-lr * _shape_factor(p, group["adjust_lr_fn"]))


def _orthogonalised(matrix: Tensor, coefficients: Coefficients, steps: int, eps: float) -> Tensor:
    """Roughly the orthogonal matrix nearest to `matrix`, by a Newton-Schulz iteration."""
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = matrix.shape[0] > matrix.shape[1]
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        # Each line is rounded to bfloat16 once, at its end.
        wide = x.float()
        gram = (wide @ wide.T).bfloat16().float()
        polynomial = ops.addmm(gram, gram, gram, beta=b, alpha=c).bfloat16().float()
        x = ops.addmm(wide, polynomial, wide, beta=a).bfloat16()
    return x.T if tall else x


def _shape_factor(p: Tensor, rule: str | None) -> float:
    rows, columns = p.shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))
