"""`distributions` as in PyTorch: parameters, densities, moments, shapes, divergences, errors."""

from __future__ import annotations

import re

import pytest

import kuai

torch = pytest.importorskip("torch")


def v(t, *values):
    return t.tensor(values if len(values) > 1 else values[0], dtype=t.float64)


POSITIVE = (0.3, 1.0, 2.5)
REAL = (-1.5, 0.2, 2.0)
SHARE = (0.1, 0.5, 0.95)
COUNT = (0.0, 1.0, 3.0)
WEIGHTS = ((0.2, 0.3, 0.5), (0.6, 0.3, 0.1))

# Each: how it is made, and values to ask it about.
MADE = {
    "normal": (lambda t, d: d.Normal(v(t, *REAL), v(t, *POSITIVE)), REAL),
    "normal of numbers": (lambda t, d: d.Normal(0.5, 2), REAL),
    "log-normal": (lambda t, d: d.LogNormal(v(t, *REAL), v(t, *POSITIVE)), POSITIVE),
    "half-normal": (lambda t, d: d.HalfNormal(v(t, *POSITIVE)), POSITIVE),
    "half-cauchy": (lambda t, d: d.HalfCauchy(v(t, *POSITIVE)), POSITIVE),
    "laplace": (lambda t, d: d.Laplace(v(t, *REAL), v(t, *POSITIVE)), (0.7, 0.3, -0.2)),
    "von mises": (lambda t, d: d.VonMises(v(t, *REAL), v(t, *POSITIVE)), (0.7, 0.3, -0.2)),
    "cauchy": (lambda t, d: d.Cauchy(v(t, *REAL), v(t, *POSITIVE)), (0.7, 0.3, -0.2)),
    "gumbel": (lambda t, d: d.Gumbel(v(t, *REAL), v(t, *POSITIVE)), (0.7, 0.3, -0.2)),
    "student": (lambda t, d: d.StudentT(v(t, 0.5, 1.5, 4.0), v(t, *REAL), 2.0), (0.7, 0.3, -0.2)),
    "uniform": (lambda t, d: d.Uniform(v(t, *REAL), v(t, 3.0, 3.5, 4.0)), (1.0, 2.0, 3.0)),
    "exponential": (lambda t, d: d.Exponential(v(t, *POSITIVE)), POSITIVE),
    "exponential of a number": (lambda t, d: d.Exponential(2.0), POSITIVE),
    "gamma": (lambda t, d: d.Gamma(v(t, *POSITIVE), v(t, 2.0, 0.5, 1.0)), POSITIVE),
    "inverse gamma": (lambda t, d: d.InverseGamma(v(t, *POSITIVE), v(t, 2.0, 0.5, 1.0)), POSITIVE),
    "chi2": (lambda t, d: d.Chi2(v(t, *POSITIVE)), POSITIVE),
    "beta": (lambda t, d: d.Beta(v(t, *POSITIVE), v(t, 2.0, 0.5, 3.0)), SHARE),
    "beta of numbers": (lambda t, d: d.Beta(2.0, 3.0), SHARE),
    "dirichlet": (
        lambda t, d: d.Dirichlet(v(t, (0.5, 2.0, 3.0), (0.2, 0.4, 0.3))),
        WEIGHTS,
    ),
    "pareto": (lambda t, d: d.Pareto(v(t, *POSITIVE), v(t, 0.5, 1.5, 3.0)), (3.0, 4.0, 5.0)),
    "weibull": (lambda t, d: d.Weibull(v(t, *POSITIVE), v(t, 1.5, 2.0, 3.0)), POSITIVE),
    "bernoulli": (lambda t, d: d.Bernoulli(v(t, *SHARE)), (1.0, 0.0, 1.0)),
    "bernoulli of logits": (lambda t, d: d.Bernoulli(logits=v(t, *REAL)), (1.0, 0.0, 1.0)),
    "bernoulli of a number": (lambda t, d: d.Bernoulli(0.25), (1.0, 0.0)),
    "geometric": (lambda t, d: d.Geometric(v(t, *SHARE)), COUNT),
    "geometric of logits": (lambda t, d: d.Geometric(logits=v(t, *REAL)), COUNT),
    "binomial": (lambda t, d: d.Binomial(4, v(t, *SHARE)), COUNT),
    "binomial of counts": (
        lambda t, d: d.Binomial(v(t, 3.0, 4.0, 5.0), logits=v(t, *REAL)),
        COUNT,
    ),
    "negative binomial": (lambda t, d: d.NegativeBinomial(v(t, *POSITIVE), v(t, *SHARE)), COUNT),
    "poisson": (lambda t, d: d.Poisson(v(t, *POSITIVE)), COUNT),
    "categorical": (lambda t, d: d.Categorical(v(t, *WEIGHTS)), (1.0, 2.0)),
    "categorical of weights": (lambda t, d: d.Categorical(v(t, 1.0, 3.0, 0.0)), (1.0, 2.0, 0.0)),
    "categorical of logits": (lambda t, d: d.Categorical(logits=v(t, *REAL)), (1.0, 2.0, 0.0)),
    "one-hot": (lambda t, d: d.OneHotCategorical(v(t, *WEIGHTS)), ((0.0, 1.0, 0.0), (1.0, 0, 0))),
    "multinomial": (lambda t, d: d.Multinomial(4, v(t, *WEIGHTS)), ((1.0, 3.0, 0.0), (2.0, 1, 1))),
    "multivariate normal": (
        lambda t, d: d.MultivariateNormal(v(t, 1.0, -1.0), v(t, (2.0, 0.5), (0.5, 1.0))),
        ((0.0, 1.0), (2.0, 0.5)),
    ),
    "multivariate normal of precision": (
        lambda t, d: d.MultivariateNormal(
            v(t, 1.0, -1.0), precision_matrix=v(t, (2.0, 0.5), (0.5, 1.0))
        ),
        ((0.0, 1.0), (2.0, 0.5)),
    ),
    "multivariate normal of a factor": (
        lambda t, d: d.MultivariateNormal(
            v(t, (1.0, -1.0), (0.0, 0.0)), scale_tril=v(t, (2.0, 0.0), (0.5, 1.0))
        ),
        ((0.0, 1.0), (2.0, 0.5)),
    ),
    "independent": (
        lambda t, d: d.Independent(d.Normal(v(t, *WEIGHTS), v(t, *WEIGHTS)), 1),
        WEIGHTS,
    ),
    "transformed": (
        lambda t, d: d.TransformedDistribution(
            d.Normal(v(t, *REAL), v(t, *POSITIVE)),
            [d.AffineTransform(1.0, v(t, -2.0, 1.0, 3.0)), d.SigmoidTransform()],
        ),
        SHARE,
    ),
    "transformed by breaking sticks": (
        lambda t, d: d.TransformedDistribution(
            d.Normal(v(t, 0.0, 1.0), v(t, 1.0, 2.0)), d.StickBreakingTransform()
        ),
        WEIGHTS,
    ),
    "mixture": (
        lambda t, d: d.MixtureSameFamily(
            d.Categorical(v(t, 0.3, 0.7)), d.Normal(v(t, -1.0, 2.0), v(t, 1.0, 0.5))
        ),
        REAL,
    ),
    "mixture of vectors": (
        lambda t, d: d.MixtureSameFamily(
            d.Categorical(v(t, 0.3, 0.7)),
            d.Independent(d.Normal(v(t, (0.0, 1.0), (2.0, 3.0)), v(t, (1.0, 1), (2, 1.0))), 1),
        ),
        ((0.0, 1.0), (2.0, 0.5)),
    ),
    "relaxed bernoulli": (lambda t, d: d.RelaxedBernoulli(v(t, 0.5), v(t, *SHARE)), SHARE),
    "relaxed one-hot": (
        lambda t, d: d.RelaxedOneHotCategorical(v(t, 0.5), v(t, *WEIGHTS)),
        WEIGHTS,
    ),
}

ASKED = {
    **{
        name: (lambda p, x, name=name: getattr(p, name))
        for name in (
            "batch_shape event_shape has_rsample has_enumerate_support mean mode variance stddev"
        ).split()
    },
    "entropy": lambda p, x: p.entropy(),
    "perplexity": lambda p, x: p.perplexity(),
    "log_prob": lambda p, x: p.log_prob(x),
    "cdf": lambda p, x: p.cdf(x),
    "icdf": lambda p, x: p.icdf(x * 0 + 0.3),
    "support": lambda p, x: repr(p.support),
    "repr": lambda p, x: repr(p),
    "enumerate_support": lambda p, x: p.enumerate_support(),
    "enumerate_support alone": lambda p, x: p.enumerate_support(False),
    "expand": lambda p, x: p.expand((4, 1, *p.batch_shape)).log_prob(x),
    "expand repr": lambda p, x: repr(p.expand((4, *p.batch_shape))),
    "sample shape": lambda p, x: (p.sample((5, 2)).shape, str(p.sample().dtype).split(".")[1]),
}


def plain(value):
    """A result without its library, or the class of its error."""
    if isinstance(value, (kuai.Tensor, torch.Tensor)):
        return tuple(value.shape), value.detach().double().reshape(-1).tolist()
    if isinstance(value, str):
        return re.sub(r"tensor\((\[?[^()]*?\]?), dtype=torch.float64\)", r"tensor(\1)", told(value))
    if isinstance(value, tuple):
        return tuple(plain(x) for x in value)
    return value


def told(text):
    return " ".join(str(text).replace("kuai.", "torch.").split())


def outcome(question, p, x):
    try:
        return plain(question(p, x))
    except NotImplementedError:
        return NotImplementedError


def assert_same(mine, theirs):
    if isinstance(theirs, tuple) and len(theirs) == 2 and isinstance(theirs[1], list):
        assert mine is not NotImplementedError
        assert mine[0] == theirs[0]
        assert mine[1] == pytest.approx(theirs[1], rel=1e-5, abs=1e-7, nan_ok=True)
    else:
        assert mine == theirs


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", MADE)
def test_a_distribution_answers_as_pytorchs(name, asked):
    make, values = MADE[name]
    answers = []
    for t in (kuai, torch):
        p = make(t, t.distributions)
        answers.append(outcome(ASKED[asked], p, v(t, *values)))
    mine, theirs = answers
    if isinstance(theirs, str):
        mine, theirs = (re.sub(r",? ?dtype=torch.float64", "", a) for a in answers)
    assert_same(mine, theirs)


DIVERGENCES = [
    (p, q)
    for family in (
        ("normal", "laplace", "gumbel", "uniform", "exponential", "gamma", "beta", "pareto"),
        ("bernoulli", "bernoulli of logits", "geometric", "binomial", "poisson"),
        ("categorical", "categorical of logits", "one-hot"),
        ("cauchy", "half-normal", "log-normal", "chi2"),
        ("dirichlet", "independent"),
        (
            "multivariate normal",
            "multivariate normal of precision",
            "multivariate normal of a factor",
        ),
        ("transformed", "mixture"),
    )
    for p in family
    for q in family
]


@pytest.mark.parametrize(("p", "q"), DIVERGENCES)
def test_a_divergence_is_pytorchs(p, q):
    mine, theirs = (
        outcome(
            lambda a, b, t=t: t.distributions.kl_divergence(a, b),
            MADE[p][0](t, t.distributions),
            MADE[q][0](t, t.distributions),
        )
        for t in (kuai, torch)
    )
    assert_same(mine, theirs)


TRANSFORMS = {
    "exp": (lambda d, t: d.ExpTransform(), REAL),
    "exp inverse": (lambda d, t: d.ExpTransform().inv, POSITIVE),
    "affine": (lambda d, t: d.AffineTransform(1.0, v(t, *REAL)), REAL),
    "affine of vectors": (lambda d, t: d.AffineTransform(1.0, 2.0, event_dim=1), REAL),
    "sigmoid": (lambda d, t: d.SigmoidTransform(), REAL),
    "tanh": (lambda d, t: d.TanhTransform(), REAL),
    "softplus": (lambda d, t: d.SoftplusTransform(), REAL),
    "power": (lambda d, t: d.PowerTransform(v(t, 2.0)), POSITIVE),
    "stick": (lambda d, t: d.StickBreakingTransform(), REAL),
    "reshape": (lambda d, t: d.ReshapeTransform((3,), (1, 3)), REAL),
    "corr": (lambda d, t: d.CorrCholeskyTransform(), REAL),
    "compose": (lambda d, t: d.ComposeTransform([d.TanhTransform(), d.ExpTransform()]), REAL),
    "independent": (lambda d, t: d.IndependentTransform(d.ExpTransform(), 1), REAL),
    "cat": (lambda d, t: d.CatTransform([d.ExpTransform(), d.TanhTransform()], 0, [1, 2]), REAL),
    "stack": (lambda d, t: d.StackTransform([d.ExpTransform()] * 3), REAL),
    "cumulative": (lambda d, t: d.CumulativeDistributionTransform(d.Normal(0.0, 1.0)), REAL),
    "to positive": (lambda d, t: d.biject_to(d.constraints.positive), REAL),
    "to an interval": (lambda d, t: d.biject_to(d.constraints.interval(1.0, 3.0)), REAL),
    "to less": (lambda d, t: d.transform_to(d.constraints.less_than(2.0)), REAL),
    "to a simplex": (lambda d, t: d.biject_to(d.constraints.simplex), REAL),
    "to vectors": (
        lambda d, t: d.biject_to(d.constraints.independent(d.constraints.positive, 1)),
        REAL,
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_pytorchs(name):
    make, values = TRANSFORMS[name]
    seen = []
    for t in (kuai, torch):
        transform, x = make(t.distributions, t), v(t, *values)
        y = transform(x)
        seen.append(
            [
                plain(y),
                plain(transform.inv(y)),
                plain(transform.log_abs_det_jacobian(x, y)),
                tuple(transform.forward_shape(x.shape)),
                tuple(transform.inverse_shape(y.shape)),
                re.sub(r",? ?dtype=torch.float64", "", told(repr(transform))),
                transform.bijective,
                transform.domain.event_dim,
                transform.codomain.event_dim,
            ]
        )
    for mine, theirs in zip(*seen, strict=True):
        assert_same(mine, theirs)


def normal(t, values, **options):
    return t.distributions.Normal(t.tensor([0.0, 1.0]), 1.0, **options).log_prob(values)


FAILS = {
    "scale": lambda t, d: d.Normal(0.0, -1.0),
    "scales": lambda t, d: d.Normal(t.tensor([0.0, 1.0]), t.tensor([1.0, -1.0])),
    "nan": lambda t, d: d.Normal(0.0, 1.0).log_prob(t.tensor([1.0, float("nan")])),
    "outside": lambda t, d: d.Bernoulli(0.5).log_prob(t.tensor(2.0)),
    "outside the indices": lambda t, d: d.Categorical(t.ones(2)).log_prob(t.tensor(2)),
    "outside an interval": lambda t, d: d.Uniform(0.0, 1.0).log_prob(t.tensor(3.0)),
    "negative": lambda t, d: d.Exponential(1.0).log_prob(t.tensor(-1.0)),
    "no parameter": lambda t, d: d.Bernoulli(),
    "two parameters": lambda t, d: d.Categorical(t.ones(2), t.ones(2)),
    "no dimension": lambda t, d: d.Categorical(t.tensor(1.0)),
    "value shapes": lambda t, d: normal(t, t.ones(3)),
    "value type": lambda t, d: normal(t, 3.0),
    "ends": lambda t, d: d.Uniform(1.0, 0.0),
    "counts": lambda t, d: d.Multinomial(t.tensor([3]), t.ones(2)),
    "no matrix": lambda t, d: d.MultivariateNormal(t.zeros(2)),
    "vector for matrix": lambda t, d: d.MultivariateNormal(t.zeros(2), t.ones(2)),
    "singular": lambda t, d: d.MultivariateNormal(t.zeros(2), t.ones(2, 2)),
    "scalar mean": lambda t, d: d.MultivariateNormal(t.tensor(0.0), t.eye(2)),
    "too many dimensions": lambda t, d: d.Independent(d.Normal(t.zeros(2), 1.0), 2),
    "certain failure": lambda t, d: d.Geometric(0.0),
}


@pytest.mark.parametrize("name", FAILS)
def test_errors_are_pytorchs(name):
    with pytest.raises(Exception) as theirs:
        FAILS[name](torch, torch.distributions)
    with pytest.raises(theirs.type) as mine:
        FAILS[name](kuai, kuai.distributions)
    assert told(mine.value) == told(theirs.value)


def test_validation_may_be_switched_off():
    for t in (kuai, torch):
        assert normal(t, t.tensor([float("nan"), 1.0]), validate_args=False).isnan()[0]


@pytest.mark.parametrize("name", ["gamma", "beta", "dirichlet"])
def test_the_gradient_of_a_sample_has_pytorchs_mean(name):
    def mean_gradient(t):
        t.manual_seed(0)
        d = t.distributions
        a = t.tensor([0.7, 2.0, 5.0], dtype=t.float64, requires_grad=True)
        p = {
            "gamma": lambda: d.Gamma(a, 1.0),
            "beta": lambda: d.Beta(a, 2.0),
            "dirichlet": lambda: d.Dirichlet(a),
        }[name]()
        (p.rsample((40000,)) ** 2).mean(0)[..., :2].sum().backward()
        return a.grad.tolist()

    assert mean_gradient(kuai) == pytest.approx(mean_gradient(torch), rel=0.06, abs=0.004)
