"""Hyperparameters that change between calls are inputs of a compiled step: one program serves."""

import pytest

import kuai
from kuai import nn, optim
from kuai.nn import functional as F
from kuai.optim import lr_scheduler as schedulers
from kuai.optim.swa_utils import SWALR
from tests.compiler.comparing import near

STEPS = 10


def matrices(parameters):
    return [p for p in parameters if p.ndim == 2]


OPTIMIZERS = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.05),
    "momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9),
    "Adadelta": lambda ps: optim.Adadelta(ps, lr=0.5),
    "Adafactor": lambda ps: optim.Adafactor(ps, lr=0.05),
    "Adagrad": lambda ps: optim.Adagrad(ps, lr=0.05, lr_decay=0.01),
    "Adam": lambda ps: optim.Adam(ps, lr=0.01),
    "AdamW": lambda ps: optim.AdamW(ps, lr=0.01),
    "Adamax": lambda ps: optim.Adamax(ps, lr=0.01),
    "ASGD": lambda ps: optim.ASGD(ps, lr=0.01),
    "Muon": lambda ps: optim.Muon(matrices(ps), lr=0.01),
    "NAdam": lambda ps: optim.NAdam(ps, lr=0.01),
    "RAdam": lambda ps: optim.RAdam(ps, lr=0.01),
    "RMSprop": lambda ps: optim.RMSprop(ps, lr=0.01, momentum=0.5),
    "Rprop": lambda ps: optim.Rprop(ps, lr=0.01),
}


def has_momentum(optimizer):
    return "momentum" in optimizer.defaults or "betas" in optimizer.defaults


SCHEDULERS = {
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 4),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.03, 3, 3, cycle_momentum=has_momentum(o)),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.3, 1.0, 5),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [3, 6], 0.5),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda epoch: 0.9),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.03, 12, cycle_momentum=has_momentum(o)),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 8, 2.0),
    "StepLR": lambda o: schedulers.StepLR(o, 3, 0.5),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.ConstantLR(o, 0.1, 3), schedulers.ExponentialLR(o, 0.9)], [3]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.1, 4), schedulers.ExponentialLR(o, 0.9)]
    ),
    "SWALR": lambda o: SWALR(o, 0.02, 5),
}


def trained(make, change, compiled, steps=STEPS):
    """A network after some steps, and how many programs they took."""
    kuai.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = make(list(net.parameters()))
    change = change(optimizer)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    call = kuai.compile(step) if compiled else step
    generator = kuai.Generator().manual_seed(3)
    for place in range(steps):
        x = kuai.rand(4, 6, generator=generator)
        y = kuai.randint(0, 3, (4,), generator=generator)
        call(x, y)
        change(place)
    return net, len(call._compiled.programs) if compiled else 0


def same_with(make, change, programs=1, steps=STEPS):
    """Compiled training ends where eager training does, with so many programs at most."""
    net, count = trained(make, change, True, steps)
    expected, _ = trained(make, change, False, steps)
    for p, q in zip(net.parameters(), expected.parameters(), strict=True):
        near(p, q, 5e-5)
    assert count <= programs


def scheduled(make):
    def change(optimizer):
        scheduler = make(optimizer)
        if isinstance(scheduler, schedulers.ReduceLROnPlateau):
            return lambda place: scheduler.step(5.0)
        return lambda place: scheduler.step()

    return change


def changed(option, value):
    """A hyperparameter that the user sets between calls."""

    def change(optimizer):
        def set_it(place):
            for group in optimizer.param_groups:
                group[option] = value(place)

        return set_it

    return change


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_scheduler_of_each_optimizer_needs_one_program(optimizer, scheduler):
    same_with(OPTIMIZERS[optimizer], scheduled(SCHEDULERS[scheduler]))


FIXED = {"params", "lr", "ns_steps", "adjust_lr_fn"}


def falling(value):
    if isinstance(value, tuple):
        return lambda place: tuple(x and x * (1 - 0.01 * place) for x in value)
    return lambda place: (value or 0.01) * (1 - 0.01 * place)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_hyperparameter_may_be_changed_between_calls(optimizer):
    make = OPTIMIZERS[optimizer]
    group = make(list(nn.Linear(3, 3).parameters())).param_groups[0]
    for option, value in group.items():
        if option not in FIXED and value is not None and not isinstance(value, bool):
            turns_on = value == 0  # the first step is without it
            same_with(make, changed(option, falling(value)), programs=2 if turns_on else 1)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_rate_that_is_an_int(optimizer):
    make = OPTIMIZERS[optimizer]

    def with_int(ps):
        made = make(ps)
        made.param_groups[0]["lr"] = 1
        return made

    same_with(with_int, changed("lr", lambda place: 2 + place % 2), steps=6)
    same_with(with_int, scheduled(lambda o: schedulers.StepLR(o, 3, 0.1)), programs=2)


def test_a_rate_that_is_a_tensor():
    def make(ps):
        return optim.Adam(ps, lr=kuai.tensor(0.01))

    same_with(make, scheduled(lambda o: schedulers.ExponentialLR(o, 0.8)))


def test_numbers_in_lists_and_dicts_of_a_group():
    class Scaled(optim.Optimizer):
        def __init__(self, ps):
            super().__init__(ps, {"rates": [0.1, 0.2], "more": {"decay": 0.1}, "of": (0.5, (2.0,))})

        def step(self):
            with kuai.no_grad():
                for group in self.param_groups:
                    first, second = group["rates"]
                    half, (two,) = group["of"]
                    for p in group["params"]:
                        p.add_(p.grad, alpha=-first * second * half * two)
                        p.mul_(1 - group["more"]["decay"] * first)

    def lists(optimizer):
        def change(place):
            optimizer.param_groups[0]["rates"][1] *= 0.9

        return change

    def dicts(optimizer):
        def change(place):
            optimizer.param_groups[0]["more"]["decay"] *= 0.9

        return change

    def tuples(optimizer):
        def change(place):
            optimizer.param_groups[0]["of"] = (0.5, (2.0 - 0.1 * place,))

        return change

    for change in (lists, dicts, tuples):
        same_with(Scaled, change, programs=1)


def test_a_list_that_grows_is_noticed():
    class Summed(optim.Optimizer):
        def __init__(self, ps):
            super().__init__(ps, {"rates": [0.1, 0.2]})

        def step(self):
            with kuai.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.add_(p.grad, alpha=-sum(group["rates"]))

    def change(optimizer):
        rates = optimizer.param_groups[0]["rates"]

        def grow(place):
            rates[0] += 0.01
            if place == 5:
                rates.append(0.3)

        return grow

    same_with(Summed, change, programs=2)


def test_an_option_that_is_zero_now_and_then_has_a_program_for_each():
    same_with(
        lambda ps: optim.SGD(ps, lr=0.05, weight_decay=0.1),
        changed("weight_decay", lambda place: 0.0 if place % 2 else 0.1 + 0.01 * place),
        programs=2,
    )


def test_momentum_that_sinks_to_zero_keeps_its_buffer():
    make = OPTIMIZERS["momentum"]
    values = [0.9, 0.8, 0.7, 0.0, 0.0, 0.6, 0.5, 0.0, 0.4, 0.3]
    same_with(make, changed("momentum", values.__getitem__), programs=2)


def test_a_cycled_beta_needs_no_python():
    """A tuple that is replaced in each step is looked at by native code."""
    kuai.manual_seed(1)
    net = nn.Linear(3, 2)
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    @kuai.compile
    def step(x):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()

    group = optimizer.param_groups[0]
    for i in range(4):
        group["betas"] = (0.9 - 0.01 * i, 0.999)
        step(kuai.ones(2, 3))
    slow = []
    step._compiled._memory.set_slow(lambda *args, **kwargs: slow.append(args))
    for i in range(4):
        group["betas"] = (0.8 - 0.01 * i, 0.999)
        step(kuai.ones(2, 3))
    assert not slow
    group["betas"] = (0.8, 0.999, 0.1)
    step(kuai.ones(2, 3))
    assert slow
