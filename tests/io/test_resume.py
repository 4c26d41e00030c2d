"""Training that was stopped, saved and resumed gives the numbers of one that was not."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai import nn, optim
from kuai.data import DataLoader, TensorDataset, digits


class Training:
    """A model with everything that changes as it learns."""

    def __init__(self, make_optimizer: Callable[[Any], Any]) -> None:
        images, labels = digits(train=True, flatten=True)
        samples = TensorDataset(images[:96], labels[:96])
        self.loader = DataLoader(samples, batch_size=32, shuffle=True)
        self.model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))
        self.optimizer = make_optimizer(self.model.parameters())
        self.scheduler = optim.lr_scheduler.MultiStepLR(self.optimizer, [1, 2], gamma=0.5)

    def epoch(self) -> list[float]:
        """Train for one epoch; the losses."""
        losses = []
        for images, labels in self.loader:
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.scheduler.step()
        return losses

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": kuai.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        kuai.set_rng_state(state["random"])


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
        lambda parameters: optim.AdamW(parameters, lr=0.01, amsgrad=True),
        lambda parameters: optim.RMSprop(parameters, lr=0.01, centered=True),
    ],
    ids=["SGD", "AdamW", "RMSprop"],
)
def test_a_resumed_training_gives_the_same_numbers(make_optimizer: Any, tmp_path: Any) -> None:
    kuai.manual_seed(0)
    training = Training(make_optimizer)
    training.epoch()
    kuai.save(training.state(), tmp_path / "checkpoint")
    expected = [training.epoch(), training.epoch()]

    kuai.manual_seed(99)
    resumed = Training(make_optimizer)
    resumed.load(kuai.load(tmp_path / "checkpoint"))
    assert [resumed.epoch(), resumed.epoch()] == expected
    assert len(set(functools.reduce(operator.iadd, expected, []))) == 6


def test_a_model_itself_is_refused_with_what_to_do(tmp_path: Any) -> None:
    for obj in (nn.Linear(1, 1), {"optimizer": optim.SGD([kuai.ones(1)], lr=1)}):
        with pytest.raises(TypeError, match=r"save its state_dict\(\)"):
            kuai.save(obj, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_tied_parameters_of_a_model_are_written_once(tmp_path: Any) -> None:
    first, second = nn.Linear(200, 200), nn.Linear(200, 200)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    kuai.save(model.state_dict(), tmp_path / "x")
    assert (tmp_path / "x").stat().st_size < 165_000
    assert model.load_state_dict(kuai.load(tmp_path / "x")).missing_keys == []


def test_lazy_parameters_are_refused_until_they_have_shapes(tmp_path: Any) -> None:
    model = nn.LazyLinear(3)
    with pytest.raises(TypeError, match="run the model on an input first"):
        kuai.save(model.state_dict(), tmp_path / "x")
    model(kuai.ones(1, 2))
    kuai.save(model.state_dict(), tmp_path / "x")
    assert kuai.load(tmp_path / "x")["weight"].shape == (3, 2)
