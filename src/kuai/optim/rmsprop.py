"""RMSprop: gradients divided by their recent size."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import (
    Number,
    check_lr,
    check_not_negative,
    counter,
    scalar,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import (
    add_quotient_,
    add_scaled_,
    keep_mean_,
    keep_mean_square_,
    root,
)
from kuai.tensor import Tensor


class RMSprop(Optimizer):
    """Divides the gradient by the root of a running mean of its square.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        alpha: how much of the running mean is kept.
        eps: added to the denominator.
        weight_decay: adds `weight_decay * p` to the gradient.
        momentum: how much of the last direction is kept.
        centered: divides by the standard deviation instead, the mean taken away.
        capturable: accepted; every step can be captured.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Hinton, "Neural networks for machine learning", lecture 6, 2012; for `centered`, Graves,
        "Generating sequences with recurrent neural networks", 2013.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "momentum": 0,
        "centered": False,
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }
    tensor_state = ("step",)

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps, "epsilon")
        check_not_negative(momentum, "momentum")
        check_not_negative(weight_decay, "weight_decay")
        check_not_negative(alpha, "alpha")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, alpha, eps = scalar(group["lr"]), group["alpha"], group["eps"]
        weight_decay, momentum = group["weight_decay"], group["momentum"]
        maximize, differentiable = group["maximize"], group["differentiable"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                _start(state, p, group)
            state["step"].add_(1)
            if maximize:
                grad = -grad
            if weight_decay != 0:
                grad = grad.add(p, alpha=weight_decay)
            variance = keep_mean_square_(state["square_avg"], grad, alpha)
            if group["centered"]:
                mean = keep_mean_(state["grad_avg"], grad, alpha)
                if differentiable:  # the tape keeps it; the next step changes it in place
                    mean = mean.clone()
                variance = variance.addcmul(mean, mean, value=-1)
            elif differentiable:
                variance = variance.clone()
            deviation = root(variance, 1, eps)
            if momentum > 0:
                buffer = state["momentum_buffer"].mul_(momentum)
                add_quotient_(buffer, grad, deviation, 1)
                add_scaled_(p, buffer.clone() if differentiable else buffer, -lr)
            else:
                add_quotient_(p, grad, deviation, -lr)


def _start(state: dict[str, Any], p: Tensor, group: Group) -> None:
    state["step"] = counter()
    state["square_avg"] = ops.zeros_like(p)
    if group["momentum"] > 0:
        state["momentum_buffer"] = ops.zeros_like(p)
    if group["centered"]:
        state["grad_avg"] = ops.zeros_like(p)
