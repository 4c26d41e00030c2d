"""Pooling with a power: the p-norm of each window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai import ops
from kuai.nn.functional.pooling import avg_pool1d, avg_pool2d, avg_pool3d

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Sizes = int | Sequence[int]


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """`(sum x ** p) ** (1 / p)` over each window of a sequence, `(N, C, L)` or `(C, L)`.

    Args:
        input: the sequences.
        norm_type: p.
        kernel_size: how many elements a window has.
        stride: from one window to the next; by default windows stand side by side.
        ceil_mode: whether there is a last window that the input does not fill.
    """
    means = avg_pool1d(ops.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return _norm(means, norm_type, kernel_size, 1)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """As `lp_pool1d`, of images, `(N, C, H, W)` or `(C, H, W)`."""
    means = avg_pool2d(ops.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return _norm(means, norm_type, kernel_size, 2)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """As `lp_pool1d`, of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`."""
    means = avg_pool3d(ops.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return _norm(means, norm_type, kernel_size, 3)


def _norm(means: Tensor, norm_type: float, kernel_size: Sizes, n: int) -> Tensor:
    sizes = (kernel_size,) * n if isinstance(kernel_size, int) else tuple(kernel_size)
    count = math.prod(sizes if len(sizes) == n else sizes * n)
    total = ops.sign(means) * ops.relu(ops.abs(means)) * count
    return ops.pow(total, 1.0 / norm_type)


__all__ = ["lp_pool1d", "lp_pool2d", "lp_pool3d"]
