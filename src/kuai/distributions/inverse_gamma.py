"""The inverse gamma distribution."""

from __future__ import annotations

import math
from typing import Any

from kuai import ops
from kuai.distributions import constraints
from kuai.distributions.gamma import Gamma
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.transforms import PowerTransform
from kuai.tensor import Tensor


class InverseGamma(TransformedDistribution):
    """One over a gamma number.

    Args:
        concentration: the shape, often called `α`.
        rate: one over the scale of the gamma number, often called `β`.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        power = PowerTransform(-ops.ones_like(base.rate)[(0,) * base.rate.dim()])
        super().__init__(base, power, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, self._get_checked_instance(InverseGamma, _instance))

    @property
    def concentration(self) -> Any:
        """The shape."""
        return self.base_dist.concentration  # type: ignore[attr-defined]

    @property
    def rate(self) -> Any:
        """One over the scale of the gamma number."""
        return self.base_dist.rate  # type: ignore[attr-defined]

    @property
    def mean(self) -> Tensor:
        finite = self.rate / (self.concentration - 1)
        return ops.where(self.concentration > 1, finite, math.inf)

    @property
    def mode(self) -> Tensor:
        mode: Tensor = self.rate / (self.concentration + 1)
        return mode

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        finite = (self.rate / (a - 1)) ** 2 / (a - 2)
        return ops.where(a > 2, finite, math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        result: Tensor = a + self.rate.log() + ops.lgamma(a) - (1 + a) * ops.digamma(a)
        return result
