"""RAdam: Adam that holds back its adaptive rate while the variance is uncertain."""

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
from kuai.optim.updates import add_scaled_, keep_mean_, keep_mean_square_
from kuai.tensor import Tensor


class RAdam(Optimizer):
    """Adam that steps by the mean alone until its estimate of the variance can be trusted.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        betas: how much of the running means of the gradient and of its square is kept.
        eps: added to the denominator.
        weight_decay: adds `weight_decay * p` to the gradient.
        decoupled_weight_decay: takes `lr * weight_decay * p` from the parameter instead.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.
        capturable: accepted; every step can be captured.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Liu et al., "On the variance of the adaptive learning rate and beyond", 2019.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "capturable": False,
    }
    tensor_state = ("step",)

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, eps, weight_decay = scalar(group["lr"]), group["eps"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        maximize, decoupled = group["maximize"], group["decoupled_weight_decay"]
        differentiable = group["differentiable"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = counter()
                state["exp_avg"] = ops.zeros_like(p)
                state["exp_avg_sq"] = ops.zeros_like(p)
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            step = advance(state["step"])
            if maximize:
                grad = -grad
            if weight_decay != 0:
                if decoupled:
                    p.mul_(1 - lr * weight_decay)
                else:
                    grad = grad.add(p, alpha=weight_decay)
            keep_mean_(mean, grad, beta1)
            keep_mean_square_(square, grad, beta2)
            if differentiable:  # the tape keeps them; the next step changes them in place
                mean, square = mean.clone(), square.clone()
            add_scaled_(p, _rectified(mean / (1 - beta1**step), square, step, beta2, eps), -lr)


def _rectified(mean: Tensor, square: Tensor, step: Number, beta2: float, eps: float) -> Tensor:
    """The direction of the step: `mean`, divided by the deviation where that can be trusted."""
    decay = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * decay / (1 - decay)
    captured = isinstance(length, Tensor)
    if not captured and length <= 5:
        return mean
    variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    adapted = mean * ((1 - decay) ** 0.5 * variance**0.5) / (square.sqrt() + eps)
    return ops.where(length > 5, adapted, mean) if captured else adapted
