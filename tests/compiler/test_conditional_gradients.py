"""`backward()` under a condition: whether a parameter has a gradient is decided by values."""

import pytest

import kuai
from kuai import nn
from kuai.nn import functional as F
from tests.compiler.comparing import near

OPTIMIZERS = {
    "SGD": lambda params: kuai.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda params: kuai.optim.AdamW(params, lr=0.1, weight_decay=0.3),
}


def chosen_parts(net, other, x, y):
    """Each row is learned from only if its loss is small, by one of two layers."""
    total = 0
    for row, target in zip(x.split(1), y.split(1), strict=True):
        loss = F.mse_loss(net(row), target)
        if loss < 1:
            loss.backward()
            total = total + loss.detach()
        elif loss > 4:
            other(row).square().sum().backward()
    return total


def a_check_for_none(net, other, x, y):
    loss = F.mse_loss(net(x), y)
    if loss > 1:
        loss.backward()
    if other.weight.grad is None and loss < 3:
        other(x).square().mean().backward()
    count = 0
    for p in (*net.parameters(), *other.parameters()):
        if p.grad is not None:
            count += 1
            if p.grad.norm() > 1:
                p.grad.mul_(0.5)
    return loss.detach() + count


@pytest.mark.parametrize("loss_of", [chosen_parts, a_check_for_none])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_parameter_without_a_gradient_is_left_as_it_is(optimizer, loss_of):
    def trained(compiled):
        kuai.manual_seed(0)
        net, other = nn.Linear(3, 1), nn.Linear(3, 2)
        params = [*net.parameters(), *other.parameters()]
        opt = OPTIMIZERS[optimizer](params)

        def step(x, y):
            opt.zero_grad()
            result = loss_of(net, other, x, y)
            opt.step()
            return result

        run = kuai.compile(step) if compiled else step
        losses = []
        for i in range(8):
            x = kuai.randn(4, 3)
            losses.append(float(run(x * (i + 1) / 2, x.sum(1, keepdim=True))))
        return losses, [p.detach().clone() for p in params]

    near(trained(True), trained(False))


def test_gradients_add_up_under_conditions():
    def stepped(compiled):
        p = nn.Parameter(kuai.tensor([1.0, 2.0]))

        def step(x):
            p.grad = None
            loss = (p * x).sum()
            if loss > 0:
                loss.backward()
            if loss > 5:
                (p * 2).sum().backward()
            return loss

        run = kuai.compile(step) if compiled else step
        found = []
        for v in (1.0, -1.0, 2.0, 0.1):
            run(kuai.tensor([v, v]))
            found.append(kuai.zeros(2) if p.grad is None else p.grad.clone())
        return found

    near(stepped(True), stepped(False))
