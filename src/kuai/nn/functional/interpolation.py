"""Images of another size: each element of the result is a weighted sum of a few of the input's.

All modes are separable: along one dimension after the other, `taps.py` says which elements, and
with which weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import wrap
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
)
from kuai.nn.functional.taps import SMOOTHED, TAPS, Axis, Taps
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor

# By mode, the number of dimensions (with batch and channels) that it is for.
_DIMENSIONS = {
    "nearest": (3, 4, 5),
    "nearest-exact": (3, 4, 5),
    "area": (3, 4, 5),
    "linear": (3,),
    "bilinear": (4,),
    "trilinear": (5,),
    "bicubic": (4,),
    "lanczos": (4,),
}


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Sequences, images or volumes, made larger or smaller.

    Args:
        input: `(N, C, L)`, `(N, C, H, W)` or `(N, C, D, H, W)`.
        size: of the result, for all dimensions after C or for each of them.
        scale_factor: how many times as large it is; one of both is given.
        mode: `"nearest"`, `"nearest-exact"` (which rounds as image libraries do), `"area"` (means
            of windows), `"linear"`, `"bilinear"`, `"trilinear"` (for one, two, three dimensions),
            `"bicubic"`, or with `antialias` `"lanczos"`.
        align_corners: whether the centres of the corner elements, and not their outer edges, lie
            on each other; for the interpolating modes.
        recompute_scale_factor: whether positions follow from the sizes, and not from
            `scale_factor` itself, where the result's size was rounded.
        antialias: whether a smaller image is smoothed, for `"bilinear"` and `"bicubic"`.

    Raises:
        ValueError: options that do not go together.
        NotImplementedError: the mode is not one for so many dimensions.
        RuntimeError: a size is 0.

    Source: Keys (1981), Cubic Convolution Interpolation for Digital Image Processing.
    """
    if align_corners is not None and mode in ("nearest", "area", "nearest-exact"):
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | "
            "bilinear | bicubic | trilinear"
        )
    counts, factors = _sizes(input, size, scale_factor, mode, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            "a 4-D tensor as input"
        )
    _check(input, mode, counts)
    if mode == "area":
        means: Any = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)
        result: Tensor = means[input.ndim - 3](input, counts)
        return result
    if mode == "lanczos":
        if align_corners:
            raise ValueError("Lanczos mode does not support align_corners=True")
        if not antialias:
            raise ValueError("Lanczos mode requires antialias=True")
    axes = [Axis(*axis) for axis in zip(input.shape[2:], counts, factors, strict=True)]
    taps = SMOOTHED[mode] if antialias else TAPS[mode]
    return _resized(input, axes, taps, bool(align_corners))


def upsample(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its old name."""
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """`interpolate` with the mode `"nearest"`, under its old name."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """`interpolate` with the mode `"bilinear"` and aligned corners, under its old name."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


# -- what is wanted ----------------------------------------------------------------------------


def _sizes(
    input: Tensor, size: Any, scale_factor: Any, mode: str, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The sizes of the result, and the factors that its positions follow from."""
    n = input.ndim - 2
    inner = input.shape[2:]
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        wanted = list(size) if isinstance(size, (list, tuple)) else [size] * n
        if len(wanted) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(inner)} and output size of {size}. Please "
                "provide input tensor in (N, C, d1, d2, ...,dK) format and output size in "
                "(o1, o2, ...,oK) format."
            )
        return [_whole(count) for count in wanted], [None] * n
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    factors = list(scale_factor) if isinstance(scale_factor, (list, tuple)) else [scale_factor] * n
    if len(factors) != n:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input "
            f"with spatial dimensions of {list(inner)} and scale_factor of shape {scale_factor}. "
            "Please provide input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in "
            "(s1, s2, ...,sK) format."
        )
    counts = [int(m * float(factor)) for m, factor in zip(inner, factors, strict=True)]
    kept = not recompute and mode != "area"
    return counts, [float(factor) if kept else None for factor in factors]


def _whole(count: Any) -> int:
    try:
        return int(count.__index__())
    except (AttributeError, TypeError):
        raise TypeError(
            "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, "
            f"int], but got size with types {type(count)}"
        ) from None


def _check(input: Tensor, mode: str, counts: list[int]) -> None:
    if mode not in _DIMENSIONS or input.ndim not in _DIMENSIONS[mode]:
        for_others = [name for name, kinds in _DIMENSIONS.items() if input.ndim in kinds]
        if mode in _DIMENSIONS and for_others:
            needed = " or ".join(f"{kind}D" for kind in _DIMENSIONS[mode])
            raise NotImplementedError(
                f"Got {input.ndim}D input, but {mode} mode needs {needed} input"
            )
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | "
            f"area | nearest-exact (got {mode})"
        )
    if mode == "area":
        return
    if min(*input.shape[2:], *counts) <= 0:
        raise ShapeError(
            "Input and output sizes should be greater than 0, but got input "
            f"{list(input.shape[2:])} output {counts}"
        )
    if 0 in input.shape[1:]:
        raise ShapeError(
            f"Non-empty {input.ndim}D data tensor expected but got a tensor with sizes "
            f"{list(input.shape)}"
        )
    kind = input.dtype
    if not kind.is_floating_point and not (kind is dtypes.uint8 and input.ndim > 2):
        raise DtypeError(
            f"interpolate: not implemented for {kind.name}; the input must be a floating-point "
            "tensor, which input.float() makes, or uint8"
        )


# -- the result --------------------------------------------------------------------------------


def _resized(
    input: Tensor, axes: list[Axis], taps: Callable[..., Taps], align_corners: bool
) -> Tensor:
    wide = np.dtype("float32" if input.dtype.itemsize in (2, 4) else "float64")
    x = input
    for d, axis in reversed(list(enumerate(axes, 2))):
        places, weights = taps(axis, align_corners, wide)
        if weights is None:
            x = _picked(x, d, places[:, 0])
        elif axis.size != axis.wanted or not _are_identity(places, weights):
            along = _bytes_along if input.dtype is dtypes.uint8 else _along
            x = along(x, d, places, weights)
    return to_dtype(x, input.dtype)


def _are_identity(places: np.ndarray, weights: np.ndarray) -> bool:
    """Whether the taps give the input back."""
    matrix = np.zeros((len(places), len(places)))
    np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
    return np.array_equal(matrix, np.eye(len(places)))


def _along(x: Tensor, dim: int, places: np.ndarray, weights: np.ndarray) -> Tensor:
    """The weighted sums along `dim`, in the precision of the weights."""
    x = to_dtype(x, dtypes.from_numpy_dtype(weights.dtype))
    tail = (1,) * (x.ndim - dim - 1)
    total: Any = None
    for k in range(places.shape[1]):
        part = _picked(x, dim, places[:, k]) * wrap(weights[:, k].reshape(-1, *tail).copy())
        total = part if total is None else total + part
    result: Tensor = total
    return result


def _bytes_along(x: Tensor, dim: int, places: np.ndarray, weights: np.ndarray) -> Tensor:
    """The weighted sums along `dim`, rounded as PyTorch and Pillow do it, which count in integers.

    The weights have 15 bits, and each dimension gives bytes.
    """
    weights = weights.copy()
    for k in range(places.shape[1] - 1, 0, -1):  # what counts twice is rounded once
        same = places[:, k] == places[:, k - 1]
        weights[:, k - 1] += np.where(same, weights[:, k], 0)
        weights[same, k] = 0
    bits = 0
    while bits < 22 and int(0.5 + weights.max() * 2 ** (bits + 1)) < 2**15:
        bits += 1
    scaled = weights * 2**bits
    whole = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int32)
    total = _along(x, dim, places, whole) + 2 ** (bits - 1)
    return ops.clamp(ops.bitwise_right_shift(total, bits), 0, 255)


def _picked(x: Tensor, dim: int, places: np.ndarray) -> Tensor:
    """The elements at `places` along `dim`."""
    size, count = x.shape[dim], len(places)
    if np.array_equal(places, np.arange(count)) and count == size:
        return x
    times = count // size
    if count == times * size and np.array_equal(places, np.arange(count) // times):
        # The gradient of repetition is a sum, which needs no positions.
        before, after = x.shape[:dim], x.shape[dim + 1 :]
        spread = ops.expand(ops.unsqueeze(x, dim + 1), *before, size, times, *after)
        return ops.reshape(spread, *before, count, *after)
    return ops.index_select(x, dim, wrap(np.ascontiguousarray(places, np.int64)))


__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]
