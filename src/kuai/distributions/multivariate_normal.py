"""The multivariate normal distribution."""

from __future__ import annotations

from typing import Any

from kuai import linalg, ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import lazy_property
from kuai.distributions.sampling import HALF_LOG_2PI, standard_normal
from kuai.ops.pointwise import broadcast_shapes
from kuai.tensor import Tensor


class MultivariateNormal(Distribution):
    """Normal vectors, of any covariance.

    Args:
        loc: the mean.
        covariance_matrix: the covariance, or
        precision_matrix: its inverse, or
        scale_tril: its lower Cholesky factor.

    Shape:
        loc `(*, n)`, the matrices `(*, n, n)`.

    Raises:
        ValueError: not exactly one matrix is given, or dimensions are missing.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        matrices = {name: m for name, m in given.items() if m is not None}
        if len(matrices) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        ((name, matrix),) = matrices.items()
        if matrix.dim() < 2:
            what = f"{name} matrix" if name == "scale_tril" else name
            raise ValueError(
                f"{what} must be at least two-dimensional, with optional leading batch dimensions"
            )
        batch_shape = broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        setattr(self, name, matrix.expand((*batch_shape, -1, -1)))
        self.loc = loc.expand((*batch_shape, -1))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        if name == "scale_tril":
            self._factor = matrix
        elif name == "covariance_matrix":
            self._factor = linalg.cholesky(matrix)
        else:
            self._factor = _factor_of_inverse(matrix)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return self._factor.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        return self.scale_tril @ self.scale_tril.mT

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        inverse = _inverse_of_triangular(self.scale_tril)
        return inverse.mT @ inverse

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (self._factor**2).sum(-1).expand((*self._batch_shape, *self._event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> MultivariateNormal:
        new: MultivariateNormal = self._expanded(batch_shape, _instance, ())
        n = self._event_shape[0]
        new.loc = self.loc.expand((*batch_shape, n))
        new._factor = self._factor
        for name in ("covariance_matrix", "precision_matrix", "scale_tril"):
            if name in self.__dict__:
                setattr(new, name, self.__dict__[name].expand((*batch_shape, n, n)))
        return new

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        noise = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + (self._factor @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = _mahalanobis(self._factor, value - self.loc)
        n = self._event_shape[0]
        return -0.5 * distance - n * HALF_LOG_2PI - _half_log_det(self._factor)

    def entropy(self) -> Tensor:
        n = self._event_shape[0]
        return (n * (0.5 + HALF_LOG_2PI) + _half_log_det(self._factor)).expand(self._batch_shape)


def _half_log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(0, -2, -1).log().sum(-1)


def _mahalanobis(factor: Tensor, difference: Tensor) -> Tensor:
    """The squared distance of `difference` from zero, in standard deviations."""
    batch = broadcast_shapes(tuple(factor.shape[:-2]), tuple(difference.shape[:-1]))
    n = difference.shape[-1]
    solved = linalg.solve_triangular(
        factor.expand((*batch, n, n)), difference.expand((*batch, n)).unsqueeze(-1), upper=False
    )
    return (solved**2).sum((-2, -1))


def _inverse_of_triangular(factor: Tensor) -> Tensor:
    identity = ops.eye(factor.shape[-1], dtype=factor.dtype).expand_as(factor)
    return linalg.solve_triangular(factor, identity, upper=False)


def _factor_of_inverse(precision: Tensor) -> Tensor:
    """The lower Cholesky factor of a matrix's inverse.

    The factor of the matrix turned about both axes, turned back, is the upper factor `U` with
    `P = U Uᵀ`; the inverse of its transpose is the factor of the inverse.
    """
    turned = linalg.cholesky(ops.flip(precision, (-2, -1)))
    return _inverse_of_triangular(ops.flip(turned, (-2, -1)).mT)
