"""Collation: how the samples of a batch become tensors with one more dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import TensorBase

NOT_COLLATABLE = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def default_collate(batch: Sequence[Any]) -> Any:
    """Make one batch of a list of samples.

    Tensors are stacked; arrays and numbers become one tensor; strings and bytes stay a list; of
    mappings, tuples and lists each entry is collated by itself, and the container is kept.

    Args:
        batch: the samples, all of one structure.

    Raises:
        TypeError: the samples are of a type that cannot be collated.
        RuntimeError: tensors or lists in the batch differ in size.
    """
    first = batch[0]
    if isinstance(first, TensorBase):
        return ops.stack(list(batch))
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise TypeError(NOT_COLLATABLE.format(first.dtype))
        return ops.stack([ops.as_tensor(array) for array in batch])
    if isinstance(first, np.generic) and not isinstance(first, str | bytes):
        return ops.as_tensor(np.array(batch))
    if isinstance(first, float):
        return ops.tensor(batch, dtype=dtypes.float64)
    if isinstance(first, int):
        return ops.tensor(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _like(
            first, {key: default_collate([sample[key] for sample in batch]) for key in first}
        )
    if isinstance(first, tuple | list | Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        # A plain tuple collates to a list, as in PyTorch.
        return columns if type(first) is tuple else _like(first, columns)
    raise TypeError(NOT_COLLATABLE.format(type(first)))


def default_convert(data: Any) -> Any:
    """Turn the arrays within a sample into tensors, and leave everything else as it is.

    Args:
        data: a sample: an array or number of NumPy's, or containers of such.
    """
    if isinstance(data, np.ndarray | np.generic):
        if data.dtype.kind in "SUO":
            return data
        return ops.as_tensor(data)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        values = [default_convert(value) for value in data]
        return values if type(data) is tuple else _like(data, values)
    return data


def _like(original: Any, content: Any) -> Any:
    """This content in a container of the original's type where that can be made of it."""
    if hasattr(original, "_fields"):
        return type(original)(*content)
    if isinstance(original, range):
        return content
    try:
        return type(original)(content)
    except TypeError:
        return content
