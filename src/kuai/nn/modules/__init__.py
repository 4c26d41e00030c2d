"""PyTorch's names for the files of `kuai.nn`: `nn.modules.module`, `nn.modules.linear`, ..."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from kuai import nn
from kuai.nn import *

_FILES = {
    "activation": "activations",
    "channelshuffle": "shuffle",
    "container": "containers",
    "distance": "distance",
    "dropout": "dropout",
    "flatten": "flatten",
    "lazy": "lazy",
    "linear": "linear",
    "loss": "losses",
    "module": "module",
    "normalization": "normalization",
    "padding": "padding",
    "pixelshuffle": "shuffle",
    "sparse": "embedding",
}

for _theirs, _ours in _FILES.items():
    if importlib.util.find_spec(f"kuai.nn.{_ours}") is not None:
        _file = importlib.import_module(f"kuai.nn.{_ours}")
        sys.modules[f"{__name__}.{_theirs}"] = _file
        globals()[_theirs] = _file

__all__ = list(nn.__all__)
