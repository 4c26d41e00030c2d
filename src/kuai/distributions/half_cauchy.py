"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

from kuai import ops
from kuai.distributions import constraints
from kuai.distributions.cauchy import Cauchy
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.transforms import AbsTransform
from kuai.tensor import Tensor


class HalfCauchy(TransformedDistribution):
    """The absolute value of a Cauchy number of median zero.

    Args:
        scale: the scale of the Cauchy number.
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        base = Cauchy(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, self._get_checked_instance(HalfCauchy, _instance))

    @property
    def scale(self) -> Tensor:
        """The scale of the Cauchy number."""
        scale: Tensor = self.base_dist.scale  # type: ignore[attr-defined]
        return scale

    @property
    def mean(self) -> Tensor:
        return ops.full(tuple(self._extended_shape()), math.inf, dtype=self.scale.dtype)

    @property
    def mode(self) -> Tensor:
        return ops.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.base_dist.log_prob(value) + math.log(2)
        return ops.where(value >= 0, log_prob, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)
