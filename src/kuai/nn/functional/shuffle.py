"""Rearrangements of channels and pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai import ops
from kuai.errors import ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Turn groups of r² channels into images r times as high and as wide.

    Shape:
        input `(*, C r², H, W)`; the result `(*, C, H r, W r)`.

    Raises:
        ShapeError: the number of channels is not a multiple of r².

    Source: Shi et al. (2016), Real-Time Single Image and Video Super-Resolution.
    """
    r = upscale_factor
    if input.ndim < 3:
        raise ShapeError(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    if channels % (r * r):
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    c, n = channels // (r * r), len(batch)
    x = ops.reshape(input, *batch, c, r, r, height, width)
    x = ops.permute(x, *range(n), n, n + 3, n + 1, n + 4, n + 2)
    return ops.reshape(x, *batch, c, height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Undo `pixel_shuffle`: turn each square of r × r pixels into r² channels.

    Shape:
        input `(*, C, H r, W r)`; the result `(*, C r², H, W)`.

    Raises:
        ShapeError: height or width is not a multiple of r.
    """
    r = downscale_factor
    if input.ndim < 3:
        raise ShapeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *batch, c, height, width = input.shape
    for name, axis, size in (("height", -2, height), ("width", -1, width)):
        if size % r:
            raise ShapeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"input.size({axis})={size} is not divisible by {r}"
            )
    n = len(batch)
    x = ops.reshape(input, *batch, c, height // r, r, width // r, r)
    x = ops.permute(x, *range(n), n, n + 2, n + 4, n + 1, n + 3)
    return ops.reshape(x, *batch, c * r * r, height // r, width // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Deal the channels of `groups` groups out in turn.

    Shape:
        input `(N, C, *)`; the result the same.

    Raises:
        ShapeError: the number of channels is not a multiple of `groups`.

    Source: Zhang et al. (2018), ShuffleNet.
    """
    if input.ndim < 3:
        raise ShapeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    samples, channels, *inner = input.shape
    if channels % groups:
        raise ShapeError(
            "Number of channels must be divisible by groups. Got "
            f"{channels} channels and {groups} groups."
        )
    x = ops.reshape(input, samples, groups, channels // groups, *inner)
    return ops.reshape(ops.transpose(x, 1, 2), *input.shape)


native_channel_shuffle = channel_shuffle
