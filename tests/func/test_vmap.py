"""`kuai.func.vmap`, and blocks as functions of their parameters."""

from __future__ import annotations

import pytest

import kuai
from kuai import func, nn


def test_samples_are_taken_and_stacked_along_the_named_dimensions():
    x = kuai.arange(6.0).reshape(2, 3)
    result = func.vmap(lambda c: c * 2, in_dims=1, out_dims=1)(x)
    assert result.tolist() == (x * 2).tolist()


def test_maps_nest():
    x, y = kuai.arange(3.0), kuai.arange(2.0)
    table = func.vmap(lambda a: func.vmap(lambda b: a * 10 + b)(y))(x)
    assert table.tolist() == [[0, 1], [10, 11], [20, 21]]


def test_a_mapped_function_may_branch_on_values():
    assert func.vmap(lambda x: x if x > 0 else -x)(kuai.tensor([-1.0, 2.0])).tolist() == [1, 2]


def test_a_map_is_differentiated():
    w = kuai.tensor([1.0, 2.0], requires_grad=True)
    func.vmap(lambda x: x @ w)(kuai.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert w.grad.tolist() == [4.0, 6.0]


def test_gradients_of_each_sample():
    net = nn.Linear(3, 1)
    weights = {name: p.detach() for name, p in net.named_parameters()}
    X = kuai.randn(4, 3)

    def loss(weights, x):
        return func.functional_call(net, weights, (x,)).sum()

    each = func.vmap(func.grad(loss), in_dims=(None, 0))(weights, X)
    assert kuai.allclose(each["weight"][:, 0], X)
    assert each["bias"].tolist() == [[1.0]] * 4


def test_an_ensemble_runs_as_its_members_do():
    nets = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3)]
    weights, buffers = func.stack_module_state(nets)
    X = kuai.randn(5, 3)
    result = func.vmap(lambda w, b: func.functional_call(nets[0], (w, b), (X,)), in_dims=(0, 0))(
        weights, buffers
    )
    assert kuai.allclose(result, kuai.stack([net(X) for net in nets]))
    assert weights["0.weight"].shape == (3, 4, 3)
    assert weights["0.weight"].is_leaf
    assert weights["0.weight"].requires_grad


def test_random_numbers_are_refused_shared_or_drawn_anew():
    x = kuai.zeros(4)
    with pytest.raises(RuntimeError, match="random operation"):
        func.vmap(lambda x: x + kuai.rand(()))(x)
    same = func.vmap(lambda x: x + kuai.rand(()), randomness="same")(x)
    different = func.vmap(lambda x: x + kuai.rand(()), randomness="different")(x)
    assert len(set(same.tolist())) == 1
    assert len(set(different.tolist())) == 4


def test_an_empty_batch_has_the_shape_of_its_results():
    assert func.vmap(lambda x: kuai.outer(x, x))(kuai.ones(0, 3)).shape == (0, 3, 3)


def test_a_name_in_two_dicts_is_refused():
    net, w = nn.Linear(1, 1), kuai.ones(1, 1)
    with pytest.raises(ValueError, match="multiple dictionaries"):
        func.functional_call(net, [{"weight": w}, {"weight": w}], kuai.ones(1))
