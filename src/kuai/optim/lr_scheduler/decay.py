"""Schedules that multiply the rate: by steps, by a ramp, by a power."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable

from kuai.optim.hyperparameters import Number
from kuai.optim.lr_scheduler.scheduler import LRScheduler
from kuai.optim.optimizer import Optimizer


class StepLR(LRScheduler):
    """Multiplies the rate by `gamma` every `step_size` steps.

    Args:
        optimizer: whose rates are set.
        step_size: how many steps a rate lasts.
        gamma: the factor.
        last_epoch: the step to go on from; -1 starts anew.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._unchanged()
        return self._multiplied(self.gamma)

    def _get_closed_form_lr(self) -> list[Number]:
        factor = self.gamma ** (self.last_epoch // self.step_size)
        return [lr * factor for lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """Multiplies the rate by `gamma` at each of the `milestones`.

    Args:
        optimizer: whose rates are set.
        milestones: numbers of steps, rising.
        gamma: the factor.
        last_epoch: the step to go on from; -1 starts anew.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        if self.last_epoch not in self.milestones:
            return self._unchanged()
        return self._multiplied(self.gamma ** self.milestones[self.last_epoch])

    def _get_closed_form_lr(self) -> list[Number]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [lr * self.gamma**passed for lr in self.base_lrs]


class ConstantLR(LRScheduler):
    """Multiplies the rate by `factor` for the first `total_iters` steps.

    Args:
        optimizer: whose rates are set.
        factor: the factor, from 0 to 1.
        total_iters: how many steps it lasts.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: the factor is not from 0 to 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if factor > 1.0 or factor < 0:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        if self.last_epoch == 0:
            return self._multiplied(self.factor)
        if self.last_epoch != self.total_iters:
            return self._unchanged()
        return self._multiplied(1.0 / self.factor)

    def _get_closed_form_lr(self) -> list[Number]:
        factor = self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)
        return [lr * factor for lr in self.base_lrs]


class LinearLR(LRScheduler):
    """Multiplies the rate by a factor that goes from one value to another in equal steps.

    Args:
        optimizer: whose rates are set.
        start_factor: the factor at the start, above 0 and up to 1.
        end_factor: the factor after `total_iters` steps, from 0 to 1.
        total_iters: how many steps the way takes.
        last_epoch: the step to go on from; -1 starts anew.

    Raises:
        ValueError: a factor out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal "
                "to 1."
            )
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        if self.last_epoch == 0:
            return self._multiplied(self.start_factor)
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._unchanged()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self._multiplied(1.0 + rise / before)

    def _get_closed_form_lr(self) -> list[Number]:
        share = min(self.total_iters, self.last_epoch) / self.total_iters
        factor = self.start_factor + (self.end_factor - self.start_factor) * share
        return [lr * factor for lr in self.base_lrs]


class ExponentialLR(LRScheduler):
    """Multiplies the rate by `gamma` at every step.

    Args:
        optimizer: whose rates are set.
        gamma: the factor.
        last_epoch: the step to go on from; -1 starts anew.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        return self._unchanged() if self._is_initial else self._multiplied(self.gamma)

    def _get_closed_form_lr(self) -> list[Number]:
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class PolynomialLR(LRScheduler):
    """Lets the rate fall to zero in `total_iters` steps, along a power of what is left.

    Args:
        optimizer: whose rates are set.
        total_iters: how many steps the way takes.
        power: the power.
        last_epoch: the step to go on from; -1 starts anew.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rates of the groups for this step."""
        self._warn_outside_step()
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._unchanged()
        left = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return self._multiplied((left / before) ** self.power)

    def _get_closed_form_lr(self) -> list[Number]:
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]
