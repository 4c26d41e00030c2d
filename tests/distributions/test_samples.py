"""Samples follow their distributions, repeat with the seed, and carry gradients."""

from __future__ import annotations

import pytest

import kuai
from kuai import distributions as d

T = kuai.tensor

SAMPLED = {
    "normal": lambda: d.Normal(T([1.0, -2.0]), T([0.5, 2.0])),
    "log-normal": lambda: d.LogNormal(T([0.0, 0.2]), T([0.5, 0.3])),
    "half-normal": lambda: d.HalfNormal(T([0.5, 2.0])),
    "laplace": lambda: d.Laplace(T([0.5, 2.0]), 1.0),
    "gumbel": lambda: d.Gumbel(T([0.5, 2.0]), 1.0),
    "student": lambda: d.StudentT(T([6.0, 9.0]), 1.0, 2.0),
    "uniform": lambda: d.Uniform(T([0.0, -1.0]), 2.0),
    "exponential": lambda: d.Exponential(T([0.5, 2.0])),
    "gamma": lambda: d.Gamma(T([0.3, 4.0]), T([1.0, 2.0])),
    "chi2": lambda: d.Chi2(T([1.0, 4.0])),
    "beta": lambda: d.Beta(T([0.5, 4.0]), T([0.5, 2.0])),
    "dirichlet": lambda: d.Dirichlet(T([0.5, 1.0, 4.0])),
    "weibull": lambda: d.Weibull(1.0, T([1.5, 3.0])),
    "pareto": lambda: d.Pareto(1.0, T([6.0, 8.0])),
    "inverse gamma": lambda: d.InverseGamma(T([6.0, 8.0]), 1.0),
    "bernoulli": lambda: d.Bernoulli(T([0.1, 0.7])),
    "geometric": lambda: d.Geometric(T([0.2, 0.7])),
    "binomial": lambda: d.Binomial(7, T([0.2, 0.7])),
    "negative binomial": lambda: d.NegativeBinomial(3.0, T([0.2, 0.6])),
    "poisson": lambda: d.Poisson(T([0.5, 12.0])),
    "one-hot": lambda: d.OneHotCategorical(T([0.1, 0.2, 0.7])),
    "multinomial": lambda: d.Multinomial(5, T([0.1, 0.2, 0.7])),
    "multivariate normal": lambda: d.MultivariateNormal(
        T([1.0, -1.0]), T([[2.0, 0.5], [0.5, 1.0]])
    ),
    "mixture": lambda: d.MixtureSameFamily(
        d.Categorical(T([0.3, 0.7])), d.Normal(T([-1.0, 2.0]), T([1.0, 0.5]))
    ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_have_the_mean_and_the_variance_of_their_distribution(name):
    p = SAMPLED[name]()
    kuai.manual_seed(0)
    n = 40000
    x = p.sample((n,)).double()
    standard_error = (p.variance.double() / n).sqrt()
    assert ((x.mean(0) - p.mean.double()).abs() < 5 * standard_error).all()
    assert kuai.allclose(x.var(0), p.variance.double(), rtol=0.15)


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_repeat_with_the_seed_and_lie_in_the_support(name):
    p = SAMPLED[name]()
    kuai.manual_seed(3)
    first = p.sample((50,))
    second = p.sample((50,))
    kuai.manual_seed(3)
    assert kuai.equal(p.sample((50,)), first)
    assert not kuai.equal(first, second)
    assert p.support.check(first).all()
    assert not first.requires_grad
    p.log_prob(first)


def test_indices_come_with_their_probabilities():
    kuai.manual_seed(0)
    p = d.Categorical(T([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]))
    counts = kuai.nn.functional.one_hot(p.sample((20000,)), 3).double().mean(0)
    assert kuai.allclose(counts, p.probs.double(), atol=0.015)


def test_the_mean_of_a_normal_is_learnt_through_its_samples():
    kuai.manual_seed(0)
    loc = kuai.zeros(1, requires_grad=True)
    for _ in range(200):
        loss = (d.Normal(loc, 0.1).rsample((16,)) - 3).pow(2).mean()
        loss.backward()
        with kuai.no_grad():
            loc -= 0.1 * loc.grad
            loc.grad = None
    assert loc.item() == pytest.approx(3.0, abs=0.05)


def test_the_gradient_of_a_gamma_sample_holds_its_place_in_the_distribution():
    a = T([0.1, 1.0, 3.0, 50.0, 3000.0, 30000.0], dtype=kuai.float64, requires_grad=True)
    kuai.manual_seed(1)
    sample = d.Gamma(a, 1.0).rsample()
    sample.sum().backward()
    step = 1e-4 * a.detach()
    place = d.Gamma(a.detach(), 1.0).cdf(sample.detach())
    moved = sample.detach() + a.grad * step
    assert kuai.allclose(d.Gamma(a.detach() + step, 1.0).cdf(moved), place, atol=2e-6)


def test_one_hot_samples_pass_their_gradient_straight_through():
    logits = T([0.0, 1.0], requires_grad=True)
    sample = d.OneHotCategoricalStraightThrough(logits=logits).rsample()
    assert sorted(sample.detach().round().tolist()) == [0.0, 1.0]
    (sample * T([1.0, 0.0])).sum().backward()
    assert logits.grad.abs().sum() > 0


def test_the_density_of_log_odds_is_that_of_policy_gradients():
    logits = T([0.5, -0.5, 0.0], requires_grad=True)
    p = d.Categorical(logits=logits)
    (-p.log_prob(T(1)) * 2.0).backward()
    expected = 2 * (p.probs.detach() - T([0.0, 1.0, 0.0]))
    assert kuai.allclose(logits.grad, expected)


def test_a_family_of_ones_own_has_its_entropy_from_its_normalizer():
    class Rate(d.ExponentialFamily):
        arg_constraints = {}

        def __init__(self, rate):
            self.rate = rate
            super().__init__(rate.shape)

        @property
        def _natural_params(self):
            return (-self.rate,)

        def _log_normalizer(self, x):
            return -(-x).log()

        _mean_carrier_measure = 0

    rate = T([0.5, 2.0])
    assert kuai.allclose(Rate(rate).entropy(), d.Exponential(rate).entropy())


def test_a_divergence_of_ones_own_is_found_for_subclasses():
    class Mine(d.Normal):
        pass

    @d.register_kl(Mine, d.Normal)
    def rule(p, q):
        return T(42.0)

    p, q = Mine(0.0, 1.0), d.Normal(0.0, 1.0)
    assert d.kl_divergence(p, q).item() == 42.0
    assert d.kl_divergence(q, p).item() == 0.0
    with pytest.raises(NotImplementedError):
        d.kl_divergence(d.Categorical(kuai.ones(2)), q)


def test_a_cached_transform_gives_back_the_very_input():
    transform, x = d.TanhTransform(cache_size=1), T([20.0])
    assert transform.inv(transform(x)) is x


def test_a_subclass_with_its_own_init_must_say_how_to_expand():
    class Mine(d.Normal):
        def __init__(self):
            super().__init__(0.0, 1.0)

    assert Mine().sample((2,)).shape == (2,)
    with pytest.raises(NotImplementedError, match="must also define a custom"):
        Mine().expand((3,))


def test_angles_have_the_mean_direction_and_the_circular_variance():
    p = d.VonMises(T([0.5, 3.0]), T([2.0, 40.0]))
    kuai.manual_seed(0)
    x = p.sample((40000,)).double()
    assert (x.abs() <= 3.1416).all()
    towards = kuai.stack([x.cos().mean(0), x.sin().mean(0)])
    direction = kuai.atan2(towards[1], towards[0])
    assert kuai.allclose(direction, p.mean.double(), atol=0.02)
    assert kuai.allclose(1 - towards.norm(dim=0), p.variance.double(), rtol=0.05)
    kuai.manual_seed(0)
    assert kuai.equal(p.sample((40000,)).double(), x)
