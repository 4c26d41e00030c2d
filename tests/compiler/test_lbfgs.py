"""L-BFGS compiled: iterations, line search and memory in the program, the state as eagerly."""

import copy

import pytest

import kuai
from kuai import nn, optim
from tests.compiler.comparing import near

OPTIONS = {
    "steps of a fixed length": {"lr": 0.5, "max_iter": 4},
    "a short history": {"lr": 0.5, "max_iter": 5, "history_size": 3},
    "a line search": {"max_iter": 6, "line_search_fn": "strong_wolfe"},
    "a line search from afar": {
        "lr": 4.0,
        "max_iter": 10,
        "line_search_fn": "strong_wolfe",
        "history_size": 2,
    },
    "few evaluations": {"max_iter": 10, "max_eval": 7, "line_search_fn": "strong_wolfe"},
    "a gradient that is small enough": {"tolerance_grad": 10.0},
    "a change that is small enough": {"tolerance_change": 0.05, "lr": 0.1},
}


class Fit:
    """A small network, its optimizer, and a step of it."""

    def __init__(self, options, compiled, dtype=kuai.float64):
        kuai.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
        self.optimizer = optim.LBFGS(self.net.parameters(), **options)
        self.x, self.y = kuai.rand(6, 3, dtype=dtype), kuai.rand(6, 2, dtype=dtype)
        self.compiled = kuai.compile(self.step)
        self.take = self.compiled if compiled else self.step

    def step(self, x, y):
        def closure():
            self.optimizer.zero_grad()
            loss = ((self.net(x) - y) ** 2).mean()
            loss.backward()
            return loss

        return self.optimizer.step(closure)

    def steps(self, count):
        return [self.take(self.x, self.y).detach() for _ in range(count)]

    @property
    def parameters(self):
        return [p.detach().clone() for p in self.net.parameters()]

    @property
    def programs(self):
        return len(self.compiled._compiled.programs)


def same_state(found, expected, tolerance=1e-6):
    """The state of two optimizers: the same entries, of the same kinds."""
    assert found.keys() == expected.keys()
    for number, entries in expected.items():
        assert set(found[number]) == set(entries)
        for name, value in entries.items():
            mine = found[number][name]
            if name == "al":  # what the last iteration computed with; nobody reads it
                assert len(mine) == len(value)
            elif isinstance(value, kuai.Tensor) or isinstance(mine, kuai.Tensor):
                near(kuai.as_tensor(mine, dtype=kuai.float64), kuai.as_tensor(value).double(), 1e-5)
            elif isinstance(value, list):
                near(mine, value, 1e-5)
            else:
                assert mine == pytest.approx(value, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("name", OPTIONS)
def test_compiled_steps_take_the_eager_path(name):
    found, expected = Fit(OPTIONS[name], True), Fit(OPTIONS[name], False)
    for _ in range(4):
        near(found.steps(1), expected.steps(1), 1e-7)
        near(found.parameters, expected.parameters, 1e-6)
        mine, other = (f.optimizer.state_dict()["state"] for f in (found, expected))
        same_state(mine, other)
    assert found.programs <= 2  # without gradients at first, then with


@pytest.mark.parametrize("name", ["a short history", "a line search"])
def test_single_precision(name):
    found, expected = (Fit(OPTIONS[name], way, kuai.float32) for way in (True, False))
    near(found.steps(2), expected.steps(2), 1e-4)
    near(found.parameters, expected.parameters, 1e-3)


@pytest.mark.parametrize("name", ["a short history", "a line search"])
def test_eager_and_compiled_steps_in_turn(name):
    found, expected = Fit(OPTIONS[name], True), Fit(OPTIONS[name], False)
    for compiled in (True, False, True, True, False):
        found.take = found.compiled if compiled else found.step
        near(found.steps(1), expected.steps(1), 1e-7)
    near(found.parameters, expected.parameters, 1e-6)
    same_state(*(f.optimizer.state_dict()["state"] for f in (found, expected)))


def test_a_state_that_is_loaded():
    options = OPTIONS["a short history"]
    found, expected = Fit(options, True), Fit(options, False)
    found.steps(3)
    expected.steps(2)
    saved, weights = copy.deepcopy(expected.optimizer.state_dict()), expected.net.state_dict()
    found.net.load_state_dict(copy.deepcopy(weights))
    found.optimizer.load_state_dict(saved)
    near(found.steps(2), expected.steps(2), 1e-7)
    near(found.parameters, expected.parameters, 1e-6)


def test_a_copy_goes_on_from_what_a_program_left():
    fit = Fit(OPTIONS["a short history"], True)
    fit.steps(2)
    optimizer = copy.deepcopy(fit.optimizer)
    same_state(optimizer.state_dict()["state"], fit.optimizer.state_dict()["state"])


def test_a_rate_that_changes():
    found, expected = Fit(OPTIONS["a short history"], True), Fit(OPTIONS["a short history"], False)
    for lr in (0.5, 0.4, 0.3, 0.2):
        for fit in (found, expected):
            fit.optimizer.param_groups[0]["lr"] = lr
        near(found.steps(1), expected.steps(1), 1e-7)
    near(found.parameters, expected.parameters, 1e-6)
    assert found.programs <= 2


def test_the_rosenbrock_function():
    def run(compiled):
        p = kuai.tensor([-1.2, 1.0], dtype=kuai.float64, requires_grad=True)
        optimizer = optim.LBFGS([p], max_iter=60, line_search_fn="strong_wolfe")

        def step():
            def closure():
                optimizer.zero_grad()
                loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
                loss.backward()
                return loss

            return optimizer.step(closure)

        (kuai.compile(step) if compiled else step)()
        return p.detach()

    near(run(True), run(False), 1e-5)
    near(run(True), kuai.ones(2, dtype=kuai.float64), 1e-3)


def test_parameters_without_a_gradient():
    def run(compiled):
        p = kuai.ones(2, dtype=kuai.float64, requires_grad=True)
        q = kuai.ones(2, dtype=kuai.float64, requires_grad=True)
        optimizer = optim.LBFGS([p, q], lr=0.1, max_iter=3)

        def step(x):
            def closure():
                optimizer.zero_grad()
                loss = ((p - 3) ** 2).sum() if x.sum() > 0 else ((q - 2) ** 2).sum()
                loss.backward()
                return loss

            return optimizer.step(closure)

        call = kuai.compile(step) if compiled else step
        for sign in (1.0, -1.0, 1.0):
            call(kuai.tensor([sign]))
        return p.detach(), q.detach()

    near(run(True), run(False), 1e-6)
