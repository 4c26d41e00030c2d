"""What a compiled function does to the world outside beside tensors: in each call, or never."""

import collections
import logging
from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai import nn, optim
from kuai.errors import CompileError

X = kuai.ones(4, 3)


def network() -> nn.Sequential:
    kuai.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))


def toggles(net: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        found = net(x).sum()
        net.train(not net.training)
        return found

    return function


def evaluates(net: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        net.eval()
        return net(x).sum()

    return function


def both_ways(net: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        net.train()
        first = net(x).sum()
        net[2].eval()
        second = net(x).sum()
        net.eval()
        return first, second, net(x).sum()

    return function


def restores(net: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        before = net.training
        net.eval()
        with kuai.no_grad():
            found = net(x).sum()
        net.train(before)
        return found

    return function


@pytest.mark.parametrize("make", [toggles, evaluates, both_ways, restores])
def test_modes_that_a_function_sets(make: Callable[[Any], Callable[[Any], Any]]) -> None:
    runs = []
    for compiles in (False, True):
        net = network()
        function: Any = kuai.compile(make(net)) if compiles else make(net)
        kuai.manual_seed(1)
        found: list[Any] = []
        for step in range(6):
            if step == 3:
                net.train()
            if step == 5:
                net[1].eval()
            result = function(X * (step + 1))
            values = result if isinstance(result, tuple) else (result,)
            found.append([round(v.item(), 4) for v in values])
            found.append([m.training for m in net.modules()])
            found.append(int(net[1].num_batches_tracked))
        runs.append(found)
    assert runs[0] == runs[1]


SCHEDULES = [
    lambda o: optim.lr_scheduler.StepLR(o, 2, 0.5),
    lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 5),
    lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedulers_step_is_made_in_each_call(schedule: Callable[[Any], Any]) -> None:
    runs = []
    for compiles in (False, True):
        kuai.manual_seed(0)
        net = nn.Linear(3, 1)
        optimizer = optim.Adam(net.parameters(), 0.01)
        scheduler = schedule(optimizer)

        def step(
            x: Any, net: Any = net, optimizer: Any = optimizer, scheduler: Any = scheduler
        ) -> Any:
            optimizer.zero_grad()
            loss = net(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
            return loss.detach()

        function: Any = kuai.compile(step) if compiles else step
        found = []
        for _ in range(7):
            loss = function(X).item()
            rate = optimizer.param_groups[0]["lr"]
            found += [loss, rate, scheduler.last_epoch, net.weight.sum().item()]
        runs.append(found)
    assert runs[1] == pytest.approx(runs[0], rel=1e-5)


def test_a_gradient_mode_that_stays() -> None:
    def function(x: Any) -> Any:
        y = x * 2
        kuai.set_grad_enabled(False)
        return y

    for one in (function, kuai.compile(function)):
        for _ in range(2):
            kuai.set_grad_enabled(True)
            assert one(X.clone().requires_grad_()).requires_grad
            assert not kuai.is_grad_enabled()


AVERAGES: list[dict[str, Any]] = [
    {},
    {"use_buffers": True},
    {"avg_fn": lambda a, b, n: 0.1 * a + 0.9 * b},
    {"multi_avg_fn": optim.swa_utils.get_ema_multi_avg_fn(0.9)},
]


@pytest.mark.parametrize("options", AVERAGES)
def test_averages_of_the_weights(options: dict[str, Any]) -> None:
    runs = []
    for compiles in (False, True):
        net = network()
        averaged = optim.swa_utils.AveragedModel(net, **options)
        optimizer = optim.SGD(net.parameters(), 0.1)

        def step(x: Any, net: Any = net, averaged: Any = averaged, o: Any = optimizer) -> Any:
            o.zero_grad()
            loss = net(x).pow(2).mean()
            loss.backward()
            o.step()
            averaged.update_parameters(net)
            return loss.detach()

        function: Any = kuai.compile(step) if compiles else step
        kuai.manual_seed(1)
        found = []
        for _ in range(5):
            found += [function(kuai.rand(4, 3)).item(), float(averaged.n_averaged)]
            found += [x.double().sum().item() for x in averaged.state_dict().values()]
        runs.append(found)
    assert runs[1] == pytest.approx(runs[0], rel=1e-4, abs=1e-5)


def test_steps_of_schedulers_that_cannot_wait() -> None:
    net = nn.Linear(3, 1)
    optimizer = optim.SGD(net.parameters(), 0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer)

    def early(x: Any) -> Any:
        scheduler.step()
        net(x).sum().backward()
        optimizer.step()
        return x

    def by_the_loss(x: Any) -> Any:
        plateau.step(net(x).sum())
        return x

    def sometimes(x: Any) -> Any:
        if x.sum() > 0:
            scheduler.step()
        return x

    for function in (early, by_the_loss, sometimes):
        with pytest.raises(CompileError, match=r"scheduler|ReduceLROnPlateau"):
            kuai.compile(function)(X)
        assert scheduler.last_epoch == 0
        assert optimizer.param_groups[0]["lr"] == 0.1


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "append": lambda net, _: net.append(nn.ReLU()),
    "an item": lambda net, _: net.__setitem__(0, nn.Linear(3, 3)),
    "a buffer": lambda net, _: net.register_buffer("b", kuai.ones(1)),
    "a parameter": lambda net, _: net.register_parameter("p", nn.Parameter(kuai.ones(1))),
    "a hook": lambda net, _: net.register_forward_hook(lambda *_: None),
    "a hook of a part": lambda net, _: net[0].register_full_backward_hook(lambda *_: None),
    "a type": lambda net, _: net.double(),
    "a parametrization": lambda net, _: nn.utils.parametrizations.weight_norm(net[0]),
    "a group": lambda _, o: o.add_param_group({"params": [nn.Parameter(kuai.ones(1))]}),
    "a state": lambda _, o: o.load_state_dict(o.state_dict()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_that_would_happen_once_are_refused_and_do_not_happen(name: str) -> None:
    net = network()
    optimizer = optim.SGD(net.parameters(), 0.1)
    change = CHANGES[name]

    def function(x: Any) -> Any:
        change(net, optimizer)
        return x * 2

    before = str(net), [n for n, _ in net.named_buffers()], len(optimizer.param_groups)
    with pytest.raises(CompileError, match=r"once|becomes"):
        kuai.compile(function)(X)
    assert before == (str(net), [n for n, _ in net.named_buffers()], len(optimizer.param_groups))
    assert not net._forward_hooks
    assert not net[0]._backward_hooks
    assert net[0].weight.dtype is kuai.float32


def test_blocks_that_the_function_makes_may_change() -> None:
    @kuai.compile
    def function(x: Any) -> Any:
        kuai.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
        net.append(nn.ReLU())
        net.eval()
        net[0].register_buffer("scale", kuai.ones(3) * 2)
        return net(x) * net[0].scale

    kuai.manual_seed(0)
    want = kuai.relu(nn.Linear(3, 3)(X)) * 2
    assert kuai.allclose(function(X), want)


def forks(x: Any) -> Any:
    with kuai.random.fork_rng():
        first = kuai.rand(2)
    return first, kuai.rand(2)


def goes_back(x: Any) -> Any:
    state = kuai.get_rng_state()
    first = kuai.rand(2)
    kuai.set_rng_state(state)
    return first, kuai.rand(2), state


@pytest.mark.parametrize("function", [forks, goes_back])
def test_places_in_the_random_stream(function: Callable[[Any], Any]) -> None:
    runs = []
    for one in (function, kuai.compile(function)):
        kuai.manual_seed(3)
        runs.append([str(one(X)) for _ in range(3)])
    assert runs[0] == runs[1]


def test_a_seed_from_the_system_is_refused() -> None:
    with pytest.raises(CompileError, match="from the system"):
        kuai.compile(lambda x: x * kuai.seed())(X)


def test_what_is_logged_is_logged_in_each_call(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("of a test")

    @kuai.compile
    def function(x: Any) -> Any:
        logger.warning("here, with %s", tuple(x.shape))
        return x * 2

    for _ in range(3):
        function(X)
    assert [r.getMessage() for r in caplog.records] == ["here, with (4, 3)"] * 3


def test_a_counter_from_outside_is_not_changed() -> None:
    counter = collections.Counter("aab")

    @kuai.compile
    def looks(x: Any) -> Any:
        return x * counter.most_common(1)[0][1]

    @kuai.compile
    def changes(x: Any) -> Any:
        counter.update("a")
        return x

    assert looks(X).sum().item() == 24.0
    counter["b"] = 5
    assert looks(X).sum().item() == 60.0
    with pytest.raises(CompileError, match="a change"):
        changes(X)
    assert counter == {"a": 2, "b": 5}


def test_attributes_of_functions_count_the_calls() -> None:
    @kuai.compile
    def counted(x: Any) -> Any:
        helper.calls = getattr(helper, "calls", 0) + 1  # type: ignore[attr-defined]
        return helper(x) * helper.calls  # type: ignore[attr-defined]

    def helper(x: Any) -> Any:
        def inner(y: Any) -> Any:
            return y * inner.factor  # type: ignore[attr-defined]

        inner.factor = 3  # type: ignore[attr-defined]
        return inner(x)

    assert [counted(X).sum().item() for _ in range(4)] == [36.0, 72.0, 108.0, 144.0]
    assert helper.calls == 4  # type: ignore[attr-defined]


BLOCKS: dict[str, Callable[[], Any]] = {
    "weight_norm": lambda: nn.utils.weight_norm(nn.Linear(3, 2)),
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(3, 2)),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(2)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_that_make_their_own_weights(name: str) -> None:
    runs = []
    for compiles in (False, True):
        kuai.manual_seed(0)
        net = BLOCKS[name]()
        optimizer = optim.SGD(net.parameters(), 0.1)

        def step(x: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = net(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        function: Any = kuai.compile(step) if compiles else step
        kuai.manual_seed(1)
        runs.append([function(kuai.randn(4, 3)).item() for _ in range(4)])
        net.eval()
        runs[-1].append(net(X).sum().item())  # eagerly, afterwards
    assert runs[1] == pytest.approx(runs[0], rel=1e-4, abs=1e-6)


def test_a_call_with_other_parameters() -> None:
    net = nn.Linear(3, 2)

    @kuai.compile
    def called(x: Any, weights: Any) -> Any:
        return kuai.func.functional_call(net, weights, (x,))

    weights = {"weight": kuai.ones(2, 3), "bias": kuai.zeros(2)}
    before = net.weight
    assert kuai.equal(called(X, weights), kuai.full((4, 2), 3.0))
    assert net.weight is before
