"""Ready-made parametrizations: orthogonal matrices, weight and spectral normalisation."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from kuai import ops
from kuai.core.base import TensorBase, wrap
from kuai.core.tape import no_grad
from kuai.nn.module import Module
from kuai.nn.utils.parametrize import register_parametrization
from kuai.nn.utils.spectral_norm import as_matrix, output_dim, random_unit, unit
from kuai.nn.utils.weight_norm import norm_except_dim, normalized_weight
from kuai.tensor import Tensor

M = TypeVar("M", bound=Module)

_ORTHOGONAL_MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """A matrix with orthonormal columns (rows, where it is wide), from any matrix.

    `matrix_exp` and `cayley` map a skew-symmetric matrix, made from the lower triangle;
    `householder` multiplies the reflectors that lie below the diagonal. With a `base`, the result
    is multiplied by it: the "dynamic trivialization" of Lezcano-Casado (2019),
    https://arxiv.org/abs/1909.09501
    """

    base: Tensor

    def __init__(
        self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True
    ) -> None:
        super().__init__()
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        wide = X.size(-2) < X.size(-1)
        if wide:
            X = X.mT
        if self.orthogonal_map == "householder":
            Q = _product_of_reflections(X)
        else:
            Q = _map_skew_symmetric(X, self.orthogonal_map)
        if "base" in self._buffers:
            Q = self.base @ Q
        return Q.mT if wide else Q

    def right_inverse(self, Q: Tensor) -> Tensor:
        """A matrix that `forward` maps to `Q`, or to the nearest thing that it can reach."""
        with no_grad():
            return self._right_inverse(Q)

    def _right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. "
                f"Got a tensor of shape {Q.shape}."
            )
        shape = Q.shape
        wide = Q.size(-2) < Q.size(-1)
        if wide:
            Q = Q.mT
        if "base" in self._buffers:
            self.base = _completed(Q)
            # With the identity's negative on the diagonal, every map gives the identity.
            start = ops.zeros(shape, dtype=Q.dtype)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return start
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley "
                "parametrizations when use_trivialization=False."
            )
        A = _reflectors(Q)
        return A.mT if wide else A


def _map_skew_symmetric(X: Tensor, name: str) -> Tensor:
    from kuai import linalg

    n, k = X.size(-2), X.size(-1)
    X = X.tril()
    if n != k:
        padding = ops.zeros((*X.shape[:-1], n - k), dtype=X.dtype)
        X = ops.cat([X, padding], dim=-1)
    A = X - X.mT
    if name == "matrix_exp":
        Q = linalg.matrix_exp(A)
    else:
        identity = ops.eye(n, dtype=A.dtype)
        Q = linalg.solve(identity - A / 2, identity + A / 2)
    return Q[..., :k] if n != k else Q


def _product_of_reflections(X: Tensor) -> Tensor:
    """`H₁ H₂ ... Hₖ` times the signs on the diagonal, applied to the first columns of `I`.

    Reflector `j` is `v = eⱼ +` column `j` below the diagonal, and `Hⱼ = I - τ v vᵀ` with
    `τ = 2 / ‖v‖²`.
    """
    n, k = X.size(-2), X.size(-1)
    V = X.tril(diagonal=-1) + ops.eye(n, k, dtype=X.dtype)
    tau = 2.0 / (V * V).sum(dim=-2)
    Q = ops.eye(n, k, dtype=X.dtype).expand(*X.shape[:-2], n, k)
    for j in reversed(range(k)):
        v = V[..., j : j + 1]
        Q = Q - tau[..., j, None, None] * v * (v.mT @ Q)
    return Q * X.detach().diagonal(dim1=-2, dim2=-1).trunc().unsqueeze(-2)


def _reflectors(Q: Tensor) -> Tensor:
    """The Householder reflectors of `Q`'s QR decomposition, with signs on the diagonal."""
    packed, tau = np.linalg.qr(Q._payload, mode="raw")
    A = np.ascontiguousarray(np.swapaxes(packed, -2, -1))
    k = A.shape[-1]
    diagonal = np.sign(A[..., range(k), range(k)])
    # LAPACK gives τ = 0 where it does not reflect; a reflector of ours always does.
    A[..., range(k), range(k)] = np.where(tau == 0, -diagonal, diagonal)
    return wrap(A)


def _completed(Q: Tensor) -> Tensor:
    """A square orthogonal matrix whose first columns are those of `Q`, made orthonormal."""
    n, k = Q.size(-2), Q.size(-1)
    if n == k:
        return Q.clone() if _is_orthogonal(Q) else _make_orthogonal(Q)
    rest = ops.randn(*Q.shape[:-2], n, n - k, dtype=Q.dtype)
    return _make_orthogonal(ops.cat([Q, rest], dim=-1))


def _is_orthogonal(Q: Tensor) -> bool:
    q = Q._payload
    n, k = q.shape[-2:]
    tolerance = 10.0 * n * np.finfo(q.dtype).eps
    return bool(np.allclose(np.swapaxes(q, -2, -1) @ q, np.eye(k), rtol=1e-5, atol=tolerance))


def _make_orthogonal(A: Tensor) -> Tensor:
    """The factor `Q` of `A = QR`, where `R`'s diagonal is not negative."""
    q, r = np.linalg.qr(A._payload)
    signs = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    return wrap(q * signs[..., None, :])


def orthogonal(
    module: M,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> M:
    """Make a weight a matrix (or a batch of them) with orthonormal columns, or rows if it is wide.

    Args:
        module: the block.
        name: the weight's name.
        orthogonal_map: `"matrix_exp"`, `"cayley"` or `"householder"`; by default the first for
            square matrices, and the last for others.
        use_trivialization: whether the result is relative to a stored orthogonal matrix, which
            is the weight's present value made orthogonal.

    Returns:
        The block.

    Raises:
        ValueError: there is no such weight, it is no matrix, or the map is unknown.
    """
    weight = _weight_of(module, name)
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1)
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in _ORTHOGONAL_MAPS:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    parametrization = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    register_parametrization(module, name, parametrization, unsafe=True)
    return module


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return normalized_weight(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and direction of a weight."""
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Split a weight into a magnitude (`original0`) and a direction (`original1`).

    Salimans and Kingma (2016), https://arxiv.org/abs/1602.07868

    Args:
        module: the block.
        name: the weight's name.
        dim: the dimension along which norms are independent; `None` for one norm of all.

    Returns:
        The block.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename_old_keys(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        g, v = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if g in state_dict and v in state_dict:
            path = f"{prefix}parametrizations.{name}"
            state_dict[f"{path}.original0"] = state_dict.pop(g)
            state_dict[f"{path}.original1"] = state_dict.pop(v)

    module._register_load_state_dict_pre_hook(rename_old_keys)
    return module


class _SpectralNorm(Module):
    """A weight divided by an estimate of its largest singular value, by the power method."""

    _u: Tensor
    _v: Tensor

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        ndim = weight.dim()
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but "
                f"got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:  # a vector's only singular value is its norm
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight.detach(), self.dim)
            self.register_buffer("_u", random_unit(weight, matrix.size(0), eps))
            self.register_buffer("_v", random_unit(weight, matrix.size(1), eps))
            self._power_method(matrix, 15)

    def _power_method(self, matrix: Tensor, steps: int) -> None:
        with no_grad():
            for _ in range(steps):
                self._u.copy_(unit(matrix.mv(self._v), self.eps))
                self._v.copy_(unit(matrix.mT.mv(self._u), self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return unit(weight, self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # The next call changes the buffers, and this one's backward still needs the values.
        u, v = self._u.clone(), self._v.clone()
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: the parametrization changes only the scale."""
        return value


def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> M:
    """Divide a weight by its largest singular value.

    Miyato et al. (2018), https://arxiv.org/abs/1802.05957

    Args:
        module: the block.
        name: the weight's name.
        n_power_iterations: how many steps of the power method an access in training mode takes.
        eps: the smallest norm to divide by.
        dim: the dimension that counts the outputs; by default 0, and 1 for a transposed
            convolution.

    Returns:
        The block.

    Raises:
        ValueError: there is no such weight.
    """
    weight = _weight_of(module, name)
    dim = output_dim(module) if dim is None else dim
    parametrization = _SpectralNorm(weight, n_power_iterations, dim, eps)
    register_parametrization(module, name, parametrization)
    return module


def _weight_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, TensorBase):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight  # type: ignore[return-value]


__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
