"""Layers that pad the last dimensions."""

from __future__ import annotations

from typing import ClassVar

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor

Padding = int | tuple[int, ...]


class _Pad(Module):
    """What the padding layers share.

    Args:
        padding: how many elements to add everywhere, or for the last dimension before and after,
            then for the one before it, ...
    """

    spatial: ClassVar[int]
    mode: ClassVar[str]
    padding: tuple[int, ...]

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        self.padding = _spread(padding, 2 * self.spatial)

    def forward(self, input: Tensor) -> Tensor:
        """The input, padded."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """How many elements are added."""
        return f"{self.padding}"


def _spread(padding: Padding, count: int) -> tuple[int, ...]:
    return (padding,) * count if isinstance(padding, int) else tuple(padding)


class _ConstantPad(_Pad):
    """What the layers share that pad with a constant.

    Args:
        padding: how many elements to add.
        value: of these elements.
    """

    value: float

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """The input, padded."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """How many elements are added, and their value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Pads the last dimension with a constant.

    Args:
        padding: how many elements everywhere, or 2 numbers: before and after, last dimension first.
        value: of these elements.

    Shape:
        input `(N, C, W)` or `(C, W)`, output the same but for the padding.
    """

    spatial = 1


class ConstantPad2d(_ConstantPad):
    """Pads the last 2 dimensions with a constant.

    Args:
        padding: how many elements everywhere, or 4 numbers: before and after, last dimension first.
        value: of these elements.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same but for the padding.
    """

    spatial = 2


class ConstantPad3d(_ConstantPad):
    """Pads the last 3 dimensions with a constant.

    Args:
        padding: how many elements everywhere, or 6 numbers: before and after, last dimension first.
        value: of these elements.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same but for the padding.
    """

    spatial = 3


class ZeroPad1d(ConstantPad1d):
    """Pads the last dimension with zeros.

    Args:
        padding: how many elements everywhere, or 2 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, W)` or `(C, W)`, output the same but for the padding.
    """

    def __init__(self, padding: Padding) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """How many elements are added."""
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Pads the last 2 dimensions with zeros.

    Args:
        padding: how many elements everywhere, or 4 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same but for the padding.
    """

    def __init__(self, padding: Padding) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """How many elements are added."""
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Pads the last 3 dimensions with zeros.

    Args:
        padding: how many elements everywhere, or 6 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same but for the padding.
    """

    def __init__(self, padding: Padding) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """How many elements are added."""
        return f"{self.padding}"


class ReflectionPad1d(_Pad):
    """Pads the last dimension with its mirror image at the edge elements.

    Args:
        padding: how many elements everywhere, or 2 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, W)` or `(C, W)`, output the same but for the padding.
    """

    spatial = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """Pads the last 2 dimensions with its mirror image at the edge elements.

    Args:
        padding: how many elements everywhere, or 4 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same but for the padding.
    """

    spatial = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """Pads the last 3 dimensions with its mirror image at the edge elements.

    Args:
        padding: how many elements everywhere, or 6 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same but for the padding.
    """

    spatial = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """Pads the last dimension with its edge elements.

    Args:
        padding: how many elements everywhere, or 2 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, W)` or `(C, W)`, output the same but for the padding.
    """

    spatial = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """Pads the last 2 dimensions with its edge elements.

    Args:
        padding: how many elements everywhere, or 4 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same but for the padding.
    """

    spatial = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """Pads the last 3 dimensions with its edge elements.

    Args:
        padding: how many elements everywhere, or 6 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same but for the padding.
    """

    spatial = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """Pads the last dimension with what is at the other end.

    Args:
        padding: how many elements everywhere, or 2 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, W)` or `(C, W)`, output the same but for the padding.
    """

    spatial = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """Pads the last 2 dimensions with what is at the other end.

    Args:
        padding: how many elements everywhere, or 4 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same but for the padding.
    """

    spatial = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """Pads the last 3 dimensions with what is at the other end.

    Args:
        padding: how many elements everywhere, or 6 numbers: before and after, last dimension first.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same but for the padding.
    """

    spatial = 3
    mode = "circular"


__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]
