"""The Laplace distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from kuai import dtypes, ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import broadcast_all
from kuai.distributions.sampling import standard_uniform
from kuai.tensor import Tensor


class Laplace(Distribution):
    """The Laplace distribution, of density `exp(-|x - loc| / scale) / (2 scale)`.

    Args:
        loc: the mean.
        scale: the mean distance from it.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        single = isinstance(loc, Number) and isinstance(scale, Number)
        super().__init__(Size() if single else self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale**2

    @property
    def stddev(self) -> Tensor:
        return 2**0.5 * self.scale

    def expand(self, batch_shape: Any, _instance: Any = None) -> Laplace:
        result: Laplace = self._expanded(batch_shape, _instance, ("loc", "scale"))
        return result

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        limit = 1 - dtypes.finfo(self.loc.dtype).eps
        u = 2 * standard_uniform(self._extended_shape(sample_shape), self.loc) - 1
        u = ops.clamp(u, min=-limit, max=limit)
        return self.loc - self.scale * u.sign() * ops.log1p(-u.abs())

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -ops.log(2 * self.scale) - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = value - self.loc
        return 0.5 - 0.5 * distance.sign() * ops.expm1(-distance.abs() / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        term = value - 0.5
        return self.loc - self.scale * term.sign() * ops.log1p(-2 * term.abs())

    def entropy(self) -> Tensor:
        return 1 + ops.log(2 * self.scale)
