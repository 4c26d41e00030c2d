"""The von Mises distribution, over angles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kuai import ops, special
from kuai.core.base import Size
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.core.tape import no_grad
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import broadcast_all
from kuai.distributions.sampling import source_of
from kuai.ops.random import some_words
from kuai.tensor import Tensor


@primitive
class von_mises_numbers(Primitive):
    """Angles around 0 with the concentrations `x`, for four random words."""

    inputs = ("words", "x")
    differentiable = False

    def kernel(self, words: np.ndarray, x: np.ndarray) -> np.ndarray:
        drawn = source_of(words).vonmises(0.0, x.astype(np.float64))
        return np.asarray(drawn).astype(x.dtype)

    def infer(self, words: Meta, x: Meta) -> Meta:
        return x


class VonMises(Distribution):
    """The von Mises distribution, of density `exp(concentration * cos(x - loc)) / (2π I0)`.

    Args:
        loc: the mean angle.
        concentration: how close to it the angles lie.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance: 1 less the length of the mean of the unit vectors."""
        return 1 - special.i1e(self.concentration) / special.i0e(self.concentration)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMises:
        result: VonMises = self._expanded(batch_shape, _instance, ("loc", "concentration"))
        return result

    def sample(self, sample_shape: Any = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            angles = von_mises_numbers(some_words(), self.concentration.expand(shape).detach())
            return ops.remainder(angles + math.pi + self.loc.detach(), 2 * math.pi) - math.pi

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # I0 is too large for its type where its logarithm is not.
        log_i0 = ops.log(special.i0e(self.concentration)) + self.concentration
        away = ops.cos(value - self.loc)
        return self.concentration * away - math.log(2 * math.pi) - log_i0
