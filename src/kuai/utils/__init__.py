"""PyTorch's names for the room of `data`, `kuai.utils.data`, and for checkpoints of the tape."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("data", "checkpoint"):  # on first use: they are not part of `import kuai`
        import importlib

        return importlib.import_module(f"kuai.utils.{name}")
    raise AttributeError(f"module 'kuai.utils' has no attribute '{name}'")
