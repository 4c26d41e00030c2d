"""Maximum pooling over windows that start at random, so that sizes shrink by any fraction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import wrap
from kuai.errors import ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The greatest element of each of so many windows, which start at random distances.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`.
        kernel_size: height and width of a window.
        output_size: how many windows there are in each dimension.
        output_ratio: their number as a part of the input's size; one of both is given.
        return_indices: whether the positions of the greatest are returned, too.

    Raises:
        ValueError: neither a size nor a ratio is given.
        RuntimeError: the windows do not fit.

    Source: Graham (2014), Fractional Max-Pooling.
    """
    order = (1, 0)  # of the samples, the first is for the width
    return _pool(
        2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, order
    )


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """As `fractional_max_pool2d`, of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`."""
    order = (0, 1, 2)
    return _pool(
        3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, order
    )


def _pool(
    n: int,
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Tensor | None,
    order: tuple[int, ...],
) -> Any:
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    kernel = _several(kernel_size, n)
    if input.ndim not in (n + 1, n + 2) or 0 in input.shape[input.ndim - n - 1 :]:
        raise ShapeError(
            f"{name}: Expected {n + 1}D or {n + 2}D tensor with sizes that are not zero, but got: "
            f"{list(input.shape)}"
        )
    sizes = input.shape[input.ndim - n :]
    if output_size is None:
        parts = _several(output_ratio, n)
        counts = tuple([int(m * part) for m, part in zip(sizes, parts, strict=True)])
    else:
        counts = _several(output_size, n)
    for m, k, count in zip(sizes, kernel, counts, strict=True):
        if k <= 0 or count <= 0 or count + k - 1 > m:
            raise RuntimeError(
                f"{name}(): {count} windows of {k} do not fit into a dimension of {m}"
            )
    x = input if input.ndim == n + 2 else ops.unsqueeze(input, 0)
    if samples is None:
        samples = ops.rand(*x.shape[:2], n, dtype=x.dtype)
    samples = samples[: x.shape[0]]
    values, indices = _greatest(x, kernel, counts, [samples[..., i] for i in order])
    if input.ndim == n + 1:
        values, indices = ops.squeeze(values, 0), ops.squeeze(indices, 0)
    return (values, indices) if return_indices else values


def _greatest(
    x: Tensor, kernel: tuple[int, ...], counts: tuple[int, ...], samples: list[Tensor]
) -> tuple[Tensor, Tensor]:
    n = len(kernel)
    outer = tuple(x.shape[:2])
    at: Any = 0  # positions in the flattened image, (N, C, *counts, *kernel)
    for d, (m, k, count) in enumerate(zip(x.shape[2:], kernel, counts, strict=True)):
        starts = _starts(samples[d], m, k, count)
        places = ops.unsqueeze(starts, -1) + wrap(np.arange(k))
        shape = [1] * (2 * n)
        shape[d], shape[n + d] = count, k
        at = at * m + ops.reshape(places, *outer, *shape)
    at = ops.reshape(at, *outer, math.prod(counts), math.prod(kernel))
    flat = ops.reshape(x, *outer, math.prod(x.shape[2:]))
    rows = ops.reshape(at, *outer, math.prod(counts) * math.prod(kernel))
    picked = ops.reshape(ops.gather(flat, 2, rows), *at.shape)
    chosen = ops.argmax(picked, -1, keepdim=True)
    values, indices = ops.gather(picked, -1, chosen), ops.gather(at, -1, chosen)
    return ops.reshape(values, *outer, *counts), ops.reshape(indices, *outer, *counts)


def _starts(samples: Tensor, size: int, kernel: int, count: int) -> Tensor:
    """Where the windows begin, `(N, C, count)`; the last one ends with the input."""
    last = wrap(np.full((*samples.shape, 1), size - kernel, np.int64))
    if count == 1:
        return last
    apart = (size - kernel) / (count - 1)
    sample = ops.unsqueeze(samples.detach(), -1)
    steps = wrap(np.arange(count - 1).astype(sample._payload.dtype))
    apart = float(np.asarray(apart, sample._payload.dtype))
    starts = ops.trunc((steps + sample) * apart) - ops.trunc(sample * apart)
    return ops.cat([starts.to(dtypes.int64), last], -1)


def _several(size: Any, n: int) -> tuple[Any, ...]:
    return (size,) * n if isinstance(size, (int, float)) else tuple(size)


__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]
