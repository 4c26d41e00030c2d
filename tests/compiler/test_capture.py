"""A capture records what a network does, forward and backward, without computing it."""

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.compiler import capture
from kuai.errors import CompileError
from kuai.nn import functional as F


class NestMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.linear = nn.Linear(32, 16)

    def forward(self, X):
        return self.linear(self.net(X))


def test_a_forward_graph_computes_what_the_network_computes():
    net, X = NestMLP(), kuai.rand(2, 20)
    graph = capture(net, X)
    result = graph.evaluate(X.numpy())[graph.outputs[0]]
    np.testing.assert_array_equal(result, net(X).detach().numpy())


def test_a_graph_names_the_parameters_and_prints_itself():
    text = str(capture(NestMLP(), kuai.rand(2, 20)))
    assert "captured %net.0.weight: float32[64, 20]" in text
    assert "linear(%x0, %net.0.weight, %net.0.bias)" in text
    assert text.startswith("graph(%x0: float32[2, 20])")


def test_backward_inside_a_capture_adds_the_backward_computation():
    net, X = NestMLP(), kuai.rand(2, 20)

    def loss(x):
        value = F.cross_entropy(net(x), kuai.tensor([3, 5]))
        value.backward()
        return value

    graph = capture(loss, X)
    assert all(p.grad is None for p in net.parameters())
    found = graph.evaluate(X.numpy())
    value = loss(X)
    np.testing.assert_allclose(found[graph.outputs[0]], value.item(), rtol=1e-6)
    memory = {t.data_ptr(): v for v, t in graph.captured}
    gradients = dict(graph.gradients)
    for p in net.parameters():
        gradient = found[gradients[memory[p.data_ptr()]]]
        np.testing.assert_allclose(gradient, p.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_a_training_step_is_captured_whole_with_its_updates():
    net, X = nn.Linear(3, 2), kuai.rand(4, 3)
    before = [p.detach().clone() for p in net.parameters()]

    def step(x):
        loss = net(x).square().mean()
        for p in net.parameters():
            p.grad = None
        loss.backward()
        with kuai.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad
        return loss

    graph = capture(step, X)
    for p, old in zip(net.parameters(), before, strict=True):
        assert kuai.equal(p, old)
    found = graph.evaluate(X.numpy())
    step(X)
    tensors = dict(graph.captured)
    assert len(graph.updates) == 2
    for value, new in graph.updates:
        np.testing.assert_allclose(found[new], tensors[value].detach().numpy(), rtol=1e-6)


def test_changes_in_place_and_views_become_values():
    def function(x):
        y = x * 1
        row = y[0]
        row *= 10
        y += 1
        return row + y[1]

    x = kuai.rand(2, 3)
    graph = capture(function, x)
    np.testing.assert_allclose(
        graph.evaluate(x.numpy())[graph.outputs[0]], function(x).numpy(), rtol=1e-6
    )


def test_a_failed_capture_leaves_the_parameters_whole():
    net = nn.Linear(3, 2)

    def function(x):
        with kuai.no_grad():
            net.weight += 1
        return net(x).sum().item()

    before = net.weight.detach().clone()
    with pytest.raises(CompileError, match="item"):
        capture(function, kuai.ones(1, 3))
    assert kuai.equal(net.weight, before)
