"""Layers that rearrange channels and pixels."""

from __future__ import annotations

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor


class PixelShuffle(Module):
    """Turns groups of r² channels into images r times as high and as wide.

    Args:
        upscale_factor: r.

    Shape:
        input `(*, C r², H, W)`, output `(*, C, H r, W r)`.

    Source: Shi et al. (2016), Real-Time Single Image and Video Super-Resolution.
    """

    upscale_factor: int

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """The larger images."""
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Turns each square of r × r pixels into r² channels; undoes `PixelShuffle`.

    Args:
        downscale_factor: r.

    Shape:
        input `(*, C, H r, W r)`, output `(*, C r², H, W)`.
    """

    downscale_factor: int

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """The smaller images."""
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Deals the channels of several groups out in turn.

    Args:
        groups: the number of groups.

    Shape:
        input `(N, C, *)`, output the same.

    Source: Zhang et al. (2018), ShuffleNet.
    """

    groups: int

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """The channels in their new order."""
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        """The number of groups."""
        return f"groups={self.groups}"


__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]
