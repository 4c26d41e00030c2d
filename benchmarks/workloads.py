"""What the compiled benchmark measures: networks, their numbers, and what is done with them.

The numbers are made here, with NumPy, so that every contestant, whatever library or language it is
written in, starts from the same parameters and inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

FORWARD, INFERENCE, TRAINING = "forward", "inference", "training step"
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Workload:
    """A network, and the batch that it is given.

    Args:
        name: what the table calls it.
        network: its name among the networks and functions of the contestants.
        threads: how many threads each contestant may use.
        input: the shape of the input.
        parameters: the shapes of the parameters, in the order of `parameters()`.
        constants: the shapes of numbers that are not trained.
        optimizer: `"SGD"` or `"Adam"`.
        kinds: what is done with the network.
        classes: how many classes the loss, a cross entropy, tells apart; 0: the loss is the sum.
        vocabulary: how many values the input, which is then of integers, has; 0: it is of floats.
    """

    name: str
    network: str
    threads: int
    input: Shape
    parameters: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, Shape] = field(default_factory=dict)
    optimizer: str = "SGD"
    kinds: tuple[str, ...] = (INFERENCE, TRAINING)
    classes: int = 0
    vocabulary: int = 0

    @cached_property
    def numbers(self) -> Numbers:
        """The same numbers in each run."""
        random = np.random.default_rng(0)
        return Numbers(
            parameters=[initial(random, name, shape) for name, shape in self.parameters.items()],
            constants=[random.random(shape, np.float32) for shape in self.constants.values()],
            X=random.integers(self.vocabulary, size=self.input)
            if self.vocabulary
            else random.random(self.input, np.float32),
            labels=random.integers(self.classes, size=self.labels) if self.classes else None,
        )

    @property
    def labels(self) -> Shape:
        """The shape of the labels: one for each token, step-first sequence, or row."""
        if self.vocabulary:
            return self.input
        return (self.input[1 if self.network == "LSTM" else 0],)


@dataclass(frozen=True)
class Numbers:
    """The arrays that a workload starts from. Contestants copy them before they change them."""

    parameters: list[np.ndarray]
    constants: list[np.ndarray]
    X: np.ndarray
    labels: np.ndarray | None


def initial(random: np.random.Generator, name: str, shape: Shape) -> np.ndarray:
    """Numbers of the size that PyTorch's initialisation has; norms begin as ones."""
    if "norm" in name:
        return np.ones(shape, np.float32)
    bound = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
    return random.uniform(-bound, bound, shape).astype(np.float32)


def linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    """The parameters of a `Linear`."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def gpt_parameters() -> dict[str, Shape]:
    """The parameters of the language model."""
    shapes: dict[str, Shape] = {"token": (65, 128), "position": (64, 128)}
    for i in range(4):
        shapes |= {
            f"{i}.norm1": (128,),
            f"{i}.project_in": (384, 128),
            f"{i}.project_out": (128, 128),
            f"{i}.norm2": (128,),
            f"{i}.mlp.0": (512, 128),
            f"{i}.mlp.2": (128, 512),
        }
    return shapes | {"norm": (128,), "head": (65, 128)}


WORKLOADS = [
    Workload(
        "chimera (S6)",
        "chimera (S6)",
        threads=1,
        input=(2, 20),
        parameters=linear("0.net.0", 20, 64)
        | linear("0.net.2", 64, 32)
        | linear("0.linear", 32, 16)
        | linear("1", 16, 20)
        | linear("2.linear", 20, 20),
        constants={"rand_weight": (20, 20)},
        kinds=(FORWARD, INFERENCE, TRAINING),
    ),
    Workload(
        "MLP 20-256-10 (S1)",
        "Sequential (S1)",
        threads=1,
        input=(2, 20),
        parameters=linear("0", 20, 256) | linear("2", 256, 10),
        optimizer="Adam",
        kinds=(FORWARD, INFERENCE, TRAINING),
    ),
    Workload("identity", "identity", threads=1, input=(2, 20), kinds=(INFERENCE,)),
    Workload("x + 1", "x + 1", threads=1, input=(2, 20), kinds=(INFERENCE,)),
    Workload(
        "MLP 784-256-10, batch 256",
        "MLP 784-256-10",
        threads=2,
        input=(256, 784),
        parameters=linear("0", 784, 256) | linear("2", 256, 10),
        classes=10,
    ),
    Workload(
        "LeNet, batch 64",
        "LeNet",
        threads=2,
        input=(64, 1, 28, 28),
        parameters={"0.weight": (6, 1, 5, 5), "0.bias": (6,)}
        | {"3.weight": (16, 6, 5, 5), "3.bias": (16,)}
        | linear("7", 400, 120)
        | linear("9", 120, 84)
        | linear("11", 84, 10),
        classes=10,
    ),
    Workload(
        "LSTM 32-64, 32 steps, batch 32",
        "LSTM",
        threads=2,
        input=(32, 32, 32),
        parameters={"weight_ih": (256, 32), "weight_hh": (256, 64)}
        | {"bias_ih": (256,), "bias_hh": (256,)}
        | linear("out", 64, 10),
        classes=10,
    ),
    Workload(
        "GPT 4x128, batch 12 of 64",
        "GPT",
        threads=2,
        input=(12, 64),
        parameters=gpt_parameters(),
        optimizer="Adam",
        classes=65,
        vocabulary=65,
    ),
]


@dataclass(frozen=True)
class Task:
    """One workload and what is done with it: what a contestant prepares itself for."""

    workload: Workload
    kind: str
    learning_rate: float

    @property
    def trains(self) -> bool:
        """Whether it is a training step."""
        return self.kind == TRAINING
