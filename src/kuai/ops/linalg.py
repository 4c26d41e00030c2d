"""Linear algebra: norms, decompositions and solutions, with gradients, as in `torch.linalg`.

The gradients of the decompositions are those of M. B. Giles, "An extended collection of matrix
derivative results for forward and reverse mode algorithmic differentiation" (2008), and, for the
QR decomposition, of S. F. Walter and L. Lehmann (2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import TensorBase, wrap
from kuai.core.fused import compute
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.ops import return_types
from kuai.ops.creation import overwrite
from kuai.ops.elementwise import abs_power
from kuai.ops.fused_reductions import fused_norm
from kuai.ops.movement import matrix_transpose, normalize_dim
from kuai.ops.out import takes_out
from kuai.ops.pointwise import sum_to, to_dtype
from kuai.ops.reduce import amax_, amin_, normalize_dims, sum_

if TYPE_CHECKING:
    from kuai.tensor import Tensor


class LinAlgError(RuntimeError):
    """A matrix that is singular, not positive definite, or a method that did not converge."""


def _mT(x: Tensor) -> Tensor:
    return matrix_transpose(x)


def _check_square(name: str, x: Tensor) -> None:
    _check_square_shape(name, x)
    _check_float(name, x)


def _check_square_shape(name: str, x: Tensor) -> None:
    shape = x._payload.shape
    if len(shape) < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if shape[-1] != shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {shape[-2]} by "
            f"{shape[-1]} matrices"
        )


def _check_float(name: str, x: Tensor) -> None:
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point tensor of float32 or float64 as input. "
            f"Got {x.dtype.name}"
        )


def _check_matrix(name: str, x: Tensor) -> None:
    if x._payload.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    _check_float(name, x)


# -- norms -----------------------------------------------------------------------------------------


@takes_out
def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The norm `(sum |x| ** ord) ** (1 / ord)` over `dim`; at zero its gradient is zero."""
    if dtype is not None:
        x = to_dtype(x, dtype)
    if not x.is_floating_point():
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. "
            f"Got {x.dtype.name}"
        )
    dims = normalize_dims(dim, x._payload.ndim)
    shape = x._payload.shape
    if any(shape[d] == 0 for d in dims) and (ord < 0 or ord == math.inf):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the "
            "operation does not have an identity"
        )
    if ord == 0:
        return to_dtype(ops.sum(ops.ne(x, 0), dims, keepdim), x.dtype) + 0 * sum_(
            ops.where(ops.isfinite(x), x, 0), dim=dims, keepdim=keepdim
        )
    if ord == math.inf:
        return amax_(ops.abs(x), dim=dims, keepdim=keepdim)
    if ord == -math.inf:
        return amin_(ops.abs(x), dim=dims, keepdim=keepdim)
    if ord == 1:
        return sum_(ops.abs(x), dim=dims, keepdim=keepdim)
    if ord == 2:
        return compute(fused_norm, x, dim=dims, keepdim=keepdim)
    wide = to_dtype(x, dtypes.float32) if x.dtype.itemsize == 2 else x
    total = sum_(abs_power(wide, exponent=ord), dim=dims, keepdim=keepdim)
    return to_dtype(_root(total, 1 / ord), x.dtype)


def _root(total: Tensor, exponent: float) -> Tensor:
    """`total ** exponent`, with the gradient 0 at 0."""
    if not total._requires_grad:
        return ops.sqrt(total) if exponent == 0.5 else ops.pow(total, exponent)
    zero = ops.eq(total, 0)
    safe = ops.where(zero, 1.0, total)
    value = ops.sqrt(safe) if exponent == 0.5 else ops.pow(safe, exponent)
    return ops.where(zero, ops.pow(total.detach(), exponent), value)


@takes_out
def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The norm of matrices: `"fro"`, `"nuc"`, `inf`, `-inf`, 1, -1, 2 or -2."""
    if dtype is not None:
        A = to_dtype(A, dtype)
    ndim = A._payload.ndim
    if ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    rows, columns = (normalize_dim(d, ndim) for d in dim)
    if rows == columns:
        raise RuntimeError("linalg.matrix_norm: dims must be different.")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        moved = ops.movedim(A, (rows, columns), (-2, -1))
        s = svdvals(moved)
        if ord == "nuc":
            result = ops.sum(s, -1)
        else:
            result = _greatest(s, -1) if ord == 2 else ops.amin(s, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        summed, left = (rows, columns) if ord in (1, -1) else (columns, rows)
        totals = ops.sum(ops.abs(A), summed, True)
        pick = _greatest if ord > 0 else ops.amin
        result = pick(totals, left, True)
        if keepdim:
            return result
        return ops.squeeze(result, (rows, columns))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if keepdim:
        for d in sorted((rows, columns)):
            result = ops.unsqueeze(result, d)
    return result


def _greatest(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The greatest of values that are not negative; 0 of none."""
    if x._payload.shape[dim] == 0:
        return ops.sum(x, dim, keepdim)
    return ops.amax(x, dim, keepdim)


@takes_out
def norm(
    A: Tensor,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """A vector norm, or a matrix norm where `ord` or two dimensions ask for one."""
    if ord is not None and (
        (dim is None and A._payload.ndim == 2)
        or (not isinstance(dim, int) and dim is not None and len(dim) == 2)
        or isinstance(ord, str)
    ):
        return matrix_norm(A, ord, dim if dim is not None else (-2, -1), keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


@takes_out
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The inner products of vectors along `dim`."""
    return ops.sum(x * y, dim)


# -- solving ---------------------------------------------------------------------------------------


def _guard(name: str, function: Any, *arrays: np.ndarray) -> Any:
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {error}") from None


@primitive
class inv_(Primitive):
    """The inverse of square matrices."""

    gradient_name = "LinalgInvExBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        return _guard("inv", np.linalg.inv, x)

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad, result):
        t = _mT(result)
        return -(t @ grad @ t)


@takes_out
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices.

    Raises:
        LinAlgError: one is singular.
    """
    _check_square("inv", A)
    return inv_(A)


inverse = inv


@primitive
class solve_(Primitive):
    """`X` with `A @ X = B`, of batches of one shape."""

    inputs = ("a", "b")
    gradient_name = "LinalgSolveExBackward0"

    def kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _guard("solve", np.linalg.solve, a, b)

    def infer(self, a: Meta, b: Meta) -> Meta:
        return Meta((*ops.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)

    def gradient(self, grad, result, a, b_shape):
        of_b = solve_(_mT(a), grad)
        return (
            lambda: sum_to(-(of_b @ _mT(result)), a._payload.shape),
            lambda: sum_to(of_b, b_shape),
        )


@takes_out
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """`X` with `A @ X = B` (or `X @ A = B` where not `left`).

    Raises:
        LinAlgError: `A` is singular.
    """
    _check_square("solve", A)
    vector = B._payload.ndim == 1 or (
        B._payload.ndim + 1 == A._payload.ndim and B._payload.shape == A._payload.shape[:-1]
    )
    b = ops.unsqueeze(B, -1) if vector else B
    inner = b._payload.shape[-2 if left else -1]
    if inner != A._payload.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'}: {list(A._payload.shape)} and "
            f"{list(B._payload.shape)}"
        )
    result = solve_(A, b) if left else _mT(solve_(_mT(A), _mT(b)))
    return ops.squeeze(result, -1) if vector else result


@takes_out
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """`X` with `A @ X = B` for a triangular `A`, whose other half is not read."""
    _check_square("solve_triangular", A)
    half = ops.triu(A) if upper else ops.tril(A)
    if unitriangular:
        n = A._payload.shape[-1]
        half = (
            half
            - ops.diag_embed(ops.diagonal(half, 0, -2, -1))
            + wrap(np.eye(n, dtype=A._payload.dtype))
        )
    return solve(half, B, left=left)


def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> return_types.Named:
    """The least-squares solution of `A @ X = B`, with residuals, rank and singular values.

    Args:
        A: `(*, m, n)`.
        B: `(*, m, k)`, or vectors `(*, m)`.
        rcond: what singular values must exceed, as a part of the greatest.
        driver: the method to follow in what else is returned: `"gels"` (no rank), `"gelsy"` (no
            residuals), `"gelsd"` or `"gelss"` (singular values too).

    Raises:
        RuntimeError: an unknown driver, or shapes that do not fit.
    """
    driver = driver or "gelsy"
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    _check_matrix("lstsq", A)
    rows, columns = A._payload.shape[-2:]
    vector = B._payload.ndim + 1 == A._payload.ndim
    b = ops.unsqueeze(B, -1) if vector else B
    if b._payload.shape[-2] != rows:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2)")
    solution = pinv(A, rtol=rcond) @ b
    none = np.zeros(0, A._payload.dtype)
    rank = wrap(np.zeros(0, np.int64))
    if driver != "gels":
        rank = matrix_rank(A, rtol=rcond)
    svd_driver = driver in ("gelsd", "gelss")
    told = rows > columns and driver != "gelsy"
    if told and svd_driver:
        told = bool((rank._payload == columns).all())
    residuals = ops.sum(ops.square(A @ solution - b), -2)
    if not told:
        residuals = ops.narrow(ops.reshape(residuals, -1), 0, 0, 0)
    return return_types.linalg_lstsq(
        (
            ops.squeeze(solution, -1) if vector else solution,
            residuals,
            rank,
            svdvals(A.detach()) if svd_driver else wrap(none),
        )
    )


# -- determinants ----------------------------------------------------------------------------------


@primitive
class det_(Primitive):
    """The determinant of square matrices."""

    gradient_name = "LinalgDetBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        return np.linalg.det(x)

    def infer(self, x: Meta) -> Meta:
        return Meta(x.shape[:-2], x.dtype)

    def gradient(self, grad, x):
        return ops.unsqueeze(ops.unsqueeze(grad, -1), -1) * _cofactors(x)


def _cofactors(x: Tensor) -> Tensor:
    """The matrix of cofactors, from the singular values, so that singular matrices have one."""
    u, s, vh = svd(x, full_matrices=True)
    n = s._payload.shape[-1]
    others = [
        ops.prod(ops.cat([ops.narrow(s, -1, 0, i), ops.narrow(s, -1, i + 1, n - i - 1)], -1), -1)
        for i in range(n)
    ]
    sign = ops.sign(det_(u.detach()) * det_(vh.detach()))
    adjoint = ops.stack(others, -1) if n else s
    scaled = adjoint * ops.unsqueeze(sign, -1)
    return (u * ops.unsqueeze(scaled, -2)) @ vh


@takes_out
def det(A: Tensor) -> Tensor:
    """The determinant of square matrices."""
    _check_square("det", A)
    return det_(A)


@primitive
class slogdet_(Primitive):
    """The sign of the determinant, and the logarithm of its absolute value."""

    gradient_name = "LinalgSlogdetBackward0"

    def kernel(self, x: np.ndarray) -> Any:
        sign, logabsdet = np.linalg.slogdet(x)
        return np.asarray(sign), np.asarray(logabsdet)

    def infer(self, x: Meta) -> tuple[Meta, Meta]:
        result = Meta(x.shape[:-2], x.dtype)
        return result, result

    def gradient(self, grad, x):
        g = grad[1]
        return None if g is None else ops.unsqueeze(ops.unsqueeze(g, -1), -1) * _mT(inv_(x))


@takes_out
def slogdet(A: Tensor) -> return_types.Named:
    """The sign of the determinant, and the logarithm of its absolute value."""
    _check_square("slogdet", A)
    return return_types.linalg_slogdet(slogdet_(A))


def logdet(A: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative."""
    sign, logabsdet = slogdet(A)
    return ops.where(ops.lt(sign, 0), math.nan, logabsdet)


# -- decompositions --------------------------------------------------------------------------------


@primitive
class cholesky_(Primitive):
    """The lower triangular `L` with `A = L @ L.mT`."""

    gradient_name = "LinalgCholeskyExBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        lower = np.tril(x)
        symmetric = lower + np.swapaxes(np.tril(x, -1), -1, -2)
        return _guard("cholesky", np.linalg.cholesky, symmetric)

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad, result):
        inner = ops.tril(_mT(result) @ grad)
        half = inner - ops.diag_embed(ops.diagonal(inner, 0, -2, -1)) * 0.5
        symmetric = half + _mT(half)
        inverse = inv_(result)
        return (_mT(inverse) @ symmetric @ inverse) * 0.5


@takes_out
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The triangular factor of symmetric positive definite matrices.

    Raises:
        LinAlgError: one is not positive definite.
    """
    _check_square("cholesky", A)
    if upper:
        return _mT(cholesky_(_mT(A)))
    return cholesky_(A)


@primitive
class qr_(Primitive):
    """Orthogonal and upper triangular factors."""

    gradient_name = "LinalgQrBackward0"

    def kernel(self, x: np.ndarray, mode: Any) -> Any:
        if mode == "r":
            return np.zeros(0, x.dtype), np.linalg.qr(x, "r")
        q, r = np.linalg.qr(x, mode)
        return q, r

    def gradient(self, grad, result, mode):
        q, r = result
        gq, gr = grad
        if mode == "r":
            raise RuntimeError("linalg.qr_backward: the gradient needs mode other than 'r'")
        rows, columns = q._payload.shape[-2], r._payload.shape[-1]
        if mode == "complete" and rows > columns:
            raise RuntimeError(
                "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
            )
        if gq is None and gr is None:
            return None
        gq = ops.zeros_like(q) if gq is None else gq
        gr = ops.zeros_like(r) if gr is None else gr
        if rows < columns:
            # the columns beyond the square depend on q alone: A2 = q @ r2
            r1 = ops.narrow(r, -1, 0, rows)
            r2 = ops.narrow(r, -1, rows, columns - rows)
            g2 = ops.narrow(gr, -1, rows, columns - rows)
            a2 = q @ r2
            first = _qr_gradient(q, r1, gq + a2 @ _mT(g2), ops.narrow(gr, -1, 0, rows))
            return ops.cat([first, q @ g2], -1)
        return _qr_gradient(q, r, gq, gr)


def _qr_gradient(q: Tensor, r: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    m = r @ _mT(gr) - _mT(gq) @ q
    lower = ops.tril(m)
    copied = lower + _mT(ops.tril(m, -1))
    return (gq + q @ copied) @ _mT(inv_(r))


@takes_out
def qr(A: Tensor, mode: str = "reduced") -> return_types.Named:
    """Orthogonal and upper triangular factors; `mode` is `"reduced"`, `"complete"` or `"r"`."""
    _check_matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    return return_types.linalg_qr(qr_(A, mode=mode))


@primitive
class eigh_(Primitive):
    """Eigenvalues and eigenvectors of symmetric matrices."""

    gradient_name = "LinalgEighBackward0"

    def kernel(self, x: np.ndarray, lower: bool) -> Any:
        w, v = (
            _guard("eigh", np.linalg.eigh, x)
            if lower
            else _guard("eigh", lambda a: np.linalg.eigh(a, "U"), x)
        )
        return w, v

    def infer(self, x: Meta, lower: bool) -> tuple[Meta, Meta]:
        return Meta(x.shape[:-1], x.dtype), x

    def gradient(self, grad, result):
        values, vectors = result
        gw, gv = grad
        inner = None
        if gv is not None:
            inner = (_mT(vectors) @ gv) / _differences(values)
        if gw is not None:
            diagonal = ops.diag_embed(gw)
            inner = diagonal if inner is None else inner + diagonal
        return None if inner is None else vectors @ inner @ _mT(vectors)


def _differences(values: Tensor) -> Tensor:
    """`values[j] - values[i]` off the diagonal, and infinity on it."""
    n = values._payload.shape[-1]
    table = ops.unsqueeze(values, -2) - ops.unsqueeze(values, -1)
    return ops.where(wrap(np.eye(n, dtype=np.bool_)), math.inf, table)


@takes_out
def eigh(A: Tensor, UPLO: str = "L") -> return_types.Named:
    """Eigenvalues and eigenvectors of symmetric matrices, of which one half is read."""
    _check_square("eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return return_types.linalg_eigh(eigh_(A, lower=UPLO.upper() == "L"))


@takes_out
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, in rising order."""
    return eigh(A, UPLO).eigenvalues


@primitive
class svd_(Primitive):
    """The singular value decomposition."""

    gradient_name = "LinalgSvdBackward0"

    def kernel(self, x: np.ndarray, full_matrices: bool) -> Any:
        u, s, vh = _guard("svd", lambda a: np.linalg.svd(a, full_matrices), x)
        return u, s, vh

    def gradient(self, grad, result):
        u, s, vh = result
        gu, gs, gvh = grad
        k = s._payload.shape[-1]
        u, vh = ops.narrow(u, -1, 0, k), ops.narrow(vh, -2, 0, k)
        v = _mT(vh)
        if gu is None and gvh is None:
            return None if gs is None else (u * ops.unsqueeze(gs, -2)) @ vh
        row, column = ops.unsqueeze(s, -2), ops.unsqueeze(s, -1)
        f = (row - column) * (row + column)
        f = ops.where(wrap(np.eye(k, dtype=np.bool_)), math.inf, f)
        inner = ops.diag_embed(gs) if gs is not None else None
        rest = None

        def plus(a: Any, b: Any) -> Any:
            return b if a is None else a + b

        if gu is not None:
            gu = ops.narrow(gu, -1, 0, k)
            m = _mT(u) @ gu
            inner = plus(inner, ((m - _mT(m)) / f) * row)
            if u._payload.shape[-2] > k:
                rest = plus(rest, ((gu - u @ m) / row) @ vh)
        if gvh is not None:
            gv = _mT(ops.narrow(gvh, -2, 0, k))
            m = vh @ gv
            inner = plus(inner, column * ((m - _mT(m)) / f))
            if v._payload.shape[-2] > k:
                rest = plus(rest, u @ _mT((gv - v @ m) / row))
        return plus(rest, u @ inner @ vh)


@takes_out
def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None) -> return_types.Named:
    """The singular value decomposition `A = U @ diag(S) @ Vh`."""
    _check_matrix("svd", A)
    return return_types.linalg_svd(svd_(A, full_matrices=full_matrices))


@takes_out
def svdvals(A: Tensor, *, driver: Any = None) -> Tensor:
    """The singular values, in falling order."""
    return svd(A, full_matrices=False).S


# -- from those ------------------------------------------------------------------------------------


@primitive
class pinv_(Primitive):
    """The pseudo-inverse, of the singular values (eigenvalues) above the limit.

    The gradient: G. H. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear
    least squares problems whose variables separate" (1973).
    """

    gradient_name = "LinalgPinvBackward0"

    def kernel(self, x: np.ndarray, atol: Any, rtol: Any, hermitian: bool) -> np.ndarray:
        if 0 in x.shape:
            return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
        if hermitian:
            s, u = _guard("eigh", np.linalg.eigh, x)
            vh = np.swapaxes(u, -1, -2)
        else:
            u, s, vh = _guard("svd", lambda a: np.linalg.svd(a, False), x)
        kept = np.abs(s) > _limit(x, np.abs(s), atol, rtol)
        inverse = np.where(kept, 1 / np.where(kept, s, 1), 0)
        return (np.swapaxes(vh, -1, -2) * inverse[..., None, :]) @ np.swapaxes(u, -1, -2)

    def infer(self, x: Meta, atol: Any, rtol: Any, hermitian: bool) -> Meta:
        return Meta((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)

    def gradient(self, grad, result, x):
        p, pt, gt = result, _mT(result), _mT(grad)
        k = gt @ p
        range_part = (gt - x @ (p @ gt)) @ (p @ pt)
        null_part = (pt @ p) @ (gt - (k @ x))
        return range_part + null_part - pt @ grad @ pt


def _limit(x: np.ndarray, s: np.ndarray, atol: Any, rtol: Any) -> Any:
    """What singular values must exceed to count: the greater of both tolerances."""
    if rtol is None:
        rtol = 0.0 if atol is not None else _default_rtol(x)
    greatest = s.max(-1, keepdims=True) if s.shape[-1] else s
    limit = greatest * np.asarray(rtol)[..., None]
    return limit if atol is None else np.maximum(limit, np.asarray(atol)[..., None])


def _default_rtol(x: np.ndarray) -> float:
    return float(np.finfo(x.dtype).eps * max(x.shape[-2:]))


def _plain(tolerance: Any) -> Any:
    return np.asarray(tolerance._payload) if isinstance(tolerance, TensorBase) else tolerance


@takes_out
def pinv(
    A: Tensor,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The pseudo-inverse, of what exceeds the tolerances (numbers, or tensors for a batch)."""
    _check_matrix("pinv", A)
    rtol = rcond if rtol is None else rtol
    return pinv_(A, atol=_plain(atol), rtol=_plain(rtol), hermitian=hermitian)


@takes_out
def matrix_rank(
    A: Tensor,
    tol: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The number of singular values above the tolerances."""
    _check_matrix("matrix_rank", A)
    s = ops.abs(eigvalsh(A.detach())) if hermitian else svdvals(A.detach())
    atol = atol if tol is None else tol
    if rtol is None:
        rtol = 0.0 if atol is not None else _default_rtol(A._payload)
    limit = _of_each(rtol) * (ops.amax(s, -1, keepdim=True) if s.shape[-1] else s)
    if atol is not None:
        limit = ops.clamp(limit, min=_of_each(atol))
    return ops.sum(s > limit, -1)


def _of_each(tolerance: Any) -> Any:
    """A tolerance, or those of a batch, to compare rows of singular values with."""
    return tolerance.unsqueeze(-1) if isinstance(tolerance, TensorBase) else tolerance


@takes_out
def matrix_power(A: Tensor, n: int) -> Tensor:
    """The `n`-th power of square matrices; negative powers are those of the inverse."""
    _check_square("matrix_power", A)
    if n < 0:
        A, n = inv(A), -n
    size = A._payload.shape[-1]
    result: Any = None
    while n:
        if n & 1:
            result = A if result is None else result @ A
        A = A @ A if n > 1 else A
        n >>= 1
    if result is None:
        return overwrite(A, wrap(np.eye(size, dtype=A._payload.dtype)))
    return result


@primitive
class matrix_exp_(Primitive):
    """The exponential of square matrices, by scaling, a Taylor polynomial, and squaring."""

    gradient_name = "LinalgMatrixExpBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)  # squaring many times needs the digits
        size = float(np.abs(wide).sum(-1).max(initial=0.0))
        halvings = max(0, math.ceil(math.log2(size)) + 2) if 0 < size < math.inf else 0
        wide /= 2.0**halvings
        result = np.eye(x.shape[-1]) + wide
        term = wide
        for k in range(2, 19):
            term = term @ wide / k
            result = result + term
        for _ in range(halvings):
            result = result @ result
        return result.astype(x.dtype)

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad, x):
        # The corner of a larger exponential (Y. Najfeld, T. F. Havel, 1995).
        n = x._payload.shape[-1]
        transposed = _mT(x)
        upper = ops.cat([transposed, grad], -1)
        lower = ops.cat([ops.zeros_like(transposed), transposed], -1)
        corner = ops.narrow(matrix_exp_(ops.cat([upper, lower], -2)), -1, n, n)
        return ops.narrow(corner, -2, 0, n)


@takes_out
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices, by scaling, a Taylor polynomial, and squaring."""
    _check_square_shape("matrix_exp", A)
    if not A.is_floating_point():
        _check_float("matrix_exp", A)
    return matrix_exp_(A) if A._payload.size else A.clone()


@takes_out
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices."""
    result = tensors[0]
    for t in tensors[1:]:
        result = result @ t
    return result


@takes_out
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number in a norm."""
    if p in (None, 2, -2):
        s = svdvals(A)
        top, bottom = ops.select(s, -1, 0), ops.select(s, -1, -1)
        return bottom / top if p == -2 else top / bottom
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@takes_out
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three along `dim`."""
    return ops.cross(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A view of the diagonals of matrices."""
    return ops.diagonal(A, offset, dim1, dim2)


@takes_out
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product of matrices."""
    return ops.matmul(input, other)


@takes_out
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse for `tensordot` over `ind` dimensions."""
    shape = A._payload.shape
    n = math.prod(shape[ind:])
    return ops.reshape(inv(ops.reshape(A, -1, n)), shape[ind:] + shape[:ind])


@takes_out
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """`X` with `tensordot(A, X, X.ndim) = B`."""
    if dims is not None:
        A = ops.movedim(A, tuple(dims), tuple(range(-len(dims), 0)))
    rest = A._payload.shape[B._payload.ndim :]
    flat = ops.reshape(A, B._payload.size, -1)
    return ops.reshape(solve(flat, ops.reshape(B, -1)), rest)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """The Vandermonde matrix: the powers of `x` from 0 to `N - 1`."""
    if x._payload.ndim == 0:
        x = ops.reshape(x, 1)
    n = x._payload.shape[-1] if N is None else N
    if not x.is_floating_point():
        x = to_dtype(x, dtypes.int64)
    return ops.stack([ops.pow(x, i) for i in range(n)], -1)


# -- PyTorch's older forms -----------------------------------------------------------------------


@takes_out
def svd_old(input: Tensor, some: bool = True, compute_uv: bool = True) -> return_types.Named:
    """The singular value decomposition, with `V` and not its transpose."""
    u, s, vh = svd(input, full_matrices=not some)
    return return_types.svd((u, s, _mT(vh)))


@takes_out
def qr_old(input: Tensor, some: bool = True) -> return_types.Named:
    """Orthogonal and upper triangular factors."""
    return return_types.qr(qr(input, "reduced" if some else "complete"))


@takes_out
def cholesky_old(input: Tensor, upper: bool = False) -> Tensor:
    """The triangular factor of symmetric positive definite matrices."""
    return cholesky(input, upper=upper)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse."""
    return pinv(input, rtol=rcond)


@takes_out
def norm_old(
    input: Tensor,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The p-norm of the values over `dim`, taken as a vector (`"nuc"`: of singular values)."""
    if p == "nuc":
        dims = tuple(dim) if dim is not None else (-2, -1)
        return matrix_norm(input, "nuc", dims, keepdim, dtype=dtype)
    order = 2 if p is None or p == "fro" else p
    return vector_norm(input, order, dim, keepdim, dtype=dtype)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return norm_old(input - other, p)
