"""`kuai.func`: derivatives of functions, checked against formulas."""

from __future__ import annotations

import pytest

import kuai
from kuai import func


def test_gradients_nest_to_any_order():
    f = kuai.sin
    for expected in (0.5403023, -0.8414710, -0.5403023, 0.8414710):
        f = func.grad(f)
        assert f(kuai.tensor(1.0)).item() == pytest.approx(expected, rel=1e-5)


def test_levels_do_not_mix_up_their_derivatives():
    def inner(x):
        return func.grad(lambda y: x + y)(kuai.tensor(1.0))

    assert func.grad(lambda x: x * inner(x))(kuai.tensor(3.0)).item() == 1.0


def test_what_nothing_outside_records_comes_back_off_the_tape():
    gradient, value = func.grad_and_value(lambda x: (x * x).sum())(kuai.ones(2))
    assert not gradient.requires_grad
    assert not value.requires_grad


def test_a_parameter_seen_by_the_function_keeps_the_gradient_on_the_tape():
    w = kuai.tensor([2.0, 3.0], requires_grad=True)
    func.grad(lambda x: (x * x * w).sum())(kuai.tensor([1.0, 5.0])).sum().backward()
    assert w.grad.tolist() == [2.0, 10.0]


def test_a_gradient_of_a_recorded_input_is_differentiated_by_backward():
    x = kuai.tensor(2.0, requires_grad=True)
    func.grad(lambda y: y**3)(x).backward()
    assert x.grad.item() == 12.0


def test_the_function_records_under_no_grad_and_its_result_does_not():
    x = kuai.tensor(2.0, requires_grad=True)
    with kuai.no_grad():
        gradient = func.grad(lambda y: y**3)(x)
    assert gradient.item() == 12.0
    assert not gradient.requires_grad


def test_no_gradient_is_left_in_the_inputs():
    x = kuai.tensor(2.0, requires_grad=True)
    func.grad(lambda y: y**3)(x)
    assert x.grad is None


def test_gradients_come_in_the_structure_of_the_arguments():
    weights = {"w": kuai.tensor([1.0, 2.0]), "rest": [kuai.tensor(3.0), (kuai.tensor(4.0),)]}
    gradient, aux = func.grad(
        lambda p, x: ((p["w"] * x).sum() * p["rest"][0], p["rest"][1]), has_aux=True
    )(weights, 2.0)
    assert gradient["w"].tolist() == [6.0, 6.0]
    assert gradient["rest"][0].item() == 6.0
    assert gradient["rest"][1][0].item() == 0.0
    assert aux[0].item() == 4.0


def test_value_and_grad_gives_the_value_first():
    value, gradients = func.value_and_grad(lambda x, y: x * y, argnums=(0, 1))(
        kuai.tensor(2.0), kuai.tensor(5.0)
    )
    assert value.item() == 10.0
    assert [g.item() for g in gradients] == [5.0, 2.0]


def test_the_input_of_a_function_that_works_in_place_on_a_copy():
    def f(x):
        y = x.clone()
        y.mul_(x)
        return y.sum()

    assert func.grad(f)(kuai.tensor([3.0])).tolist() == [6.0]


def test_a_vjp_is_applied_any_number_of_times():
    output, pull = func.vjp(lambda x: x * x, kuai.tensor([1.0, 3.0]))
    assert output.tolist() == [1.0, 9.0]
    for seed in ([1.0, 0.0], [0.0, 1.0]):
        assert pull(kuai.tensor(seed))[0].tolist() == [2 * seed[0], 6 * seed[1]]


def test_forward_and_reverse_jacobians_agree():
    def f(x, y):
        return {"a": kuai.outer(x.exp(), y), "b": (x * 2).sum()}

    args = kuai.tensor([0.5, -1.0]), kuai.tensor([1.0, 2.0, 3.0])
    forward = func.jacfwd(f, argnums=(0, 1))(*args)
    reverse = func.jacrev(f, argnums=(0, 1))(*args)
    for key in ("a", "b"):
        for left, right in zip(forward[key], reverse[key], strict=True):
            assert left.shape == right.shape
            assert kuai.allclose(left, right)


def test_the_hessian_of_a_quadratic_form_is_its_matrix():
    A = kuai.tensor([[2.0, 1.0], [1.0, 5.0]])
    assert func.hessian(lambda x: x @ A @ x / 2)(kuai.tensor([3.0, -1.0])).tolist() == A.tolist()


def test_a_derivative_of_a_derivative_along_a_direction():
    def slope(x):
        return func.jvp(lambda y: y**4, (x,), (kuai.tensor(1.0),))[1]

    assert func.grad(slope)(kuai.tensor(2.0)).item() == 48.0


def test_a_linearised_function_runs_once():
    calls = []

    def f(x):
        calls.append(1)
        return x**2

    output, push = func.linearize(f, kuai.tensor([1.0, 2.0]))
    assert output.tolist() == [1.0, 4.0]
    assert push(kuai.tensor([1.0, 1.0])).tolist() == [2.0, 4.0]
    assert push(kuai.tensor([0.0, 2.0])).tolist() == [0.0, 8.0]
    assert len(calls) == 1


def test_a_strict_jvp_refuses_an_output_that_depends_on_nothing():
    with pytest.raises(RuntimeError, match="independent"):
        func.jvp(lambda x: kuai.ones(2), (kuai.ones(1),), (kuai.ones(1),), strict=True)
