"""Student's t-distribution."""  # noqa: N999 (PyTorch's name)

from __future__ import annotations

import math
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.chi2 import Chi2
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import broadcast_all
from kuai.distributions.sampling import standard_normal
from kuai.tensor import Tensor


class StudentT(Distribution):
    """Student's t-distribution.

    Args:
        df: the degrees of freedom.
        loc: the mean.
        scale: the scale.
    """

    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return ops.where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        finite = self.scale**2 * self.df / (self.df - 2)
        variance = ops.where(self.df > 2, finite, math.inf)
        return ops.where(self.df > 1, variance, math.nan)

    def expand(self, batch_shape: Any, _instance: Any = None) -> StudentT:
        new: StudentT = self._expanded(batch_shape, _instance, ("df", "loc", "scale"))
        new._chi2 = self._chi2.expand(batch_shape)
        return new

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        noise = standard_normal(self._extended_shape(sample_shape), self.df)
        spread = self._chi2.rsample(sample_shape) / self.df
        return self.loc + self.scale * noise * ops.rsqrt(spread)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        half = 0.5 * (self.df + 1)
        normalizer = (
            self.scale.log()
            + 0.5 * self.df.log()
            + 0.5 * math.log(math.pi)
            + ops.lgamma(0.5 * self.df)
            - ops.lgamma(half)
        )
        return -half * ops.log1p(((value - self.loc) / self.scale) ** 2 / self.df) - normalizer

    def entropy(self) -> Tensor:
        half = 0.5 * (self.df + 1)
        log_beta = ops.lgamma(0.5 * self.df) + 0.5 * math.log(math.pi) - ops.lgamma(half)
        return (
            self.scale.log()
            + half * (ops.digamma(half) - ops.digamma(0.5 * self.df))
            + 0.5 * self.df.log()
            + log_beta
        )
