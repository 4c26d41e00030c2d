"""Recurrent cells, and the networks that repeat them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.errors import ShapeError

KINDS = (nn.RNN, nn.LSTM, nn.GRU)


def test_an_lstm_cell_is_its_formula() -> None:
    cell = nn.LSTMCell(3, 2)
    x, h, c = kuai.randn(4, 3), kuai.randn(4, 2), kuai.randn(4, 2)
    gates = x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
    i, f, g, o = gates.chunk(4, 1)
    expected = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h_next, c_next = cell(x, (h, c))
    np.testing.assert_allclose(c_next.detach().numpy(), expected.detach().numpy(), rtol=1e-5)
    expected = o.sigmoid() * expected.tanh()
    np.testing.assert_allclose(h_next.detach().numpy(), expected.detach().numpy(), rtol=1e-5)


def test_a_gru_cell_keeps_its_state_where_its_gate_says_so() -> None:
    cell = nn.GRUCell(3, 2)
    with kuai.no_grad():
        cell.bias_ih[2:4] = 100.0  # z = 1
    h = kuai.randn(4, 2)
    np.testing.assert_allclose(cell(kuai.randn(4, 3), h).detach().numpy(), h.numpy(), rtol=1e-5)


@pytest.mark.parametrize("cell", [nn.RNNCell(3, 2), nn.LSTMCell(3, 2), nn.GRUCell(3, 2)])
def test_a_state_that_is_not_given_is_zero(cell: Any) -> None:
    x, zeros = kuai.randn(4, 3), kuai.zeros(4, 2)
    given = cell(x, (zeros, zeros) if isinstance(cell, nn.LSTMCell) else zeros)
    for a, b in zip(kuai_states(cell(x)), kuai_states(given), strict=True):
        assert a.equal(b)
    alone = kuai_states(cell(x[1]))
    np.testing.assert_allclose(
        alone[0].detach().numpy(), kuai_states(given)[0][1].detach().numpy(), rtol=1e-5
    )


def kuai_states(result: Any) -> tuple[kuai.Tensor, ...]:
    """The states as a tuple, also where there is one."""
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize(
    ("network", "cell"),
    [
        (nn.RNN(3, 4), nn.RNNCell(3, 4)),
        (nn.RNN(3, 4, nonlinearity="relu"), nn.RNNCell(3, 4, nonlinearity="relu")),
        (nn.LSTM(3, 4), nn.LSTMCell(3, 4)),
        (nn.GRU(3, 4), nn.GRUCell(3, 4)),
    ],
    ids=["rnn", "relu", "lstm", "gru"],
)
def test_a_network_repeats_its_cell(network: Any, cell: Any) -> None:
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in network.state_dict().items()})
    x = kuai.randn(5, 2, 3)
    output, last = network(x)
    state: Any = None
    for t in range(5):
        state = cell(x[t], state)
        h = kuai_states(state)[0]
        np.testing.assert_allclose(
            output[t].detach().numpy(), h.detach().numpy(), rtol=1e-5, atol=1e-6
        )
    for a, b in zip(kuai_states(last), kuai_states(state), strict=True):
        np.testing.assert_allclose(a[0].detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_direction_reads_from_the_end(kind: Any) -> None:
    both = kind(3, 4, bidirectional=True)
    one = kind(3, 4)
    one.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in both.state_dict().items() if "_reverse" in k}
    )
    x = kuai.randn(5, 2, 3)
    backwards = one(x.flip(0))[0].flip(0)
    np.testing.assert_allclose(
        both(x)[0][..., 4:].detach().numpy(), backwards.detach().numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "layers", "bidirectional", "batch_first"),
    list(itertools.product(KINDS, (1, 2), (False, True), (False, True))),
)
def test_shapes_follow_the_options(
    kind: Any, layers: int, bidirectional: bool, batch_first: bool
) -> None:
    network = kind(3, 4, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first)
    directions = 2 if bidirectional else 1
    output, last = network(kuai.randn(2, 5, 3) if batch_first else kuai.randn(5, 2, 3))
    assert output.shape == ((2, 5) if batch_first else (5, 2)) + (4 * directions,)
    for state in kuai_states(last):
        assert state.shape == (layers * directions, 2, 4)
    output, last = network(kuai.randn(5, 3))
    assert output.shape == (5, 4 * directions)
    for state in kuai_states(last):
        assert state.shape == (layers * directions, 4)


def test_a_projection_narrows_the_output_but_not_the_cell() -> None:
    network = nn.LSTM(3, 6, num_layers=2, proj_size=2)
    output, (h, c) = network(kuai.randn(5, 4, 3))
    assert output.shape == (5, 4, 2)
    assert h.shape == (2, 4, 2)
    assert c.shape == (2, 4, 6)
    assert network.weight_hr_l1.shape == (2, 6)


def test_parameters_are_named_and_drawn_as_pytorchs() -> None:
    network = nn.GRU(3, 16, num_layers=2, bidirectional=True)
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    places = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    assert list(network.state_dict()) == [n + place for place in places for n in names]
    assert network.weight_ih_l1.shape == (48, 32)
    assert [len(weights) for weights in network.all_weights] == [4] * 4
    for parameter in network.parameters():
        assert parameter.abs().max().item() <= 1 / math.sqrt(16)


def test_dropout_stands_between_layers_and_only_in_training() -> None:
    network = nn.GRU(3, 64, num_layers=2, dropout=0.5)
    x = kuai.randn(4, 2, 3)
    assert not network(x)[0].equal(network(x)[0])
    network.eval()
    assert network(x)[0].equal(network(x)[0])
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        nn.GRU(3, 4, dropout=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right_to_the_second_order(kind: Any) -> None:
    network = kind(2, 2, bidirectional=True, dtype=kuai.float64)
    names, values = zip(*network.named_parameters(), strict=True)
    x = kuai.randn(3, 1, 2, dtype=kuai.float64, requires_grad=True)

    def f(x: kuai.Tensor, *parameters: kuai.Tensor) -> kuai.Tensor:
        arguments = dict(zip(names, parameters, strict=True))
        return kuai.func.functional_call(network, arguments, (x,))[0]

    assert kuai.autograd.gradcheck(f, (x, *values))
    assert kuai.autograd.gradgradcheck(f, (x, values[0], *[v.detach() for v in values[1:]]))


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(RuntimeError, match="Expected 2, got 4"):
        nn.LSTM(2, 3)(kuai.rand(2, 4))
    with pytest.raises(ValueError, match="GRU: Expected input to be 2D or 3D, got 1D"):
        nn.GRU(2, 3)(kuai.rand(2))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 4, 3\), got \[1, 3, 3\]"):
        nn.GRU(2, 3)(kuai.rand(2, 4, 2), kuai.rand(1, 3, 3))
    with pytest.raises(RuntimeError, match="expects 2 hidden states, got 1"):
        nn.LSTM(2, 3)(kuai.rand(2, 4, 2), kuai.rand(1, 4, 3))
    with pytest.raises(RuntimeError, match="hx should also be 3-D but got 2-D"):
        nn.RNN(2, 3)(kuai.rand(2, 4, 2), kuai.rand(4, 3))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        nn.RNN(2, 3)(kuai.rand(2, 4, 2, dtype=kuai.float64))
    with pytest.raises(ShapeError, match="inconsistent input_size: got 3 expected 2"):
        nn.LSTMCell(2, 3)(kuai.rand(4, 3))
    with pytest.raises(ValueError, match="proj_size has to be smaller"):
        nn.LSTM(2, 3, proj_size=3)
    with pytest.raises(ValueError, match="Unknown nonlinearity 'sin'"):
        nn.RNN(2, 3, nonlinearity="sin")
