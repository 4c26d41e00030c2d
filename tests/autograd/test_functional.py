"""Gradient checks, and derivatives of functions as a whole."""

from __future__ import annotations

from typing import Any

import pytest

import kuai
from kuai.autograd import Function, functional, gradcheck, gradgradcheck


def vector(*values: float) -> Any:
    """A vector in float64."""
    return kuai.tensor(values, dtype=kuai.float64)


class Wrong(Function):
    """The sine, with a wrong gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.saved_tensors[0]


def test_gradcheck_passes_a_right_gradient() -> None:
    x, y = vector(0.3, 1.2).requires_grad_(), vector(0.5, -0.7).requires_grad_()
    assert gradcheck(lambda a, b: (a * b, a.sin()), (x, y))
    assert gradgradcheck(lambda a, b: a.exp() * b.sin(), (x, y))


def test_gradcheck_refuses_a_wrong_gradient() -> None:
    x = vector(0.3, 1.2).requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0"):
        gradcheck(Wrong.apply, (x,))
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_gradcheck_needs_an_input_that_requires_grad() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, (vector(1.0),))


def test_gradcheck_leaves_its_input_as_it_was() -> None:
    x = vector(0.3, 1.2).requires_grad_()
    gradcheck(lambda a: a.exp(), (x,))
    assert x.tolist() == [0.3, 1.2]
    assert x.grad is None


def test_the_jacobian_has_both_shapes_joined() -> None:
    x = kuai.arange(6, dtype=kuai.float64).reshape(2, 3)
    found = functional.jacobian(lambda a: a.pow(2).sum(0), x)
    assert found.shape == (3, 2, 3)
    for k in range(3):
        for i in range(2):
            for j in range(3):
                assert found[k, i, j] == (2 * x[i, j] if j == k else 0)


def test_the_jacobian_of_several_inputs_and_outputs_is_nested() -> None:
    x, y = vector(1.0, 2.0), vector(3.0, 4.0)
    (ax, ay), (bx, by) = functional.jacobian(lambda a, b: (a * b, a + 1), (x, y))
    assert ax.tolist() == [[3.0, 0.0], [0.0, 4.0]]
    assert ay.tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert bx.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert by.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_strict_jacobian_refuses_what_is_independent() -> None:
    with pytest.raises(RuntimeError, match="independent"):
        functional.jacobian(lambda a, b: a * 1, (vector(1.0), vector(2.0)), strict=True)


def test_the_jacobian_can_be_differentiated() -> None:
    x = vector(2.0).requires_grad_()
    found = functional.jacobian(lambda a: a**3, x, create_graph=True)
    found.sum().backward()
    assert x.grad.tolist() == [12.0]
    assert not functional.jacobian(lambda a: a**3, x).requires_grad


def test_the_hessian_of_a_quadratic_form_is_its_matrix() -> None:
    m = kuai.tensor([[2.0, 1.0], [1.0, 6.0]], dtype=kuai.float64)
    found = functional.hessian(lambda x: (x @ m @ x) / 2, vector(0.3, -0.8))
    assert kuai.allclose(found, m)


def test_the_hessian_of_several_inputs_is_nested() -> None:
    found = functional.hessian(lambda x, y: (x * x * y).sum(), (vector(2.0), vector(3.0)))
    assert [[block.item() for block in row] for row in found] == [[6.0, 4.0], [4.0, 0.0]]


def test_the_hessian_needs_a_scalar() -> None:
    with pytest.raises(RuntimeError, match="single element"):
        functional.hessian(lambda x: x * 2, vector(1.0, 2.0))


def test_products_with_vectors_agree_with_the_matrices() -> None:
    def function(x: Any) -> Any:
        return kuai.stack([x[0] * x[1], x[1] ** 2, x[0].sin()])

    x, v, u = vector(0.4, 1.3), vector(2.0, -1.0, 0.5), vector(1.5, 0.25)
    matrix = functional.jacobian(function, x)
    value, product = functional.vjp(function, x, v)
    assert kuai.allclose(value, function(x))
    assert kuai.allclose(product, v @ matrix)
    assert kuai.allclose(functional.jvp(function, x, u)[1], matrix @ u)

    def scalar(x: Any) -> Any:
        return (x**3).sum() + x[0] * x[1]

    hessian = functional.hessian(scalar, x)
    assert kuai.allclose(functional.vhp(scalar, x, u)[1], u @ hessian)
    assert kuai.allclose(functional.hvp(scalar, x, u)[1], hessian @ u)
