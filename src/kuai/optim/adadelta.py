"""Adadelta: steps whose size follows that of the steps before."""

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
from kuai.optim.updates import add_scaled_, keep_mean_square_


class Adadelta(Optimizer):
    """Scales the gradient by the ratio of the recent steps' size to the recent gradients'.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: multiplies the step.
        rho: how much of the running means of both squares is kept.
        eps: added to both means.
        weight_decay: adds `weight_decay * p` to the gradient.
        foreach: accepted, without effect.
        capturable: accepted; every step can be captured.
        maximize: lets the objective rise instead.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
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
        lr: Number = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(eps, "epsilon")
        check_not_negative(weight_decay, "weight_decay")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, rho, eps = scalar(group["lr"]), group["rho"], group["eps"]
        weight_decay, maximize = group["weight_decay"], group["maximize"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = counter()
                state["square_avg"] = ops.zeros_like(p)
                state["acc_delta"] = ops.zeros_like(p)
            state["step"].add_(1)
            if maximize:
                grad = -grad
            if weight_decay != 0:
                grad = grad.add(p, alpha=weight_decay)
            squares, steps = state["square_avg"], state["acc_delta"]
            keep_mean_square_(squares, grad, rho)
            delta = steps.add(eps).sqrt() / squares.add(eps).sqrt() * grad
            keep_mean_square_(steps, delta, rho)
            add_scaled_(p, delta, -lr)
