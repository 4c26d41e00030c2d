"""Images taken apart into windows and put together, and images sampled on grids."""

from __future__ import annotations

from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.nn import functional as F

GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (0, 2), "stride": (1, 3)},
]


def test_a_column_is_a_window() -> None:
    x = kuai.arange(12.0).reshape(1, 1, 3, 4)
    columns = nn.Unfold(2)(x)
    assert columns.shape == (1, 4, 6)
    assert columns[0, :, 0].tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_folding_is_the_transpose_of_unfolding(geometry: dict[str, Any]) -> None:
    x = kuai.rand(2, 3, 6, 7, dtype=kuai.float64)
    columns = F.unfold(x, **geometry)
    y = kuai.rand_like(columns)
    folded = F.fold(y, (6, 7), **geometry)
    kuai.testing.assert_close((columns * y).sum(), (x * folded).sum())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_program_folds_as_eager_does_and_so_does_its_gradient(geometry: dict[str, Any]) -> None:
    def there_and_back(x: Any) -> Any:
        return F.fold(F.unfold(x, **geometry) ** 2, (6, 7), **geometry)

    x = kuai.rand(2, 3, 6, 7, requires_grad=True)
    expected = there_and_back(x)
    actual = kuai.compile(there_and_back)(x)
    kuai.testing.assert_close(actual, expected)
    (wanted,) = kuai.autograd.grad(expected.sum(), x)
    (found,) = kuai.autograd.grad(actual.sum(), x)
    kuai.testing.assert_close(found, wanted)


def test_one_image_needs_no_batch_dimension() -> None:
    x = kuai.rand(2, 4, 4)
    columns = F.unfold(x, 2)
    assert columns.shape == (8, 9)
    assert F.fold(columns, 4, 2).shape == (2, 4, 4)


def test_what_has_no_windows_is_refused() -> None:
    with pytest.raises(RuntimeError):
        F.unfold(kuai.rand(1, 1, 2, 2), 3)
    with pytest.raises(RuntimeError):
        F.unfold(kuai.rand(2, 2), 1)
    with pytest.raises(RuntimeError, match="divisible"):
        F.fold(kuai.rand(1, 3, 4), 3, 2)
    with pytest.raises(RuntimeError, match="sliding blocks"):
        F.fold(kuai.rand(1, 4, 5), 3, 2)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_identity_maps_an_image_to_itself(align_corners: bool) -> None:
    x = kuai.rand(2, 3, 4, 5)
    theta = kuai.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(2, 2, 3)
    grid = F.affine_grid(theta, (2, 3, 4, 5), align_corners=align_corners)
    kuai.testing.assert_close(F.grid_sample(x, grid, align_corners=align_corners), x)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_points_of_a_grid_have_the_gradient_of_finite_differences(mode: str, padding: str) -> None:
    kuai.manual_seed(3)
    x = kuai.rand(1, 2, 4, 5, dtype=kuai.float64, requires_grad=True)
    grid = (kuai.rand(1, 3, 3, 2, dtype=kuai.float64) * 2.4 - 1.2).requires_grad_()

    def sampled(x: Any, grid: Any) -> Any:
        return F.grid_sample(x, grid, mode, padding, align_corners=False)

    assert kuai.autograd.gradcheck(sampled, (x, grid))


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RuntimeError, match="batch size"):
        F.grid_sample(kuai.rand(2, 1, 3, 3), kuai.rand(1, 2, 2, 2), align_corners=False)
    with pytest.raises(ValueError, match="padding_mode"):
        F.grid_sample(
            kuai.rand(1, 1, 3, 3), kuai.rand(1, 2, 2, 2), padding_mode="wrap", align_corners=False
        )
