"""`nn.init`: what each function fills a tensor with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.nn import init


@pytest.fixture(autouse=True)
def seed() -> None:
    kuai.manual_seed(0)


@pytest.mark.parametrize(
    ("function", "deviation"),
    [
        (lambda t: init.uniform_(t, -3, 3), math.sqrt(3)),
        (lambda t: init.normal_(t, 0.0, 2.0), 2.0),
        (lambda t: init.xavier_uniform_(t, 2.0), 2 * math.sqrt(2 / 500)),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / 500)),
        (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), 1 / math.sqrt(3 * 200)),
        (lambda t: init.kaiming_normal_(t, nonlinearity="relu"), math.sqrt(2 / 200)),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="tanh"), 5 / 3 / 300**0.5),
    ],
)
def test_random_values_have_the_deviation_that_the_rule_gives(
    function: Callable[[Any], Any], deviation: float
) -> None:
    weight = kuai.empty(300, 200)
    assert function(weight) is weight
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(weight.mean().item()) < 0.03 * deviation


def test_fans_of_a_convolution_count_its_receptive_field() -> None:
    weight = init.kaiming_uniform_(kuai.empty(64, 32, 3, 3), nonlinearity="linear")
    bound = math.sqrt(3 / (32 * 9))
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(("a", "b"), [(-2.0, 2.0), (-0.1, 0.1), (1.0, 3.0)])
def test_truncated_normal_numbers_lie_within_the_bounds(a: float, b: float) -> None:
    weight = init.trunc_normal_(kuai.empty(200, 50), 0.0, 1.0, a, b)
    assert a <= weight.min().item() <= weight.max().item() <= b
    assert weight.unique().numel() > 9000


def test_a_truncated_normal_far_from_its_mean_warns() -> None:
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(kuai.empty(3), 0.0, 1.0, 3.0, 4.0)


def test_constants_and_identities() -> None:
    assert init.constant_(kuai.empty(2, 2), 0.5).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert init.ones_(kuai.empty(2)).tolist() == [1, 1]
    assert init.zeros_(kuai.ones(2)).tolist() == [0, 0]
    assert init.eye_(kuai.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_kernels_leave_channels_as_they_are(groups: int) -> None:
    weight = init.dirac_(kuai.empty(4, 2, 3, 3), groups)
    assert weight.sum().item() == min(4 // groups, 2) * groups
    assert all(weight[g * (4 // groups), 0, 1, 1].item() == 1 for g in range(groups))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    weight = init.orthogonal_(kuai.empty(shape, dtype=kuai.float64), gain=2.0)
    flat = weight.reshape(shape[0], -1)
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    assert (product - 4 * kuai.eye(product.shape[0], dtype=kuai.float64)).abs().max() < 1e-12


def test_sparse_columns_hold_as_many_zeros_as_asked_for() -> None:
    weight = init.sparse_(kuai.empty(10, 4), sparsity=0.25)
    assert (weight == 0).sum(0).tolist() == [3, 3, 3, 3]


def test_initialisation_is_not_recorded_and_keeps_the_parameter() -> None:
    weight = nn.Parameter(kuai.empty(3, 3))
    init.xavier_uniform_(weight)
    assert weight.requires_grad
    assert weight.is_leaf


def test_a_generator_makes_the_values_repeatable() -> None:
    first, second = (
        init.normal_(kuai.empty(5), generator=kuai.Generator().manual_seed(3)) for _ in range(2)
    )
    assert first.tolist() == second.tolist()


def test_old_names_warn_and_work() -> None:
    with pytest.warns(FutureWarning, match=r"nn.init.xavier_uniform. is now deprecated"):
        init.xavier_uniform(kuai.empty(2, 2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: init.xavier_uniform_(kuai.empty(3)),
        lambda: init.kaiming_normal_(kuai.empty(3, 3), mode="fan"),
        lambda: init.calculate_gain("softmax"),
        lambda: init.calculate_gain("leaky_relu", True),
        lambda: init.eye_(kuai.empty(3)),
        lambda: init.dirac_(kuai.empty(3, 3)),
        lambda: init.dirac_(kuai.empty(3, 3, 3), 2),
        lambda: init.orthogonal_(kuai.empty(3)),
        lambda: init.sparse_(kuai.empty(3), 0.5),
    ],
)
def test_what_cannot_be_initialised_is_a_value_error(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError):
        call()
