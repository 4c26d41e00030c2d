"""Adding values up at positions that may repeat: the kernels under indexing and scattering."""

from __future__ import annotations

from typing import Any

import numpy as np


def add_at(target: np.ndarray, key: tuple[Any, ...], values: np.ndarray) -> None:
    """`target[key] += values`, where positions that repeat in `key` add up.

    Args:
        target: a C-contiguous array.
        key: index arrays and full slices.
        values: what to add; broadcasts to the shape of `target[key]`.
    """
    if len(key) == 1 and key[0].ndim and target.ndim > 1:
        index = key[0].reshape(-1)
        index = np.where(index < 0, index + len(target), index)
        rows = np.broadcast_to(values, (*key[0].shape, *target.shape[1:]))
        add_rows(target, index, rows.reshape(index.size, *target.shape[1:]))
    else:
        np.add.at(target, key, values)


def add_rows(target: np.ndarray, index: np.ndarray, rows: np.ndarray) -> None:
    """`target[index[i]] += rows[i]` for every `i`, where no index is negative.

    Sorted first, so that the rows for one index add in one pass.
    """
    if not index.size:
        return
    order = index.argsort(kind="stable")
    ordered = index[order]
    first = np.empty(len(ordered), bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero()[0]
    if len(starts) == len(ordered):
        target[index] += rows
    else:
        target[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0, dtype=rows.dtype)


def flat_positions(index: np.ndarray, dim: int, shape: tuple[int, ...]) -> np.ndarray:
    """Where, in a flat array of `shape`, `index` points to: along `dim` by its values, along all
    other dimensions by its own positions.
    """
    stride = 1
    result: Any = 0
    for d in range(len(shape) - 1, -1, -1):
        if d == dim:
            result = result + index.astype(np.int64, copy=False) * stride
        elif index.shape[d] > 1:
            steps = np.arange(index.shape[d]) * stride
            result = result + steps.reshape(-1, *(1,) * (len(shape) - 1 - d))
        stride *= shape[d]
    return np.asarray(result)
