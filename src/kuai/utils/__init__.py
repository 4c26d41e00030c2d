"""PyTorch's name for the room of `data`: `kuai.utils.data` is what `kuai.data` is."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "data":  # on first use: loaders are not part of `import kuai`
        import importlib

        return importlib.import_module("kuai.utils.data")
    raise AttributeError(f"module 'kuai.utils' has no attribute '{name}'")
