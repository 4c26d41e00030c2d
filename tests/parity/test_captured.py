"""Every operator can be captured, with its derivatives, where no shape depends on a value."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

from kuai.errors import CompileError  # noqa: E402
from tests.parity.captured import Excluded, compare, samples  # noqa: E402
from tests.parity.operators import OPERATORS, dtypes_of, full_name  # noqa: E402
from tests.parity.supported import OPERATORS as SUPPORTED  # noqa: E402
from tests.parity.supported import UNINITIALISED  # noqa: E402

# Samples of one operator and dtype.
LIMIT = 2

# What needs values: for the shape of a result, or because it gives or takes Python numbers.
NEEDS_VALUES = {
    "argwhere",
    "bincount",
    "index_put",  # with masks
    "item",
    "linalg.pinv",  # with tolerances given as tensors
    "masked_select",
    "nn.functional.one_hot",  # without a number of classes
    "nonzero",
    "repeat_interleave",
    "tensor_split",
    "unique",
    "unique_consecutive",
}
# A captured argument is thought of as contiguous.
LOOKS_AT_MEMORY = {"as_strided|partial_views"}

CASES = [
    pytest.param(op, dtype, id=f"{full_name(op)}-{str(dtype)[6:]}")
    for name in SUPPORTED
    for op in OPERATORS.get(name, ())
    for dtype in dtypes_of(op, (torch.float64, torch.int64))
    if name not in UNINITIALISED and full_name(op) not in LOOKS_AT_MEMORY
]


@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_a_captured_operator_computes_what_it_does_eagerly(
    op: torch.testing._internal.opinfo.core.OpInfo, dtype: torch.dtype
) -> None:
    for sample in samples(op, dtype, LIMIT):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                difference = compare(op, sample, order=2 if dtype.is_floating_point else 0)
        except Excluded:
            continue
        except CompileError:
            assert full_name(op) in NEEDS_VALUES
        else:
            assert difference is None
