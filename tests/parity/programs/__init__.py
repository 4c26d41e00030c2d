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


def data(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normally distributed numbers in float64."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale)


def fill(torch: types.ModuleType, module: Any, seed: int = 0) -> Any:
    """Gives a module's parameters the same values in either library, and float64."""
    rng = np.random.default_rng(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            values = np.asarray(rng.standard_normal(tuple(parameter.shape)) * 0.3)
            parameter.copy_(torch.from_numpy(values))
    return module


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers in float64 between 0 and 1."""
    return np.asarray(np.random.default_rng(seed).random(shape))


def differentiated(
    torch: types.ModuleType, function: Any, *calls: tuple[Any, ...], parameters: Any = ()
) -> list[Any]:
    """What a function gives for some calls, and what flows from all of it to its arguments.

    Arrays become tensors, those of floats with gradients; a gradient that is missing is zero.
    """
    parameters = list(parameters)
    found = []
    for call in calls:
        args = [torch.tensor(x) if isinstance(x, (np.ndarray, np.generic)) else x for x in call]
        leaves = [x for x in args if isinstance(x, torch.Tensor) and x.is_floating_point()]
        leaves = [*(x.requires_grad_() for x in leaves), *parameters]
        result = function(*args)
        ends, seeds = [], []
        for i, x in enumerate(_leaves(result)):
            if isinstance(x, torch.Tensor) and x.requires_grad:
                ends.append(x)
                seeds.append(torch.tensor(data(*x.shape, seed=i) + 0.1))
        grads: Any = [None] * len(leaves)
        if ends:
            grads = torch.autograd.grad(ends, leaves, seeds, allow_unused=True)
        zeros = (
            torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)
        )
        found.append((result, list(zeros)))
    return found


def _leaves(x: Any) -> list[Any]:
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        return [leaf for item in x for leaf in _leaves(item)]
    return [x]


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
    "adaptive",
    "autograd",
    "chapters",
    "decoding",
    "derivatives",
    "errors",
    "generative",
    "idioms",
    "indexing",
    "learning",
    "loading",
    "machines",
    "mistakes",
    "modules",
    "own_gradients",
    "practice",
    "printing",
    "residual",
    "science",
    "sequences",
    "simulating",
    "solvers",
    "stepping",
    "tensors",
    "transformers",
    "vision",
):
    importlib.import_module(f"{__name__}.{_part}")
