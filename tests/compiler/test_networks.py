"""Whole networks train compiled as they train eagerly: of images, of sequences, of language.

The networks are those of `examples/`; both cores work.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.data import digits, shakespeare
from kuai.nn import functional as F

EXAMPLES = Path(__file__).parents[2] / "examples"
BATCHES, STEPS = 2, 30
Batch = tuple[kuai.Tensor, kuai.Tensor]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = kuai.get_num_threads()
    kuai.set_num_threads(2)
    yield
    kuai.set_num_threads(before)


def example(name: str) -> dict[str, Any]:
    """What a program of the examples defines."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def digit_batches(prepare: Callable[[kuai.Tensor], kuai.Tensor]) -> list[Batch]:
    images, labels = digits(train=True)
    chosen = [kuai.randint(len(labels), (32,)) for _ in range(BATCHES)]
    return [(prepare(images[i]), labels[i]) for i in chosen]


def lenet() -> tuple[nn.Module, list[Batch]]:
    parts = example("lenet")
    return parts["LeNet"](), digit_batches(parts["enlarged"])


def row_reader() -> tuple[nn.Module, list[Batch]]:
    return example("lstm")["RowReader"](), digit_batches(lambda images: images.squeeze(1))


def gpt() -> tuple[nn.Module, list[Batch]]:
    text = shakespeare()
    alphabet = sorted(set(text))
    data = kuai.tensor([alphabet.index(character) for character in text[:20_000]])
    net = example("gpt")["GPT"](len(alphabet))
    batches = []
    for _ in range(BATCHES):
        start = kuai.randint(len(data) - net.context, (8, 1))
        window = data[start + kuai.arange(net.context + 1)]
        batches.append((window[:, :-1], window[:, 1:]))
    return net, batches


def trained(
    make: Callable[[], tuple[nn.Module, list[Batch]]], is_compiled: bool, dtype: kuai.dtype
) -> tuple[nn.Module, list[float]]:
    """A network after some steps with momentum and clipped gradients, and its losses."""
    kuai.manual_seed(0)
    net, batches = make()
    net.to(dtype)
    optimizer = kuai.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x: kuai.Tensor, y: kuai.Tensor) -> kuai.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x).flatten(0, -2), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    if is_compiled:
        step = kuai.compile(step)
    cast = [(x.to(dtype) if x.is_floating_point() else x, y) for x, y in batches]
    return net, [step(*cast[i % BATCHES]).item() for i in range(STEPS)]


@pytest.mark.parametrize("make", [lenet, row_reader, gpt])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(kuai.float32, 2e-5), (kuai.float64, 1e-12)],
    ids=["float32", "float64"],
)
def test_a_network_trains_compiled_as_it_does_eagerly(make, dtype, tolerance):
    eager, eager_losses = trained(make, False, dtype)
    compiled, losses = trained(make, True, dtype)
    assert losses == pytest.approx(eager_losses, rel=tolerance)
    assert losses[-1] < losses[0]
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        assert kuai.allclose(p, q, rtol=10 * tolerance, atol=tolerance), name
