"""`kuai.testing.assert_close` says what differs, where, and by how much; `kuai.random` forks."""

from __future__ import annotations

from typing import Any

import pytest

import kuai
from kuai.testing import assert_allclose, assert_close, make_tensor

NAN = float("nan")
PAIRS: dict[str, tuple[Any, Any, str]] = {
    "numbers apart": (
        kuai.ones(2, 3),
        kuai.tensor([[1.0, 1.001, 1.0], [1.0, 1.0, 1.0]]),
        r"Mismatched elements: 1 / 6 \(16.7%\)\nGreatest absolute difference: .* at index \(0, 1\) "
        r"\(up to 1e-05 allowed\)",
    ),
    "shapes": (kuai.ones(2), kuai.ones(3), "attribute 'shape' do not match"),
    "types": (kuai.ones(2), kuai.ones(2).double(), "attribute 'dtype' do not match"),
    "whole numbers": (kuai.tensor([1, 2]), kuai.tensor([1, 3]), "not equal!"),
    "NaN": (kuai.tensor([NAN]), kuai.tensor([NAN]), "not close"),
    "lengths": ([1.0, 2.0], [1.0], "length of the sequences mismatch: 2 != 1"),
    "items": ([1.0, 2], [1.0, 3], r"(?s)Expected 3 but got 2.*item \[1\]"),
    "nested items": (
        {"a": [kuai.ones(1)]},
        {"a": [kuai.zeros(1)]},
        r"(?s)Greatest relative difference: inf.*item \['a'\]\[0\]",
    ),
    "keys": ({"a": 1}, {"b": 1}, r"Missing keys in the actual mapping: \['b'\]"),
    "kinds of numbers": (1, 1.0, "types do not match"),
    "bools": (True, False, "Booleans mismatch"),
    "None": (None, 1, "None mismatch"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_is_told(name: str) -> None:
    actual, expected, message = PAIRS[name]
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected)


def test_what_is_close_passes() -> None:
    assert_close(kuai.ones(2), kuai.ones(2) + 1e-7)
    assert_close({"x": [1.0, kuai.tensor(2)]}, {"x": [1.0, kuai.tensor(2)]})
    assert_close(kuai.tensor([NAN]), kuai.tensor([NAN]), equal_nan=True)
    assert_close(kuai.ones(2).double(), kuai.ones(2), check_dtype=False)
    assert_close(kuai.tensor([float("inf")]), kuai.tensor([float("inf")]))
    assert_allclose([1.0, 2.0], kuai.tensor([1.0, 2.0]))


def test_tolerances_come_in_pairs_and_kinds_must_fit() -> None:
    with pytest.raises(ValueError, match="got no atol"):
        assert_close(1.0, 1.0, rtol=0.1)
    with pytest.raises(TypeError, match="No comparison pair"):
        assert_close("a", "a")
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_close(1, 2, msg="mine")
    with pytest.raises(AssertionError, match=r"^X Scalars"):
        assert_close(1, 2, msg=lambda text: "X " + text)


def test_tensors_for_tests_are_as_asked() -> None:
    x = make_tensor(3, 4, dtype=kuai.float32, low=1, high=2, requires_grad=True)
    assert x.shape == (3, 4)
    assert x.requires_grad
    assert ((x >= 1) & (x <= 2)).all()
    y = make_tensor((3, 4), dtype=kuai.int64, exclude_zero=True, noncontiguous=True)
    assert not y.is_contiguous()
    assert (y != 0).all()


def test_a_forked_stream_goes_on_where_it_was() -> None:
    kuai.random.manual_seed(3)
    expected = kuai.rand(2)
    kuai.random.manual_seed(3)
    with kuai.random.fork_rng():
        kuai.rand(100)
    assert_close(kuai.rand(2), expected)
    with kuai.random.fork_rng(enabled=False):
        kuai.rand(1)
    assert kuai.random.initial_seed() == 3
