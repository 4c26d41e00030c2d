"""Every operator that kuai claims to have passes PyTorch's own samples of it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.operators import OPERATORS, Case, dtypes_of, full_name  # noqa: E402
from tests.parity.supported import OPERATORS as SUPPORTED  # noqa: E402

# Samples of one operator and dtype; the report runs all of them.
LIMIT = 40

CASES = [
    pytest.param(op, dtype, id=f"{full_name(op)}-{str(dtype)[6:]}")
    for name in SUPPORTED
    for op in OPERATORS.get(name, ())
    for dtype in dtypes_of(op)
]


@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_the_operator_agrees_with_pytorch(
    op: torch.testing._internal.opinfo.core.OpInfo, dtype: torch.dtype
) -> None:
    result = Case(op, kuai).run(dtype, LIMIT)
    for count in (result.forward, result.gradient, result.second, result.out):
        assert count.passed == count.total, f"{count.passed}/{count.total}: {count.reason}"


def test_every_supported_operator_is_in_the_data_base() -> None:
    assert [name for name in SUPPORTED if name not in OPERATORS] == []


def test_no_operator_is_listed_twice() -> None:
    assert len(set(SUPPORTED)) == len(SUPPORTED)
