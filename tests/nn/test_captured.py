"""Layers, losses and distributions can be captured, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kuai
from kuai import distributions as D
from kuai import nn
from kuai.compiler import capture
from kuai.core.base import TensorBase
from kuai.nn.utils import parametrizations


def numbers(*shape: int) -> Any:
    """The same normal numbers every time."""
    return kuai.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


CLASSES = kuai.tensor([1, 0, 3, 2])
ROWS = kuai.tensor([[1, 2], [3, 4]])
ACTIVATIONS = (
    "ReLU GELU SiLU Mish ELU CELU SELU Hardswish Hardsigmoid Hardtanh LeakyReLU LogSigmoid "
    "Softplus Softshrink Hardshrink Softsign Tanhshrink ReLU6 PReLU RReLU Sigmoid Tanh Dropout "
    "AlphaDropout Identity Flatten GLU"
).split()
OF_SCORES = "MSELoss L1Loss SmoothL1Loss HuberLoss BCEWithLogitsLoss SoftMarginLoss".split()
MORE_LOSSES = "MultiLabelSoftMarginLoss HingeEmbeddingLoss PoissonNLLLoss".split()

CASES: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    **{name: (getattr(nn, name), (numbers(4, 6),)) for name in ACTIVATIONS},
    **{
        name: (lambda name=name: getattr(nn, name)(-1), (numbers(4, 6),))
        for name in ("Softmax", "LogSoftmax", "Softmin")
    },
    "LayerNorm": (lambda: nn.LayerNorm(6), (numbers(4, 6),)),
    "RMSNorm": (lambda: nn.RMSNorm(6), (numbers(4, 6),)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 6), (numbers(4, 6, 3),)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), (numbers(4, 6, 3),)),
    "Bilinear": (lambda: nn.Bilinear(6, 5, 3), (numbers(4, 6), numbers(4, 5))),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), (numbers(2, 4, 5, 5),)),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        (numbers(2, 5, 8),) * 3,
    ),
    "LSTM": (lambda: nn.LSTM(6, 5), (numbers(3, 4, 6),)),
    "Conv1d": (lambda: nn.Conv1d(6, 4, 3), (numbers(2, 6, 7),)),
    "Conv2d": (
        lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2, padding_mode="circular"),
        (numbers(2, 4, 5, 5),),
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1),
        (numbers(2, 4, 5, 5),),
    ),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (numbers(2, 4, 6, 5),)),
    "AvgPool2d": (
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (numbers(2, 4, 6, 5),),
    ),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((4, 3)), (numbers(2, 4, 6, 5),)),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d((4, 3)), (numbers(2, 4, 6, 5),)),
    "BatchNorm2d, no momentum": (
        lambda: nn.BatchNorm2d(4, momentum=None),
        (numbers(2, 4, 3, 5),),
    ),
    "InstanceNorm1d": (
        lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
        (numbers(2, 4, 5),),
    ),
    "LSTM, two ways": (
        lambda: nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, proj_size=3),
        (numbers(3, 4, 6),),
    ),
    "GRU": (lambda: nn.GRU(6, 5), (numbers(3, 4, 6),)),
    "RNN": (lambda: nn.RNN(6, 5, nonlinearity="relu"), (numbers(3, 4, 6),)),
    "LSTMCell": (lambda: nn.LSTMCell(6, 5), (numbers(4, 6),)),
    "GRUCell": (lambda: nn.GRUCell(6, 5), (numbers(4, 6),)),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), (numbers(1, 8, 3, 3),)),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(1), (numbers(1, 2, 3, 3),)),
    "CosineSimilarity": (nn.CosineSimilarity, (numbers(4, 6), numbers(4, 6) + 1)),
    "Embedding": (lambda: nn.Embedding(10, 4), (ROWS,)),
    "Embedding, max_norm": (lambda: nn.Embedding(10, 4, max_norm=1.0), (ROWS,)),
    "EmbeddingBag, padding": (lambda: nn.EmbeddingBag(10, 4, padding_idx=2), (ROWS,)),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, (numbers(4, 6), CLASSES)),
    "CrossEntropyLoss, smooth": (
        lambda: nn.CrossEntropyLoss(weight=numbers(6).abs(), label_smoothing=0.1),
        (numbers(4, 6), CLASSES),
    ),
    "CrossEntropyLoss, ignoring": (
        lambda: nn.CrossEntropyLoss(ignore_index=0),
        (numbers(4, 6), CLASSES),
    ),
    "CrossEntropyLoss, probabilities": (
        nn.CrossEntropyLoss,
        (numbers(4, 6), numbers(4, 6).softmax(-1)),
    ),
    "NLLLoss": (nn.NLLLoss, (numbers(4, 6), CLASSES)),
    "MultiMarginLoss": (nn.MultiMarginLoss, (numbers(4, 6), CLASSES)),
    **{
        name: (getattr(nn, name), (numbers(4, 6), numbers(4, 6).sign()))
        for name in OF_SCORES + MORE_LOSSES
    },
    "BCELoss": (nn.BCELoss, (numbers(4, 6).sigmoid(),) * 2),
    "GaussianNLLLoss": (
        nn.GaussianNLLLoss,
        (numbers(4, 6), numbers(4, 6) + 1, numbers(4, 6).abs()),
    ),
    "TripletMarginLoss": (
        nn.TripletMarginLoss,
        (numbers(4, 6), numbers(4, 6) + 1, numbers(4, 6) * 2),
    ),
    "spectral_norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(6, 4)),
        (numbers(4, 6),),
    ),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 4)), (numbers(4, 6),)),
}


def tensors(structure: Any) -> list[Any]:
    """The tensors of a nested structure."""
    if isinstance(structure, TensorBase):
        return [structure]
    if isinstance(structure, (tuple, list)):
        return [t for item in structure for t in tensors(item)]
    return []


def assert_captured(function: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """The captured function computes what it does eagerly."""
    kuai.manual_seed(0)
    graph = capture(function, *inputs)
    found = graph.evaluate(*[x.numpy() for x in inputs])
    kuai.manual_seed(0)
    for value, tensor in zip(graph.outputs, function(*inputs), strict=True):
        expected = tensor.detach().numpy()
        np.testing.assert_allclose(found[value], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_captured_block_and_its_gradients_are_those_of_the_eager_one(name: str) -> None:
    make, inputs = CASES[name]
    block = make()

    def run(*xs: Any) -> list[Any]:
        xs = tuple([x.clone().requires_grad_() if x.is_floating_point() else x for x in xs])
        results = tensors(block(*xs))
        loss = sum((r * r).sum() for r in results)
        wanted = [x for x in (*xs, *block.parameters()) if x.requires_grad]
        grads = kuai.autograd.grad(loss, wanted, allow_unused=True)
        return [*results, *[g for g in grads if g is not None]]

    assert_captured(run, inputs)


DISTRIBUTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Normal": D.Normal,
    "Laplace": D.Laplace,
    "Exponential": lambda a, b: D.Exponential(a),
    "Uniform": lambda a, b: D.Uniform(a - 2, a + b),
    "Bernoulli": lambda a, b: D.Bernoulli(b),
    "Categorical": lambda a, b: D.Categorical(b),
    "OneHotCategorical": lambda a, b: D.OneHotCategorical(logits=a),
    "Gamma": D.Gamma,
    "Beta": D.Beta,
    "Dirichlet": lambda a, b: D.Dirichlet(a),
    "Poisson": lambda a, b: D.Poisson(a),
    "Independent": lambda a, b: D.Independent(D.Normal(a, b), 1),
    "MultivariateNormal": lambda a, b: D.MultivariateNormal(a, kuai.diag(b)),
    "RelaxedBernoulli": lambda a, b: D.RelaxedBernoulli(a[0], b),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_distribution_with_captured_parameters_draws_and_tells_probabilities(name: str) -> None:
    def run(a: Any, b: Any) -> list[Any]:
        distribution = DISTRIBUTIONS[name](a, b)
        drawn = (
            distribution.rsample((2,)) if distribution.has_rsample else distribution.sample((2,))
        )
        return [drawn, distribution.log_prob(drawn.detach())]

    assert_captured(run, (kuai.tensor([0.3, 0.6, 1.2]), kuai.tensor([0.2, 0.5, 0.3])))
