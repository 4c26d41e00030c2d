"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

from kuai import ops
from kuai.core.base import Size
from kuai.core.tape import no_grad
from kuai.distributions import constraints
from kuai.distributions.categorical import Categorical
from kuai.distributions.distribution import Distribution
from kuai.tensor import Tensor


class MixtureSameFamily(Distribution):
    """A mixture: which component a sample comes from is drawn first.

    Args:
        mixture_distribution: draws the component.
        component_distribution: the components, along its rightmost batch dimension.

    Raises:
        ValueError: the two are not of these kinds, or their shapes do not fit.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = False

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an instance of "
                "kuai.distributions.Categorical"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution need to be an instance of "
                "kuai.distributions.Distribution"
            )
        mixed = mixture_distribution.batch_shape
        batch = component_distribution.batch_shape[:-1]
        for have, want in zip(reversed(mixed), reversed(batch), strict=False):
            if have != 1 and want != 1 and have != want:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({mixed}) is not compatible with "
                    f"`component_distribution.batch_shape` ({component_distribution.batch_shape})"
                )
        count = mixture_distribution.logits.shape[-1]
        components = component_distribution.batch_shape[-1]
        if count != components:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({components})"
            )
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        self._num_component = components
        event_shape = component_distribution.event_shape
        self._event_ndims = len(event_shape)
        super().__init__(batch, event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """What draws the component."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components."""
        return self._component_distribution

    def expand(self, batch_shape: Any, _instance: Any = None) -> MixtureSameFamily:
        new: MixtureSameFamily = self._expanded(batch_shape, _instance, ())
        new._component_distribution = self._component_distribution.expand(
            (*batch_shape, self._num_component)
        )
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._num_component = self._num_component
        new._event_ndims = self._event_ndims
        return new

    def _weights(self) -> Tensor:
        """The components' probabilities, with dimensions for the event."""
        probs = self.mixture_distribution.probs
        return probs.reshape((*probs.shape, *(1,) * self._event_ndims))

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(-1 - self._event_ndims)

    @property
    def variance(self) -> Tensor:
        """The mean variance of the components, and the variance of their means."""
        dim = -1 - self._event_ndims
        weights, components = self._weights(), self.component_distribution
        within = (weights * components.variance).sum(dim)
        between = (weights * (components.mean - self.mean.unsqueeze(dim)) ** 2).sum(dim)
        return within + between

    def cdf(self, value: Tensor) -> Tensor:
        each = self.component_distribution.cdf(self._pad(value))
        return (each * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        each = self.component_distribution.log_prob(self._pad(value))
        weights = ops.log_softmax(self.mixture_distribution.logits, -1)
        return ops.logsumexp(each + weights, -1)

    def sample(self, sample_shape: Any = Size()) -> Tensor:
        with no_grad():
            dim = len(tuple(sample_shape)) + len(self._batch_shape)
            which = self.mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            which = which.reshape((*which.shape, 1, *(1,) * self._event_ndims))
            samples = self.component_distribution.sample(sample_shape)
            shape = (*samples.shape[:dim], 1, *self._event_shape)
            return samples.gather(dim, which.expand(shape)).squeeze(dim)

    def _pad(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1 - self._event_ndims)

    def __repr__(self) -> str:
        return (
            f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
        )
