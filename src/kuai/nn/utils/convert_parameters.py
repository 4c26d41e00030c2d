"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from kuai import ops
from kuai.core.base import TensorBase
from kuai.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters, one after the other, as one vector."""
    return ops.cat([p.view(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make the parameters' values slices of a vector; they share its memory.

    Args:
        vec: a vector with as many elements as the parameters have together.
        parameters: the parameters.

    Raises:
        TypeError: `vec` is not a tensor.
    """
    if not isinstance(vec, TensorBase):
        raise TypeError(f"expected kuai.Tensor, but got: {type(vec).__name__}")
    start = 0
    for p in parameters:
        count = p.numel()
        p.data = vec[start : start + count].view_as(p).data
        start += count


__all__ = ["parameters_to_vector", "vector_to_parameters"]
