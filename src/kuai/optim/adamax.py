"""Adamax: Adam with the greatest recent gradient in place of the root mean square."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import (
    Number,
    advance,
    check_betas,
    check_lr,
    check_not_negative,
    counter,
    scalar,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_quotient_, keep_mean_


class Adamax(Optimizer):
    """Steps along a running mean of the gradient, divided by a decaying maximum of its size.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        betas: how much of the running mean, and of the running maximum, is kept.
        eps: added to the size of the gradient.
        weight_decay: adds `weight_decay * p` to the gradient.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.
        differentiable: records the step, for a gradient through it.
        capturable: accepted; every step can be captured.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Kingma and Ba, "Adam: a method for stochastic optimization", 2014, section 7.1.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }
    tensor_state = ("step",)

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps, "epsilon")
        check_betas(betas)
        check_not_negative(weight_decay, "weight_decay")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, eps, weight_decay = scalar(group["lr"]), group["eps"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        maximize, differentiable = group["maximize"], group["differentiable"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = counter()
                state["exp_avg"] = ops.zeros_like(p)
                state["exp_inf"] = ops.zeros_like(p)
            mean, greatest = state["exp_avg"], state["exp_inf"]
            step = advance(state["step"])
            if maximize:
                grad = -grad
            if weight_decay != 0:
                grad = grad.add(p, alpha=weight_decay)
            keep_mean_(mean, grad, beta1)
            greatest.copy_(ops.maximum(greatest * beta2, grad.abs() + eps))
            if differentiable:  # the tape keeps them; the next step changes them in place
                mean, greatest = mean.clone(), greatest.clone()
            add_quotient_(p, mean, greatest, -lr / (1 - beta1**step))
