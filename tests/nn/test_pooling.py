"""Pooling: maxima and where they stand, means and what counts in them, windows that adapt."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.errors import ShapeError
from kuai.nn import functional as F

SQUARE = kuai.arange(16.0).reshape(1, 1, 4, 4)


def test_windows_stand_side_by_side_by_default() -> None:
    assert F.max_pool2d(SQUARE, 2).tolist() == [[[[5, 7], [13, 15]]]]
    assert F.avg_pool2d(SQUARE, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


def test_indices_count_through_the_flattened_image() -> None:
    values, indices = F.max_pool2d(SQUARE, 3, stride=1, padding=1, return_indices=True)
    flat = SQUARE.flatten()
    assert values.equal(flat[indices.flatten()].reshape(values.shape))
    assert indices.dtype is kuai.int64


def test_of_equal_elements_the_first_is_chosen_and_takes_the_gradient() -> None:
    x = kuai.ones(1, 1, 4, requires_grad=True)
    y, indices = F.max_pool1d(x, 2, return_indices=True)
    y.sum().backward()
    assert indices.tolist() == [[[0, 2]]]
    assert x.grad.tolist() == [[[1, 0, 1, 0]]]


def test_nan_is_the_greatest_and_padding_never_is() -> None:
    x = kuai.tensor([[[1.0, math.nan, 2.0, 3.0]]])
    values, indices = F.max_pool1d(x, 2, 1, return_indices=True)
    assert indices.tolist() == [[[1, 1, 3]]]
    assert values.isnan().tolist() == [[[True, True, False]]]
    low = kuai.full((1, 1, 3, 3), -math.inf)
    assert F.max_pool2d(low, 2, padding=1, return_indices=True)[1].tolist() == [[[[0, 1], [3, 4]]]]


def test_overlapping_windows_add_their_gradients() -> None:
    x = kuai.tensor([[[0.0, 5.0, 1.0]]], requires_grad=True)
    F.max_pool1d(x, 2, stride=1).sum().backward()
    assert x.grad.tolist() == [[[0, 2, 0]]]


def test_ceil_mode_keeps_a_last_window_that_is_not_full() -> None:
    x = kuai.arange(5.0).reshape(1, 1, 5)
    assert F.max_pool1d(x, 2).tolist() == [[[1, 3]]]
    assert F.max_pool1d(x, 2, ceil_mode=True).tolist() == [[[1, 3, 4]]]
    assert F.avg_pool1d(x, 2, ceil_mode=True).tolist() == [[[0.5, 2.5, 4]]]


def test_the_zeros_of_the_padding_count_unless_told_otherwise() -> None:
    x = kuai.ones(1, 1, 4)
    assert F.avg_pool1d(x, 2, padding=1).tolist() == [[[0.5, 1, 0.5]]]
    assert F.avg_pool1d(x, 2, padding=1, count_include_pad=False).tolist() == [[[1, 1, 1]]]
    assert F.avg_pool2d(SQUARE, 2, divisor_override=1).tolist() == [[[[10, 18], [42, 50]]]]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 10])
def test_adaptive_windows_cover_the_sequence_evenly(size: int) -> None:
    x = kuai.randn(2, 3, 7, dtype=kuai.float64)
    bounds = [(i * 7 // size, -(-(i + 1) * 7 // size)) for i in range(size)]
    means = kuai.stack([x[..., a:b].mean(-1) for a, b in bounds], -1)
    np.testing.assert_allclose(F.adaptive_avg_pool1d(x, size).numpy(), means.numpy())
    greatest = kuai.stack([x[..., a:b].amax(-1) for a, b in bounds], -1)
    values, indices = F.adaptive_max_pool1d(x, size, return_indices=True)
    assert values.equal(greatest)
    assert values.equal(x.gather(-1, indices))


def test_an_adaptive_mean_is_not_spoilt_by_infinity_in_other_windows() -> None:
    x = kuai.tensor([[[math.inf, 1.0, 1.0, 1.0, 1.0]]])
    assert F.adaptive_avg_pool1d(x, 3).tolist() == [[[math.inf, 1, 1]]]


def test_none_keeps_a_dimension_as_it_is() -> None:
    assert nn.AdaptiveAvgPool2d((None, 1))(kuai.rand(2, 3, 5, 6)).shape == (2, 3, 5, 1)


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AvgPool2d((2, 3), stride=1, padding=1, count_include_pad=False),
        nn.AdaptiveAvgPool2d((3, 2)),
        nn.AdaptiveMaxPool2d((3, 2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients_are_right_to_the_second_order(layer: nn.Module) -> None:
    x = kuai.randperm(80).double().reshape(2, 2, 5, 4) / 7
    x.requires_grad_()
    assert kuai.autograd.gradcheck(layer, (x,))
    assert kuai.autograd.gradgradcheck(lambda x: layer(x).square(), (x,))


def test_integers_are_pooled_as_integers() -> None:
    x = kuai.arange(4).reshape(1, 1, 4)
    assert F.max_pool2d(x.unsqueeze(0), (1, 2)).tolist() == [[[[1, 3]]]]
    assert F.avg_pool1d(x, 2).tolist() == [[[0, 2]]]


def test_pooling_says_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="Output size is too small"):
        F.max_pool2d(kuai.rand(1, 1, 4, 4), 5)
    with pytest.raises(RuntimeError, match="at most half of effective kernel size"):
        F.max_pool2d(kuai.rand(1, 1, 4, 4), 2, padding=2)
    with pytest.raises(RuntimeError, match="tuple of 2 ints"):
        F.avg_pool2d(kuai.rand(1, 1, 4, 4), (2, 2, 2))
    with pytest.raises(RuntimeError, match="divisor must be not zero"):
        F.avg_pool2d(kuai.rand(1, 1, 4, 4), 2, divisor_override=0)
    with pytest.raises(ShapeError, match="Expected 3D or 4D"):
        nn.MaxPool2d(2)(kuai.rand(4, 4))
