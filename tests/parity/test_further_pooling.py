"""Pooling that PyTorch's samples leave to chance, or do not show whole, against PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.compare import assert_same, tolerances  # noqa: E402
from tests.parity.convert import Converter  # noqa: E402


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("n", [2, 3])
def test_fractional_windows_begin_where_the_samples_say(n: int, compiled: bool) -> None:
    torch.manual_seed(0)
    x, samples = torch.randn(2, 3, *(7, 9, 8)[:n]), torch.rand(2, 3, n)
    convert = Converter(kuai)

    def pooled(library: Any, x: Any, samples: Any) -> Any:
        function = getattr(library.nn.functional, f"fractional_max_pool{n}d")
        return function(x, 2, (3, 4, 5)[:n], return_indices=True, _random_samples=samples)

    def ours(x: Any, samples: Any) -> Any:
        return pooled(kuai, x, samples)

    expected = pooled(torch, x, samples)
    actual = (kuai.compile(ours) if compiled else ours)(convert(x), convert(samples))
    assert_same(actual, expected, tolerances())


def test_what_was_pooled_goes_back_where_it_was() -> None:
    x = kuai.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    values, indices = kuai.nn.functional.max_pool2d(x, 2, return_indices=True)
    back = kuai.nn.MaxUnpool2d(2)(values, indices)
    assert back.tolist() == [[[[0] * 4, [0, 6, 0, 8], [0] * 4, [0, 14, 0, 16]]]]


def test_a_position_outside_is_refused_eagerly_and_compiled() -> None:
    def unpooled(x: Any, places: Any) -> Any:
        return kuai.nn.functional.max_unpool1d(x, places, 2)

    for function in (unpooled, kuai.compile(unpooled)):
        with pytest.raises(RuntimeError, match="invalid max index"):
            function(kuai.rand(1, 2), kuai.tensor([[0, 4]]))
    with pytest.raises(ValueError, match="output_size"):
        kuai.nn.functional.max_unpool1d(kuai.rand(1, 2), kuai.tensor([[0, 2]]), 2, output_size=[7])
