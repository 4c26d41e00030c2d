"""Windows of images as columns of a matrix, and columns put back into images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import ops
from kuai.core.base import wrap
from kuai.errors import ShapeError
from kuai.nn.functional.padding import pad

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Pair = tuple[int, int]


def unfold(
    input: Tensor,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """The windows of images, each as a column.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`.
        kernel_size: height and width of a window.
        dilation: from one element of a window to the next.
        padding: how many zeros to add on each side.
        stride: from one window to the next.

    Shape:
        `(N, C · height · width, windows)`, or without N.

    Raises:
        RuntimeError: the images have no window of that size.
    """
    kernel, spread, edge, step = _geometry(kernel_size, dilation, padding, stride)
    batched = input.ndim == 4
    if input.ndim not in (3, 4) or 0 in input.shape[1 if batched else 0 :]:
        raise ShapeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input.shape)}"
        )
    x = input if batched else ops.unsqueeze(input, 0)
    counts = _counts(x.shape[2:], kernel, spread, edge, step)
    if min(counts) < 1:
        raise ShapeError(
            f"Given input with spatial size {tuple(x.shape[2:])}, kernel_size={kernel}, "
            f"dilation={spread}, padding={edge}, calculated shape of the array of sliding blocks "
            f"as {counts}, but its components must be at least one."
        )
    x = pad(x, (edge[1], edge[1], edge[0], edge[0])) if any(edge) else x
    for d, (k, apart, s) in enumerate(zip(kernel, spread, step, strict=True), 2):
        x = ops.unfold(x, d, apart * (k - 1) + 1, s)[..., ::apart]
    x = ops.permute(x, 0, 1, 4, 5, 2, 3)  # (N, C, height, width, rows, columns)
    columns = ops.reshape(x, x.shape[0], x.shape[1] * kernel[0] * kernel[1], counts[0] * counts[1])
    return columns if batched else ops.squeeze(columns, 0)


def fold(
    input: Tensor,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Images as sums of windows, which are columns: the transpose of `unfold`.

    Args:
        input: `(N, C · height · width, windows)` or without N.
        output_size: height and width of the images.
        kernel_size: height and width of a window.
        dilation: from one element of a window to the next.
        padding: how many rows and columns of each side are left out.
        stride: from one window to the next.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`.

    Raises:
        RuntimeError: the columns are not those of such images.
    """
    kernel, spread, edge, step = _geometry(kernel_size, dilation, padding, stride)
    size = _pair("output_size", output_size)
    if min(size) < 1:
        raise RuntimeError(f"output_size should be greater than zero, but got {size}")
    batched = input.ndim == 3
    if input.ndim not in (2, 3) or 0 in input.shape[1 if batched else 0 :]:
        raise ShapeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    x = input if batched else ops.unsqueeze(input, 0)
    counts = _counts(size, kernel, spread, edge, step)
    _check_columns(x, size, kernel, spread, edge, step, counts)
    samples, rows, _ = x.shape
    x = ops.reshape(x, samples, rows // (kernel[0] * kernel[1]), *kernel, *counts)
    along = list(zip(size, spread, edge, step, strict=True))
    x = _placed(ops.permute(x, 0, 1, 2, 4, 3, 5), *along[1])  # (N, C, height, rows, W)
    x = _placed(ops.permute(x, 0, 1, 4, 2, 3), *along[0])  # (N, C, W, H)
    x = ops.transpose(x, 2, 3)
    return x if batched else ops.squeeze(x, 0)


def _placed(x: Tensor, size: int, spread: int, edge: int, step: int) -> Tensor:
    """Windows, `(*, elements, windows)`, added where they lie in a row of `size`."""
    *outer, elements, windows = x.shape
    places = (np.arange(elements)[:, None] * spread + np.arange(windows) * step).reshape(-1)
    row = x.new_zeros((*outer, size + 2 * edge))
    row = ops.index_add(row, -1, wrap(places), ops.reshape(x, *outer, elements * windows))
    return ops.narrow(row, -1, edge, size)


def _counts(size: Sequence[int], kernel: Pair, spread: Pair, edge: Pair, step: Pair) -> Pair:
    """How many windows there are along both dimensions."""
    one, other = (
        (n + 2 * p - (d * (k - 1) + 1)) // s + 1
        for n, k, d, p, s in zip(size, kernel, spread, edge, step, strict=True)
    )
    return one, other


def _check_columns(
    x: Tensor, size: Pair, kernel: Pair, spread: Pair, edge: Pair, step: Pair, counts: Pair
) -> None:
    rows, columns = x.shape[1:]
    if rows % (kernel[0] * kernel[1]):
        raise ShapeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={kernel}."
        )
    described = (
        f"Given output_size={size}, kernel_size={kernel}, dilation={spread}, padding={edge}, "
        f"stride={step}"
    )
    if min(counts) < 1:
        raise ShapeError(
            f"{described}, calculated shape of the array of sliding blocks as {counts}, which is "
            "too small (non-positive)"
        )
    if columns != counts[0] * counts[1]:
        raise ShapeError(
            f"{described}, expected size of input's dimension 2 to match the calculated number of "
            f"sliding blocks {counts[0]} * {counts[1]} = {counts[0] * counts[1]}, but got "
            f"input.size(2)={columns}."
        )


def _geometry(kernel: Any, dilation: Any, padding: Any, stride: Any) -> list[Pair]:
    named = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
    pairs = {name: _pair(name, size) for name, size in named.items()}
    for name, pair in pairs.items():
        least = 0 if name == "padding" else 1
        if min(pair) < least:
            what = "non-negative" if name == "padding" else "greater than zero"
            raise RuntimeError(f"{name} should be {what}, but got {pair}")
    return list(pairs.values())


def _pair(name: str, size: Any) -> Pair:
    """Height and width, from one number or two.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(size, int):
        return size, size
    if len(size) != 2:
        raise TypeError(f"{name} must be an int or a tuple of 2 ints, but got {size}")
    return int(size[0]), int(size[1])


__all__ = ["fold", "unfold"]
