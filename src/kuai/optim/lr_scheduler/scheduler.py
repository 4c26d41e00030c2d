"""What all schedules of the learning rate share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias
from weakref import ref

from kuai.optim.hyperparameters import Number, scalar
from kuai.optim.optimizer import Group, Optimizer
from kuai.tensor import Tensor

State: TypeAlias = dict[str, Any]

EPOCH_IS_DEPRECATED = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where "
    "possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if "
    "epoch is different from None, the closed form is used instead of the new chainable form, "
    "where available."
)


class LRScheduler:
    """Base of all schedules: sets the learning rate of each parameter group, step by step.

    A schedule of one's own overrides `get_lr`. Making one takes its first step, so that the
    optimizer has the rate of step zero at once.

    Args:
        optimizer: whose rates are set.
        last_epoch: the step to go on from; -1 starts anew.

    Attributes:
        last_epoch: the number of the current step.
        base_lrs: the rates of the groups at the start.

    Raises:
        TypeError: `optimizer` is not one.
        KeyError: `last_epoch` is given, but a group has no `"initial_lr"` to go on from.
    """

    _get_lr_called_within_step = False
    _is_initial = False
    unsaved: tuple[str, ...] = ("optimizer",)
    """Attributes that `state_dict` leaves out."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler with last_epoch >= 0; load the optimizer's state first"
                )
        self.base_lrs: list[Number] = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _note_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> State:
        """Everything that the schedule knows, but for its optimizer."""
        return {key: value for key, value in self.__dict__.items() if key not in self.unsaved}

    def load_state_dict(self, state_dict: State) -> None:
        """Take over what `state_dict` of such a schedule returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Number]:
        """The rates of the groups that the last step set."""
        return self._last_lr

    def get_lr(self) -> list[Number]:
        """The rates of the groups for step `last_epoch`; `step` calls it."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Go on by one step, and set the rates. Call it after the optimizer's step.

        Args:
            epoch: the step to go to, instead of the next one; deprecated.
        """
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_IS_DEPRECATED, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler "
                "initialization. Please, make sure to call `optimizer.step()` before "
                "`lr_scheduler.step()`.",
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in "
                "the opposite order: `optimizer.step()` before `lr_scheduler.step()`. Failure to "
                "do this skips the first value of the learning rate schedule.",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self._computed(self.get_lr)
        else:
            self.last_epoch = epoch
            values = self._computed(getattr(self, "_get_closed_form_lr", self.get_lr))
        self._set_lr(values)

    def _computed(self, rule: Callable[[], list[Number]]) -> list[Number]:
        self._get_lr_called_within_step = True
        try:
            return rule()
        finally:
            self._get_lr_called_within_step = False

    def _set_lr(self, values: list[Number]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            set_value(group, "lr", lr)
        self._last_lr = group_values(self.optimizer, "lr")

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def _unchanged(self) -> list[Number]:
        return group_values(self.optimizer, "lr")

    def _multiplied(self, factor: float) -> list[Number]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class _LRScheduler(LRScheduler):
    """The former name of `LRScheduler`."""


def check_optimizer(optimizer: Any) -> None:
    """Raise where `optimizer` is not one.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def copied(value: Number) -> Number:
    """A tensor's copy; a number as it is."""
    return value.clone() if isinstance(value, Tensor) else value


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """An option's value in each parameter group; tensors are copied."""
    return [copied(group[key]) for group in optimizer.param_groups]


def set_value(group: Group, key: str, value: Number) -> None:
    """Set a group's option; one that is a tensor stays that tensor, and is filled."""
    if isinstance(group[key], Tensor):
        group[key].fill_(scalar(value))
    else:
        group[key] = value


def for_each_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each parameter group, from a list of them or from one for all.

    Raises:
        ValueError: the list's length is not the number of groups.
    """
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        value = [value] * count
    elif len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {count}."
        )
    return [copied(v) for v in value]


def _note_steps(optimizer: Optimizer) -> None:
    """Have the optimizer note that it stepped, so that a wrong order of calls is found."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    step = optimizer.step.__func__  # type: ignore[attr-defined]
    reference = ref(optimizer)  # a method bound to the optimizer would keep it alive

    @wraps(step)
    def noting_step(*args: Any, **kwargs: Any) -> Any:
        self: Any = reference()
        self._opt_called = True
        return step(self, *args, **kwargs)

    noting_step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = noting_step  # type: ignore[method-assign]
