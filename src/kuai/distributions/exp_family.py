"""Exponential families: distributions of density `h(x) exp(η·t(x) − A(η))`."""

from __future__ import annotations

from typing import Any

from kuai.core.tape import enable_grad
from kuai.distributions.distribution import Distribution
from kuai.tensor import Tensor


class ExponentialFamily(Distribution):
    """A distribution of an exponential family.

    A subclass that gives its natural parameters `η`, the function `A` and the mean of `log h`
    has its entropy, and its divergence from another of the family, computed from them.
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy, as the Bregman divergence of `A` (F. Nielsen, R. Nock, 2010)."""
        from kuai.autograd import grad

        with enable_grad():
            parameters = [p.detach().requires_grad_() for p in self._natural_params]
            normalizer = self._log_normalizer(*parameters)
            slopes = grad(normalizer.sum(), parameters, create_graph=True)
        result = normalizer - self._mean_carrier_measure
        for parameter, slope in zip(parameters, slopes, strict=True):
            product = parameter * slope
            dims = product.ndim - len(self._batch_shape)
            result = result - (product.flatten(-dims).sum(-1) if dims else product)
        return result
