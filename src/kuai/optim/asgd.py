"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import (
    Number,
    advance,
    check_lr,
    check_not_negative,
    counter,
    scalar,
    value_of,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_scaled_
from kuai.tensor import Tensor


class ASGD(Optimizer):
    """Gradient descent with a falling rate, which keeps an average of the parameters in `"ax"`.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate at the start.
        lambd: each step takes `lambd * rate * p` from the parameter.
        alpha: the power by which the rate falls.
        t0: the step after which averaging starts.
        weight_decay: adds `weight_decay * p` to the gradient.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.
        differentiable: records the step, for a gradient through it.
        capturable: accepted; every step can be captured.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }
    tensor_state = ("step", "eta", "mu")

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(weight_decay, "weight_decay")
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, lambd, alpha = scalar(group["lr"]), group["lambd"], group["alpha"]
        t0, weight_decay = group["t0"], group["weight_decay"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = counter()
                state["eta"] = counter(float(lr))
                state["mu"] = counter(1.0)
                state["ax"] = ops.zeros_like(p)
            step = advance(state["step"])
            rate, weight = value_of(state["eta"]), value_of(state["mu"])
            if group["maximize"]:
                grad = -grad
            if weight_decay != 0:
                grad = grad.add(p, alpha=weight_decay)
            p.mul_(1 - lambd * rate)
            add_scaled_(p, grad, -rate)
            average = state["ax"]
            if not isinstance(weight, Tensor) and weight == 1:
                average.copy_(p)
            else:
                average.add_((p - average).mul_(weight))
            state["eta"].fill_(lr / (1 + lambd * lr * step) ** alpha)
            late = step - t0
            count = late.clamp(min=1) if isinstance(late, Tensor) else max(1, late)
            state["mu"].fill_(1 / count)
