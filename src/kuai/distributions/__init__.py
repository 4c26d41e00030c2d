"""Probability distributions, as in `torch.distributions`: one file each."""

from __future__ import annotations

from kuai.distributions import constraints, transforms
from kuai.distributions import parameters as utils  # PyTorch's name
from kuai.distributions.bernoulli import Bernoulli
from kuai.distributions.beta import Beta
from kuai.distributions.binomial import Binomial
from kuai.distributions.categorical import Categorical
from kuai.distributions.cauchy import Cauchy
from kuai.distributions.chi2 import Chi2
from kuai.distributions.constraint_registry import biject_to, transform_to
from kuai.distributions.dirichlet import Dirichlet
from kuai.distributions.distribution import Distribution
from kuai.distributions.exp_family import ExponentialFamily
from kuai.distributions.exponential import Exponential
from kuai.distributions.gamma import Gamma
from kuai.distributions.geometric import Geometric
from kuai.distributions.gumbel import Gumbel
from kuai.distributions.half_cauchy import HalfCauchy
from kuai.distributions.half_normal import HalfNormal
from kuai.distributions.independent import Independent
from kuai.distributions.inverse_gamma import InverseGamma
from kuai.distributions.kl import kl_divergence, register_kl
from kuai.distributions.laplace import Laplace
from kuai.distributions.log_normal import LogNormal
from kuai.distributions.mixture_same_family import MixtureSameFamily
from kuai.distributions.multinomial import Multinomial
from kuai.distributions.multivariate_normal import MultivariateNormal
from kuai.distributions.negative_binomial import NegativeBinomial
from kuai.distributions.normal import Normal
from kuai.distributions.one_hot_categorical import (
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from kuai.distributions.pareto import Pareto
from kuai.distributions.poisson import Poisson
from kuai.distributions.relaxed_bernoulli import RelaxedBernoulli
from kuai.distributions.relaxed_categorical import RelaxedOneHotCategorical
from kuai.distributions.studentT import StudentT
from kuai.distributions.transformed_distribution import TransformedDistribution
from kuai.distributions.transforms import *
from kuai.distributions.uniform import Uniform
from kuai.distributions.von_mises import VonMises
from kuai.distributions.weibull import Weibull

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "ExponentialFamily",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "InverseGamma",
    "Laplace",
    "LogNormal",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "StudentT",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "biject_to",
    "constraints",
    "kl_divergence",
    "register_kl",
    "transform_to",
    *transforms.__all__,
]
