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
from kuai.compiler.run.compile import compile as _compile
from kuai.errors import CompileError
from tests.parity.operators import OPERATORS, Case, dtypes_of, full_name
from tests.parity.supported import OPERATORS as SUPPORTED

# Operators that no program can be made of: the shape of the result, or a Python value, depends on
# the values of tensors.
REFUSED = frozenset(
    """
    nonzero argwhere masked_select unique unique_consecutive item bincount
    repeat_interleave
    """.split()
)
# Those of which that holds for some samples.
PARTLY_REFUSED = frozenset(
    {
        "as_strided|partial_views",  # memory around the argument is shown
        "index_put",  # with masks
        "linalg.pinv",  # with tolerances given as tensors
        "nn.functional.one_hot",  # without a number of classes
        "tensor_split",  # at places given as a tensor
    }
)


class CompiledCase(Case):
    """One operator of kuai, compiled.

    Attributes:
        refused: how many samples ended in a CompileError, where that is as it should be.
    """

    def __init__(self, op: OpInfo, target: types.ModuleType = kuai) -> None:
        super().__init__(op, target)
        self.refused = 0

    def function(self) -> Callable[..., Any]:
        """The operator, compiled."""
        return self._noting(_compile(super().function()))

    def _noting(self, compiled: Callable[..., Any]) -> Callable[..., Any]:
        if full_name(self.op) not in PARTLY_REFUSED:
            return compiled

        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return compiled(*args, **kwargs)
            except CompileError:
                self.refused += 1
                return super(CompiledCase, self).function()(*args, **kwargs)

        return run

    def variants(self) -> Iterator[tuple[str, Callable[..., Any], bool]]:
        """None: methods and in-place forms are the same programs."""
        return iter(())

    def out_failure(self, *args: Any) -> str | None:
        """None: `out=` says nothing about a program."""
        return None


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
    refused = 0
    for name in arguments.op or SUPPORTED:
        if name in REFUSED:
            continue
        for op in OPERATORS[name]:
            if dtype not in dtypes_of(op, (dtype,)):
                continue
            case = CompiledCase(op)
            result = case.run(dtype, arguments.limit)
            refused += case.refused
            for kind, total in totals.items():
                count = getattr(result, kind)
                total[0] += count.passed
                total[1] += count.total
                if count.passed < count.total and arguments.failures:
                    reason = count.reason[:200]
                    print(f"{full_name(op)} {kind}: {count.passed}/{count.total} {reason}")
    for kind, (passed, total) in totals.items():
        print(f"{kind}: {passed} of {total}")
    print(f"refused: {refused}")


__all__ = ["PARTLY_REFUSED", "REFUSED", "CompiledCase"]

if __name__ == "__main__":
    main()
