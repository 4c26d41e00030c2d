"""Small PyTorch programs, each a function of the module `torch`.

A program gets PyTorch or kuai as its argument and returns what it computed: tensors, numbers,
strings, and tuples, lists and dicts of them. Data and weights are drawn by NumPy, so that both
libraries start from the same numbers.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np

Program = Callable[[types.ModuleType], Any]

PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    """Puts a program on the list."""
    PROGRAMS[function.__name__] = function
    return function


def data(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed numbers in float64."""
    return np.random.default_rng(seed).standard_normal(shape)


def fill(torch: types.ModuleType, module: Any, seed: int = 0) -> Any:
    """Gives a module's parameters the same values in either library, and float64."""
    rng = np.random.default_rng(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            values = np.asarray(rng.standard_normal(tuple(parameter.shape)) * 0.3)
            parameter.copy_(torch.from_numpy(values))
    return module


_CLASSES = (
    FileNotFoundError,
    NameError,
    ZeroDivisionError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    NotImplementedError,
    AssertionError,
    RuntimeError,
)


def raised(action: Callable[[], Any]) -> str:
    """The name of the built-in class of the exception that `action` raises, or `nothing`."""
    try:
        action()
    except _CLASSES as error:
        return next(kind.__name__ for kind in _CLASSES if isinstance(error, kind))
    return "nothing"


for _part in (
    "acting",
    "autograd",
    "chapters",
    "derivatives",
    "errors",
    "generative",
    "indexing",
    "learning",
    "loading",
    "mistakes",
    "modules",
    "practice",
    "printing",
    "residual",
    "science",
    "sequences",
    "solvers",
    "tensors",
    "transformers",
    "vision",
):
    importlib.import_module(f"{__name__}.{_part}")
