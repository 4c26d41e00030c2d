"""Results of small integers and of 16-bit floats have the types and the digits that PyTorch has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kuai

HALF = kuai.tensor([[1.5, -2.0], [0.5, 3.0]], dtype=kuai.float16)


@pytest.mark.parametrize("dtype", [kuai.uint8, kuai.int8, kuai.int16, kuai.int32])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: kuai.prod(x, 0, dtype=x.dtype),
        lambda x: kuai.sum(x, 0, dtype=x.dtype),
        lambda x: kuai.cumsum(x, 0, dtype=x.dtype),
        lambda x: kuai.cumprod(x, 0, dtype=x.dtype),
        lambda x: kuai.addbmm(x, x.unsqueeze(0), x.unsqueeze(0)),
        lambda x: kuai.tensordot(x[:1], x, ([0], [0])),
        lambda x: kuai.nn.functional.bilinear(x, x, kuai.ones(3, 2, 2, dtype=x.dtype)),
    ],
    ids=["prod", "sum", "cumsum", "cumprod", "addbmm", "tensordot", "bilinear"],
)
def test_small_integers_stay_what_they_are(
    function: Callable[[Any], Any], dtype: kuai.dtype
) -> None:
    assert function(kuai.tensor([[1, 2], [3, 4]], dtype=dtype)).dtype is dtype


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum_to_size(1, 2),
        lambda x: kuai.einsum("ij->i", x),
        lambda x: kuai.unravel_index(x, (5,))[0],
        lambda x: kuai.linalg.vander(x),
    ],
    ids=["sum_to_size", "einsum", "unravel_index", "vander"],
)
def test_small_integers_are_counted_in_int64(function: Callable[[Any], Any]) -> None:
    assert function(kuai.tensor([[1, 2], [3, 4]], dtype=kuai.uint8)).dtype is kuai.int64


@pytest.mark.parametrize(
    "function",
    [
        lambda x: kuai.copysign(x, -x),
        lambda x: kuai.logaddexp(x, x * 2),
        lambda x: kuai.frexp(x)[0],
        lambda x: kuai.matrix_exp(x),
        lambda x: kuai.linalg.vector_norm(x, 3),
    ],
    ids=["copysign", "logaddexp", "frexp", "matrix_exp", "vector_norm"],
)
def test_a_gradient_has_the_type_of_its_tensor(function: Callable[[Any], Any]) -> None:
    x = HALF.clone().requires_grad_()
    function(x).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is kuai.float16


def test_powers_of_a_norm_do_not_leave_the_range_of_half_precision() -> None:
    x = kuai.tensor([6.0, 8.0], dtype=kuai.float16)
    assert kuai.linalg.vector_norm(x, 8).item() == pytest.approx((6**8 + 8**8) ** (1 / 8), 1e-3)


def test_running_sums_of_half_precision_are_carried_on_in_single_precision() -> None:
    x = kuai.full((4096,), 1.0, dtype=kuai.float16)
    x[0] = 2048.0
    assert kuai.cumsum(x, 0)[-1].item() == 2048 + 4095 + 1  # rounded to what the type has
    assert kuai.compile(kuai.cumsum)(x, 0)[-1].item() == 2048 + 4095 + 1


@pytest.mark.parametrize(("value", "kept"), [(-9, 247), (255, 255), (1.5, 1)])
def test_a_negative_number_counts_from_the_end_of_an_unsigned_type(value: float, kept: int) -> None:
    assert kuai.full((2,), value, dtype=kuai.uint8).tolist() == [kept, kept]


def test_a_number_that_the_type_has_not_is_refused() -> None:
    with pytest.raises(RuntimeError, match="overflow"):
        kuai.full((2,), 300, dtype=kuai.uint8)
