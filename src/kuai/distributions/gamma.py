"""The gamma distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.exp_family import ExponentialFamily
from kuai.distributions.incomplete_gamma import gamma_cdf
from kuai.distributions.parameters import broadcast_all
from kuai.distributions.sampling import standard_gamma
from kuai.tensor import Tensor


class Gamma(ExponentialFamily):
    """The gamma distribution.

    Args:
        concentration: its shape, often called `α`.
        rate: one over its scale, often called `β`.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support: constraints.Constraint = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        single = isinstance(concentration, Number) and isinstance(rate, Number)
        super().__init__(
            Size() if single else self.concentration.shape, validate_args=validate_args
        )

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ops.clamp((self.concentration - 1) / self.rate, min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate**2

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(batch_shape, _instance, ("concentration", "rate"))

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration, self.rate
        return ops.xlogy(a, b) + ops.xlogy(a - 1, value) - b * value - ops.lgamma(a)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, x = ops.broadcast_tensors(self.concentration, self.rate * value)
        return gamma_cdf(a, x)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + ops.lgamma(a) + (1 - a) * ops.digamma(a)
