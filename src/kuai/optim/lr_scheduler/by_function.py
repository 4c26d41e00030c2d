"""Schedules by a function of one's own."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, TypeAlias

from kuai.optim.hyperparameters import Number
from kuai.optim.lr_scheduler.scheduler import LRScheduler, State
from kuai.optim.optimizer import Optimizer

Factor: TypeAlias = Callable[[int], float]


class _ByFunction(LRScheduler):
    """Holds a function for each parameter group, and saves those that are objects with a state."""

    unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1
    ) -> None:
        self.optimizer = optimizer
        count = len(optimizer.param_groups)
        if not isinstance(lr_lambda, (list, tuple)):
            self.lr_lambdas: list[Factor] = [lr_lambda] * count
        elif len(lr_lambda) != count:
            raise ValueError(f"Expected {count} lr_lambdas, but got {len(lr_lambda)}")
        else:
            self.lr_lambdas = list(lr_lambda)
        self._check_functions()
        super().__init__(optimizer, last_epoch)

    def _check_functions(self) -> None:
        pass

    def state_dict(self) -> State:
        """Everything that the schedule knows; of its functions, the attributes of objects."""
        state = super().state_dict()
        state["lr_lambdas"] = [saved_function(f) for f in self.lr_lambdas]
        return state

    def load_state_dict(self, state_dict: State) -> None:
        """Take over what `state_dict` returned; the functions themselves stay."""
        state = dict(state_dict)
        saved = state.pop("lr_lambdas")
        super().load_state_dict(state)
        for function, attributes in zip(self.lr_lambdas, saved, strict=True):
            if attributes is not None:
                function.__dict__.update(attributes)


class LambdaLR(_ByFunction):
    """Multiplies the rate at the start by `lr_lambda(step)`.

    Args:
        optimizer: whose rates are set.
        lr_lambda: gives a step's factor; or a list of such functions, one for each group.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: the number of functions is not that of the groups.
    """

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        return [
            lr * function(self.last_epoch)
            for function, lr in zip(self.lr_lambdas, self.base_lrs, strict=True)
        ]


class MultiplicativeLR(_ByFunction):
    """Multiplies the rate of the step before by `lr_lambda(step)`.

    Args:
        optimizer: whose rates are set.
        lr_lambda: gives a step's factor; or a list of such functions, one for each group.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: the number of functions is not that of the groups.
        TypeError: one of them cannot be called.
    """

    def _check_functions(self) -> None:
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(
                    f"lr_lambda should be a function, but got {type(function).__name__}"
                )

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        if self._is_initial:
            return self._unchanged()
        return [
            group["lr"] * function(self.last_epoch)
            for function, group in zip(self.lr_lambdas, self.optimizer.param_groups, strict=True)
        ]


def saved_function(function: Any) -> dict[str, Any] | None:
    """What a state dict keeps of a function: an object's attributes, nothing of a plain one."""
    if function is None or isinstance(function, types.FunctionType):
        return None
    return dict(function.__dict__)
