"""Every operator, compiled, passes PyTorch's own samples of it, or is refused for what it is."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from kuai.errors import CompileError  # noqa: E402
from tests.parity.blocks import BLOCKS, run_block  # noqa: E402
from tests.parity.compiled import PARTLY_REFUSED, REFUSED, CompiledCase  # noqa: E402
from tests.parity.convert import Converter, Excluded  # noqa: E402
from tests.parity.operators import (  # noqa: E402
    OPERATORS,
    Case,
    dtypes_of,
    full_name,
    samples_of,
)
from tests.parity.supported import MODULES  # noqa: E402
from tests.parity.supported import OPERATORS as SUPPORTED  # noqa: E402

# Samples of one operator and dtype; `python -m tests.parity.compiled` runs more.
LIMITS = {torch.float32: 2, torch.float64: 1, torch.int64: 1, torch.bool: 1}

CASES = [
    pytest.param(op, dtype, id=f"{full_name(op)}-{str(dtype)[6:]}")
    for name in SUPPORTED
    for op in OPERATORS.get(name, ())
    for dtype in dtypes_of(op, tuple(LIMITS))
    if name not in REFUSED
]


@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_the_compiled_operator_agrees_with_pytorch(
    op: torch.testing._internal.opinfo.core.OpInfo, dtype: torch.dtype
) -> None:
    case = CompiledCase(op)
    result = case.run(dtype, LIMITS[dtype])
    for count in (result.forward, result.gradient):
        assert count.passed == count.total, f"{count.passed}/{count.total}: {count.reason}"


@pytest.mark.parametrize("name", sorted(REFUSED | PARTLY_REFUSED))
def test_what_depends_on_values_is_refused(name: str) -> None:
    op = next(op for ops in OPERATORS.values() for op in ops if name in (op.name, full_name(op)))
    refused = 0
    for dtype in dtypes_of(op, (torch.float32, torch.int64)):
        for sample in samples_of(op, dtype, False, 12):
            try:
                value, args, kwargs = Converter(kuai)((sample.input, sample.args, sample.kwargs))
            except Excluded:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    kuai.compile(Case(op, kuai).function())(value, *args, **kwargs)
                except CompileError:
                    refused += 1
    assert refused > 0


BLOCK_CASES = [name for name in MODULES if torch.float32 in BLOCKS[name].dtypes]


@pytest.mark.parametrize("name", BLOCK_CASES)
def test_the_compiled_block_agrees_with_pytorch(name: str) -> None:
    result = run_block(BLOCKS[name], kuai, torch.float32, 3, kuai.compile)
    assert result.forward.total > 0
    for count in (result.forward, result.gradient):
        assert count.passed == count.total, f"{count.passed}/{count.total}: {count.reason}"
