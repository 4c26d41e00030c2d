"""`kuai.tensor` of captured numbers and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kuai import dtypes, ops
from kuai.compiler.capture.numbers import as_tensor as number_as_tensor
from kuai.compiler.capture.numbers import common_dtype, is_number
from kuai.core.base import TensorBase
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session


def captured_tensor(
    session: Session, data: Any, dtype: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """A new tensor of captured scalars in nested lists."""
    leaves = _leaves(data)
    if dtype is None:
        dtype = _default_dtype(leaves)
    result = _built(data, dtypes.named(dtype))
    result = ops.clone(result.detach())
    return result.requires_grad_() if requires_grad else result


def _leaves(data: Any) -> list[Any]:
    if isinstance(data, (list, tuple)):
        return [leaf for item in data for leaf in _leaves(item)]
    return [data]


def _default_dtype(leaves: list[Any]) -> dtypes.dtype:
    tensors = [x for x in leaves if isinstance(x, TensorBase) and not x._weak]
    if tensors:
        return ops.result_type(*tensors) if len(tensors) > 1 else tensors[0].dtype
    common = common_dtype(*leaves)
    return dtypes.get_default_dtype() if common.is_floating_point else common


def _built(data: Any, dtype: dtypes.dtype) -> Tensor:
    if isinstance(data, (list, tuple)):
        return ops.stack([_built(item, dtype) for item in data])
    if is_number(data):
        return number_as_tensor(data, dtype)
    return data.to(dtype)
