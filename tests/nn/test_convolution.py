"""Convolutions: what they compute, what they begin with, and what they say of wrong input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.errors import DtypeError, ShapeError
from kuai.nn import functional as F


def by_hand(x: np.ndarray, w: np.ndarray, stride: int, padding: int, dilation: int) -> np.ndarray:
    """A convolution of images as its definition says it: sums over every window."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    high = (x.shape[2] - dilation * (w.shape[2] - 1) - 1) // stride + 1
    wide = (x.shape[3] - dilation * (w.shape[3] - 1) - 1) // stride + 1
    result = np.zeros((len(x), len(w), high, wide))
    for i, j in np.ndindex(high, wide):
        for k, m in np.ndindex(*w.shape[2:]):
            pixel = x[:, :, stride * i + dilation * k, stride * j + dilation * m]
            result[:, :, i, j] += pixel @ w[:, :, k, m].T
    return result


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), (2, 0, 1), (1, 2, 1), (1, 1, 2), (3, 1, 2)]
)
def test_a_convolution_sums_the_products_of_every_window(
    stride: int, padding: int, dilation: int
) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 7))
    w = np.random.default_rng(1).normal(size=(4, 3, 3, 2))
    result = F.conv2d(kuai.tensor(x), kuai.tensor(w), None, stride, padding, dilation)
    np.testing.assert_allclose(result.numpy(), by_hand(x, w, stride, padding, dilation))


def test_each_group_of_channels_is_convolved_by_itself() -> None:
    x, w = kuai.randn(2, 4, 9), kuai.randn(6, 2, 3)
    halves = [F.conv1d(x[:, :2], w[:3]), F.conv1d(x[:, 2:], w[3:])]
    kuai_result = F.conv1d(x, w, groups=2)
    np.testing.assert_allclose(kuai_result.numpy(), kuai.cat(halves, 1).numpy(), rtol=1e-5)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (5, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_keeps_the_size(kernel: Any, dilation: int) -> None:
    layer = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation)
    assert layer(kuai.rand(4, 2, 9, 10)).shape == (4, 3, 9, 10)


def test_a_padding_mode_pads_with_the_image_itself() -> None:
    layer = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    with kuai.no_grad():
        layer.weight.copy_(kuai.tensor([[[1.0, 0.0, 0.0]]]))
    assert layer(kuai.tensor([[[1.0, 2.0, 3.0]]])).tolist() == [[[3, 1, 2]]]


def test_an_image_without_a_batch_gives_one_without() -> None:
    layer = nn.Conv2d(1, 2, 3)
    image = kuai.rand(1, 5, 5)
    assert layer(image).equal(layer(image.unsqueeze(0)).squeeze(0))


def test_a_transposed_convolution_is_the_gradient_of_a_convolution() -> None:
    x, w = kuai.randn(2, 3, 7, 6, dtype=kuai.float64), kuai.randn(4, 3, 3, 2, dtype=kuai.float64)
    x.requires_grad_()
    y = F.conv2d(x, w, stride=2, padding=1)
    g = kuai.randn(*y.shape, dtype=kuai.float64)
    (expected,) = kuai.autograd.grad(y, x, g)
    sizes = [h - ((n - 1) * 2 - 2 + k) for h, n, k in zip((7, 6), y.shape[2:], (3, 2), strict=True)]
    result = F.conv_transpose2d(g, w, stride=2, padding=1, output_padding=sizes)
    np.testing.assert_allclose(result.numpy(), expected.numpy())


def test_a_transposed_convolution_can_be_told_its_output_size() -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = kuai.rand(1, 2, 5, 5)
    assert layer(x).shape == (1, 3, 9, 9)
    assert layer(x, output_size=(10, 9)).shape == (1, 3, 10, 9)
    with pytest.raises(ValueError, match="valid sizes range from"):
        layer(x, output_size=(11, 9))


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_gradients_are_right_to_the_second_order(function: Any) -> None:
    x = kuai.randn(2, 4, 4, 3, dtype=kuai.float64, requires_grad=True)
    w = kuai.randn(4, 2, 2, 2, dtype=kuai.float64, requires_grad=True)
    b = kuai.randn(4, dtype=kuai.float64, requires_grad=True)

    def f(x: kuai.Tensor, w: kuai.Tensor, b: kuai.Tensor) -> kuai.Tensor:
        return function(x, w, b, stride=2, padding=1, groups=2, dilation=1)

    assert kuai.autograd.gradcheck(f, (x, w, b))
    assert kuai.autograd.gradgradcheck(f, (x, w, b))


def test_a_convolution_begins_within_the_bounds_of_its_fan_in() -> None:
    layer = nn.Conv2d(16, 32, 5, groups=2)
    assert layer.weight.shape == (32, 8, 5, 5)
    bound = 1 / math.sqrt(8 * 25)
    for parameter in layer.parameters():
        assert parameter.abs().max().item() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert nn.ConvTranspose2d(16, 32, 5, groups=2).weight.shape == (16, 16, 5, 5)
    assert list(dict(nn.Conv1d(2, 3, 1, bias=False).named_parameters())) == ["weight"]


@pytest.mark.parametrize(
    ("lazy", "becomes", "shape"),
    [
        (nn.LazyConv1d, nn.Conv1d, (2, 6, 9)),
        (nn.LazyConv2d, nn.Conv2d, (2, 6, 9, 9)),
        (nn.LazyConv2d, nn.Conv2d, (6, 9, 9)),
        (nn.LazyConvTranspose2d, nn.ConvTranspose2d, (2, 6, 9, 9)),
    ],
)
def test_a_lazy_convolution_counts_the_channels_of_its_first_input(
    lazy: Any, becomes: Any, shape: tuple[int, ...]
) -> None:
    layer = lazy(4, 3)
    layer(kuai.rand(*shape))
    assert type(layer) is becomes
    assert layer.in_channels == 6
    assert layer.weight.shape[:2] == ((4, 6) if becomes.__name__[4:5].isdigit() else (6, 4))


def test_a_convolution_says_how_many_channels_it_needs() -> None:
    with pytest.raises(ShapeError, match="to have 3 channels, but got 2 channels") as caught:
        nn.Sequential(nn.Conv2d(3, 4, 3))(kuai.rand(1, 2, 8, 8))
    assert any("Sequential.0: Conv2d(3, 4" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((1, 3, 2, 2), {}, "Kernel size can't be greater than actual input size"),
        ((3, 2), {}, r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d"),
        ((1, 3, 5, 5), {"stride": 0}, "non-positive stride"),
        ((1, 3, 5, 5), {"padding": -1}, "negative padding"),
        ((1, 3, 5, 5), {"stride": (1, 1, 1)}, "list of 2 values"),
        ((1, 3, 5, 5), {"padding": "same", "stride": 2}, "not supported for strided"),
        ((1, 3, 5, 5), {"padding": "some"}, "Invalid padding string"),
        ((1, 3, 5, 5), {"bias": kuai.rand(5)}, "bias to be 1-dimensional with 4 elements"),
    ],
)
def test_what_does_not_fit_is_refused(
    shape: tuple[int, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RuntimeError, match=words):
        F.conv2d(kuai.rand(*shape), kuai.rand(4, 3, 3, 3), **options)


def test_types_that_differ_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"float64.*float32"):
        F.conv1d(kuai.rand(1, 1, 4, dtype=kuai.float64), kuai.rand(1, 1, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": 2}, "in_channels must be divisible by groups"),
        ({"padding": "same", "stride": 2}, "not supported for strided"),
        ({"padding": "some"}, "Invalid padding string"),
        ({"padding_mode": "some"}, "padding_mode must be one of"),
    ],
)
def test_a_layer_refuses_options_that_do_not_fit(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nn.Conv2d(3, 4, 3, **options)
