"""Programs written for PyTorch compute the same with kuai in its place."""

from __future__ import annotations

import re
import warnings
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.compare import assert_same, tolerances  # noqa: E402
from tests.parity.programs import PROGRAMS, Program  # noqa: E402


def outcome(program: Program, library: ModuleType) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return renamed(program(library))


def renamed(value: Any) -> Any:
    """The value with PyTorch's name for kuai's in every text."""
    if isinstance(value, str):
        return re.sub(r"\bkuai\b", "torch", value)
    if type(value) in (list, tuple):
        return type(value)(map(renamed, value))
    return value


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_computes_the_same(name: str) -> None:
    assert_same(outcome(PROGRAMS[name], kuai), outcome(PROGRAMS[name], torch), tolerances())
