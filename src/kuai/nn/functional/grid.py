"""Images sampled at points that a grid gives, and the grids of affine maps."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import wrap
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.precision import narrow, widen

if TYPE_CHECKING:
    from kuai.tensor import Tensor

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images (or volumes) at the points of a grid.

    Args:
        input: `(N, C, H, W)` or `(N, C, D, H, W)`.
        grid: `(N, H', W', 2)`, points x and y, or `(N, D', H', W', 3)`, points x, y and z, from -1
            at one edge of the image to 1 at the other.
        mode: `"bilinear"` (of volumes trilinear), `"nearest"`, or for images `"bicubic"`.
        padding_mode: what lies outside: `"zeros"`, the `"border"`, or the image's `"reflection"`.
        align_corners: whether -1 and 1 are the centres of the corner elements, and not their outer
            edges; not, by default.

    Shape:
        `(N, C, H', W')` or `(N, C, D', H', W')`.

    Raises:
        ValueError: there is no such mode.
        RuntimeError: the shapes or types do not fit.

    Source: Jaderberg et al. (2015), Spatial Transformer Networks.
    """
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_corners()
    return grid_sampler(
        input, grid, _MODES.index(mode), _PADDINGS.index(padding_mode), bool(align_corners)
    )


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` with numbers for the modes: their places in the lists of its docstring."""
    _check(input, grid, interpolation_mode)
    wide, points = widen(input, "grid_sampler"), widen(grid, "grid_sampler")
    sizes = input.shape[2:]
    last = len(sizes) - 1
    image = _Image(wide, _PADDINGS[padding_mode], align_corners)
    places = [
        _unnormalized(ops.select(points, -1, last - d), n, align_corners)
        for d, n in enumerate(sizes)
    ]
    sampled = (_linear, _nearest, _cubic)[interpolation_mode](image, places)
    return narrow(sampled, input)


grid_sampler_2d = grid_sampler_3d = grid_sampler


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The points that affine maps send the pixels of an image to, for `grid_sample`.

    Args:
        theta: the maps, `(N, 2, 3)`, or of volumes `(N, 3, 4)`.
        size: of the images, `(N, C, H, W)` or `(N, C, D, H, W)`.
        align_corners: as of `grid_sample`.

    Shape:
        `(N, H, W, 2)` or `(N, D, H, W, 3)`.

    Raises:
        ValueError: shapes or types do not fit.
        NotImplementedError: neither images nor volumes.
    """
    if align_corners is None:
        _warn_of_corners()
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}."
        )
    if theta.ndim != 3 or tuple(theta.shape[1:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. "
            f"Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    axes = [_from_edge_to_edge(m, bool(align_corners)) for m in size[2:]]
    points = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(tuple(size[2:]))], -1)
    base = wrap(points.reshape(1, -1, n + 1).astype(theta._payload.dtype))
    grid = ops.matmul(base, ops.transpose(theta, 1, 2))
    return ops.reshape(grid, size[0], *size[2:], n)


affine_grid_generator = affine_grid


def _from_edge_to_edge(count: int, align_corners: bool) -> np.ndarray:
    if count <= 1:
        return np.zeros(count)
    steps = np.linspace(-1, 1, count)
    return steps if align_corners else steps * (count - 1) / count


def _warn_of_corners() -> None:
    warnings.warn(
        "Default grid_sample and affine_grid behavior is align_corners=False. Specify "
        "align_corners=True if the corners are to lie on each other.",
        stacklevel=3,
    )


def _check(input: Tensor, grid: Tensor, mode: int) -> None:
    shapes = f"input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
    if input.ndim not in (4, 5) or grid.ndim != input.ndim:
        raise ShapeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got {shapes}"
        )
    if input.shape[0] != grid.shape[0]:
        raise ShapeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got {shapes}"
        )
    if grid.shape[-1] != input.ndim - 2:
        raise ShapeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but "
            f"got grid with sizes {list(grid.shape)}"
        )
    if 0 in input.shape[2:]:
        raise ShapeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(input.shape)}"
        )
    if mode == _MODES.index("bicubic") and input.ndim == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if input.dtype is not grid.dtype:
        raise DtypeError(
            "grid_sampler(): expected input and grid to have the same dtype, but got "
            f"{input.dtype.name} and {grid.dtype.name}"
        )


class _Image:
    """Images whose elements are picked at positions, of which some lie outside.

    Args:
        values: `(N, C, *sizes)`.
        padding: what lies outside.
        align_corners: where a reflection turns.
    """

    def __init__(self, values: Tensor, padding: str, align_corners: bool) -> None:
        self.values = values
        self.sizes = values.shape[2:]
        self.padding = padding
        self.align_corners = align_corners

    def inside(self, place: Tensor, size: int) -> Tensor:
        """Positions along a dimension, those outside moved to where the padding takes its values.

        Those that lie at the border do not move any more: they have no gradient.
        """
        if self.padding == "zeros":
            return place
        if self.padding == "reflection":
            place = self._reflected(place, size)
        free = ops.logical_and(place > 0, place < size - 1)
        return ops.where(free, place, ops.clamp(place.detach(), 0, size - 1))

    def _reflected(self, place: Tensor, size: int) -> Tensor:
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        span = high - low
        if span == 0:
            return place * 0
        way = ops.where(place < low, low - place, place - low)
        times = ops.floor(way.detach() / span)
        rest = way - times * span
        even = ops.eq(ops.remainder(times, 2), 0)
        return ops.where(even, rest, span - rest) + low

    def at(self, places: Sequence[Tensor]) -> Tensor:
        """The elements at positions that are whole numbers, zeros outside; `(N, C, points)`."""
        index: Any = 0
        known: Any = None
        for place, size in zip(places, self.sizes, strict=True):
            whole = place.detach()
            here = ops.logical_and(whole >= 0, whole <= size - 1)
            known = here if known is None else ops.logical_and(known, here)
            index = index * size + ops.clamp(whole, 0, size - 1).to(dtypes.int64)
        samples, channels = self.values.shape[:2]
        flat = ops.reshape(self.values, samples, channels, -1)
        rows = ops.reshape(index, samples, 1, -1)
        picked = ops.gather(flat, 2, ops.expand(rows, samples, channels, rows.shape[-1]))
        return ops.where(ops.reshape(known, samples, 1, -1), picked, 0)

    def like_points(self, flat: Tensor, places: Sequence[Tensor]) -> Tensor:
        """`(N, C, points)` in the form of the grid."""
        return ops.reshape(flat, *self.values.shape[:2], *places[0].shape[1:])


def _unnormalized(x: Tensor, size: int, align_corners: bool) -> Tensor:
    """Positions in elements, of those from -1 to 1."""
    return (x + 1) / 2 * (size - 1) if align_corners else ((x + 1) * size - 1) / 2


def _nearest(image: _Image, places: list[Tensor]) -> Tensor:
    moved = [image.inside(x, n) for x, n in zip(places, image.sizes, strict=True)]
    still: Any = sum(ops.reshape(x, x.shape[0], 1, -1) * 0 for x in moved)
    return image.like_points(image.at([ops.round(x.detach()) for x in moved]) + still, places)


def _linear(image: _Image, places: list[Tensor]) -> Tensor:
    moved = [image.inside(x, n) for x, n in zip(places, image.sizes, strict=True)]
    before = [ops.floor(x.detach()) for x in moved]
    parts = [x - low for x, low in zip(moved, before, strict=True)]
    total: Any = None
    for corner in itertools.product((0, 1), repeat=len(places)):
        weight: Any = 1
        for part, far in zip(parts, corner, strict=True):
            weight = weight * (part if far else 1 - part)
        picked = image.at([low + far for low, far in zip(before, corner, strict=True)])
        term = picked * ops.reshape(weight, weight.shape[0], 1, -1)
        total = term if total is None else total + term
    return image.like_points(total, places)


def _cubic(image: _Image, places: list[Tensor]) -> Tensor:
    before = [ops.floor(x.detach()) for x in places]
    weights = [_cubic_weights(x - low) for x, low in zip(places, before, strict=True)]
    total: Any = None
    for i, j in itertools.product(range(4), repeat=2):
        taps = [
            image.inside(low + (k - 1), n)
            for low, k, n in zip(before, (i, j), image.sizes, strict=True)
        ]
        weight = weights[0][i] * weights[1][j]
        term = image.at(taps) * ops.reshape(weight, weight.shape[0], 1, -1)
        total = term if total is None else total + term
    return image.like_points(total, places)


def _cubic_weights(t: Tensor) -> list[Tensor]:
    """Keys' cubic convolution with a = -0.75, at the distances of four neighbours."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


__all__ = [
    "affine_grid",
    "affine_grid_generator",
    "grid_sample",
    "grid_sampler",
    "grid_sampler_2d",
    "grid_sampler_3d",
]
