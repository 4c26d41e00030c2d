"""Tensors in files: `save` and `load`, and PyTorch's own checkpoints, read without PyTorch."""

from __future__ import annotations

from kuai.io.files import load, save

__all__ = ["load", "save"]
