"""Random numbers: one stream, whether they are drawn eagerly or by a captured graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kuai
from kuai.compiler import capture
from kuai.core.base import TensorBase
from kuai.core.primitive import observe
from kuai.nn import functional as F
from kuai.ops.random import philox, words_at

DRAWS: dict[str, Callable[[Any], Any]] = {
    "rand": lambda x: kuai.rand(2, 3),
    "rand of float64": lambda x: kuai.rand(7, dtype=kuai.float64),
    "rand of float16": lambda x: kuai.rand(7, dtype=kuai.float16),
    "rand of bfloat16": lambda x: kuai.rand(7, dtype=kuai.bfloat16),
    "rand_like": lambda x: kuai.rand_like(x),
    "randn": lambda x: kuai.randn(3, 3),
    "randn of float64": lambda x: kuai.randn(5, dtype=kuai.float64),
    "randn_like": lambda x: kuai.randn_like(x),
    "randint": lambda x: kuai.randint(-5, 100, (9,)),
    "randint, wide": lambda x: kuai.randint(-(2**40), 2**62, (9,)),
    "randint of 32 bits": lambda x: kuai.randint(0, 2**32 - 1, (9,)),
    "randint_like": lambda x: kuai.randint_like(x, 7),
    "randperm": lambda x: kuai.randperm(11),
    "normal": lambda x: kuai.normal(x, 2.0),
    "normal of a size": lambda x: kuai.normal(1.0, 2.0, (4,)),
    "bernoulli": lambda x: kuai.bernoulli(x),
    "bernoulli of p": lambda x: kuai.bernoulli(x, 0.3),
    "multinomial": lambda x: kuai.multinomial(x, 3),
    "multinomial with replacement": lambda x: kuai.multinomial(x, 5, replacement=True),
    "poisson": lambda x: kuai.poisson(x),
    "uniform_": lambda x: kuai.empty(5).uniform_(-1, 2),
    "normal_": lambda x: kuai.empty(5).normal_(1, 2),
    "bernoulli_": lambda x: kuai.empty(2, 4).bernoulli_(0.25),
    "bernoulli_ of a tensor": lambda x: kuai.empty(2, 4).bernoulli_(x),
    "exponential_": lambda x: kuai.empty(5).exponential_(2.0),
    "log_normal_": lambda x: kuai.empty(5).log_normal_(),
    "cauchy_": lambda x: kuai.empty(5).cauchy_(),
    "geometric_": lambda x: kuai.empty(5).geometric_(0.3),
    "random_": lambda x: kuai.empty(5).random_(),
    "random_ of a range": lambda x: kuai.empty(5, dtype=kuai.int32).random_(3, 9),
    "dropout": lambda x: F.dropout(x, 0.4),
    "dropout2d": lambda x: F.dropout2d(x.reshape(1, 2, 2, 2), 0.4),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.4, training=True),
    "rrelu": lambda x: F.rrelu(x - 0.5, training=True),
    "gumbel_softmax": lambda x: F.gumbel_softmax(x, hard=True),
    "two draws": lambda x: kuai.rand(3) + kuai.randn(3),
}


def example() -> kuai.Tensor:
    """Probabilities."""
    return kuai.tensor([[0.1, 0.9, 0.5, 0.3], [0.7, 0.2, 1.0, 0.6]])


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_a_graph_draws_the_numbers_that_are_drawn_eagerly(draw: Callable[[Any], Any]) -> None:
    x = example()
    kuai.manual_seed(5)
    kuai.rand(3)  # not at the start of the stream
    state = kuai.get_rng_state()
    graph = capture(draw, x)
    assert kuai.equal(kuai.get_rng_state(), state), "a capture draws nothing"
    found = graph.evaluate(x.numpy())
    result = draw(x)
    np.testing.assert_array_equal(found[graph.outputs[0]], result.numpy())
    moved = [found[new] for value, new in graph.updates if new.shape == (2,)]
    np.testing.assert_array_equal(moved[0].view(np.uint8), kuai.get_rng_state().numpy())


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_numbers_made_by_primitives_are_the_numbers_made_by_numpy(
    draw: Callable[[Any], Any],
) -> None:
    kuai.manual_seed(9)
    with observe(lambda *_: None):
        watched = draw(example())
    kuai.manual_seed(9)
    result = draw(example())
    assert isinstance(result, TensorBase)
    assert watched.dtype is result.dtype
    np.testing.assert_array_equal(watched.numpy(), result.numpy())


def test_a_graph_that_is_run_twice_draws_anew() -> None:
    kuai.manual_seed(0)
    graph = capture(lambda x: kuai.rand(4), kuai.ones(1))
    (state,) = [tensor for value, tensor in graph.captured if value.shape == (2,)]
    first = graph.evaluate(np.ones(1, np.float32))
    state._payload[:] = first[graph.updates[0][1]]
    second = graph.evaluate(np.ones(1, np.float32))
    kuai.manual_seed(0)
    for found in (first, second):
        np.testing.assert_array_equal(found[graph.outputs[0]], kuai.rand(4).numpy())


def test_a_captured_seed_is_an_update_of_the_state() -> None:
    def function(x: Any) -> Any:
        kuai.manual_seed(3)
        return x * kuai.rand(2)

    kuai.manual_seed(0)
    graph = capture(function, kuai.ones(2))
    assert kuai.initial_seed() == 0
    x = np.ones(2, np.float32)
    kuai.manual_seed(3)
    np.testing.assert_array_equal(graph.evaluate(x)[graph.outputs[0]], kuai.rand(2).numpy())


def test_words_kept_for_later_are_those_of_the_stream() -> None:
    for offset, count in ((0, 5), (2, 9), (2, 1), (500, 7), (100, 3000), (501, 8), (3, 1024)):
        np.testing.assert_array_equal(words_at(77, offset, count), philox(77, offset, count))


def test_the_frequency_of_what_happens_is_its_chance() -> None:
    kuai.manual_seed(1)
    for chance in (0.0, 0.1, 0.5, 1.0):
        drawn = kuai.empty(100_000).bernoulli_(chance)
        assert abs(drawn.mean().item() - chance) < 0.005
