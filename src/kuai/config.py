"""Settings that hold for the whole process."""

from __future__ import annotations

import os
from array import array
from typing import Any

threads = array("q", (os.cpu_count() or 1,))
"""How many threads compute. An array, for native code to read its memory."""

full_tracebacks = bool(os.environ.get("KUAI_FULL_TRACEBACKS"))
"""Whether tracebacks of compiled functions show all of kuai's frames."""

_deterministic = False


autocast_dtype: Any = None  # the type that products are computed in, while autocasting


def get_num_threads() -> int:
    """How many threads compute."""
    return threads[0]


def set_num_threads(n: int) -> None:
    """Set how many threads compute.

    Raises:
        RuntimeError: not a positive number.
    """
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    threads[0] = n


get_num_interop_threads, set_num_interop_threads = get_num_threads, set_num_threads


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: kuai is deterministic in any case."""
    global _deterministic
    _deterministic = mode


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return _deterministic


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: float32 products are computed in float32."""


def get_float32_matmul_precision() -> str:
    """`"highest"`."""
    return "highest"


def set_default_device(device: Any) -> None:
    """Accepted for the CPU.

    Raises:
        RuntimeError: another device.
    """
    from kuai.device import check_device

    check_device(device)


def get_default_device() -> Any:
    """The CPU."""
    from kuai.device import CPU

    return CPU
