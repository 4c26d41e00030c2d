"""Schedules set the rates of an optimizer, and say so when they are used in a wrong way."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import kuai
from kuai.optim import SGD, Adam
from kuai.optim import lr_scheduler as schedules


def optimizer(lr: Any = 1.0, **options: Any) -> SGD:
    p = kuai.ones(1, requires_grad=True)
    p.grad = kuai.zeros(1)
    return SGD([p], lr=lr, **options)


def rates(opt: Any, schedule: Any, steps: int) -> list[float]:
    result = []
    for _ in range(steps):
        result.append(float(opt.param_groups[0]["lr"]))
        opt.step()
        schedule.step()
    return result


def test_a_schedule_of_ones_own_overrides_get_lr() -> None:
    class Halving(schedules.LRScheduler):
        def get_lr(self) -> list[Any]:
            return [lr / 2**self.last_epoch for lr in self.base_lrs]

    opt = optimizer()
    assert rates(opt, Halving(opt), 4) == [1.0, 0.5, 0.25, 0.125]


def test_a_tensor_rate_stays_the_same_tensor() -> None:
    lr = kuai.tensor(1.0)
    opt = optimizer(lr)
    schedule = schedules.ExponentialLR(opt, 0.5)
    assert rates(opt, schedule, 3) == [1.0, 0.5, 0.25]
    assert opt.param_groups[0]["lr"] is lr
    assert schedule.base_lrs[0].item() == 1.0


def test_stepping_before_the_optimizer_is_warned_of() -> None:
    schedule = schedules.ExponentialLR(optimizer(), 0.5)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()


def test_an_overridden_step_is_warned_of() -> None:
    opt = optimizer()
    schedule = schedules.ExponentialLR(opt, 0.5)
    opt.step = lambda: None  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="has been overridden"):
        schedule.step()


def test_asking_for_rates_outside_a_step_is_warned_of() -> None:
    schedule = schedules.ExponentialLR(optimizer(), 0.5)
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()


def test_the_epoch_argument_is_deprecated() -> None:
    opt = optimizer()
    schedule = schedules.StepLR(opt, 2, 0.5)
    opt.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(4)
    assert schedule.get_last_lr() == [0.25]


def test_going_on_needs_the_first_rates() -> None:
    with pytest.raises(KeyError, match="initial_lr"):
        schedules.StepLR(optimizer(), 2, last_epoch=3)
    opt = optimizer()
    opt.param_groups[0]["initial_lr"] = 1.0
    schedule = schedules.ExponentialLR(opt, 0.5, last_epoch=3)
    assert schedule.last_epoch == 4


def test_only_optimizers_have_schedules() -> None:
    for make in (
        lambda: schedules.StepLR("no optimizer", 2),  # type: ignore[arg-type]
        lambda: schedules.ReduceLROnPlateau(None),  # type: ignore[arg-type]
        lambda: schedules.OneCycleLR(3, 0.1, 10),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="is not an Optimizer"):
            make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: schedules.ConstantLR(o, 1.5), "between 0 and 1"),
        (lambda o: schedules.LinearLR(o, 0.0), "greater than 0"),
        (lambda o: schedules.LinearLR(o, 1.0, 2.0), "between 0 and 1"),
        (lambda o: schedules.LambdaLR(o, [abs, abs]), "Expected 1 lr_lambdas, but got 2"),
        (lambda o: schedules.CosineAnnealingWarmRestarts(o, 0), "positive integer T_0"),
        (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 0), "T_mult >= 1"),
        (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), "Factor should be < 1.0"),
        (lambda o: schedules.ReduceLROnPlateau(o, "up"), "mode up is unknown"),
        (lambda o: schedules.ReduceLROnPlateau(o, min_lr=[0, 0]), "expected 1 min_lrs, got 2"),
        (lambda o: schedules.CyclicLR(o, 0.1, 1.0, mode="square"), "mode is invalid"),
        (lambda o: schedules.CyclicLR(o, [0.1, 0.2], 1.0), "must have the same length"),
        (lambda o: schedules.OneCycleLR(o, 1.0), "total_steps OR"),
        (lambda o: schedules.OneCycleLR(o, 1.0, 0), "positive integer total_steps"),
        (lambda o: schedules.OneCycleLR(o, 1.0, 10, pct_start=2.0), "pct_start"),
        (lambda o: schedules.OneCycleLR(o, 1.0, 10, anneal_strategy="up"), "anneal_strategy"),
        (lambda o: schedules.SequentialLR(o, [], []), "got no scheduler"),
        (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [3]), "one more than"),
        (lambda o: schedules.ChainedScheduler([]), "got no scheduler"),
        (
            lambda o: schedules.ChainedScheduler([schedules.ReduceLROnPlateau(o)]),
            "does not support `ReduceLROnPlateau`",
        ),
        (
            lambda o: schedules.ChainedScheduler(
                [schedules.StepLR(o, 1), schedules.StepLR(optimizer(), 1)]
            ),
            "belong to the same optimizer",
        ),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(optimizer())


def test_momentum_cannot_move_where_there_is_none() -> None:
    opt = kuai.optim.Adagrad([kuai.ones(1, requires_grad=True)])
    with pytest.raises(ValueError, match="must support momentum or beta1"):
        schedules.CyclicLR(opt, 0.1, 1.0)
    schedules.CyclicLR(opt, 0.1, 1.0, cycle_momentum=False)


def test_a_cycle_ends_with_its_steps() -> None:
    opt = optimizer()
    schedule = schedules.OneCycleLR(opt, 1.0, total_steps=3, cycle_momentum=False)
    rates(opt, schedule, 3)
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        schedule.step()


def test_the_momentum_of_adam_is_its_first_beta() -> None:
    p = kuai.ones(1, requires_grad=True)
    opt = Adam([p], lr=0.1, betas=(0.7, 0.95))
    schedules.OneCycleLR(opt, 1.0, total_steps=10, max_momentum=0.92)
    assert opt.param_groups[0]["betas"] == (0.92, 0.95)


class Decay:
    """A rule of one's own, with a state."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: float) -> float:
        return self.rate**step


@pytest.mark.parametrize(
    "make",
    [
        lambda o, rule: schedules.LambdaLR(o, rule),
        lambda o, rule: schedules.MultiplicativeLR(o, rule),
        lambda o, rule: schedules.CyclicLR(o, 0.1, 1.0, 3, scale_fn=rule, cycle_momentum=False),
    ],
)
def test_the_state_of_a_rule_that_is_an_object_is_saved(make: Any) -> None:
    first, second = optimizer(), optimizer()
    schedule, other = make(first, Decay(0.5)), make(second, Decay(0.9))
    saved = schedule.state_dict()
    other.load_state_dict(saved)
    assert saved == schedule.state_dict()
    assert rates(first, schedule, 6)[1:] == rates(second, other, 6)[1:]


def test_saved_schedules_hold_plain_values_only() -> None:
    opt = optimizer()
    for schedule in (
        schedules.CyclicLR(opt, 0.1, 1.0, cycle_momentum=False),
        schedules.OneCycleLR(opt, 1.0, 10, cycle_momentum=False),
        schedules.LambdaLR(opt, lambda step: 1.0),
        schedules.ReduceLROnPlateau(opt),
        schedules.SequentialLR(
            opt, [schedules.StepLR(opt, 3), schedules.CosineAnnealingLR(opt, 5)], [4]
        ),
    ):
        assert_plain(schedule.state_dict())


def assert_plain(value: Any) -> None:
    if isinstance(value, dict):
        for inner in value.values():
            assert_plain(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            assert_plain(inner)
    else:
        assert value is None or isinstance(value, (bool, int, float, str)), value


def test_no_warnings_in_a_loop_as_one_writes_it() -> None:
    opt = optimizer()
    schedule = schedules.SequentialLR(
        opt, [schedules.LinearLR(opt, 0.1, total_iters=3), schedules.StepLR(opt, 2)], [3]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates(opt, schedule, 8)
