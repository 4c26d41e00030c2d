"""How the elements of an array lie in memory, and what views make of it.

The layout of a view is found by taking the view, as the primitive's `alias` does, of an array
that has the layout and no elements: nothing here knows any view by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kuai import dtypes
from kuai.core.primitive import Primitive

_NOWHERE: dict[
    dtypes.dtype, np.ndarray
] = {}  # one element of each type, for arrays that are never read


class Layout(NamedTuple):
    """Shape, strides and first element of an array within some memory; all in bytes.

    Attributes:
        offset: where the first element lies.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: dtypes.dtype

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in order, without gaps."""
        expected = self.dtype.itemsize
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return 0 in self.shape
            expected *= n
        return True

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def broadcast(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The strides with which this array is read where it is broadcast to `shape`."""
        missing = len(shape) - len(self.shape)
        return (0,) * missing + tuple(
            0 if n == 1 and to != 1 else stride
            for n, to, stride in zip(self.shape, shape[missing:], self.strides, strict=True)
        )

    def hollow(self) -> np.ndarray:
        """An array of this layout whose elements must not be read."""
        one = _NOWHERE.get(self.dtype)
        if one is None:
            one = _NOWHERE[self.dtype] = np.zeros(1, self.dtype.numpy)
        return as_strided(one, self.shape, self.strides)


def contiguous(shape: Sequence[int], dtype: dtypes.dtype, offset: int = 0) -> Layout:
    """The layout of an array whose elements lie in order."""
    strides = [0] * len(shape)
    step = dtype.itemsize
    for i in range(len(shape) - 1, -1, -1):
        strides[i] = step
        step *= max(shape[i], 1)
    return Layout(tuple(shape), tuple(strides), offset, dtype)


def ordered_like(shape: Sequence[int], dtype: dtypes.dtype, like: Layout) -> Layout:
    """The layout of an array without gaps whose dimensions lie in the order of another one's."""
    order = sorted(range(len(shape)), key=lambda d: -abs(like.strides[d]))
    if any(n != 1 and stride == 0 for n, stride in zip(like.shape, like.strides, strict=True)):
        return contiguous(shape, dtype)
    strides, step = [0] * len(shape), dtype.itemsize
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return Layout(tuple(shape), tuple(strides), 0, dtype)


def within(to: Layout, whole: Layout) -> Layout | None:
    """How `whole`, an array without gaps, lies where its elements in their order lie as in `to`.

    `None` where no strides say that.
    """
    strides = [0] * len(whole.shape)
    given = [(n, s) for n, s in zip(to.shape, to.strides, strict=True) if n != 1]
    left, step = 1, 0
    for d in sorted(range(len(strides)), key=lambda d: whole.strides[d]):
        n = whole.shape[d]
        if n == 1:
            continue
        if left == 1:
            left, step = given.pop()
        if left % n:
            return None
        strides[d], left, step = step, left // n, step * n
    return Layout(whole.shape, tuple(strides), to.offset, whole.dtype)


def of_array(array: np.ndarray) -> Layout:
    """The layout of an array, from its first element on."""
    return Layout(array.shape, array.strides, 0, dtypes.from_numpy_dtype(array.dtype))


def views(
    primitive: Primitive, parameters: dict[str, Any], source: Layout
) -> tuple[Layout, ...] | None:
    """The layouts of the results where they lie in the source's memory, else `None`.

    Args:
        primitive: one whose results hold elements of its first input.
        parameters: its parameters.
        source: the layout of that input.
    """
    if primitive.alias is None:
        return None
    hollow = source.hollow()
    try:
        result = primitive.alias(hollow, **parameters)
    except ValueError:
        return None
    results = result if isinstance(result, tuple) else (result,)
    return tuple([part_of(source, hollow, array) for array in results])


def pieces(
    primitive: Primitive, parameters: dict[str, Any], whole: Layout, given: Sequence[Layout]
) -> list[tuple[Layout, int, Layout]] | None:
    """What lies where in a result that is made of its inputs; `None` where memory forbids it.

    Args:
        primitive: one that has `pieces`.
        parameters: its parameters.
        whole: the layout of the result.
        given: those of the inputs.

    Returns:
        For each piece, in order, a part of the result, the number of an input, and the part of
        it that lies there.
    """
    hollow, hollows = whole.hollow(), [where.hollow() for where in given]
    try:
        found = primitive.pieces(hollow, *hollows, **parameters)
    except ValueError:
        return None
    return [
        (part_of(whole, hollow, to), i, part_of(given[i], hollows[i], view))
        for to, i, view in found
        if to.size
    ]


def part_of(source: Layout, hollow: np.ndarray, view: np.ndarray) -> Layout:
    """The layout of a view of a layout's `hollow` array."""
    start = hollow.__array_interface__["data"][0]
    place = view.__array_interface__["data"][0] - start if view.size else 0
    dtype = dtypes.from_numpy_dtype(view.dtype)
    return Layout(view.shape, view.strides, source.offset + place, dtype)
