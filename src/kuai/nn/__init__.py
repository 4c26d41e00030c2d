"""Blocks: `Module`, its containers, and the layers, losses and functions to build from."""

from __future__ import annotations

import importlib
from typing import Any

from kuai.nn import parameter, utils
from kuai.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from kuai.nn.module import Module
from kuai.nn.parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
)

__all__ = [
    "Buffer",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "Sequential",
    "UninitializedBuffer",
    "UninitializedParameter",
    "parameter",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name == "modules":  # PyTorch's file names: made when first asked for
        return importlib.import_module("kuai.nn.modules")
    raise AttributeError(f"module 'kuai.nn' has no attribute '{name}'")
