"""PyTorch's names for the files of `kuai.nn`: `nn.modules.module`, `nn.modules.loss`, ..."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from kuai import nn
from kuai.nn import *

_FILES = {
    "activation": ("activations", "softmax"),
    "batchnorm": ("batch_norm",),
    "channelshuffle": ("shuffle",),
    "container": ("containers",),
    "conv": ("convolution",),
    "distance": ("distance",),
    "dropout": ("dropout",),
    "flatten": ("flatten",),
    "fold": ("folding",),
    "instancenorm": ("batch_norm",),
    "lazy": ("lazy",),
    "linear": ("linear",),
    "loss": ("loss", "class_losses", "margin_losses", "regression_losses"),
    "module": ("module",),
    "normalization": ("normalization",),
    "padding": ("padding",),
    "pixelshuffle": ("shuffle",),
    "pooling": ("pooling", "norm_pooling", "unpooling", "fractional_pooling"),
    "rnn": ("recurrent",),
    "sparse": ("embedding",),
    "upsampling": ("upsampling",),
}


def _module(name: str, files: tuple[str, ...]) -> ModuleType:
    """The file, or one module with the names of several files."""
    parts = [importlib.import_module(f"kuai.nn.{file}") for file in files]
    if len(parts) == 1:
        return parts[0]
    merged = ModuleType(f"{__name__}.{name}")
    for part in parts:
        merged.__dict__.update({k: x for k, x in vars(part).items() if not k.startswith("__")})
    return merged


for _name, _files in _FILES.items():
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _module(_name, _files)

__all__ = list(nn.__all__)
