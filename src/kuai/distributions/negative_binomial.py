"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.core.tape import no_grad
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.gamma import Gamma
from kuai.distributions.parameters import (
    broadcast_all,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from kuai.nn import functional as F
from kuai.tensor import Tensor


class NegativeBinomial(Distribution):
    """The number of successes before `total_count` failures.

    Args:
        total_count: the number of failures, not necessarily whole.
        probs: the probability of success, below one.
        logits: its log odds.

    Raises:
        ValueError: not exactly one of `probs` and `logits` is given.
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        count, self._param = broadcast_all(total_count, logits if probs is None else probs)
        self.total_count = count.to(self._param.dtype)
        if probs is None:
            self.logits = self._param
        else:
            self.probs = self._param
        super().__init__(self._param.shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """The log odds of success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ops.clamp(((self.total_count - 1) * self.logits.exp()).floor(), min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / ops.sigmoid(-self.logits)

    def expand(self, batch_shape: Any, _instance: Any = None) -> NegativeBinomial:
        names = ("total_count", "probs", "logits", "_param")
        result: NegativeBinomial = self._expanded(batch_shape, _instance, names)
        return result

    def sample(self, sample_shape: Any = Size()) -> Tensor:
        """A Poisson number whose rate is a gamma number."""
        with no_grad():
            rates = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return ops.poisson(rates.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        outcome = n * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits)
        ways = ops.lgamma(n + value) - ops.lgamma(1 + value) - ops.lgamma(n)
        return outcome + ops.where(n + value == 0, 0.0, ways)
