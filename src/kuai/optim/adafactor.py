"""Adafactor: adaptive rates whose memory is a row and a column for each matrix."""

from __future__ import annotations

from typing import Any, ClassVar

from kuai import dtypes, ops
from kuai.optim.hyperparameters import Number, advance, check_lr, counter, scalar, value_of
from kuai.optim.optimizer import Group, Optimizer, ParamsT
from kuai.optim.updates import add_scaled_
from kuai.tensor import Tensor


class Adafactor(Optimizer):
    """Estimates the mean square of a matrix's gradient from those of its rows and columns.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with a group of them.
        lr: the greatest relative size of a step; also scales the weight decay.
        beta2_decay: the power of the step count by which the means forget.
        eps: the least root mean square of the gradient (`None`: the type's own epsilon), and the
            least size of a parameter that steps are scaled by.
        d: steps whose root mean square is greater are cut to it.
        weight_decay: each step takes `lr * weight_decay * p` from the parameter.
        foreach: accepted, without effect.
        maximize: lets the objective rise instead.

    Raises:
        ValueError: a hyperparameter out of range.

    Source:
        Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018.
    """

    late_options: ClassVar[dict[str, Any]] = {"foreach": None}
    tensor_state = ("step",)

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: {}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update_group(self, group: Group) -> None:
        lr, weight_decay = _number(scalar(group["lr"])), group["weight_decay"]
        smallest, eps2 = group["eps"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                _start(state, grad)
            step = advance(state["step"])
            if group["maximize"]:
                grad = -grad
            eps1 = dtypes.finfo(p.dtype).eps if smallest is None else smallest
            relative = _least(lr, 1 / step**0.5)
            size = _greatest(eps2, _root_mean_square(p)) * relative
            if weight_decay != 0:
                p.mul_(1 - lr * weight_decay)
            square = _mean_square(state, grad, step ** group["beta2_decay"], eps1)
            update = square.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
            excess = _greatest(1.0, _root_mean_square(update) / group["d"])
            add_scaled_(p, update, -size / excess)


def _start(state: dict[str, Any], grad: Tensor) -> None:
    state["step"] = counter()
    if grad.ndim > 1:
        state["row_var"] = ops.zeros_like(grad[..., :1])
        state["col_var"] = ops.zeros_like(grad[..., :1, :])
    else:
        state["variance"] = ops.zeros_like(grad)


def _mean_square(state: dict[str, Any], grad: Tensor, weight: Number, eps: float) -> Tensor:
    """The running mean of the gradient's square, for a matrix from its row and column means."""
    if isinstance(weight, Tensor):
        weight = weight.to(grad.dtype)
    if grad.ndim <= 1:
        return state["variance"].lerp_(grad * grad, weight).clone()
    rows, columns = state["row_var"], state["col_var"]
    rows.lerp_(grad.norm(dim=-1, keepdim=True).square().div(grad.shape[-1]), weight)
    columns.lerp_(grad.norm(dim=-2, keepdim=True).square().div(grad.shape[-2]), weight)
    product: Tensor = rows @ columns
    return product.div_(rows.mean(dim=-2, keepdim=True).clamp(min=eps))


def _root_mean_square(x: Tensor) -> Number:
    return value_of(x.norm(2)) / x.numel() ** 0.5


def _number(x: Number) -> Number:
    """A hyperparameter as a number; while capturing, as a tensor."""
    return value_of(x) if isinstance(x, Tensor) else x


def _least(x: Number, y: Number) -> Number:
    """The smaller of two numbers, or tensors."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        smaller: Any = y < x
        return ops.where(smaller, y, x)
    return min(x, y)


def _greatest(x: Number, y: Number) -> Number:
    """The greater of two numbers, or tensors."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        greater: Any = y > x
        return ops.where(greater, y, x)
    return max(x, y)
