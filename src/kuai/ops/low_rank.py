"""Singular values and vectors of matrices that are nearly of low rank, from random projections.

The method is that of N. Halko, P.-G. Martinsson and J. A. Tropp, "Finding structure with
randomness" (2009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai.ops import linalg, reduce
from kuai.ops.matmul import matmul
from kuai.ops.movement import matrix_transpose
from kuai.ops.random import randn

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`U`, `S` and `V` with about `A - M = U diag(S) V.mT`, of the rank `q`.

    Args:
        A: matrices, `(*, m, n)`.
        q: a rank slightly above that of the matrices.
        niter: how often the projection is refined.
        M: what is taken off, such as means; nothing by default.
    """
    if M is not None:
        A = A - M
    wide = A.shape[-2] < A.shape[-1]
    if wide:
        A = matrix_transpose(A)
    basis = _basis(A, 6 if q is None else q, 2 if niter is None else niter)
    u, s, vh = linalg.svd(matmul(matrix_transpose(basis), A), full_matrices=False)
    u, v = matmul(basis, u), matrix_transpose(vh)
    return (v, s, u) if wide else (u, s, v)


def _basis(A: Tensor, q: int, niter: int) -> Tensor:
    """Orthonormal columns that nearly span what the columns of `A` span."""
    drawn = randn(A.shape[-1], q, dtype=A.dtype)
    basis = linalg.qr(matmul(A, drawn))[0]
    for _ in range(niter):
        basis = linalg.qr(matmul(matrix_transpose(A), basis))[0]
        basis = linalg.qr(matmul(A, basis))[0]
    result: Tensor = basis
    return result


def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of the rows of `A`: `V`; with them, `U` and `S` of `svd_lowrank`.

    Args:
        A: matrices, `(*, m, n)`, a row for each observation.
        q: how many components are looked for; by default at most 6.
        center: whether the means of the columns are taken off first.
        niter: how often the projection is refined.

    Raises:
        ValueError: `q` or `niter` is out of its range.
    """
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if center:
        A = A - reduce.mean(A, -2, True)
    return svd_lowrank(A, q, niter)


__all__ = ["pca_lowrank", "svd_lowrank"]
