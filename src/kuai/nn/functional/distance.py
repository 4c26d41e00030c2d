"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kuai import ops
from kuai.errors import DtypeError, ShapeError
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """`x1 · x2 / (max(‖x1‖, eps) max(‖x2‖, eps))` along `dim`.

    Shape:
        x1 and x2 broadcast; the result is without the dimension `dim`.

    Raises:
        DtypeError: the inputs are not floating-point.
    """
    common = ops.result_type(x1, x2)
    if not common.is_floating_point:
        raise DtypeError(
            "cosine_similarity: expected common dtype to be floating point, yet common dtype is "
            f"{common.name}"
        )
    x1, x2 = ops.broadcast_tensors(to_dtype(x1, common), to_dtype(x2, common))
    return ops.sum(_unit(x1, dim, eps) * _unit(x2, dim, eps), dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    """`x` with length 1 along `dim`; the gradient knows nothing of `eps`."""
    length = ops.norm(x, 2, dim, keepdim=True)
    value = length.detach()
    return x / (length + (ops.clamp_min(value, eps) - value))


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of `x1 - x2 + eps` along the last dimension.

    Shape:
        x1 and x2 `(*, D)`, which broadcast; the result `(*)`, or `(*, 1)` with `keepdim`.
    """
    return ops.norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances between all pairs of rows: those right of the diagonal, row by row.

    Shape:
        input `(N, M)`; the result `(N (N - 1) / 2,)`.

    Raises:
        ShapeError: the input is not a matrix.
    """
    if input.ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = map(ops.from_numpy, np.triu_indices(input.shape[0], 1))
    return ops.norm(input[first] - input[second], p, -1)
