"""PyTorch's CUDA vocabulary, for programs that ask before they use it: there is none."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def is_initialized() -> bool:
    """False."""
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no device to seed."""


manual_seed_all = manual_seed


def synchronize(device: Any = None) -> None:
    """Nothing: there is nothing to wait for."""


def empty_cache() -> None:
    """Nothing: there is no cache."""


def current_device() -> int:
    """Raise: there is no device.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("kuai computes on the CPU; cuda.is_available() is False")


get_device_name = get_device_properties = set_device = current_device
