"""Parametrizations, and the older hooks that do the same."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.nn.utils import parametrizations, parametrize


class Weighted(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(kuai.randn(*shape))

    def forward(self, x):
        return x @ self.weight


class Symmetric(nn.Module):
    def forward(self, X):
        return X.triu() + X.triu(1).transpose(-1, -2)

    def right_inverse(self, A):
        return A.triu()


class RankOne(nn.Module):
    def forward(self, x, y):
        return x.unsqueeze(-1) @ y.unsqueeze(-2)

    def right_inverse(self, Z):
        return Z[:, 0].clone(), Z[0].clone()


def test_a_parametrized_weight_is_computed_from_its_original():
    block = Weighted(3, 3)
    parametrize.register_parametrization(block, "weight", Symmetric())
    assert (block.weight == block.weight.T).all()
    assert [name for name, _ in block.named_parameters()] == ["parametrizations.weight.original"]
    assert type(block).__name__ == "ParametrizedWeighted"
    assert parametrize.type_before_parametrizations(block) is Weighted


def test_gradients_reach_the_original():
    block = Weighted(3, 3)
    parametrize.register_parametrization(block, "weight", Symmetric())
    block(kuai.ones(1, 3)).sum().backward()
    expected = [[1.0, 2.0, 2.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]
    assert block.parametrizations.weight.original.grad.tolist() == expected


def test_assignment_goes_through_the_right_inverse():
    block = Weighted(3, 3)
    parametrize.register_parametrization(block, "weight", Symmetric())
    block.weight = value = kuai.eye(3) * 2
    assert (block.weight == value).all()
    assert isinstance(block.parametrizations.weight.original, nn.Parameter)


def test_a_parametrization_may_start_from_several_tensors():
    block = Weighted(3, 4)
    parametrize.register_parametrization(block, "weight", RankOne())
    names = [name for name, _ in block.named_parameters()]
    assert names == [f"parametrizations.weight.original{i}" for i in range(2)]
    with pytest.raises(ValueError, match="leave_parametrized=False"):
        parametrize.remove_parametrizations(block, "weight", leave_parametrized=False)
    value = block.weight
    parametrize.remove_parametrizations(block, "weight")
    assert (block.weight == value).all()
    assert isinstance(block.weight, nn.Parameter)


def test_parametrizations_are_applied_one_after_the_other():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    block = Weighted(2, 2)
    before = block.weight.detach().clone()
    parametrize.register_parametrization(block, "weight", Double())
    parametrize.register_parametrization(block, "weight", Double())
    assert (block.weight == 4 * before).all()


@pytest.mark.parametrize("leave_parametrized", [True, False])
def test_removal_restores_the_class_and_the_same_parameter(leave_parametrized):
    block = Weighted(3, 3)
    original, before = block.weight, block.weight.detach().clone()
    parametrize.register_parametrization(block, "weight", Symmetric())
    value = block.weight.detach().clone()
    parametrize.remove_parametrizations(block, "weight", leave_parametrized)
    assert type(block) is Weighted
    assert block.weight is original
    assert (block.weight == (value if leave_parametrized else before.triu())).all()
    assert list(block.state_dict()) == ["weight"]


def test_within_cached_the_weight_is_computed_once():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            Counting.calls += 1
            return x + 0

    block = Weighted(2, 2)
    parametrize.register_parametrization(block, "weight", Counting())
    Counting.calls = 0
    with parametrize.cached():
        assert block.weight is block.weight
    assert Counting.calls == 1
    assert block.weight is not block.weight


def test_a_changed_shape_or_type_is_refused_unless_unsafe():
    class First(nn.Module):
        def forward(self, x):
            return x[0]

    class Double(nn.Module):
        def forward(self, x):
            return x.double()

    for wrong in (First(), Double()):
        with pytest.raises(ValueError, match="may not change the"):
            parametrize.register_parametrization(Weighted(2, 2), "weight", wrong)
        parametrize.register_parametrization(Weighted(2, 2), "weight", wrong, unsafe=True)


def test_only_parameters_and_buffers_can_be_parametrized():
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(Weighted(2, 2), "bias", Symmetric())
    with pytest.raises(ValueError, match="does not have a parametrization"):
        parametrize.remove_parametrizations(Weighted(2, 2), "weight")


def test_a_parametrized_block_is_copied_but_not_pickled():
    block = Weighted(3, 3)
    parametrize.register_parametrization(block, "weight", Symmetric())
    other = copy.deepcopy(block)
    assert (other.weight == block.weight).all()
    other.weight = kuai.eye(3)
    assert not (other.weight == block.weight).all()
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(block)


def test_parametrizations_are_transferred():
    block, other = Weighted(3, 3), Weighted(3, 3)
    parametrize.register_parametrization(block, "weight", Symmetric())
    parametrize.transfer_parametrizations_and_params(block, other)
    assert (other.weight == block.weight).all()


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 4, 3)])
@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivialized", [True, False])
def test_orthogonal_weights_are_orthogonal_and_stay_so(shape, name, trivialized):
    block = Weighted(*shape)
    parametrizations.orthogonal(block, "weight", name, use_trivialization=trivialized)
    original = block.parametrizations.weight.original
    for _ in range(2):
        W = block.weight
        W = W if W.size(-2) >= W.size(-1) else W.mT
        product = W.mT @ W
        identity = kuai.eye(product.size(-1)).expand(*product.shape)
        assert kuai.allclose(product, identity, atol=1e-5)
        (W * W.detach().roll(1, -1)).sum().backward()
        with kuai.no_grad():
            original -= 0.1 * original.grad


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
def test_an_orthogonal_value_can_be_assigned(shape, name):
    block = Weighted(*shape)
    parametrizations.orthogonal(block, "weight", name)
    value = block.weight.detach().clone()
    other = Weighted(*shape)
    parametrizations.orthogonal(other, "weight", name)
    other.weight = value
    assert kuai.allclose(other.weight, value, atol=1e-5)


def test_weight_norm_splits_magnitude_and_direction():
    block = Weighted(3, 4)
    before = block.weight.detach().clone()
    parametrizations.weight_norm(block)
    assert kuai.allclose(block.weight, before)
    assert tuple(block.parametrizations.weight.original0.shape) == (3, 1)
    with kuai.no_grad():
        block.parametrizations.weight.original0.fill_(2.0)
    assert kuai.allclose(block.weight.norm(dim=1), kuai.full((3,), 2.0))


def test_the_new_weight_norm_loads_what_the_old_one_saved():
    old, new = Weighted(3, 4), Weighted(3, 4)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(old)
    parametrizations.weight_norm(new)
    new.load_state_dict(old.state_dict())
    assert kuai.allclose(new.weight, old.weight)
    nn.utils.remove_weight_norm(old)
    assert list(old.state_dict()) == ["weight"]
    assert kuai.allclose(new.weight, old.weight)


@pytest.mark.parametrize("new", [True, False])
def test_spectral_norm_makes_the_largest_singular_value_one(new):
    block = Weighted(4, 3)
    norm = parametrizations.spectral_norm if new else nn.utils.spectral_norm
    norm(block)
    for _ in range(50):
        block(kuai.ones(1, 4))
    singular_values = np.linalg.svd(block.weight.detach().numpy(), compute_uv=False)
    assert abs(max(singular_values) - 1) < 1e-4
    if not new:
        assert sorted(block.state_dict()) == ["weight_orig", "weight_u", "weight_v"]
        nn.utils.remove_spectral_norm(block)
        assert list(block.state_dict()) == ["weight"]
