"""In which precision the functions compute.

Like PyTorch's, they take floating-point tensors; those of 16 bits are computed in float32 and
rounded once, at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai import dtypes
from kuai.errors import DtypeError
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def widen(input: Tensor, name: str) -> Tensor:
    """`input` in the precision to compute in.

    Args:
        input: a floating-point tensor.
        name: of the function, for the error.

    Raises:
        DtypeError: `input` is not floating-point.
    """
    numpy_dtype = input._payload.dtype
    if numpy_dtype.kind == "f" and numpy_dtype.itemsize > 2:
        return input
    require_floating(input, name)
    return to_dtype(input, dtypes.float32)


def narrow(result: Tensor, input: Tensor) -> Tensor:
    """`result`, rounded to the type of `input`."""
    if result._payload.dtype is input._payload.dtype:
        return result
    return to_dtype(result, input.dtype)


def require_floating(input: Tensor, name: str) -> None:
    """Refuse integers and bools.

    Raises:
        DtypeError: `input` is not floating-point.
    """
    if input._payload.dtype.kind not in "fV":
        raise DtypeError(
            f"{name}: not implemented for {input.dtype.name}; the input must be a "
            "floating-point tensor, which input.float() makes"
        )
