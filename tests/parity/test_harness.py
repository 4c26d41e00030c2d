"""The comparison itself: PyTorch agrees with PyTorch, and what differs is found."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tests.parity.blocks import BLOCKS, run_block  # noqa: E402
from tests.parity.compare import Mismatch, assert_same, tolerances  # noqa: E402
from tests.parity.convert import Converter, Excluded  # noqa: E402
from tests.parity.operators import OPERATORS, Case  # noqa: E402


@pytest.mark.parametrize(
    "name", ["add", "max", "linalg.norm", "nn.functional.dropout", "normal", "__getitem__", "to"]
)
def test_pytorch_agrees_with_itself(name: str) -> None:
    for op in OPERATORS[name]:
        result = Case(op, torch).run(torch.float64, 20)
        for count in (result.forward, result.gradient, result.second, result.out):
            assert count.passed == count.total, count.reason
        assert result.forward.total > 0


def test_a_block_of_pytorch_agrees_with_itself() -> None:
    result = run_block(BLOCKS["nn.Linear"], torch, torch.float32)
    assert result.forward.passed == result.forward.total > 0
    assert result.gradient.passed == result.gradient.total > 0


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.ones(2), torch.ones(3)),
        (torch.ones(2), torch.ones(2, dtype=torch.float64)),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        ((torch.ones(2),), [torch.ones(2)]),
        ((torch.ones(2),), (torch.ones(2), torch.ones(2))),
        ((torch.ones(2), torch.zeros(2)), torch.max(torch.ones(2, 2), 0)),
        (1, 1.0),
        (1.0, torch.tensor(1.0)),
        (torch.float32, torch.float64),
    ],
)
def test_a_difference_is_found(actual: object, expected: object) -> None:
    with pytest.raises(Mismatch):
        assert_same(actual, expected, tolerances())


def test_conversion_keeps_strides_offsets_and_shared_memory() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    part = base[1:, ::2].T
    whole, copy = Converter(torch)((base, part))
    assert copy.stride() == part.stride()
    assert torch.equal(copy, part)
    whole.zero_()
    assert copy.abs().sum() == 0
    assert base.sum() > 0


def test_conversion_refuses_what_kuai_leaves_out() -> None:
    for value in (torch.ones(2, dtype=torch.complex64), 1j, torch.eye(2).to_sparse()):
        with pytest.raises(Excluded):
            Converter(torch)(value)
