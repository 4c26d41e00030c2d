"""The Gumbel distribution."""

from __future__ import annotations

import math
from typing import Any

from kuai import dtypes, ops
from kuai.distributions import constraints
from kuai.distributions.parameters import broadcast_all, euler_constant
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.transforms import AffineTransform, ExpTransform
from kuai.distributions.uniform import Uniform
from kuai.tensor import Tensor


class Gumbel(TransformedDistribution):
    """The Gumbel distribution, of the largest of many numbers.

    Args:
        loc: the mode.
        scale: the scale.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        info = dtypes.finfo(self.loc.dtype)
        low = ops.full_like(self.loc, info.tiny)
        base = Uniform(low, ops.full_like(self.loc, 1 - info.eps), validate_args=validate_args)
        steps = [
            ExpTransform().inv,
            AffineTransform(loc=0, scale=-ops.ones_like(self.scale)),
            ExpTransform().inv,
            AffineTransform(loc=self.loc, scale=-self.scale),
        ]
        super().__init__(base, steps, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Gumbel, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return super().expand(batch_shape, new)

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev**2

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + euler_constant)
