"""What can be done to the parameters of a block, and to their gradients."""

from __future__ import annotations

import importlib
from typing import Any

from kuai.nn.utils.clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from kuai.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters
from kuai.nn.utils.init import skip_init
from kuai.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm
from kuai.nn.utils.weight_norm import remove_weight_norm, weight_norm

_ON_FIRST_USE = ("parametrizations", "parametrize", "rnn", "stateless")

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "rnn",
    "skip_init",
    "spectral_norm",
    "stateless",
    "vector_to_parameters",
    "weight_norm",
]


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
