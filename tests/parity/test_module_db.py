"""Every block that kuai claims to have passes PyTorch's own samples of it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.blocks import BLOCKS, run_block  # noqa: E402
from tests.parity.supported import MODULES  # noqa: E402

CASES = [
    pytest.param(name, dtype, id=f"{name}-{str(dtype)[6:]}")
    for name in MODULES
    for dtype in (torch.float32, torch.float64)
    if dtype in BLOCKS[name].dtypes
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_the_block_agrees_with_pytorch(name: str, dtype: torch.dtype) -> None:
    result = run_block(BLOCKS[name], kuai, dtype)
    assert result.forward.total > 0
    for count in (result.forward, result.gradient):
        assert count.passed == count.total, f"{count.passed}/{count.total}: {count.reason}"
