"""Programs written for PyTorch compute the same with kuai in its place.

What a program gives to `torch.compile` runs as plain Python in PyTorch and in the first test of
kuai, and compiled whole in the second.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.compare import assert_same, tolerances  # noqa: E402
from tests.parity.programs import PROGRAMS, Program  # noqa: E402

COMPILED = [name for name, p in PROGRAMS.items() if "torch.compile" in inspect.getsource(p)]


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """What stands in for `compile` where nothing is to be compiled."""
    return function


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


@pytest.fixture(autouse=True)
def pytorch_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", as_it_is)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_computes_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuai, "compile", as_it_is)
    assert_same(outcome(PROGRAMS[name], kuai), outcome(PROGRAMS[name], torch), tolerances())


@pytest.mark.parametrize("name", COMPILED)
def test_the_program_computes_the_same_compiled(name: str) -> None:
    assert_same(outcome(PROGRAMS[name], kuai), outcome(PROGRAMS[name], torch), tolerances())
