"""The geometric distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.core.tape import no_grad
from kuai.distributions import constraints
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import (
    broadcast_all,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from kuai.distributions.sampling import open_uniform
from kuai.nn import functional as F
from kuai.tensor import Tensor


class Geometric(Distribution):
    """The number of failures before the first success.

    Args:
        probs: the probability of success, above zero.
        logits: its log odds.

    Raises:
        ValueError: not exactly one of `probs` and `logits` is given.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        given = logits if probs is None else probs
        (parameter,) = broadcast_all(given)
        if probs is None:
            self.logits = parameter
        else:
            self.probs = parameter
        single = isinstance(given, Number)
        super().__init__(Size() if single else parameter.shape, validate_args=validate_args)
        if self._validate_args and probs is not None:
            constraints.require(
                self.probs > 0,
                lambda: (
                    f"Expected parameter probs ({type(self.probs).__name__} of shape "
                    f"{tuple(self.probs.shape)}) of distribution {self!r} to be positive but found "
                    "invalid values"
                ),
                lambda: self.probs[self.probs <= 0],
            )

    @lazy_property
    def logits(self) -> Tensor:
        """The log odds of success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Tensor:
        return ops.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def expand(self, batch_shape: Any, _instance: Any = None) -> Geometric:
        result: Geometric = self._expanded(batch_shape, _instance, ("probs", "logits"))
        return result

    def sample(self, sample_shape: Any = Size()) -> Tensor:
        with no_grad():
            u = open_uniform(self._extended_shape(sample_shape), self.probs)
            return (u.log() / ops.log1p(-self.probs)).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        certain = (probs == 1) & (value == 0)
        failure = ops.where(certain, 0.0, probs)  # a certain success leaves 0 · log 0
        return value * ops.log1p(-failure) + self.probs.log()

    def entropy(self) -> Tensor:
        each = F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")
        return each / self.probs
