"""The `grad` of tensors that are arguments: read, added to, cleared, as in eager mode."""

from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.errors import CompileError

X, Y = kuai.rand(8, 3), kuai.rand(8, 2)


def loss_of(w: Any, b: Any) -> Any:
    return ((X @ w + b - Y) ** 2).mean()


def accumulates(w: Any, b: Any) -> Any:
    loss = loss_of(w, b)
    loss.backward()
    return loss.detach()


def steps_and_zeroes(w: Any, b: Any) -> Any:
    loss = loss_of(w, b)
    loss.backward()
    with kuai.no_grad():
        w -= 0.1 * w.grad
        b.sub_(b.grad, alpha=0.1)
        w.grad.zero_()
        b.grad.zero_()
    return loss.detach()


def steps_and_clears(w: Any, b: Any) -> Any:
    loss = loss_of(w, b)
    loss.backward()
    for p in (w, b):
        p.data -= 0.1 * p.grad
        p.grad = None
    return loss.detach()


def clears_first(w: Any, b: Any) -> Any:
    w.grad = b.grad = None
    loss = loss_of(w, b)
    loss.backward()
    return loss.detach()


def clips(w: Any, b: Any) -> Any:
    loss_of(w, b).backward()
    return nn.utils.clip_grad_norm_([w, b], 0.5)


def only_sometimes(w: Any, b: Any) -> Any:
    loss = loss_of(w, b)
    if loss > 0.3:
        loss.backward()
        with kuai.no_grad():
            w -= 0.3 * w.grad
            b -= 0.3 * b.grad
    return loss.detach()


def in_a_loop(w: Any, b: Any) -> Any:
    w.grad = b.grad = None
    loss, rounds = w.new_ones(()), 0
    while loss > 0.2 and rounds < 5:
        loss = loss_of(w, b)
        loss.backward()
        loss = loss.detach()
        with kuai.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
        w.grad, b.grad = None, None
        rounds += 1
    return loss, rounds


def only_reads(w: Any, b: Any) -> Any:
    found = w.sum().detach() * 0
    if w.grad is not None:
        found = found + w.grad.sum() * 3
    return found


def returns_what_it_makes_of_it(w: Any, b: Any) -> Any:
    loss_of(w, b).backward()
    return w.grad.clone(), b.grad * 2


PROGRAMS = [
    accumulates,
    steps_and_zeroes,
    steps_and_clears,
    clears_first,
    clips,
    only_sometimes,
    in_a_loop,
    only_reads,
    returns_what_it_makes_of_it,
]


def history(function: Callable[[Any, Any], Any]) -> list[Any]:
    """What calls return and leave, with changes of the gradients between them."""
    kuai.manual_seed(1)
    w, b = kuai.rand(3, 2).requires_grad_(), kuai.zeros(2).requires_grad_()
    found = []
    for change in (None, None, "clear", "give", "double", None, "clear", None):
        if change == "clear":
            w.grad = b.grad = None
        elif change == "give":
            w.grad = kuai.ones(3, 2)
        elif change == "double" and w.grad is not None:
            w.grad *= 2
        given = function(w, b)
        found.append(given if isinstance(given, tuple) else (given,))
        found.append((w.detach().clone(), b.detach().clone()))
        found.append(tuple([None if p.grad is None else p.grad.clone() for p in (w, b)]))
    return found


def near(x: Any, y: Any) -> bool:
    if isinstance(x, kuai.Tensor) and isinstance(y, kuai.Tensor):
        return x.requires_grad == y.requires_grad and kuai.allclose(x, y, rtol=1e-4, atol=1e-6)
    return type(x) is type(y) and x == y


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_of_arguments_are_as_in_eager(program: Callable[[Any, Any], Any]) -> None:
    got, want = history(kuai.compile(program)), history(program)
    for a, b in zip(got, want, strict=True):
        assert len(a) == len(b)
        assert all(map(near, a, b)), (a, b)


def test_an_attack_makes_one_program_for_all_inputs() -> None:
    net = nn.Linear(3, 2)

    def attack(x: Any) -> Any:
        loss = net(x).exp().sum()
        loss.backward()
        return (x + 0.1 * x.grad.sign()).detach()

    compiled = kuai.compile(attack)
    for seed in range(6):
        kuai.manual_seed(seed)
        x = kuai.randn(4, 3)
        want = attack(x.clone().requires_grad_())
        assert kuai.allclose(compiled(x.clone().requires_grad_()), want)
    assert len(compiled._compiled.programs) == 1


def test_what_a_list_of_parameters_holds() -> None:
    def step(parameters: list[Any]) -> Any:
        w, b = parameters
        loss = loss_of(w, b)
        loss.backward()
        with kuai.no_grad():
            for p in parameters:
                p -= 0.1 * p.grad
                p.grad.zero_()
        return loss.detach()

    compiled = kuai.compile(step)
    got = history(lambda w, b: compiled([w, b]))
    want = history(lambda w, b: step([w, b]))
    for a, b in zip(got, want, strict=True):
        assert all(map(near, a, b))


def test_hooks_and_what_was_computed_are_refused() -> None:
    compiled = kuai.compile(accumulates)
    w, b = kuai.rand(3, 2).requires_grad_(), kuai.zeros(2).requires_grad_()
    compiled(w, b)
    with pytest.raises(CompileError, match="computed outside"):
        compiled(w * 2, b)
    b.register_hook(lambda grad: grad * 100)
    with pytest.raises(CompileError, match="that has hooks"):
        compiled(w, b)


@pytest.mark.parametrize("of_the_net", [True, False])
def test_clearing_gradients_clears_those_that_came_later(of_the_net: bool) -> None:
    net = nn.Linear(3, 2)
    optimizer = kuai.optim.SGD(net.parameters(), 0.1)

    @kuai.compile
    def clear(x: Any) -> Any:
        if of_the_net:
            net.zero_grad()
        else:
            optimizer.zero_grad()
        return x * 2

    clear(X)  # there is nothing to clear yet
    for _ in range(2):
        net(X).sum().backward()
        clear(X)
        assert net.weight.grad is None
        assert net.bias.grad is None


def test_a_gradient_that_is_returned_is_that_of_the_tensor() -> None:
    w = kuai.ones(3, requires_grad=True)
    w.grad = kuai.full((3,), 5.0)
    reads = kuai.compile(lambda x: (w.grad, w.grad[0], x * 1))
    for value in (5.0, 7.0):
        w.grad = kuai.full((3,), value)
        whole, part, _ = reads(X)
        assert whole is w.grad
        whole[0] = 2.0
        assert part.item() == 2.0

    def makes(v: Any, x: Any) -> Any:
        (v * x + w).sum().backward()
        return v.grad, w.grad[1:], {"both": [v.grad, w.grad]}

    made = kuai.compile(makes)
    v, w.grad = kuai.ones(3, requires_grad=True), None
    for n in (1.0, 2.0, 3.0):
        of_v, of_w, both = made(v, kuai.ones(3))
        assert of_v is v.grad
        assert both["both"][0] is v.grad
        assert both["both"][1] is w.grad
        assert of_v.tolist() == [n] * 3
        assert of_w.tolist() == [n] * 2
