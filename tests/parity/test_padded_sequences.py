"""Sequences of different lengths are padded as PyTorch pads them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from kuai.errors import CompileError  # noqa: E402
from tests.parity.compare import assert_same, tolerances  # noqa: E402
from tests.parity.convert import Converter  # noqa: E402


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


LENGTHS = [2, 5, 4]


def through_a_network(library: ModuleType, network: Any, x: Any, compiled: bool = False) -> Any:
    """Outputs, last states and gradients of a network over sequences that are packed."""
    rnn = library.nn.utils.rnn
    batch_first = network.batch_first

    def run(x: Any) -> Any:
        packed = rnn.pack_padded_sequence(x, LENGTHS, batch_first, enforce_sorted=False)
        output, last = network(packed)
        padded, _ = rnn.pad_packed_sequence(output, batch_first, total_length=6)
        return padded, *(last if isinstance(last, tuple) else (last,))

    results = (kuai.compile(run) if compiled else run)(x)
    sum((r**2).sum() for r in results).backward()
    return [*(r.detach() for r in results), x.grad, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "batch_first": True}])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_network_over_packed_sequences_is_pytorchs(
    kind: str, options: dict[str, Any], compiled: bool
) -> None:
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(3, 4, 2, **options).double()
    ours = getattr(kuai.nn, kind)(3, 4, 2, **options).double()
    convert = Converter(kuai)
    ours.load_state_dict(convert(dict(theirs.state_dict())))
    x = torch.randn(3, 5, 3) if theirs.batch_first else torch.randn(5, 3, 3)
    x = x.double().requires_grad_()
    expected = through_a_network(torch, theirs, x)
    actual = through_a_network(kuai, ours, convert(x.detach()).requires_grad_(), compiled)
    for mine, other in zip(actual, expected, strict=True):
        assert_same(mine, other, tolerances())


def test_packed_rows_are_those_of_pytorch() -> None:
    x = torch.arange(30.0).reshape(5, 3, 2)
    expected = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    actual = kuai.nn.utils.rnn.pack_padded_sequence(
        Converter(kuai)(x), kuai.tensor(LENGTHS), enforce_sorted=False
    )
    for mine, other in zip(actual, expected, strict=True):
        assert_same(mine, other, tolerances())
    padded, lengths = kuai.nn.utils.rnn.pad_packed_sequence(actual, padding_value=-1.0)
    back, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, padding_value=-1.0)
    assert padded.tolist() == back.tolist()
    assert lengths.tolist() == LENGTHS


def test_a_state_that_is_given_belongs_to_its_sequence() -> None:
    network = kuai.nn.GRU(2, 3)
    rows = [kuai.randn(n, 2) for n in (1, 3)]
    h = kuai.randn(1, 2, 3)
    _, last = network(kuai.nn.utils.rnn.pack_sequence(rows, enforce_sorted=False), h)
    for i, row in enumerate(rows):
        _, alone = network(row, h[:, i])
        kuai.testing.assert_close(last[:, i], alone)


def test_sequences_come_out_as_they_were_packed() -> None:
    rows = [kuai.randn(n, 2) for n in (3, 1, 2)]
    rnn = kuai.nn.utils.rnn
    for row, back in zip(rows, rnn.unpack_sequence(rnn.pack_sequence(rows, False)), strict=True):
        assert back.tolist() == row.tolist()


@pytest.mark.parametrize("lengths", [[1, 2], [2, 0], [2]])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(RuntimeError):
        kuai.nn.utils.rnn.pack_padded_sequence(kuai.rand(3, 2), lengths)


def test_a_program_wants_lengths_as_numbers() -> None:
    def packed(x: Any, lengths: Any) -> Any:
        return kuai.nn.utils.rnn.pack_padded_sequence(x, lengths).data

    with pytest.raises(CompileError, match="list of ints"):
        kuai.compile(packed)(kuai.rand(3, 2), kuai.tensor([3, 1]))
