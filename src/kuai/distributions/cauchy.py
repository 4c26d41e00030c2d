"""The Cauchy distribution."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import broadcast_all
from kuai.distributions.sampling import standard_uniform
from kuai.tensor import Tensor


class Cauchy(Distribution):
    """The Cauchy (Lorentz) distribution, that of the ratio of two normal numbers.

    Args:
        loc: the median.
        scale: half the width at half the height.
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
        return ops.full(tuple(self._extended_shape()), math.nan, dtype=self.loc.dtype)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return ops.full(tuple(self._extended_shape()), math.inf, dtype=self.loc.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Cauchy:
        result: Cauchy = self._expanded(batch_shape, _instance, ("loc", "scale"))
        return result

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        u = standard_uniform(self._extended_shape(sample_shape), self.loc)
        return self.loc + ops.tan(math.pi * (u - 0.5)) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (
            -math.log(math.pi)
            - self.scale.log()
            - ops.log1p(((value - self.loc) / self.scale) ** 2)
        )

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return ops.atan((value - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return ops.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()
