"""Training loops compiled whole: steps in loops and branches on tensor values, the first too."""

import pytest

import kuai
from kuai import nn, optim
from tests.compiler.comparing import near
from tests.compiler.test_schedules import OPTIMIZERS

X = 2 * kuai.ones(3)


def until(net, optimizer, set_to_none):
    def train(tolerance, most):
        rounds = 0
        loss = (net(X) ** 2).sum()
        while loss > tolerance and rounds < most:
            optimizer.zero_grad(set_to_none)
            loss = (net(X) ** 2).sum()
            loss.backward()
            optimizer.step()
            rounds = rounds + 1
        return loss, rounds

    return train


def so_often(net, optimizer, set_to_none):
    def train(tolerance, most):
        for _ in range(most):
            optimizer.zero_grad(set_to_none)
            loss = (net(X) ** 2).sum()
            loss.backward()
            optimizer.step()

    return train


def trained(make, loop, set_to_none, compiled, calls):
    kuai.manual_seed(2)
    net, other = nn.Linear(3, 3), nn.Linear(2, 2)  # the other never has a gradient
    optimizer = make([*net.parameters(), *other.parameters()])
    train = loop(net, optimizer, set_to_none)
    call = kuai.compile(train) if compiled else train
    seen = []
    for tolerance, most in calls:
        result = call(kuai.tensor(tolerance), kuai.tensor(most))
        parameters = [*net.parameters(), *other.parameters()]
        state = optimizer.state_dict()["state"]
        seen.append(
            (
                [x if isinstance(x, int) else float(x) for x in result or ()],
                [p.detach().clone() for p in parameters],
                [None if p.grad is None else p.grad.clone() for p in parameters],
                {n: {name: x.clone() for name, x in s.items()} for n, s in state.items()},
            )
        )
    return seen, len(call._compiled.programs) if compiled else 0


CALLS = {
    "the first call trains": [(0.1, 3), (0.1, 2), (1000.0, 3), (0.1, 0), (0.0, 5)],
    "the first calls do nothing": [(1000.0, 0), (1000.0, 0), (0.0, 2), (0.0, 2)],
}


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize(("loop", "set_to_none"), [(until, True), (so_often, False)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_loop_compiled_whole(name, calls, loop, set_to_none):
    found, programs = trained(OPTIMIZERS[name], loop, set_to_none, True, CALLS[calls])
    expected, _ = trained(OPTIMIZERS[name], loop, set_to_none, False, CALLS[calls])
    near(found, expected, 1e-3)
    assert programs <= 2  # before and after there is state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_in_a_branch(name):
    def run(compiled):
        kuai.manual_seed(2)
        net = nn.Linear(3, 3)
        optimizer = OPTIMIZERS[name](list(net.parameters()))

        def step(x):
            if x.sum() > 0:
                optimizer.zero_grad()
                net(x).square().sum().backward()
                optimizer.step()

        call = kuai.compile(step) if compiled else step
        seen = []
        for x in (-X, -X, X, X, -X, X):
            call(x)
            state = optimizer.state_dict()["state"]
            seen.append(
                (
                    [p.detach().clone() for p in net.parameters()],
                    {n: {k: v.clone() for k, v in s.items()} for n, s in state.items()},
                )
            )
        return seen

    near(run(True), run(False), 2e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layers_that_are_thawed_later(name):
    def run(compiled):
        kuai.manual_seed(2)
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        optimizer = OPTIMIZERS[name](list(first.parameters()))

        def step():
            optimizer.zero_grad()
            second(first(X).tanh()).square().sum().backward()
            optimizer.step()

        call = kuai.compile(step) if compiled else step
        for place in range(6):
            if place == 3:
                optimizer.add_param_group({"params": [second.weight]})
            call()
        return [p.detach() for p in (*first.parameters(), second.weight)]

    near(run(True), run(False), 2e-4)


def test_gradients_accumulate_in_a_loop():
    def run(compiled):
        w = kuai.ones(3, requires_grad=True)

        def accumulate(n):
            for i in range(n):
                (w * i).sum().backward()

        call = kuai.compile(accumulate) if compiled else accumulate
        seen = []
        for n in (0, 2, 0, 3):
            call(kuai.tensor(n))
            seen.append(None if w.grad is None else w.grad.clone())
        return seen

    near(run(True), run(False))


def test_gradients_that_end_as_none_in_a_loop():
    def run(compiled):
        w = kuai.ones(3, requires_grad=True)

        def train(n):
            for i in range(n):
                (w * i).sum().backward()
                with kuai.no_grad():
                    w.sub_(0.1 * w.grad)
                w.grad = None

        call = kuai.compile(train) if compiled else train
        seen = []
        for n in (0, 2, 0, 3):
            call(kuai.tensor(n))
            seen.append((w.detach().clone(), None if w.grad is None else w.grad.clone()))
        return seen

    near(run(True), run(False))


def adapting(rounds_are_known):
    """Model-agnostic meta-learning: the outer gradient goes through steps of an inner loop."""

    def run(compiled):
        kuai.manual_seed(2)
        w, v = kuai.rand(3, requires_grad=True), kuai.rand(3, requires_grad=True)
        optimizer = optim.Adam([w, v], lr=0.1)

        def step(x, n):
            fast = w
            for _ in range(3 if rounds_are_known else n):
                loss = ((fast * x).sum() - 1) ** 2
                if loss > 0.3:
                    loss = loss + (v * fast).sum() ** 2
                (gradient,) = kuai.autograd.grad(loss, [fast], create_graph=True)
                fast = fast - 0.05 * gradient
            optimizer.zero_grad()
            outer = ((fast * x).sum() - 2) ** 2
            outer.backward()
            optimizer.step()
            return outer

        call = kuai.compile(step) if compiled else step
        seen = []
        for n in (0, 1, 3, 2, 0, 3):
            loss = call(kuai.ones(3), kuai.tensor(n))
            seen.append((float(loss), w.detach().clone(), v.detach().clone()))
        return seen

    return run


@pytest.mark.parametrize("rounds_are_known", [True, False])
def test_adaptation_in_an_inner_loop(rounds_are_known):
    run = adapting(rounds_are_known)
    near(run(True), run(False), 1e-3)


def test_an_error_in_a_round_is_not_hidden_by_its_gradient():
    """A check in a loop holds once and for all: its backward need not check again."""
    weight = kuai.ones(3, requires_grad=True)

    @kuai.compile
    def f(n):
        y = weight
        for _ in range(n):
            assert y.sum() < 20, "too large"
            y = y * 2
        return y.sum()

    f(kuai.tensor(2)).backward()
    near(weight.grad, kuai.full((3,), 4.0))
    with pytest.raises(AssertionError, match="too large"):
        f(kuai.tensor(9))
