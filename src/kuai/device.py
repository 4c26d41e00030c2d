"""PyTorch's device vocabulary, for programs that choose a device; kuai computes on the CPU."""

from __future__ import annotations

from typing import Any


class device:
    """Where a tensor lives: `device("cpu")`, also with an index.

    Raises:
        RuntimeError: kuai has no such device.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index
        if not isinstance(type, str):
            raise RuntimeError(f"kuai computes on the CPU; there is no device {type!r}")
        kind, _, number = type.partition(":")
        if kind not in ("cpu", "meta", "cuda", "mps", "xpu"):
            raise RuntimeError(
                "Expected one of cpu, cuda, mps, xpu, meta device type at start of device "
                f"string: {type}"
            )
        self.type = kind
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (
            ")" if self.index is None else f", index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return device, (str(self),)

    def __enter__(self) -> device:
        check_device(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        pass


CPU = device("cpu")


def check_device(d: Any) -> None:
    """Raise unless `d` names the CPU (or nothing).

    Raises:
        RuntimeError: another device.
    """
    if d is None or d is CPU:
        return
    d = d if isinstance(d, device) else device(d)
    if d.type != "cpu":
        raise RuntimeError(
            f"kuai computes on the CPU; there is no device '{d}' (cuda.is_available() is False)"
        )
