"""Adagrad: rates that shrink with the sum of all squared gradients."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import (
    Number,
    advance,
    check_fused,
    check_lr,
    check_not_negative,
    counter,
    scalar,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_quotient_, root
from kuai.tensor import Tensor


class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of all its squares so far.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        lr_decay: divides the learning rate by `1 + (step - 1) * lr_decay`.
        weight_decay: adds `weight_decay * p` to the gradient.
        initial_accumulator_value: what the sums start with.
        eps: added to the denominator.
        foreach, fused: accepted, without effect.
        maximize: lets the objective rise instead.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
        optimization", 2011.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "fused": None,
    }
    tensor_state = ("step",)

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(lr_decay, "lr_decay")
        check_not_negative(weight_decay, "weight_decay")
        check_not_negative(initial_accumulator_value, "initial_accumulator_value")
        check_not_negative(eps, "epsilon")
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self._start(p, group["initial_accumulator_value"])

    def _start(self, p: Tensor, initial: float) -> None:
        state = self.state[p]
        state["step"] = counter()
        state["sum"] = ops.full_like(p, initial)

    def _update_group(self, group: Group) -> None:
        lr, eps, weight_decay = scalar(group["lr"]), group["eps"], group["weight_decay"]
        lr_decay, maximize = group["lr_decay"], group["maximize"]
        differentiable = group["differentiable"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                self._start(p, group["initial_accumulator_value"])
            step = advance(state["step"])
            if maximize:
                grad = -grad
            if weight_decay != 0:
                grad = grad.add(p, alpha=weight_decay)
            total = state["sum"].addcmul_(grad, grad, value=1)
            if differentiable:  # the tape keeps it; the next step changes it in place
                total = total.clone()
            add_quotient_(p, grad, root(total, 1, eps), -lr / (1 + (step - 1) * lr_decay))
