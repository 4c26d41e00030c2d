"""Tensors from outside that a program changes: all at once, and not at all if it fails."""

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.nn import functional as F


def test_two_tensors_take_each_others_values():
    p, q = kuai.rand(3), kuai.rand(3)

    @kuai.compile
    def swap(x):
        a, b = p.clone(), q.clone()
        p.copy_(b)
        q.copy_(a)
        p.add_(x)
        return a, b

    before = p.clone(), q.clone()
    results = swap(kuai.ones(3))
    assert kuai.equal(p, before[1] + 1)
    assert kuai.equal(q, before[0])
    assert all(map(kuai.equal, results, before))


def test_the_old_values_of_a_changed_tensor_can_go_elsewhere():
    p, q = kuai.rand(3), kuai.rand(3)

    @kuai.compile
    def shift():
        old = p.clone()
        p.sub_(1)
        q.copy_(old)

    before = p.clone()
    shift()
    assert kuai.equal(p, before - 1)
    assert kuai.equal(q, before)


def test_a_step_that_fails_late_leaves_parameters_and_gradients_as_they_were():
    table, net = nn.Embedding(5, 4), nn.Linear(4, 3)
    parameters = [*table.parameters(), *net.parameters()]
    optimizer = kuai.optim.SGD(parameters, lr=0.1)

    @kuai.compile
    def step(i, j):
        optimizer.zero_grad()
        F.cross_entropy(net(table(i)), kuai.tensor([0, 1])).backward()
        optimizer.step()
        return table.weight.detach()[j].sum()

    good, bad = kuai.tensor([0, 3]), kuai.tensor([1, 7])
    for _ in range(3):
        step(good, good)
    kept = [(p.detach().numpy().copy(), p.grad.numpy().copy()) for p in parameters]
    with pytest.raises(IndexError):
        step(kuai.tensor([1, 2]), bad)
    for p, (value, grad) in zip(parameters, kept, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), value)
        np.testing.assert_array_equal(p.grad.numpy(), grad)


def test_a_program_for_one_tensor_given_twice_is_not_used_for_two():
    @kuai.compile
    def function(x, y):
        return x + 10 * y

    x, y = kuai.ones(3), kuai.full((3,), 2.0)
    for _ in range(3):
        assert function(x, x).tolist() == [11.0] * 3
        assert function(x, y).tolist() == [21.0] * 3
        assert function(y, y).tolist() == [22.0] * 3
