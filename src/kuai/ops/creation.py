"""Tensors from data, and filled ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.ops.movement import as_shape

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _finish(array: np.ndarray, requires_grad: bool) -> Tensor:
    result = wrap(array)
    if requires_grad:
        result.requires_grad_()
    return result


def array_of(data: Any, dtype: dtypes.dtype | None) -> np.ndarray:
    """A new array with the values of nested sequences, numbers, arrays or tensors.

    Without a dtype, Python floats give the default type, ints int64, bools bool; arrays and
    tensors keep theirs.
    """
    if isinstance(data, TensorBase):
        array = data._payload
        if dtype is None:
            return array.copy()
    elif isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        dtype = dtype or dtypes.from_numpy_dtype(array.dtype)
    else:
        data = _plain(data)
        try:
            array = np.array(data)
        except ValueError as error:
            raise ValueError(f"expected a rectangular nesting of sequences: {error}") from None
        if array.dtype.kind not in "biufV":
            raise TypeError(f"can't make a tensor from {type(data).__name__}: {data!r:.80}")
        if dtype is None:
            if array.size == 0 or array.dtype.kind == "f":
                dtype = dtypes.get_default_dtype()
            elif array.dtype.kind == "b":
                dtype = dtypes.bool_
            elif array.dtype.kind == "V":
                dtype = dtypes.bfloat16
            else:
                dtype = dtypes.int64
    if dtype.category == dtypes.BOOL and array.dtype != np.bool_:
        return np.asarray(array != 0)
    return np.array(array, dtype=dtype.numpy)


def _plain(data: Any) -> Any:
    if isinstance(data, TensorBase):
        return data._payload
    if isinstance(data, (list, tuple)):
        return [_plain(d) for d in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return [_plain(d) for d in data]
    return data


def tensor(
    data: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested sequences, an array or a tensor."""
    return _finish(array_of(data, dtype), requires_grad)


def full_array(shape: Sequence[int], value: Any, dtype: dtypes.dtype) -> np.ndarray:
    """An array of one value."""
    return np.full(shape, value, dtype.numpy)


def zeros(
    *size: Any,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros."""
    dtype = dtype or dtypes.get_default_dtype()
    return _finish(np.zeros(as_shape(size), dtype.numpy), requires_grad)


def ones(
    *size: Any,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones."""
    dtype = dtype or dtypes.get_default_dtype()
    return _finish(np.ones(as_shape(size), dtype.numpy), requires_grad)


def ones_like(input: Tensor, *, dtype: dtypes.dtype | None = None, **ignored: Any) -> Tensor:
    """Ones in the shape and type of `input`."""
    payload = input._payload
    return wrap(np.ones(payload.shape, dtype.numpy if dtype else payload.dtype))


def zeros_like(input: Tensor, *, dtype: dtypes.dtype | None = None, **ignored: Any) -> Tensor:
    """Zeros in the shape and type of `input`."""
    payload = input._payload
    return wrap(np.zeros(payload.shape, dtype.numpy if dtype else payload.dtype))


def rand(*size: Any, requires_grad: bool = False, **ignored: Any) -> Tensor:
    """Uniform numbers (bootstrap; see ops/random)."""
    return _finish(np.random.random(as_shape(size)).astype("f"), requires_grad)
