"""Sequences, images and volumes of another size."""

from __future__ import annotations

from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.nn import functional as F


def test_the_nearest_mode_repeats_pixels() -> None:
    x = kuai.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert F.interpolate(x, scale_factor=2).tolist() == [[rows]]
    assert nn.UpsamplingNearest2d(scale_factor=2)(x).tolist() == [[rows]]


def test_with_aligned_corners_a_straight_line_stays_one() -> None:
    x = kuai.tensor([[[0.0, 3.0, 6.0]]])
    assert F.interpolate(x, size=7, mode="linear", align_corners=True).tolist() == [
        [[0, 1, 2, 3, 4, 5, 6]]
    ]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_plane_that_is_smoothed_stays_a_plane(mode: str) -> None:
    x = kuai.full((1, 1, 9, 7), 2.5)
    small = F.interpolate(x, size=(3, 2), mode=mode, antialias=True)
    kuai.testing.assert_close(small, kuai.full((1, 1, 3, 2), 2.5))


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("nearest", (1, 2, 3)),
        ("nearest-exact", (1, 2, 3, 4)),
        ("area", (1, 2, 6, 4)),
        ("linear", (1, 2, 3)),
        ("bilinear", (1, 2, 3, 4)),
        ("bicubic", (1, 2, 3, 4)),
        ("trilinear", (1, 1, 2, 3, 2)),
    ],
)
def test_a_program_resizes_as_eager_does_and_so_does_its_gradient(
    mode: str, shape: tuple[int, ...]
) -> None:
    def resized(x: Any) -> Any:
        return F.interpolate(x, scale_factor=1.5, mode=mode)

    x = kuai.rand(*shape, requires_grad=True)
    expected = resized(x)
    actual = kuai.compile(resized)(x)
    kuai.testing.assert_close(actual, expected)
    weights = kuai.rand_like(expected)
    (wanted,) = kuai.autograd.grad(expected, x, weights)
    (found,) = kuai.autograd.grad(actual, x, weights)
    kuai.testing.assert_close(found, wanted)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_gradient_is_that_of_finite_differences(mode: str) -> None:
    x = kuai.rand(1, 1, 3, 4, dtype=kuai.float64, requires_grad=True)
    assert kuai.autograd.gradcheck(lambda x: F.interpolate(x, size=(5, 3), mode=mode), (x,))


def test_bytes_stay_bytes() -> None:
    x = kuai.tensor([[[[0, 255]]]], dtype=kuai.uint8)
    result = F.interpolate(x, size=(1, 4), mode="bilinear")
    assert result.dtype is kuai.uint8
    assert result.tolist() == [[[[0, 64, 191, 255]]]]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, ValueError),
        ({"size": 3, "scale_factor": 2.0}, ValueError),
        ({"size": (3, 3, 3)}, ValueError),
        ({"scale_factor": 2.0, "align_corners": True}, ValueError),
        ({"size": 3, "mode": "linear"}, NotImplementedError),
        ({"size": 3, "mode": "unknown"}, NotImplementedError),
        ({"size": 3, "antialias": True}, ValueError),
        ({"size": 0}, RuntimeError),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        F.interpolate(kuai.rand(1, 1, 2, 2), **options)
