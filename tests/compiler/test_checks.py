"""What eager code refuses after a look at values or shapes, a compiled program refuses, too."""

import pytest

import kuai
import kuai as torch
from kuai.nn import functional as F


def classes(*numbers):
    return torch.tensor(numbers)


CASES = {
    "classes": (lambda x, y: F.cross_entropy(x, y), torch.rand(2, 3), classes(0, 3)),
    "negative classes": (lambda x, y: F.nll_loss(x, y), torch.rand(2, 3), classes(0, -1)),
    "weighted classes": (
        lambda x, y: F.cross_entropy(x, y, weight=torch.ones(3)),
        torch.rand(2, 3),
        classes(0, 3),
    ),
    "margins": (lambda x, y: F.multi_margin_loss(x, y), torch.rand(2, 3), classes(0, 3)),
    "one hot": (lambda x, y: F.one_hot(y, 3) + x.sum().long(), torch.rand(2), classes(0, 3)),
    "variances": (
        lambda x, y: F.gaussian_nll_loss(x, x, y),
        torch.rand(2),
        torch.tensor([1.0, -1]),
    ),
    "quantiles": (lambda x, y: torch.quantile(x, y), torch.rand(5), torch.tensor([0.5, 1.5])),
    "draws": (lambda x, y: torch.multinomial(x, 2), torch.tensor([1.0, -1.0]), torch.zeros(1)),
    "no weight": (lambda x, y: torch.multinomial(x, 2, True), torch.zeros(2), torch.zeros(1)),
    "frequencies": (lambda x, y: torch.cov(x, fweights=y), torch.rand(3), classes(1, -1, 2)),
    "nothing to compare": (lambda x, y: x.amax(0), torch.rand(0, 2), torch.zeros(1)),
    "nothing to choose": (lambda x, y: x.argmin(0), torch.rand(0, 2), torch.zeros(1)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_eager_refuses(name):
    function, x, y = CASES[name]
    with pytest.raises((RuntimeError, IndexError, ValueError)) as expected:
        function(x, y)
    compiled = kuai.compile(function)
    for _ in range(2):
        with pytest.raises(type(expected.value)):
            compiled(x, y)
