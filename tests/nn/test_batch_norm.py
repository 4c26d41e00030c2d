"""Batch normalisation: statistics of the batch, and those that it keeps."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.errors import ShapeError
from kuai.nn import functional as F


def test_training_brings_each_channel_to_mean_0_and_variance_1() -> None:
    y = nn.BatchNorm2d(3, affine=False)(kuai.randn(8, 3, 5, 5) * 4 + 2)
    np.testing.assert_allclose(y.mean((0, 2, 3)).numpy(), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3), correction=0).numpy(), 1, rtol=1e-4)


def test_the_running_statistics_move_by_the_momentum() -> None:
    layer = nn.BatchNorm1d(2, momentum=0.25)
    x = kuai.randn(6, 2)
    layer(x)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean(0).numpy(), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var(0).numpy(), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 1


def test_without_momentum_they_are_the_mean_over_all_batches() -> None:
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [kuai.randn(5, 2) for _ in range(4)]
    for x in batches:
        layer(x)
    means = kuai.stack([x.mean(0) for x in batches]).mean(0)
    variances = kuai.stack([x.var(0) for x in batches]).mean(0)
    np.testing.assert_allclose(layer.running_mean.numpy(), means.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.running_var.numpy(), variances.numpy(), rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_leaves_them() -> None:
    layer = nn.BatchNorm1d(3)
    for _ in range(3):
        layer(kuai.randn(4, 3))
    state = copy.deepcopy(layer.state_dict())
    layer.eval()
    x = kuai.randn(1, 3)
    expected = (x - state["running_mean"]) / (state["running_var"] + layer.eps).sqrt()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected.numpy(), rtol=1e-5)
    for name, value in layer.state_dict().items():
        assert value.equal(state[name])


def test_without_tracking_evaluation_uses_the_batch_too() -> None:
    layer = nn.BatchNorm1d(3, track_running_stats=False).eval()
    assert list(layer.buffers()) == []
    y = layer(kuai.randn(7, 3) + 5)
    np.testing.assert_allclose(y.detach().mean(0).numpy(), 0, atol=1e-5)


def test_the_running_statistics_are_no_part_of_the_gradient() -> None:
    layer = nn.BatchNorm1d(3)
    x = kuai.randn(4, 3, requires_grad=True)
    layer(x).square().sum().backward()
    assert not layer.running_mean.requires_grad
    assert x.grad is not None


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_right_to_the_second_order(training: bool) -> None:
    x = kuai.randn(4, 3, 2, dtype=kuai.float64, requires_grad=True)
    w = kuai.rand(3, dtype=kuai.float64, requires_grad=True)
    b = kuai.rand(3, dtype=kuai.float64, requires_grad=True)
    mean, variance = kuai.rand(3, dtype=kuai.float64), kuai.rand(3, dtype=kuai.float64) + 1

    def f(x: kuai.Tensor, w: kuai.Tensor, b: kuai.Tensor) -> kuai.Tensor:
        return F.batch_norm(x, mean.clone(), variance.clone(), w, b, training)

    assert kuai.autograd.gradcheck(f, (x, w, b))
    assert kuai.autograd.gradgradcheck(f, (x, w, b))


def test_one_value_a_channel_has_no_variance_to_train_on() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(3)(kuai.rand(1, 3))
    assert nn.BatchNorm1d(3).eval()(kuai.rand(1, 3)).shape == (1, 3)


def test_an_empty_batch_leaves_the_running_statistics() -> None:
    layer = nn.BatchNorm1d(2)
    assert layer(kuai.zeros(0, 2)).shape == (0, 2)
    assert layer.running_mean.tolist() == [0, 0]
    assert layer.running_var.tolist() == [1, 1]


def test_a_state_from_before_batches_were_counted_loads() -> None:
    layer = nn.BatchNorm1d(2)
    layer(kuai.randn(4, 2))
    old = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    fresh = nn.BatchNorm1d(2)
    fresh.load_state_dict(old)
    assert fresh.running_mean.equal(layer.running_mean)
    assert fresh.num_batches_tracked.item() == 0


def test_a_lazy_one_counts_the_channels_of_its_first_input() -> None:
    layer = nn.LazyBatchNorm2d()
    layer(kuai.rand(2, 5, 3, 3))
    assert type(layer) is nn.BatchNorm2d
    assert layer.running_mean.shape == layer.weight.shape == (5,)


def test_instance_normalisation_looks_at_each_sample_by_itself() -> None:
    x = kuai.randn(4, 3, 6)
    y = nn.InstanceNorm1d(3)(x)
    np.testing.assert_allclose(y.mean(-1).numpy(), 0, atol=1e-6)
    alone = nn.InstanceNorm1d(3)(x[1])
    np.testing.assert_allclose(alone.numpy(), y[1].numpy(), rtol=1e-5, atol=1e-6)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 4D input \(got 2D input\)"):
        nn.BatchNorm2d(3)(kuai.rand(2, 3))
    with pytest.raises(ShapeError, match="running_mean should contain 4 elements not 3"):
        nn.BatchNorm1d(3)(kuai.rand(2, 4))
    with pytest.raises(RuntimeError, match="running_mean must be defined"):
        F.batch_norm(kuai.rand(2, 3), None, None)
