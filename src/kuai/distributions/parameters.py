"""What distributions do with parameters: bring them to one shape, derive one from another."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from kuai import dtypes, ops
from kuai.core.base import TensorBase
from kuai.core.tape import enable_grad
from kuai.tensor import Tensor

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """The values as tensors of one shape; numbers take the type of the tensors among them.

    Raises:
        ValueError: a value is neither a number nor a tensor.
    """
    if not all(isinstance(v, (TensorBase, Number)) for v in values):
        raise ValueError("Input arguments must all be instances of Number or kuai.Tensor.")
    tensors = [v for v in values if isinstance(v, TensorBase)]
    dtype = tensors[0].dtype if tensors else dtypes.get_default_dtype()
    whole = [v if isinstance(v, TensorBase) else ops.tensor(v, dtype=dtype) for v in values]
    return tuple(ops.broadcast_tensors(*whole))


def sum_rightmost(value: Any, dim: int) -> Any:
    """The sum over the `dim` rightmost dimensions."""
    if dim == 0:
        return value
    return ops.reshape(value, (*value.shape[: value.ndim - dim], -1)).sum(-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept off 0 and 1 by the type's precision, so that logarithms are finite."""
    eps = dtypes.finfo(probs.dtype).eps
    return ops.clamp(probs, min=eps, max=1 - eps)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities, from log odds (binary) or unnormalised log probabilities."""
    return ops.sigmoid(logits) if is_binary else ops.softmax(logits, -1)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Log odds (binary) or log probabilities, from probabilities."""
    clamped = clamp_probs(probs)
    log = ops.log(clamped)
    return log - ops.log1p(-clamped) if is_binary else log


class lazy_property:
    """A property that is computed on first use, and kept."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The elements on and below a diagonal, in one vector."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    row, column = ops.tril_indices(n, n, diag)
    return mat[..., row, column]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The lower triangular matrix that has these elements on and below a diagonal.

    Raises:
        ValueError: no matrix has that many such elements.
    """
    n = (
        -(1 + 2 * diag)
        + ((1 + 2 * diag) ** 2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5
    ) / 2
    if not round(n) - n < 1e-8 or n < 1:
        raise ValueError(
            f"The size of last dimension is {vec.shape[-1]} which cannot be expressed "
            "as the lower triangular part of a square D x D matrix."
        )
    size = round(n)
    matrix = vec.new_zeros((*vec.shape[:-1], size, size))
    row, column = ops.tril_indices(size, size, diag)
    matrix[..., row, column] = vec
    return matrix
