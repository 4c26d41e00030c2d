"""One's own operations."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import kuai
from kuai.autograd import Function, gradcheck, gradgradcheck, once_differentiable


def leaf(*values: float) -> Any:
    """A vector in float64 that wants its gradient."""
    return kuai.tensor(values, dtype=kuai.float64, requires_grad=True)


class Cube(Function):
    """`x ** 3`, its backward written with operations that are recorded."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * 3 * x * x


class Exponential(Function):
    """`exp(x)`, that saves its result."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.saved_tensors[0]


class Scaled(Function):
    """`a * x` and `b * y`, with `setup_context`."""

    @staticmethod
    def forward(x: Any, y: Any, factor: float) -> Any:
        return x * factor, y * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.factor = inputs[2]

    @staticmethod
    def backward(ctx: Any, gx: Any, gy: Any) -> Any:
        ctx.seen = (gx.tolist(), gy.tolist())
        return gx * ctx.factor, gy * ctx.factor, None


def test_the_backward_of_ones_own_is_used() -> None:
    x = leaf(1.0, 2.0)
    y = Cube.apply(x)
    assert y.grad_fn.name() == "CubeBackward"
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 12.0]


def test_forward_is_not_recorded() -> None:
    seen = []

    class Look(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            seen.append((kuai.is_grad_enabled(), (x * 2).requires_grad))
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    assert Look.apply(leaf(1.0)).requires_grad
    assert seen == [(False, False)]


@pytest.mark.parametrize("function", [Cube, Exponential])
def test_ones_own_operation_differentiates_twice(function: Any) -> None:
    x = leaf(0.5, -1.5)
    assert gradcheck(function.apply, (x,))
    assert gradgradcheck(function.apply, (x,))


def test_several_results_and_arguments_that_are_no_tensors() -> None:
    x, y = leaf(1.0), leaf(2.0)
    a, b = Scaled.apply(x, y, 3.0)
    (a + 2 * b).backward()
    assert (x.grad.item(), y.grad.item()) == (3.0, 6.0)


def test_a_result_without_gradient_counts_as_zeros() -> None:
    x, y = leaf(1.0), leaf(2.0)
    a, _ = Scaled.apply(x, y, 3.0)
    a.backward()
    assert y.grad.tolist() == [0.0]


def test_materializing_can_be_switched_off() -> None:
    class Raw(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            assert b is None
            return a

    x = leaf(1.0)
    Raw.apply(x)[0].backward()
    assert x.grad.item() == 1.0


def test_needs_input_grad_says_what_is_wanted() -> None:
    seen = []

    class Product(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, n: int) -> Any:
            ctx.save_for_backward(x, y)
            return x * y * n

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            seen.append(ctx.needs_input_grad)
            y = ctx.saved_tensors[1]
            return grad * y, None, None

    Product.apply(leaf(1.0), kuai.ones(1), 1).backward()
    assert seen == [(True, False, False)]


def test_a_saved_tensor_that_changed_is_an_error() -> None:
    x = leaf(1.0) * 1
    y = Cube.apply(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    z = Exponential.apply(leaf(1.0))
    z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_saved_tensors_are_freed_by_the_first_walk() -> None:
    y = Cube.apply(leaf(1.0))
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_a_result_may_be_marked_as_not_differentiable() -> None:
    class Order(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            values, places = x.sort()
            ctx.mark_non_differentiable(places)
            ctx.save_for_backward(places)
            return values, places

        @staticmethod
        def backward(ctx: Any, grad: Any, _: Any) -> Any:
            (places,) = ctx.saved_tensors
            return kuai.zeros_like(grad).scatter(0, places, grad)

    x = leaf(3.0, 1.0)
    values, places = Order.apply(x)
    assert not places.requires_grad
    (values * leaf(5.0, 7.0).detach()).sum().backward()
    assert x.grad.tolist() == [7.0, 5.0]


def test_an_argument_may_be_changed_in_place() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    x = leaf(1.0)
    y = x * 3
    z = Double.apply(y)
    assert z is y
    z.backward()
    assert x.grad.item() == 6.0


def test_a_wrong_number_of_gradients_is_an_error() -> None:
    class Short(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x + y

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        Short.apply(leaf(1.0), leaf(2.0)).backward()


def test_a_gradient_of_a_wrong_shape_is_an_error() -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return kuai.ones(5)

    with pytest.raises(RuntimeError, match="invalid gradient at index 0"):
        Wrong.apply(leaf(1.0, 2.0)).sum().backward()


def test_a_missing_forward_or_backward_is_an_error() -> None:
    class Nothing(Function):
        pass

    with pytest.raises(NotImplementedError, match="forward"):
        Nothing.apply(leaf(1.0))

    class Half(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

    with pytest.raises(NotImplementedError, match="backward"):
        Half.apply(leaf(1.0)).backward()


def test_a_backward_may_be_differentiable_only_once() -> None:
    class Once(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Any) -> Any:
            assert not kuai.is_grad_enabled()
            return 2 * ctx.saved_tensors[0] * grad

    x = leaf(3.0)
    (g,) = kuai.autograd.grad(Once.apply(x), x)
    assert g.item() == 6.0


def test_nothing_is_kept_where_nothing_is_recorded() -> None:
    with kuai.no_grad():
        assert not Cube.apply(leaf(1.0)).requires_grad
    assert not Cube.apply(kuai.ones(1)).requires_grad


@pytest.mark.parametrize("function", [Cube, Exponential])
def test_an_operation_leaves_no_cycle_of_references(function: Any) -> None:
    function.apply(leaf(1.0)).backward()
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = function.apply(x)
        result = weakref.ref(y)
        y.backward()
        del x, y
        assert result() is None
        assert gc.collect() == 0
    finally:
        gc.enable()
