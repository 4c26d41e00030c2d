"""Training compiled whole ends where PyTorch's eager training ends."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import kuai
import kuai.optim

torch = pytest.importorskip("torch")

UP = [1.0, 1.0, 1.0]
DOWN = [-1.0, -1.0, -1.0]


class Run:
    """Two vectors, of which each call uses one, trained by one library.

    Attributes:
        a, b: the parameters.
        seen: them, which of their gradients were there, and the numbers of their state's entries,
            after each call.
    """

    def __init__(self, library: ModuleType) -> None:
        self.library = library
        double = library.float64
        self.a = library.tensor([0.3, -0.2, 0.5], dtype=double, requires_grad=True)
        self.b = library.tensor([0.1, 0.7, -0.4], dtype=double, requires_grad=True)
        self.seen: list[Any] = []

    def compiled(self, function: Any) -> Any:
        return kuai.compile(function) if self.library is kuai else function

    def tensor(self, x: Any) -> Any:
        return self.library.tensor(x, dtype=self.library.float64)

    def note(self, optimizer: Any) -> None:
        state = optimizer.state_dict()["state"]
        self.seen.append(
            (
                [p.tolist() for p in (self.a, self.b)],
                [p.grad is None for p in (self.a, self.b)],
                {number: sorted(entries) for number, entries in state.items()},
            )
        )


def same(train: Any) -> None:
    """Both libraries see the same after each call."""
    runs = []
    for library in (kuai, torch):
        run = Run(library)
        train(run)
        runs.append(run.seen)
    for ours, theirs in zip(*runs, strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-7, atol=1e-9)
        assert ours[1:] == theirs[1:]


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1}),
    ("NAdam", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.5, "centered": True}),
    ("Rprop", {"lr": 0.1}),
    ("Adadelta", {"lr": 0.5}),
    ("ASGD", {"lr": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_steps_leave_out_what_the_call_did_not_use(name: str, options: dict[str, Any]) -> None:
    def train(run: Run) -> None:
        optimizer = getattr(run.library.optim, name)([run.a, run.b], **options)

        def step(x: Any) -> None:
            optimizer.zero_grad()
            loss = ((run.a * x).sum() - 1) ** 2 if x.sum() > 0 else ((run.b * x).sum() - 2) ** 2
            loss.backward()
            optimizer.step()

        call = run.compiled(step)
        for x in (UP, UP, DOWN, UP, DOWN, DOWN):
            call(run.tensor(x))
            run.note(optimizer)

    same(train)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_a_loop_of_training(name: str, options: dict[str, Any]) -> None:
    def train(run: Run) -> None:
        optimizer = getattr(run.library.optim, name)([run.a, run.b], **options)

        def fit(x: Any, tolerance: Any, most: Any) -> Any:
            rounds = 0
            loss = ((run.a * x).sum() - 1) ** 2
            while loss > tolerance and rounds < most:
                optimizer.zero_grad()
                loss = ((run.a * x).sum() - 1) ** 2
                loss.backward()
                optimizer.step()
                rounds = rounds + 1
            return loss

        call = run.compiled(fit)
        for tolerance, most in ((100.0, 3), (0.0, 2), (0.001, 5), (0.0, 0), (0.0, 3)):
            call(run.tensor(UP), run.tensor(tolerance), run.library.tensor(most))
            run.note(optimizer)

    same(train)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "Adamax", "SGD"])
@pytest.mark.parametrize("schedule", ["OneCycleLR", "CyclicLR"])
def test_schedules_that_move_the_momentum(name: str, schedule: str) -> None:
    def train(run: Run) -> None:
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(run.library.optim, name)([run.a, run.b], lr=0.01, **options)
        schedulers = run.library.optim.lr_scheduler
        if schedule == "OneCycleLR":
            scheduler = schedulers.OneCycleLR(optimizer, 0.1, total_steps=12)
        else:
            scheduler = schedulers.CyclicLR(optimizer, 0.01, 0.1, 3, 3, cycle_momentum=True)

        def step(x: Any) -> None:
            optimizer.zero_grad()
            (((run.a + run.b) * x).sum() - 3).square().backward()
            optimizer.step()

        call = run.compiled(step)
        for _ in range(10):
            call(run.tensor(UP))
            scheduler.step()
            run.note(optimizer)

    same(train)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.5, "max_iter": 4},
        {"lr": 0.5, "max_iter": 5, "history_size": 2},
        {"max_iter": 6, "line_search_fn": "strong_wolfe"},
        {"lr": 4.0, "max_iter": 8, "line_search_fn": "strong_wolfe", "history_size": 2},
    ],
)
def test_lbfgs(options: dict[str, Any]) -> None:
    def train(run: Run) -> None:
        optimizer = run.library.optim.LBFGS([run.a, run.b], **options)

        def step(x: Any) -> Any:
            def closure() -> Any:
                optimizer.zero_grad()
                loss = ((run.a * x + run.b).tanh() - 0.5).square().sum()
                loss = loss + (run.a - run.b).square().sum() ** 2
                loss.backward()
                return loss

            return optimizer.step(closure)

        call = run.compiled(step)
        for _ in range(3):
            call(run.tensor(UP))
            run.note(optimizer)

    same(train)


def test_an_adaptation_in_an_inner_loop() -> None:
    def train(run: Run) -> None:
        optimizer = run.library.optim.SGD([run.a, run.b], lr=0.05, momentum=0.9)

        def step(x: Any, rounds: Any) -> None:
            fast = run.a
            for _ in range(rounds):
                loss = ((fast * x).sum() - 1) ** 2
                if loss > 0.3:
                    loss = loss + (run.b * fast).sum() ** 2
                (gradient,) = run.library.autograd.grad(loss, [fast], create_graph=True)
                fast = fast - 0.05 * gradient
            optimizer.zero_grad()
            (((fast * x).sum() - 2) ** 2).backward()
            optimizer.step()

        call = run.compiled(step)
        for rounds in (0, 1, 3, 2, 0):
            call(run.tensor(UP), run.library.tensor(rounds))
            run.note(optimizer)

    same(train)
