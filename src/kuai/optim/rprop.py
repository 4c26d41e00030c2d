"""Rprop: steps that follow the sign of the gradient alone."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import Number, check_lr, counter, scalar
from kuai.optim.optimizer import Group, Optimizer, ParamsT


class Rprop(Optimizer):
    """Resilient backpropagation: each element has a step size of its own.

    It grows while the sign of the gradient stays, and shrinks when it turns.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the step size at the start.
        etas: the factors by which a step size shrinks and grows.
        step_sizes: the least and the greatest step size.
        capturable: accepted; every step can be captured.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the
        RPROP algorithm", 1993.
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
        lr: Number = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        (shrink, grow), (least, greatest) = group["etas"], group["step_sizes"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = counter()
                state["prev"] = ops.zeros_like(p)
                state["step_size"] = ops.zeros_like(grad).fill_(scalar(group["lr"]))
            state["step"].add_(1)
            if group["maximize"]:
                grad = -grad
            previous, size = state["prev"], state["step_size"]
            agreement = (grad * previous.clone()).sign()
            stays, turns = agreement > 0, agreement < 0
            factor = agreement.masked_fill(agreement == 0, 1)
            factor = factor.masked_fill(stays, grow).masked_fill(turns, shrink)
            size.mul_(factor).clamp_(least, greatest)
            grad = grad.masked_fill(turns, 0)  # after a turn, one step is left out
            p.addcmul_(grad.sign(), size.clone() if group["differentiable"] else size, value=-1)
            previous.copy_(grad)
