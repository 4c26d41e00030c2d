"""The relaxed categorical distribution."""

from __future__ import annotations

import math
from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.distributions import constraints
from kuai.distributions.categorical import Categorical
from kuai.distributions.distribution import Distribution
from kuai.distributions.parameters import broadcast_all, clamp_probs
from kuai.distributions.sampling import standard_uniform
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.transforms import ExpTransform
from kuai.tensor import Tensor


class ExpRelaxedCategorical(Distribution):
    """The logarithm of a relaxed one-hot vector.

    Args:
        temperature: how far it is relaxed.
        probs: the probabilities, or weights: they are divided by their sum.
        logits: their logarithms, up to a constant.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        super().__init__(
            self._categorical.batch_shape,
            self._categorical.param_shape[-1:],
            validate_args=validate_args,
        )

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """The log probabilities."""
        return self._categorical.logits

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._categorical.param_shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._expanded(batch_shape, _instance, ())
        new.temperature = self.temperature
        new._categorical = self._categorical.expand(batch_shape)
        return new

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        uniform = clamp_probs(standard_uniform(shape, self.logits))
        scores = (self.logits - (-uniform.log()).log()) / self.temperature
        return scores - ops.logsumexp(scores, -1, True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self._event_shape[0]
        logits, value = broadcast_all(self.logits, value)
        scale: Tensor = math.lgamma(n) + (n - 1) * self.temperature.log()
        score = logits - value * self.temperature
        return (score - ops.logsumexp(score, -1, True)).sum(-1) + scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """A vector near a one-hot one, differentiable by the probabilities.

    C. J. Maddison, A. Mnih, Y. W. Teh, "The concrete distribution", 2017; E. Jang, S. Gu, B. Poole,
    "Categorical reparameterization with Gumbel-softmax", 2017.

    Args:
        temperature: how far it is relaxed.
        probs: the probabilities, or weights: they are divided by their sum.
        logits: their logarithms, up to a constant.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(RelaxedOneHotCategorical, _instance)
        return super().expand(batch_shape, new)

    @property
    def temperature(self) -> Any:
        """How far it is relaxed."""
        return self.base_dist.temperature  # type: ignore[attr-defined]

    @property
    def logits(self) -> Any:
        """The log probabilities."""
        return self.base_dist.logits  # type: ignore[attr-defined]

    @property
    def probs(self) -> Any:
        """The probabilities."""
        return self.base_dist.probs  # type: ignore[attr-defined]
