"""The constructors of old: `FloatTensor`, `LongTensor` and kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.ops.creation import array_of
from kuai.ops.movement import as_shape
from kuai.tensor import LEGACY_NAMES, Tensor


def construct(dtype: dtypes.dtype, args: tuple[Any, ...]) -> Tensor:
    """What the old constructors make: from sizes an uninitialised tensor, else from data."""
    if not args:
        return wrap(np.empty(0, dtype.numpy))
    if len(args) == 1 and not isinstance(args[0], int):
        first = args[0]
        if isinstance(first, TensorBase):
            if first.dtype is not dtype:
                raise TypeError(f"expected {LEGACY_NAMES[dtype]} (got {LEGACY_NAMES[first.dtype]})")
            return first.detach()
        if type(first).__name__ == "Size":
            return wrap(np.zeros(first, dtype.numpy))
        return wrap(array_of(first, dtype))
    return wrap(np.zeros(as_shape(args), dtype.numpy))


class _LegacyType(type):
    dtype: dtypes.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TensorBase) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return construct(cls.dtype, args)


def _legacy(name: str, dtype: dtypes.dtype) -> Any:
    return _LegacyType(name, (), {"dtype": dtype, "__doc__": f"Tensors of {dtype.name}."})


FloatTensor = _legacy("FloatTensor", dtypes.float32)
DoubleTensor = _legacy("DoubleTensor", dtypes.float64)
HalfTensor = _legacy("HalfTensor", dtypes.float16)
BFloat16Tensor = _legacy("BFloat16Tensor", dtypes.bfloat16)
ByteTensor = _legacy("ByteTensor", dtypes.uint8)
CharTensor = _legacy("CharTensor", dtypes.int8)
ShortTensor = _legacy("ShortTensor", dtypes.int16)
IntTensor = _legacy("IntTensor", dtypes.int32)
LongTensor = _legacy("LongTensor", dtypes.int64)
BoolTensor = _legacy("BoolTensor", dtypes.bool_)
