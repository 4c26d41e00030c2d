"""The Poisson distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.core.tape import no_grad
from kuai.distributions import constraints
from kuai.distributions.exp_family import ExponentialFamily
from kuai.distributions.parameters import broadcast_all
from kuai.tensor import Tensor


class Poisson(ExponentialFamily):
    """The Poisson distribution, of the number of independent events.

    Args:
        rate: the mean.
    """

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        single = isinstance(rate, Number)
        super().__init__(Size() if single else self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def expand(self, batch_shape: Any, _instance: Any = None) -> Poisson:
        result: Poisson = self._expanded(batch_shape, _instance, ("rate",))
        return result

    def sample(self, sample_shape: Any = Size()) -> Tensor:
        with no_grad():
            return ops.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return ops.xlogy(value, rate) - rate - ops.lgamma(value + 1)
