"""Runs PyTorch's samples of an operator through `kuai.compile`.

python -m tests.parity.compiled --op softmax --failures
"""

from __future__ import annotations

import argparse
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.testing._internal.opinfo.core import OpInfo

import kuai
from kuai import compile as _compile
from kuai.errors import CompileError
from tests.parity.operators import OPERATORS, Case, Result, dtypes_of, full_name
from tests.parity.supported import OPERATORS as SUPPORTED

# Operators that no program can be made of: the shape of the result, or a Python value, depends on
# the values of tensors.
REFUSED = frozenset(
    """
    nonzero argwhere masked_select unique unique_consecutive item equal allclose bincount histc
    combinations repeat_interleave linalg.lstsq linalg.matrix_rank
    """.split()
)


class CompiledCase(Case):
    """One operator of kuai, compiled."""

    def __init__(self, op: OpInfo, target: types.ModuleType = kuai) -> None:
        super().__init__(op, target)
        self.refused = 0

    def function(self) -> Callable[..., Any]:
        return _compile(super().function())

    def variants(self) -> Iterator[tuple[str, Callable[..., Any], bool]]:
        return iter(())

    def run(self, dtype: torch.dtype, limit: int | None = None, second: bool = False) -> Result:
        """The samples of a dtype, without `out=`, which says nothing about a program."""
        return super().run(dtype, limit, second)


def main() -> None:
    """Print how many samples pass, operator by operator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--op", action="append", default=[])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--failures", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    dtype = getattr(torch, arguments.dtype)
    totals = {"forward": [0, 0], "gradient": [0, 0]}
    for name in arguments.op or SUPPORTED:
        if name in REFUSED:
            continue
        for op in OPERATORS[name]:
            if dtype not in dtypes_of(op, (dtype,)):
                continue
            result = CompiledCase(op).run(dtype, arguments.limit)
            for kind, total in totals.items():
                count = getattr(result, kind)
                total[0] += count.passed
                total[1] += count.total
                if count.passed < count.total and arguments.failures:
                    reason = count.reason[:200]
                    print(f"{full_name(op)} {kind}: {count.passed}/{count.total} {reason}")
    for kind, (passed, total) in totals.items():
        print(f"{kind}: {passed} of {total}")


__all__ = ["REFUSED", "CompileError", "CompiledCase"]

if __name__ == "__main__":
    main()
