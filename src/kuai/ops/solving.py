"""Systems of equations by given factors, and forms that tell of failure instead of raising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import wrap
from kuai.core.primitive import Meta, Primitive, checked_when_run, primitive
from kuai.ops import return_types
from kuai.ops.linalg import (
    LinAlgError,
    _check_square,
    cholesky,
    inv,
    solve,
    solve_triangular,
)
from kuai.ops.movement import matrix_transpose
from kuai.ops.out import takes_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _attempt(function: Any, A: Tensor, check_errors: bool, *rest: Any) -> tuple[Any, Tensor]:
    """The result of `function(A, *rest)`, NaN for matrices that fail, and which did (1, else 0)."""
    batch = A._payload.shape[:-2]
    info = np.zeros(batch, np.int32)
    try:
        return function(A, *rest), wrap(info)
    except LinAlgError:
        if check_errors:
            raise
    for place in np.ndindex(batch):
        try:
            function(wrap(A._payload[place]), *[wrap(b._payload[place]) for b in rest])
        except LinAlgError:
            info[place] = 1
    failed = wrap((info != 0)[..., None, None])
    eye = wrap(np.eye(A._payload.shape[-1], dtype=A._payload.dtype))
    result = function(ops.where(failed, eye, A), *rest)
    return ops.where(failed, float("nan"), result), wrap(info)


@takes_out
def inv_ex(A: Tensor, *, check_errors: bool = False) -> return_types.Named:
    """The inverse, and for each matrix 0, or what is not 0 where it is singular."""
    _check_square("inv_ex", A)
    return return_types.linalg_inv_ex(_attempt(inv, A, check_errors))


@takes_out
def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> return_types.Named:
    """The Cholesky factor, and for each matrix 0, or what is not 0 where there is none."""
    _check_square("cholesky_ex", A)
    return return_types.linalg_cholesky_ex(
        _attempt(lambda a: cholesky(a, upper=upper), A, check_errors)
    )


@takes_out
def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> return_types.Named:
    """The solution of `A @ X = B`, and for each matrix 0, or what is not 0 where it is singular."""
    _check_square("solve_ex", A)
    return return_types.linalg_solve_ex(_attempt(lambda a: solve(a, B, left=left), A, check_errors))


@takes_out
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is `L`."""
    _check_square("cholesky_inverse", L)
    inverse = inv(ops.triu(L) if upper else ops.tril(L))
    t = matrix_transpose(inverse)
    return inverse @ t if upper else t @ inverse


@takes_out
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """`X` with `A @ X = B`, where `L` is the Cholesky factor of `A`."""
    _check_square("cholesky_solve", L)
    t = matrix_transpose(L)
    lower = t if upper else L
    middle = solve_triangular(lower, B, upper=False)
    return solve_triangular(matrix_transpose(lower), middle, upper=True)


@takes_out
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> return_types.Named:
    """`X` with `A @ X = b` for a triangular `A` (its transpose where asked), and a copy of `A`."""
    half = matrix_transpose(A) if transpose else A
    solution = solve_triangular(half, b, upper=upper != transpose, unitriangular=unitriangular)
    return return_types.triangular_solve((solution, A.clone()))


# -- LU --------------------------------------------------------------------------------------------


@primitive
class lu_factor_(Primitive):
    """Both triangular factors in one matrix, and the rows exchanged, counted from 1."""

    gradient_name = "LinalgLuFactorExBackward0"

    def kernel(self, x: np.ndarray) -> Any:
        rows, columns = x.shape[-2:]
        steps = min(rows, columns)
        matrices = x.reshape(-1, rows, columns).copy()
        pivots = np.zeros((len(matrices), steps), np.int32)
        for matrix, order in zip(matrices, pivots, strict=True):
            for i in range(steps):
                p = i + int(np.argmax(np.abs(matrix[i:, i])))
                order[i] = p + 1
                matrix[[i, p]] = matrix[[p, i]]
                if matrix[i, i] != 0:
                    matrix[i + 1 :, i] /= matrix[i, i]
                matrix[i + 1 :, i + 1 :] -= np.outer(matrix[i + 1 :, i], matrix[i, i + 1 :])
        return matrices.reshape(x.shape), pivots.reshape(*x.shape[:-2], steps)

    def gradient(self, grad, result):
        packed, pivots = result
        if grad[0] is None:
            return None
        return _lu_gradient(grad[0], *lu_unpack(packed, pivots))


def _lu_gradient(grad: Tensor, permutation: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The gradient of the matrix.

    The square part of it decides the other part of a factor: `L2 = A2 U1⁻¹` below it,
    `U2 = L1⁻¹ A2` on its right.
    """
    rows, columns = grad.shape[-2:]
    k = min(rows, columns)
    l1, l2 = ops.narrow(lower, -2, 0, k), ops.narrow(lower, -2, k, rows - k)
    u1, u2 = ops.narrow(upper, -1, 0, k), ops.narrow(upper, -1, k, columns - k)
    square = ops.narrow(ops.narrow(grad, -2, 0, k), -1, 0, k)
    right = ops.narrow(ops.narrow(grad, -2, 0, k), -1, k, columns - k)
    below = ops.narrow(ops.narrow(grad, -2, k, rows - k), -1, 0, k)
    of_lower = matrix_transpose(l1) @ ops.tril(square, -1) - right @ matrix_transpose(u2)
    of_upper = ops.triu(square) @ matrix_transpose(u1) - matrix_transpose(l2) @ below

    def after_lower(x: Tensor) -> Tensor:
        return solve_triangular(matrix_transpose(l1), x, upper=True)

    def before_upper(x: Tensor) -> Tensor:
        return solve_triangular(matrix_transpose(u1), x, upper=False, left=False)

    left = before_upper(after_lower(ops.tril(of_lower, -1) + ops.triu(of_upper)))
    if rows > columns:
        left = ops.cat([left, before_upper(below)], -2)
    elif columns > rows:
        left = ops.cat([left, after_lower(right)], -1)
    return permutation @ left


@takes_out
def lu_factor(A: Tensor, *, pivot: bool = True) -> return_types.Named:
    """The LU decomposition in one matrix, and the exchanges of rows, counted from 1."""
    return return_types.linalg_lu_factor(lu_factor_ex(A, pivot=pivot)[:2])


@takes_out
def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False
) -> return_types.Named:
    """As `lu_factor`, and for each matrix the place of the first zero on U's diagonal, or 0.

    Raises:
        LinAlgError: there is such a zero, and `check_errors` is true.
        NotImplementedError: without pivoting.
    """
    if not pivot:
        raise NotImplementedError("LU decompositions without pivoting are not supported on the CPU")
    packed, pivots = lu_factor_(A)
    zero = ops.eq(ops.diagonal(packed.detach(), 0, -2, -1), 0).to(dtypes.int32)
    first = ops.sum(zero, -1, dtype=dtypes.int32)  # zeros: 0 where there is no diagonal
    if zero.shape[-1]:
        first = (ops.argmax(zero, -1) + 1).to(dtypes.int32) * ops.amax(zero, -1)
    if check_errors:
        message = "linalg.lu_factor_ex: the factor U has a zero on its diagonal"
        if type(first._payload) is not np.ndarray:
            checked_when_run(lambda: ops.all(ops.eq(first, 0)), LinAlgError, message)
        elif first._payload.any():
            raise LinAlgError(message)
    return return_types.linalg_lu_factor_ex((packed, pivots, first))


@primitive
class exchanges_(Primitive):
    """The matrix, of `rows` rows, that undoes exchanges of rows, which count from 1."""

    differentiable = False

    def kernel(self, pivots: np.ndarray, rows: int) -> np.ndarray:
        batch = pivots.shape[:-1]
        order = np.broadcast_to(np.arange(rows), (*batch, rows)).copy()
        for place in np.ndindex(batch):
            for i, p in enumerate(pivots[place] - 1):
                order[(*place, [i, p])] = order[(*place, [p, i])]
        return np.ascontiguousarray(np.swapaxes(np.eye(rows, dtype=bool)[order], -1, -2))

    def infer(self, pivots: Meta, rows: int) -> Meta:
        return Meta((*pivots.shape[:-1], rows, rows), dtypes.bool_)


@takes_out
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> return_types.Named:
    """The factors `P`, `L`, `U` from what `lu_factor` returned; what is not unpacked is empty.

    Raises:
        RuntimeError: `LU_pivots` is not int32.
    """
    rows, columns = LU_data._payload.shape[-2:]
    small = min(rows, columns)
    permutation = lower = upper = wrap(np.empty(0, LU_data._payload.dtype))
    if unpack_pivots:
        if LU_pivots.dtype is not dtypes.int32:
            raise RuntimeError(
                "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
                "dtype. Note: this function is intended to be used with the output produced by "
                "torch.linalg.lu_factor"
            )
        permutation = exchanges_(LU_pivots, rows=rows).to(LU_data.dtype)
    if unpack_data:
        eye = wrap(np.eye(rows, small, dtype=LU_data._payload.dtype))
        lower = ops.tril(ops.narrow(LU_data, -1, 0, small), -1) + eye
        upper = ops.triu(ops.narrow(LU_data, -2, 0, small))
    return return_types.lu_unpack((permutation, lower, upper))


@takes_out
def lu(A: Tensor, *, pivot: bool = True) -> return_types.Named:
    """The factors with `A = P @ L @ U`: a permutation, and two triangular ones."""
    packed, pivots = lu_factor(A, pivot=pivot)
    return return_types.linalg_lu(lu_unpack(packed, pivots))


@takes_out
def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """`X` with `A @ X = B` (`X @ A = B` where not `left`) for the `A` that `lu_factor` took."""
    p, lower, upper = lu_unpack(LU, pivots)
    A = p @ lower @ upper
    return solve(matrix_transpose(A) if adjoint else A, B, left=left)


def lu_old(A: Tensor, pivot: bool = True, get_infos: bool = False) -> tuple[Tensor, ...]:
    """The LU decomposition in one matrix, the exchanges of rows, and where U has a zero."""
    packed = lu_factor_ex(A, pivot=pivot)
    return packed if get_infos else tuple(packed[:2])


@takes_out
def lu_solve_old(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """`X` with `A @ X = b` for the `A` that `lu` took."""
    return lu_solve(LU_data, LU_pivots, b)


# -- distances -------------------------------------------------------------------------------------


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """The p-norm distances between each row of one matrix and each of the other.

    Shape:
        `x1` `(*, m, d)`, `x2` `(*, n, d)`; the result `(*, m, n)`.

    Raises:
        RuntimeError: the rows differ in length, or `p` is negative.
    """
    from kuai.ops.linalg import vector_norm

    if x1._payload.ndim < 2 or x2._payload.ndim < 2:
        raise RuntimeError("cdist only supports at least 2D tensors")
    if x1._payload.shape[-1] != x2._payload.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1._payload.shape[-1]} X2: "
            f"{x2._payload.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    difference = ops.unsqueeze(x1, -2) - ops.unsqueeze(x2, -3)
    if difference._payload.shape[-1] == 0:
        return ops.sum(difference, -1)
    return vector_norm(difference, p, -1)


def histogram(
    input: Tensor,
    bins: Any,
    *,
    range: Any = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> return_types.Named:
    """How many values (or how much weight) fall into each bin, and the edges of the bins."""
    edges = bins if isinstance(bins, int) else bins._payload
    weights = None if weight is None else weight._payload
    counts, edges = np.histogram(input._payload, edges, range, density, weights)
    dtype = input._payload.dtype
    return return_types.histogram((wrap(counts.astype(dtype)), wrap(edges.astype(dtype))))


__all__ = [
    "cdist",
    "cholesky_inverse",
    "cholesky_solve",
    "histogram",
    "lu_unpack",
    "triangular_solve",
]
