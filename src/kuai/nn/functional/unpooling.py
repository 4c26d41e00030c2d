"""The way back from maximum pooling: each maximum where it stood, and zeros elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.primitive import checked_when_run
from kuai.errors import DtypeError, ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Sizes = int | Sequence[int]


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Sequences with the maxima that `max_pool1d` found where they stood, zeros elsewhere.

    Args:
        input: the maxima, `(N, C, L)` or `(C, L)`.
        indices: their positions, as `max_pool1d` returns them.
        kernel_size: of the pooling.
        stride: of the pooling; by default the kernel size.
        padding: of the pooling.
        output_size: of the result, where several sizes are pooled to the same.

    Raises:
        ValueError: `output_size` is not one that is pooled to that of the input.
        RuntimeError: a position lies outside.
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """As `max_unpool1d`, of images, `(N, C, H, W)` or `(C, H, W)`."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """As `max_unpool1d`, of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    kernel = _several(kernel_size, n)
    step = _several(kernel if stride is None else stride, n)
    size = _size(input, kernel, step, _several(padding, n), output_size)
    _check(n, input, indices)
    outer = tuple(input.shape[: input.ndim - n])
    flat = ops.reshape(input, *outer, math.prod(input.shape[input.ndim - n :]))
    places = ops.reshape(indices, flat.shape)
    total = math.prod(size)
    inside = ops.logical_and(places >= 0, places < total)
    message = (
        f"Found an invalid max index: the output has {total} elements (output volumes are of size "
        + "x".join(map(str, size))
        + ")"
    )
    if type(places._payload) is not np.ndarray:
        checked_when_run(lambda: ops.all(inside), RuntimeError, message)
    elif not inside._payload.all():
        raise RuntimeError(message)
    zeros = flat.new_zeros((*outer, total))
    return ops.reshape(ops.scatter(zeros, len(outer), places, flat), *outer, *size)


def _several(size: Any, n: int) -> tuple[int, ...]:
    sizes = (size,) * n if isinstance(size, int) else tuple(size)
    return sizes if len(sizes) == n else sizes * n


def _size(
    input: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    wanted: Sequence[int] | None,
) -> tuple[int, ...]:
    """The size of the result."""
    n = len(kernel)
    usual = [
        (m - 1) * s + k - 2 * p
        for m, k, s, p in zip(input.shape[-n:], kernel, stride, padding, strict=True)
    ]
    if wanted is None:
        return tuple(usual)
    sizes = tuple(wanted[2:] if len(wanted) == n + 2 else wanted)
    if len(sizes) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a "
            f"length of '{len(sizes)}'"
        )
    for d, (size, normal, s) in enumerate(zip(sizes, usual, stride, strict=True)):
        if not normal - s < size < normal + s:
            raise ValueError(
                f'invalid output_size "{sizes}" (dim {d} must be between {normal - s} and '
                f"{normal + s})"
            )
    return sizes


def _check(n: int, input: Tensor, indices: Tensor) -> None:
    name = f"max_unpool{n}d"
    if indices.dtype is not dtypes.int64:
        raise DtypeError(
            f"elements in indices should be type int64 but got: {indices.dtype.name} ({name})"
        )
    if input.ndim not in (n + 1, n + 2) or 0 in input.shape[input.ndim - n - 1 :]:
        raise ShapeError(
            f"{name}(): Expected {n + 1}D or {n + 2}D input with sizes that are not zero, but got "
            f"{list(input.shape)}"
        )
    if input.shape != indices.shape:
        raise ShapeError(
            f"{name}(): Expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
        )


__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]
