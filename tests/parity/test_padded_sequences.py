"""Sequences of different lengths are padded as PyTorch pads them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402


def padded(library: ModuleType, **options: Any) -> Any:
    rows = [library.arange(2.0 * n).view(n, 2) for n in (2, 4, 1)]
    return library.nn.utils.rnn.pad_sequence(rows, **options).tolist()


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_first": True, "padding_value": -1.0}, {"padding_side": "left"}],
)
def test_padding_is_pytorchs(options: dict[str, Any]) -> None:
    assert padded(kuai, **options) == padded(torch, **options)


@pytest.mark.parametrize("batch_first", [True, False])
def test_unpadding_gives_the_sequences_back(batch_first: bool) -> None:
    rows = [kuai.arange(float(n)) for n in (3, 1, 2)]
    rnn = kuai.nn.utils.rnn
    stacked = rnn.pad_sequence(rows, batch_first=batch_first)
    lengths = kuai.tensor([3, 1, 2])
    for row, back in zip(rows, rnn.unpad_sequence(stacked, lengths, batch_first), strict=True):
        assert back.tolist() == row.tolist()


def test_padding_carries_gradients() -> None:
    row = kuai.ones(2, requires_grad=True)
    kuai.nn.utils.rnn.pad_sequence([row, kuai.ones(4)]).sum().backward()
    assert row.grad is not None
    assert row.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sequences", [[], 3])
def test_what_cannot_be_padded_is_refused(sequences: Any) -> None:
    with pytest.raises(RuntimeError):
        kuai.nn.utils.rnn.pad_sequence(sequences)
