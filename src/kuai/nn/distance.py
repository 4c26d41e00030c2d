"""Layers that compare two inputs, vector by vector."""

from __future__ import annotations

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor


class CosineSimilarity(Module):
    """`x1 · x2 / (max(‖x1‖, eps) max(‖x2‖, eps))` along one dimension.

    Args:
        dim: the dimension.
        eps: what keeps the denominator from 0.

    Shape:
        inputs `(*, D, *)`, which broadcast; output `(*, *)`.
    """

    dim: int
    eps: float

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The cosines."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of `x1 - x2 + eps` along the last dimension.

    Args:
        p: of the norm.
        eps: added to the differences, to keep the gradient finite.
        keepdim: whether the last dimension stays, with size 1.

    Shape:
        inputs `(*, D)`, which broadcast; output `(*)`, or `(*, 1)` with `keepdim`.
    """

    norm: float
    eps: float
    keepdim: bool

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The distances."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


__all__ = ["CosineSimilarity", "PairwiseDistance"]
