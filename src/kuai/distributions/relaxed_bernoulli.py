"""The relaxed Bernoulli distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import (
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from kuai.distributions.sampling import standard_uniform
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.transforms import SigmoidTransform
from kuai.tensor import Tensor


class LogitRelaxedBernoulli(Distribution):
    """The log odds of a relaxed Bernoulli number.

    Args:
        temperature: how far it is relaxed.
        probs: the probability of one.
        logits: its log odds.

    Raises:
        ValueError: not exactly one of `probs` and `logits` is given.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self.temperature = temperature
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        given = logits if probs is None else probs
        (self._param,) = broadcast_all(given)
        if probs is None:
            self.logits = self._param
        else:
            self.probs = self._param
        single = isinstance(given, Number)
        super().__init__(Size() if single else self._param.shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """The log odds of one."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of one."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._expanded(batch_shape, _instance, ("probs", "logits", "_param"))
        new.temperature = self.temperature
        return new

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        probs = clamp_probs(self.probs.expand(shape))
        noise = clamp_probs(standard_uniform(shape, probs))
        odds = noise.log() - ops.log1p(-noise) + probs.log() - ops.log1p(-probs)
        return odds / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        difference = logits - value * self.temperature
        result: Tensor = self.temperature.log() + difference - 2 * ops.log1p(difference.exp())
        return result


class RelaxedBernoulli(TransformedDistribution):
    """A number between zero and one, near one of them; differentiable by the probability.

    C. J. Maddison, A. Mnih, Y. W. Teh, "The concrete distribution", 2017.

    Args:
        temperature: how far it is relaxed.
        probs: the probability of one.
        logits: its log odds.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, self._get_checked_instance(RelaxedBernoulli, _instance))

    @property
    def temperature(self) -> Any:
        """How far it is relaxed."""
        return self.base_dist.temperature  # type: ignore[attr-defined]

    @property
    def logits(self) -> Any:
        """The log odds of one."""
        return self.base_dist.logits  # type: ignore[attr-defined]

    @property
    def probs(self) -> Any:
        """The probability of one."""
        return self.base_dist.probs  # type: ignore[attr-defined]
