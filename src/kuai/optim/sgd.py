"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import (
    Number,
    check_fused,
    check_lr,
    check_not_negative,
    scalar,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_scaled_
from kuai.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where asked for.

    `p -= lr * g`; with momentum, `g` is replaced by `b = momentum * b + (1 - dampening) * g`,
    which starts as the first gradient; with `nesterov`, by `g + momentum * b`.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        momentum: how much of the last direction is kept.
        dampening: how much of the gradient is left out of the new direction.
        weight_decay: adds `weight_decay * p` to the gradient.
        nesterov: looks ahead by the momentum; needs `momentum > 0` and no dampening.
        maximize: lets the objective rise instead.
        foreach, fused: accepted, without effect.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Sutskever et al., "On the importance of initialization and momentum in deep learning",
        2013, for Nesterov's momentum.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Number = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(momentum, "momentum")
        check_not_negative(weight_decay, "weight_decay")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def _update_group(self, group: Group) -> None:
        momentum, weight_decay = group["momentum"], group["weight_decay"]
        maximize = group["maximize"]
        lr = scalar(group["lr"])
        if momentum == 0 and weight_decay == 0 and not maximize:
            for p in group["params"]:
                grad = p.grad
                if grad is not None:
                    add_scaled_(p, grad, -lr)
            return
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            if maximize:
                grad = -grad
            if isinstance(weight_decay, Tensor):
                grad = grad.addcmul(p, weight_decay)
            elif weight_decay != 0:
                grad = grad.add(p, alpha=weight_decay)
            if momentum != 0:
                grad = self._with_momentum(p, grad, group)
            add_scaled_(p, grad, -lr)

    def _with_momentum(self, p: Tensor, grad: Tensor, group: Group) -> Tensor:
        momentum = group["momentum"]
        state = self.state[p]
        share, change = 1.0 - group["dampening"], grad
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = ops.zeros_like(grad)
            share, change = 1.0, grad.detach()
        buffer: Tensor = state["momentum_buffer"].mul_(momentum)
        add_scaled_(buffer, change, share)
        return grad.add(buffer, alpha=momentum) if group["nesterov"] else buffer
