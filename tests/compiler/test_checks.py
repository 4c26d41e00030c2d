"""What eager code refuses after a look at values or shapes, a compiled program refuses, too."""

import pytest

import kuai
import kuai as torch
from kuai.nn import functional as F
from tests.compiler.comparing import agrees


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


def test_a_check_in_a_differentiated_loop_is_made_where_its_operands_are():
    def counts(x, n):
        place = torch.tensor(0)
        total = torch.zeros(4)
        while place < n:
            assert place < 3, "too far"
            total = total + F.one_hot(place, 4).to(x.dtype) * x[place]
            place = place + 1
        return total

    x = torch.rand(4, requires_grad=True)
    agrees(counts, (x, torch.tensor(3)), (x, torch.tensor(0)), (x, torch.tensor(4)))


def test_a_print_in_a_differentiated_loop_prints_once_a_round(capfd):
    @kuai.compile
    def squares(x):
        while x.sum() < 9:
            kuai.debug.print("x", x)
            x = x * x
        return x.sum()

    squares(torch.tensor([2.0], requires_grad=True)).backward()
    assert capfd.readouterr().out == "x tensor([2.])\nx tensor([4.])\n"
