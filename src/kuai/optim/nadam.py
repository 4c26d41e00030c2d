"""NAdam: Adam with Nesterov's momentum."""

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
    value_of,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_quotient_, keep_mean_, keep_mean_square_, root


class NAdam(Optimizer):
    """Adam that looks ahead by its momentum, which grows while training goes on.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        betas: how much of the running means of the gradient and of its square is kept.
        eps: added to the denominator.
        weight_decay: adds `weight_decay * p` to the gradient.
        momentum_decay: how fast the momentum grows from `betas[0] / 2` to `betas[0]`.
        decoupled_weight_decay: takes `lr * weight_decay * p` from the parameter instead.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.
        capturable: accepted; every step can be captured.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
    }
    tensor_state = ("step", "mu_product")

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_not_negative(momentum_decay, "momentum_decay")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, eps, weight_decay = scalar(group["lr"]), group["eps"], group["weight_decay"]
        (beta1, beta2), momentum_decay = group["betas"], group["momentum_decay"]
        maximize, decoupled = group["maximize"], group["decoupled_weight_decay"]
        differentiable = group["differentiable"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = counter()
                state["mu_product"] = counter(1.0)
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
            mu = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
            mu_next = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
            product = value_of(state["mu_product"].mul_(mu))
            keep_mean_(mean, grad, beta1)
            keep_mean_square_(square, grad, beta2)
            if differentiable:  # the tape keeps them; the next step changes them in place
                mean, square = mean.clone(), square.clone()
            deviation = root(square, 1 - beta2**step, eps)
            add_quotient_(p, grad, deviation, -lr * (1 - mu) / (1 - product))
            add_quotient_(p, mean, deviation, -lr * mu_next / (1 - product * mu_next))
