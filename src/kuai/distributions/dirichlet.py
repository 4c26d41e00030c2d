"""The Dirichlet distribution."""

from __future__ import annotations

from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.exp_family import ExponentialFamily
from kuai.distributions.sampling import standard_gamma
from kuai.tensor import Tensor


class Dirichlet(ExponentialFamily):
    """The Dirichlet distribution, over probabilities that sum to one.

    Args:
        concentration: of each probability, along the last dimension.

    Raises:
        ValueError: `concentration` has no dimension.
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Tensor:
        excess = ops.clamp(self.concentration - 1, min=0.0)
        mode = excess / excess.sum(-1, True)
        corner = (self.concentration < 1).all(-1, True)
        place = ops.argmax(mode, -1, True)  # among NaN, PyTorch's choice: the first
        return ops.where(corner, ops.zeros_like(mode).scatter(-1, place, 1.0), mode)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dirichlet:
        new: Dirichlet = self._expanded(batch_shape, _instance, ())
        new.concentration = self.concentration.expand((*batch_shape, *self._event_shape))
        return new

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        parts = standard_gamma(self.concentration.expand(self._extended_shape(sample_shape)))
        return parts / parts.sum(-1, True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return ops.xlogy(a - 1, value).sum(-1) + ops.lgamma(a.sum(-1)) - ops.lgamma(a).sum(-1)

    def entropy(self) -> Tensor:
        a = self.concentration
        total = a.sum(-1)
        return (
            ops.lgamma(a).sum(-1)
            - ops.lgamma(total)
            - (a.shape[-1] - total) * ops.digamma(total)
            - ((a - 1) * ops.digamma(a)).sum(-1)
        )
