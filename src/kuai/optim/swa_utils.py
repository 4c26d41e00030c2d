"""Averages of a model's weights over its training, and a schedule to gather them with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, TypeAlias

from kuai import dtypes, ops
from kuai.core.tape import no_grad
from kuai.nn import Module
from kuai.optim.hyperparameters import Number
from kuai.optim.lr_scheduler.scheduler import LRScheduler, for_each_group
from kuai.optim.optimizer import Optimizer
from kuai.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]
Average: TypeAlias = Callable[[Tensor, Tensor, Any], Tensor]
AverageAll: TypeAlias = Callable[[Tensors, Tensors, Any], None]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """A function that gives `decay * average + (1 - decay) * current`.

    Raises:
        ValueError: `decay` is not from 0 to 1.
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageAll:
    """A function that moves all averages by `1 - decay` towards the current values, in place.

    Raises:
        ValueError: `decay` is not from 0 to 1.
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_params: Tensors, current_params: Tensors, num_averaged: Any) -> None:
        for average, current in zip(ema_params, current_params, strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_avg_fn() -> Average:
    """A function that gives the mean of `num_averaged + 1` values from that of `num_averaged`."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_swa_multi_avg_fn() -> AverageAll:
    """A function that moves all means of `num_averaged` values to those of one more, in place."""

    @no_grad()
    def swa_update(averaged_params: Tensors, current_params: Tensors, num_averaged: Any) -> None:
        for average, current in zip(averaged_params, current_params, strict=True):
            if average.is_floating_point():
                average.lerp_(current, float(1 / (num_averaged + 1)))
            else:
                average.copy_(average + (current - average) / (num_averaged + 1))

    return swa_update


class AveragedModel(Module):
    """A copy of a model that holds the average of its weights.

    Args:
        model: the model to copy; train it, and call `update_parameters(model)` now and then.
        device: where the copy lives.
        avg_fn: gives an average from itself, the current value and the number of those so far;
            the mean by default.
        multi_avg_fn: the same for all at once, in place.
        use_buffers: whether buffers are averaged too, instead of copied.

    Source:
        Izmailov et al., "Averaging weights leads to wider optima and better generalization",
        2018.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: AverageAll | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", ops.tensor(0, dtype=dtypes.int64))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model computes."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the current weights of `model` into the averages."""
        averages = [p.detach() for p in _averaged_tensors(self.module, self.use_buffers)]
        currents = [p.detach() for p in _averaged_tensors(model, self.use_buffers)]
        if self.n_averaged == 0:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)
        elif self.avg_fn is not None:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(self.avg_fn(average, current, self.n_averaged))
        elif averages:
            update = self.multi_avg_fn or get_swa_multi_avg_fn()
            update(averages, currents, self.n_averaged)
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.detach().copy_(theirs.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Measure the running statistics of all batch norms anew, on the data of `loader`.

    Args:
        loader: gives batches; of a tuple or list, its first element is the input.
        model: whose statistics are measured.
        device: where the inputs are moved.
    """
    norms = [m for m in model.modules() if hasattr(m, "reset_running_stats")]
    norms = [m for m in norms if hasattr(m, "momentum")]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Leads the rate to a constant one, at which weights are averaged.

    Args:
        optimizer: whose rates are set.
        swa_lr: the constant rate; or a list of them, one for each group.
        anneal_epochs: how many steps the way takes.
        anneal_strategy: the way: `"cos"` or `"linear"`.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: an unknown way, or a number of steps below zero.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for group, lr in zip(
            optimizer.param_groups, for_each_group("swa_lr", optimizer, swa_lr), strict=True
        ):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """How far the rate has come when the share `t` of the steps has passed."""
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        length = max(1, self.anneal_epochs)
        before = self.anneal_func(max(0, min(1, (step - 1) / length)))
        now = self.anneal_func(max(0, min(1, step / length)))
        lrs = []
        for group in self.optimizer.param_groups:
            lr, goal = group["lr"], group["swa_lr"]
            start = goal if before == 1 else (lr - before * goal) / (1 - before)
            lrs.append(goal * now + start * (1 - now))
        return lrs


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _averaged_tensors(model: Module, use_buffers: bool) -> Iterable[Tensor]:
    if not use_buffers:
        return model.parameters()
    return itertools.chain(model.parameters(), model.buffers())
