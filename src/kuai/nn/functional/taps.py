"""Which elements of a dimension an element of the resized one is made of, in each mode.

They depend on the sizes only, so that a program has them as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Taps(NamedTuple):
    """For each element along a dimension of the result: what it is a sum of.

    Attributes:
        places: positions in the input, `(elements, taps)`.
        weights: as many, or `None` where each element is one of the input's.
    """

    places: np.ndarray
    weights: np.ndarray | None = None


class Axis(NamedTuple):
    """One dimension that is resized.

    Attributes:
        size: of the input.
        wanted: the size of the result.
        factor: the scale factor that the caller gave, if it is to be taken at its word.
    """

    size: int
    wanted: int
    factor: float | None

    def step(self, align_corners: bool, precision: np.dtype) -> Any:
        """How far apart neighbours in the result lie in the input."""
        number = precision.type
        if align_corners:
            return number(self.size - 1) / number(self.wanted - 1) if self.wanted > 1 else number(0)
        if self.factor is not None and self.factor > 0:
            return number(1.0 / self.factor)
        return number(self.size) / number(self.wanted)

    def positions(self, align_corners: bool, precision: np.dtype) -> np.ndarray:
        """Where the elements of the result lie in the input."""
        step = self.step(align_corners, precision)
        at = np.arange(self.wanted).astype(precision)
        half = precision.type(0.5)
        return at * step if align_corners else step * (at + half) - half


def _nearest(axis: Axis, align_corners: bool, precision: np.dtype) -> Taps:
    at = np.arange(axis.wanted).astype(precision) * axis.step(False, precision)
    return Taps(np.minimum(np.floor(at), axis.size - 1).astype(np.int64)[:, None])


def _nearest_exact(axis: Axis, align_corners: bool, precision: np.dtype) -> Taps:
    at = np.maximum(axis.positions(False, precision), 0) + precision.type(0.5)
    return Taps(np.minimum(np.floor(at), axis.size - 1).astype(np.int64)[:, None])


def _between(at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The elements before positions, and how far the positions are behind them."""
    before = np.minimum(np.floor(at).astype(np.int64), size - 1)
    return before, np.clip(at - before.astype(at.dtype), 0, 1)


def _linear(axis: Axis, align_corners: bool, precision: np.dtype) -> Taps:
    if axis.size == axis.wanted:
        at = np.arange(axis.wanted).astype(precision)
    else:
        at = np.maximum(axis.positions(align_corners, precision), 0)
    before, part = _between(at, axis.size)
    after = np.minimum(before + 1, axis.size - 1)
    return Taps(np.stack([before, after], 1), np.stack([1 - part, part], 1))


def _cubic(axis: Axis, align_corners: bool, precision: np.dtype) -> Taps:
    if axis.size == axis.wanted:
        at = np.arange(axis.wanted).astype(precision)
    else:
        at = axis.positions(align_corners, precision)
    before, part = _between(at, axis.size)
    places = np.clip(before[:, None] + np.arange(-1, 3), 0, axis.size - 1)
    distances = np.stack([part + 1, part, 1 - part, 2 - part], 1)
    return Taps(places, _cubic_filter(distances, -0.75))


def _cubic_filter(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution, which is 0 from a distance of 2 on."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0)).astype(x.dtype)


def _smoothed(reach: float, weight: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Taps]:
    """The taps of a filter that is as wide as the elements of the smaller image.

    Args:
        reach: the distance from which on the filter is 0.
        weight: the filter.
    """

    def taps(axis: Axis, align_corners: bool, precision: np.dtype) -> Taps:
        step = axis.step(align_corners, precision)
        wide = max(step, precision.type(1))
        centres = step * (np.arange(axis.wanted).astype(precision) + precision.type(0.5))
        first = np.maximum((centres - reach * wide + 0.5).astype(np.int64), 0)
        end = np.minimum((centres + reach * wide + 0.5).astype(np.int64), axis.size)
        places = first[:, None] + np.arange(int((end - first).max(initial=1)))
        weights = weight(((places - centres[:, None] + 0.5) / wide).astype(precision))
        weights = np.where(places < end[:, None], weights, 0)
        weights = weights / weights.sum(1, keepdims=True)
        return Taps(np.minimum(places, axis.size - 1), weights.astype(precision))

    return taps


TAPS: dict[str, Callable[..., Taps]] = {
    "nearest": _nearest,
    "nearest-exact": _nearest_exact,
    "linear": _linear,
    "bilinear": _linear,
    "trilinear": _linear,
    "bicubic": _cubic,
}
SMOOTHED: dict[str, Callable[..., Taps]] = {
    "bilinear": _smoothed(1, lambda x: np.maximum(1 - np.abs(x), 0)),
    "bicubic": _smoothed(2, lambda x: _cubic_filter(x, -0.5)),
    "lanczos": _smoothed(3, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)),
}

__all__ = ["SMOOTHED", "TAPS", "Axis", "Taps"]
