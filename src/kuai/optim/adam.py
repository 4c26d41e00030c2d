"""Adam, and AdamW, which decays the weights apart from the gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import ops
from kuai.optim.hyperparameters import (
    Number,
    advance,
    check_betas,
    check_fused,
    check_lr,
    check_not_negative,
    counter,
    scalar,
)
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_quotient_, keep_mean_, keep_mean_square_, root
from kuai.tensor import Tensor


class Adam(Optimizer):
    """Steps along a running mean of the gradient, divided by the root of that of its square.

    With `m` and `v` the running means of `g` and `g²`, freed from the bias of their start at
    zero: `p -= lr * m / (sqrt(v) + eps)`.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        betas: how much of the running means of the gradient and of its square is kept.
        eps: added to the denominator.
        weight_decay: adds `weight_decay * p` to the gradient.
        amsgrad: divides by the greatest running mean of the square so far.
        foreach, fused: accepted, without effect.
        maximize: lets the objective rise instead.
        capturable: accepted; every step can be captured.
        differentiable: records the step, for a gradient through it.
        decoupled_weight_decay: takes `lr * weight_decay * p` from the parameter instead of
            changing the gradient, as AdamW does.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Kingma and Ba, "Adam: a method for stochastic optimization", 2014; for `amsgrad`, Reddi
        et al., "On the convergence of Adam and beyond", 2018.
    """

    late_options: ClassVar[dict[str, Any]] = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }
    tensor_state = ("step",)

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps, "epsilon")
        _check_adam_betas(betas)
        check_not_negative(weight_decay, "weight_decay")
        if foreach and not capturable:
            for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
                if isinstance(value, Tensor):
                    raise ValueError(
                        f"{name} as a Tensor is not supported for capturable=False and foreach=True"
                    )
        defaults = {
            "lr": lr,
            "betas": tuple(map(scalar, betas)),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def _update_group(self, group: Group) -> None:
        lr, eps, weight_decay = scalar(group["lr"]), group["eps"], group["weight_decay"]
        beta1, beta2 = map(scalar, group["betas"])
        maximize, amsgrad = group["maximize"], group["amsgrad"]
        decoupled, differentiable = group["decoupled_weight_decay"], group["differentiable"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                _start(state, p, amsgrad)
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            step = advance(state["step"])
            if maximize:
                grad = -grad
            if weight_decay != 0:
                if decoupled:
                    p.mul_(1 - lr * weight_decay)
                elif isinstance(weight_decay, Tensor):
                    grad = grad.addcmul(p, weight_decay)
                else:
                    grad = grad.add(p, alpha=weight_decay)
            keep_mean_(mean, grad, beta1)
            keep_mean_square_(square, grad, beta2)
            if differentiable:  # the tape keeps them; the next step changes them in place
                mean, square = mean.clone(), square.clone()
            if amsgrad:
                greatest = state["max_exp_avg_sq"]
                square = ops.maximum(greatest.clone() if differentiable else greatest, square)
                greatest.copy_(square)
            deviation = root(square, 1 - beta2**step, eps)
            add_quotient_(p, mean, deviation, -lr / (1 - beta1**step))


class AdamW(Adam):
    """Adam whose weight decay acts on the parameters, not through the gradient.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the learning rate.
        betas: how much of the running means of the gradient and of its square is kept.
        eps: added to the denominator.
        weight_decay: each step takes `lr * weight_decay * p` from the parameter.
        amsgrad: divides by the greatest running mean of the square so far.
        maximize: lets the objective rise instead.
        foreach, fused: accepted, without effect.
        capturable: accepted; every step can be captured.
        differentiable: records the step, for a gradient through it.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Loshchilov and Hutter, "Decoupled weight decay regularization", 2017.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


def _check_adam_betas(betas: tuple[Number, Number]) -> None:
    check_betas(betas)
    kinds = {type(beta) if not isinstance(beta, Tensor) else Tensor for beta in betas}
    if kinds not in ({float}, {Tensor}):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")


def _start(state: dict[str, Any], p: Tensor, amsgrad: bool) -> None:
    state["step"] = counter()
    state["exp_avg"] = ops.zeros_like(p)
    state["exp_avg_sq"] = ops.zeros_like(p)
    if amsgrad:
        state["max_exp_avg_sq"] = ops.zeros_like(p)
