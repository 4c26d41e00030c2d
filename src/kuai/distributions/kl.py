"""The Kullback-Leibler divergence, pair by pair of distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kuai import ops
from kuai.distributions.bernoulli import Bernoulli
from kuai.distributions.beta import Beta
from kuai.distributions.binomial import Binomial
from kuai.distributions.categorical import Categorical
from kuai.distributions.cauchy import Cauchy
from kuai.distributions.dirichlet import Dirichlet
from kuai.distributions.distribution import Distribution
from kuai.distributions.exponential import Exponential
from kuai.distributions.gamma import Gamma
from kuai.distributions.geometric import Geometric
from kuai.distributions.gumbel import Gumbel
from kuai.distributions.half_normal import HalfNormal
from kuai.distributions.independent import Independent
from kuai.distributions.laplace import Laplace
from kuai.distributions.multivariate_normal import (
    MultivariateNormal,
    _half_log_det,
    _mahalanobis,
)
from kuai.distributions.normal import Normal
from kuai.distributions.one_hot_categorical import OneHotCategorical
from kuai.distributions.parameters import euler_constant, sum_rightmost
from kuai.distributions.pareto import Pareto
from kuai.distributions.poisson import Poisson
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.uniform import Uniform
from kuai.tensor import Tensor

Rule = Callable[[Any, Any], Tensor]
_RULES: dict[tuple[type, type], Rule] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Rule], Rule]:
    """A decorator: the function gives the divergence of these distributions and their subclasses.

    Raises:
        TypeError: not classes of distributions.
    """
    for role, kind in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected {role} to be a Distribution subclass but got {kind}")

    def decorator(rule: Rule) -> Rule:
        _RULES[type_p, type_q] = rule
        return rule

    return decorator


def _rule(type_p: type, type_q: type) -> Rule | None:
    """The rule for the nearest base classes; the left one's nearness counts first."""
    for base_p in type_p.__mro__:
        for base_q in type_q.__mro__:
            if (base_p, base_q) in _RULES:
                return _RULES[base_p, base_q]
    return None


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """`KL(p ‖ q) = E_p[log p(x) − log q(x)]`, for each pair of the batches.

    Raises:
        NotImplementedError: there is no rule for distributions of these classes.
    """
    rule = _rule(type(p), type(q))
    if rule is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
            f"{type(q).__name__}"
        )
    return rule(p, q)


def _infinite_where(result: Tensor, condition: Tensor) -> Tensor:
    return ops.where(condition, math.inf, result)


def _always_infinite(p: Any, q: Any) -> Tensor:
    """The divergence where `p` has samples that `q` never has."""
    shape = ops.broadcast_shapes(tuple(p.batch_shape), tuple(q.batch_shape))
    return ops.full(tuple(shape), math.inf)


def _from_moments_to_normal(p: Any, q: Any) -> Tensor:
    """The divergence from a normal distribution, of which only the moments of `p` are needed."""
    variance = q.scale**2
    moment = (p.variance + (p.mean - q.loc) ** 2) / (2 * variance)
    result: Tensor = -p.entropy() + 0.5 * (2 * math.pi * variance).log() + moment
    return result


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    one = p.probs * (p.probs / q.probs).log()
    one = ops.where(p.probs == 0, 0.0, _infinite_where(one, q.probs == 0))
    zero = (1 - p.probs) * ((1 - p.probs) / (1 - q.probs)).log()
    zero = ops.where(p.probs == 1, 0.0, _infinite_where(zero, q.probs == 1))
    both_impossible = (q.probs == 0) & (p.probs != 0) | (q.probs == 1) & (p.probs != 1)
    return _infinite_where(one + zero, both_impossible)


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    each = p.probs * (p.logits - q.logits) + ops.log1p(-p.probs) - ops.log1p(-q.probs)
    return _infinite_where(p.total_count * each, p.total_count > q.total_count)


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = _infinite_where(terms, (q.probs == 0).expand_as(terms))
    return ops.where((p.probs == 0).expand_as(terms), 0.0, terms).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Tensor:
    return -p.entropy() - ops.log1p(-q.probs) / p.probs - q.logits


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    distance = ((p.loc - q.loc) / q.scale) ** 2
    return 0.5 * (ratio + distance - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Tensor:
    difference = p.loc - q.loc
    ratio = difference / p.scale
    spread = math.sqrt(2 / math.pi) * p.scale * (-0.5 * ratio**2).exp()
    shift = difference * ops.erf(ratio * math.sqrt(0.5))
    constant = -(p.scale / q.scale).log() + math.log(2) - 0.5 * math.log(2 * math.pi) - 0.5
    result: Tensor = constant + (spread + shift) / q.scale
    return result


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Any, q: Any) -> Tensor:
    mean, spread, loc = p.loc / q.scale, (p.scale / q.scale) ** 2, q.loc / q.scale
    cross = mean - loc + (-mean + 0.5 * spread + loc).exp()
    return -(p.scale / q.scale).log() + cross - 0.5 * (1 + math.log(2 * math.pi))


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Laplace, Normal)
def _laplace_normal(p: Any, q: Any) -> Tensor:
    variance = q.scale**2
    ratio = p.scale**2 / variance
    moment = 0.5 * p.loc**2 - p.loc * q.loc + 0.5 * q.loc**2
    return -0.5 * (2 * ratio / math.pi).log() + ratio + moment / variance - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Tensor:
    distance = (p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2
    return distance.log() - (4 * p.scale * q.scale).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Tensor:
    ratio, p_loc, q_loc = p.scale / q.scale, p.loc / q.scale, q.loc / q.scale
    moment = (ops.lgamma(1 + ratio) + q_loc - p_loc).exp()
    return -ratio.log() + p_loc - q_loc + ratio * euler_constant + moment - (1 + euler_constant)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    a = q.concentration
    result: Tensor = -a * ratio.log() + ratio + ops.lgamma(a) + a * euler_constant
    return result - (1 + euler_constant)


@register_kl(Exponential, Normal)
def _exponential_normal(p: Any, q: Any) -> Tensor:
    variance, rate_square = q.scale**2, p.rate**2
    cross = 0.5 * (rate_square * variance * 2 * math.pi).log()
    moment = 1 / rate_square - q.loc / p.rate + q.loc**2 / 2
    return cross - 1 + moment / variance


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Any, q: Any) -> Tensor:
    product, loc = p.rate * q.scale, q.loc / q.scale
    return product.log() - 1 + product.reciprocal() - loc + loc.exp() * product / (product + 1)


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    shape = ops.lgamma(b) - ops.lgamma(a) + (a - b) * ops.digamma(a)
    return b * (p.rate / q.rate).log() + shape + (q.rate - p.rate) * (a / p.rate)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


@register_kl(Gamma, Normal)
def _gamma_normal(p: Any, q: Any) -> Tensor:
    return _from_moments_to_normal(p, q)


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Any, q: Any) -> Tensor:
    product, loc = p.rate * q.scale, q.loc / q.scale
    moment = loc.exp() * (1 + product.reciprocal()) ** -p.concentration
    return -p.entropy() + q.scale.log() + p.concentration / product - loc + moment


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Tensor:
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    normalizer = ops.lgamma(total) - ops.lgamma(b.sum(-1)) - (ops.lgamma(a) - ops.lgamma(b)).sum(-1)
    return normalizer + ((a - b) * (ops.digamma(a) - ops.digamma(total).unsqueeze(-1))).sum(-1)


@register_kl(Beta, Exponential)
def _beta_exponential(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Gamma)
def _beta_gamma(p: Any, q: Any) -> Tensor:
    a, total = p.concentration1, p.concentration1 + p.concentration0
    log_mean = ops.digamma(a) - ops.digamma(total)
    normalizer = q.concentration * q.rate.log() - ops.lgamma(q.concentration)
    return -p.entropy() - normalizer - (q.concentration - 1) * log_mean + q.rate * p.mean


@register_kl(Beta, Normal)
def _beta_normal(p: Any, q: Any) -> Tensor:
    return _from_moments_to_normal(p, q)


@register_kl(Beta, Uniform)
def _beta_uniform(p: Any, q: Any) -> Tensor:
    result = -p.entropy() + (q.high - q.low).log()
    return _infinite_where(result, (q.low > 0) | (q.high < 1))


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return _infinite_where(result, (q.low > p.low) | (q.high < p.high))


@register_kl(Uniform, Normal)
def _uniform_normal(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    moment = (width**2 / 12 + ((p.high + p.low - 2 * q.loc) / 2) ** 2) / (2 * q.scale**2)
    return (math.sqrt(2 * math.pi) * q.scale / width).log() + moment


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Tensor:
    result = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return _infinite_where(result, p.low < 0)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Any, q: Any) -> Tensor:
    width = q.scale / (p.high - p.low)
    low, high = (p.low - q.loc) / q.scale, (p.high - q.loc) / q.scale
    return width.log() + 0.5 * (low + high) - width * ((-high).exp() - (-low).exp())


def _mean_log(low: Tensor, high: Tensor) -> Tensor:
    """The mean logarithm of uniform numbers."""
    return (ops.xlogy(high, high) - ops.xlogy(low, low)) / (high - low) - 1


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Tensor:
    a, b = q.concentration1, q.concentration0
    normalizer = ops.lgamma(a) + ops.lgamma(b) - ops.lgamma(a + b)
    cross = (a - 1) * _mean_log(p.low, p.high) + (b - 1) * _mean_log(1 - p.high, 1 - p.low)
    result = -(p.high - p.low).log() + normalizer - cross
    return _infinite_where(result, (p.high > 1) | (p.low < 0))


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Any, q: Any) -> Tensor:
    a, rate = q.concentration, q.rate
    cross = (a - 1) * _mean_log(p.low, p.high) - rate * (p.high + p.low) / 2
    result = -(p.high - p.low).log() + ops.lgamma(a) - a * rate.log() - cross
    return _infinite_where(result, p.low < 0)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Tensor:
    cross = q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * _mean_log(p.low, p.high)
    return _infinite_where(-(p.high - p.low).log() - cross, p.low < q.scale)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Tensor:
    result: Tensor = -p.entropy() - (p.probs * q.rate.log() - q.rate)
    return result


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Any, q: Any) -> Tensor:
    return _from_moments_to_normal(p, q)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Any, q: Any) -> Tensor:
    result = -p.entropy() - q.rate.log() + q.rate * p.mean
    return _infinite_where(result, p.alpha <= 1)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Any, q: Any) -> Tensor:
    a = q.concentration
    mean_log = p.scale.log() + p.alpha.reciprocal()
    cross = a * q.rate.log() - ops.lgamma(a) + (a - 1) * mean_log - q.rate * p.mean
    return _infinite_where(-p.entropy() - cross, p.alpha <= 1)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Any, q: Any) -> Tensor:
    return _infinite_where(_from_moments_to_normal(p, q), p.alpha <= 2)


@register_kl(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Tensor:
    scale, ratio = p.scale / q.scale, q.alpha / p.alpha
    result = q.alpha * scale.log() - ratio.log() + ratio - 1
    return _infinite_where(result, p.scale < q.scale)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be "
            "computed"
        )
    n = p.event_shape[0]
    volume = _half_log_det(q._factor) - _half_log_det(p._factor)
    # The columns of p's factor, measured by q: their squares add up to the trace.
    columns = p._factor.mT
    spread = _mahalanobis(q._factor.unsqueeze(-3), columns).sum(-1)
    return volume + 0.5 * (spread + _mahalanobis(q._factor, q.loc - p.loc) - n)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    inner = kl_divergence(p.base_dist, q.base_dist)
    result: Tensor = sum_rightmost(inner, p.reinterpreted_batch_ndims)
    return result


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


_NEVER: list[tuple[type, tuple[type, ...]]] = [
    (Beta, (Pareto,)),
    (Exponential, (Beta, Pareto, Uniform)),
    (Gamma, (Beta, Pareto, Uniform)),
    (Gumbel, (Beta, Exponential, Gamma, Pareto, Uniform)),
    (Laplace, (Beta, Exponential, Gamma, Pareto, Uniform)),
    (Normal, (Beta, Exponential, Gamma, Pareto, Uniform)),
    (Pareto, (Beta, Uniform)),
    (Poisson, (Bernoulli, Binomial)),
]
for _p, _qs in _NEVER:
    for _q in _qs:
        register_kl(_p, _q)(_always_infinite)

__all__ = ["kl_divergence", "register_kl"]
