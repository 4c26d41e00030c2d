"""Schedules that let the rate rise and fall: again and again, or once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kuai.optim.hyperparameters import Number
from kuai.optim.lr_scheduler.by_function import saved_function
from kuai.optim.lr_scheduler.scheduler import (
    LRScheduler,
    State,
    check_optimizer,
    for_each_group,
    set_value,
)
from kuai.optim.optimizer import Group, Optimizer


class _WithMomentum(LRScheduler):
    """Moves the momentum (or Adam's first beta) against the rate."""

    use_beta1: bool

    def _prepare_momentum(
        self, lowest: float | list[float], highest: float | list[float], start_anew: bool
    ) -> tuple[list[float], list[float]]:
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
            )
        self.use_beta1 = "betas" in defaults
        lows = for_each_group("base_momentum", self.optimizer, lowest)
        highs = for_each_group("max_momentum", self.optimizer, highest)
        if start_anew:
            for group, low, high in zip(self.optimizer.param_groups, lows, highs, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"] = high
                group["base_momentum"] = low
        return lows, highs

    def _set_momentum(self, group: Group, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(_WithMomentum):
    """Lets the rate rise from `base_lr` to `max_lr` and fall again, in cycles.

    Args:
        optimizer: whose rates are set.
        base_lr: the lowest rate; or a list of them, one for each group.
        max_lr: the highest rate; or a list of them.
        step_size_up: how many steps a rise takes.
        step_size_down: how many steps a fall takes; as many as the rise by default.
        mode: `"triangular"` keeps the height of the cycles, `"triangular2"` halves it after each,
            `"exp_range"` multiplies it by `gamma` at each step.
        gamma: the factor of `"exp_range"`.
        scale_fn: gives the share of the height, instead of `mode`.
        scale_mode: whether `scale_fn` is asked for a `"cycle"` or for `"iterations"`.
        cycle_momentum: whether the momentum falls while the rate rises.
        base_momentum: the lowest momentum; or a list of them.
        max_momentum: the highest momentum; or a list of them.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: an unknown mode, a list of a wrong length, or no momentum to move.
        TypeError: `optimizer` is not one.

    Source:
        Smith, "Cyclical learning rates for training neural networks", 2015.
    """

    unsaved = ("optimizer", "_scale_fn_custom")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = for_each_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_value(group, "lr", lr)
        self.max_lrs = for_each_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._prepare_momentum(
                base_momentum, max_momentum, last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The share of the full height in cycle (or at step) `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        if self.mode == "triangular2":
            return float(1 / (2.0 ** (x - 1)))
        return float(self.gamma**x)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step; sets the momentum too."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        if x <= self.step_ratio:
            height = x / self.step_ratio
        else:
            height = (x - 1) / (self.step_ratio - 1)
        share = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                self._set_momentum(group, high - (high - low) * height * share)
        return [
            low + (high - low) * height * share
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> State:
        """Everything that the schedule knows; of its function, the attributes of an object."""
        state = super().state_dict()
        state["_scale_fn_custom"] = saved_function(self._scale_fn_custom)
        return state

    def load_state_dict(self, state_dict: State) -> None:
        """Take over what `state_dict` of such a schedule returned; the function itself stays."""
        state = dict(state_dict)
        attributes = state.pop("_scale_fn_custom")
        super().load_state_dict(state)
        if attributes is not None:
            self._scale_fn_custom.__dict__.update(attributes)


class OneCycleLR(_WithMomentum):
    """Lets the rate rise to `max_lr` once, and fall far below its start, over the whole training.

    Args:
        optimizer: whose rates are set.
        max_lr: the highest rate; or a list of them, one for each group.
        total_steps: how many steps the training takes.
        epochs: with `steps_per_epoch`, another way to say that.
        steps_per_epoch: how many steps an epoch takes.
        pct_start: the share of the steps in which the rate rises.
        anneal_strategy: the way between two rates: `"cos"` or `"linear"`.
        cycle_momentum: whether the momentum falls while the rate rises.
        base_momentum: the lowest momentum; or a list of them.
        max_momentum: the highest momentum; or a list of them.
        div_factor: the rate at the start is `max_lr / div_factor`.
        final_div_factor: the rate at the end is the first one, divided by this.
        three_phase: whether the rate falls to its start first, and only then below it.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: an argument out of range, a list of a wrong length, or no momentum to move.
        TypeError: `optimizer` is not one.

    Source:
        Smith and Topin, "Super-convergence: very fast training of neural networks using large
        learning rates", 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        rise = float(pct_start * self.total_steps)
        self._schedule_phases = _phases(rise, self.total_steps, three_phase)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_func_type = anneal_strategy
        max_lrs = for_each_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, highest in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._prepare_momentum(base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step; sets the momentum too.

        Raises:
            ValueError: there are no more steps.
        """
        self._warn_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        start = 0.0
        phase = self._schedule_phases[0]
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        share = (step - start) / (phase["end_step"] - start)
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                first, last = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(first, last, share))
        return lrs

    def _between(self, start: Any, end: Any, share: float) -> Any:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return _positive("total_steps", total_steps)
    if epochs is not None and steps_per_epoch is not None:
        return _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)
    raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"Expected positive integer {name}, but got {value}")
    return value


def _phases(rise: float, total: int, three_phase: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and the group's entries that it leads from and to."""

    def phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
        return {
            "end_step": end,
            "start_lr": lr[0],
            "end_lr": lr[1],
            "start_momentum": momentum[0],
            "end_momentum": momentum[1],
        }

    up = phase(rise - 1, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
    if not three_phase:
        return [
            up,
            phase(total - 1, ("max_lr", "min_lr"), ("base_momentum", "max_momentum")),
        ]
    return [
        up,
        phase(2 * rise - 2, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum")),
        phase(total - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]
