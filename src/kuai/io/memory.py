"""Tensors that share memory: which of them do, and how they come to share it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kuai.core.base import wrap
from kuai.dtypes import dtype
from kuai.errors import CheckpointError


class Storage:
    """Memory that one or several tensors show.

    Args:
        memory: its bytes, a writable one-dimensional array of uint8.
        element: the type of its elements; `None` if each tensor says its own.
    """

    __slots__ = ("counter", "element", "memory")

    def __init__(self, memory: np.ndarray, element: dtype | None = None) -> None:
        self.memory = memory
        self.element = element
        self.counter = [0, 0]

    def tensor(
        self, element: dtype, offset: int, shape: Sequence[int], strides: Sequence[int]
    ) -> Any:
        """A tensor on this memory.

        Args:
            element: the type of its elements.
            offset: where it begins, in bytes.
            shape: its shape.
            strides: its strides, in bytes.

        Raises:
            CheckpointError: it would reach out of the memory.
        """
        result = wrap(strided(self.memory, element.numpy, offset, shape, strides))
        result._counter = self.counter
        return result


def strided(
    memory: np.ndarray, element: np.dtype, offset: int, shape: Sequence[int], strides: Sequence[int]
) -> np.ndarray:
    """An array on bytes, all of which lie within them (see `Storage.tensor`)."""
    numbers = (offset, *shape, *strides)
    if any(type(n) is not int for n in numbers) or len(shape) != len(strides):
        raise CheckpointError("a tensor's offset, shape and strides must be integers that match")
    if any(n < 0 or n >= 2**62 for n in numbers) or len(shape) > 64:
        raise CheckpointError(
            f"a tensor has an impossible offset {offset}, shape {tuple(shape)} or strides "
            f"{tuple(strides)}"
        )
    if 0 in shape:
        return np.empty(tuple(shape), element)
    end = offset + element.itemsize
    end += sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if end > memory.nbytes or offset % element.itemsize:
        raise CheckpointError(
            f"a tensor of shape {tuple(shape)}, strides {tuple(strides)} and offset {offset} (in "
            f"bytes) does not fit into its storage of {memory.nbytes} bytes"
        )
    try:
        return np.ndarray(tuple(shape), element, memory, offset, tuple(strides))
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"a tensor of shape {tuple(shape)} cannot be: {error}") from error


def extent(array: np.ndarray) -> tuple[int, int]:
    """The addresses of an array's first byte and of the one after its last."""
    low = high = array.__array_interface__["data"][0]
    for n, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (n - 1) * stride
        else:
            high += (n - 1) * stride
    return low, high + array.itemsize


def lay_out(
    arrays: Sequence[np.ndarray], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Decide what to write for arrays, so that memory that several share is written once.

    Args:
        arrays: the arrays.
        names: a name for each, all different.

    Returns:
        the contiguous arrays to write, by name; and for each of the given arrays where it is
        found: `{"in": name}`, with `dtype`, `shape`, `strides` and `offset` (in bytes) where it
        is not the whole array of that name.
    """
    written: dict[str, np.ndarray] = {}
    places: list[dict[str, Any]] = [{} for _ in arrays]
    for group, low, high in _overlapping(arrays):
        first = arrays[group[0]]
        alike = all(_same(arrays[i], first) for i in group)
        whole = [i for i in group if _fills(arrays[i], low, high)]
        # Written as an array of its own: one that is all of the memory, or one with gaps in its
        # memory that nobody else sees. Otherwise the memory is written, and all are views of it.
        hosted = whole or (alike and high - low > first.nbytes)
        host = whole[0] if whole else group[0]
        if hosted:
            content = np.array(arrays[host], order="C", copy=True)
        else:
            content = np.ctypeslib.as_array(_address(low), (high - low,)).copy()
            content = content.view(first.dtype) if alike else content
        written[names[host]] = content
        for i in group:
            places[i]["in"] = names[host]
            if not (hosted and _same(arrays[i], arrays[host])):
                places[i].update(_place(arrays[i], low))
    return written, places


def _address(low: int) -> Any:
    """A pointer to bytes, for `as_array`."""
    import ctypes

    return ctypes.cast(low, ctypes.POINTER(ctypes.c_uint8))


def _overlapping(arrays: Sequence[np.ndarray]) -> list[tuple[list[int], int, int]]:
    """Groups of arrays whose memory overlaps, with the memory that each group covers."""
    groups: list[tuple[list[int], int, int]] = []
    extents = {i: extent(array) for i, array in enumerate(arrays) if array.size}
    for i in sorted(extents, key=lambda i: extents[i]):
        low, high = extents[i]
        if groups and low < groups[-1][2]:
            members, start, end = groups[-1]
            groups[-1] = ([*members, i], start, max(end, high))
        else:
            groups.append(([i], low, high))
    groups.extend(([i], 0, 0) for i in range(len(arrays)) if i not in extents)
    # The first name in the order of saving is the one that the memory gets.
    return [(sorted(members), low, high) for members, low, high in groups]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
    )


def _fills(array: np.ndarray, low: int, high: int) -> bool:
    """Whether a contiguous array is exactly this memory."""
    return array.flags.c_contiguous and (array.size == 0 or extent(array) == (low, high))


def _place(array: np.ndarray, low: int) -> dict[str, Any]:
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "strides": list(array.strides),
        "offset": array.__array_interface__["data"][0] - low,
    }
