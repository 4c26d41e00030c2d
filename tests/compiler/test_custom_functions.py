"""Gradients of the user's own, `autograd.Function` and hooks, where programs loop and branch."""

import pytest

import kuai
from kuai import nn
from kuai.autograd import Function
from kuai.autograd.function import once_differentiable
from kuai.errors import CompileError
from tests.compiler.comparing import agrees, near


class Spike(Function):
    """A step, with a slope that is none of it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + x.abs()) ** 2


class Gated(Function):
    """Two results and one without a gradient; tensors and others as attributes; branches."""

    @staticmethod
    def forward(ctx, x, weight, exponent):
        gate = kuai.sigmoid(x)
        ctx.positive = x.sum() > 0
        y = gate * weight if ctx.positive else gate - weight
        ctx.save_for_backward(weight, gate, None)
        ctx.kept = {"x": [x, exponent]}
        chosen = (y > 0).long()
        ctx.mark_non_differentiable(chosen)
        return y, gate, chosen

    @staticmethod
    def backward(ctx, grad, of_gate, _):
        weight, gate, nothing = ctx.saved_tensors
        assert nothing is None
        x, exponent = ctx.kept["x"]
        slope = gate * (1 - gate) * (1 + x.abs()) ** exponent
        if ctx.positive:
            return (grad * weight + of_gate) * slope, grad * gate, None
        return (grad + of_gate) * slope, -grad, None


class Power(Function):
    """The context apart from the computation, and only the gradients that are needed."""

    @staticmethod
    def forward(x, n):
        return x**n

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.n = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx, grad):
        x, result = ctx.saved_tensors
        return (grad * ctx.n * result / x if ctx.needs_input_grad[0] else None), None


class Exponential(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * 2 * ctx.saved_tensors[0]


class Halved(Function):
    """Changes its argument in place."""

    @staticmethod
    def forward(ctx, x):
        x.mul_(0.5)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad * 3


class Clipped(Function):
    @staticmethod
    def forward(ctx, x, low, high):
        ctx.low, ctx.high = low, high
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(ctx.low, ctx.high), None, None


def learnable(*shape, shift=0.0):
    return (kuai.randn(*shape) + shift).requires_grad_()


def both_signs():
    return [(learnable(4, shift=s), learnable(4)) for s in (2.0, -2.0)]


def test_a_function_in_a_loop_has_its_own_gradient():
    def spiking(x, current):
        fired = kuai.zeros(4)
        while fired.sum() < 5:
            x = x + current.exp()
            spikes = Spike.apply(x - 1)
            x = x - spikes
            fired = fired + spikes
        return fired, x

    agrees(spiking, *both_signs())


def test_results_saved_tensors_and_attributes_belong_to_the_round():
    def gated(x, weight):
        total = kuai.zeros(4)
        rounds = 0
        while total.abs().sum() < 6 and rounds < 4:
            y, gate, chosen = Gated.apply(x, weight, rounds)
            total = total + y + gate * chosen
            x = Clipped.apply(x + 0.1 * y, -0.5, 0.5)
            rounds += 1
        return total, rounds

    agrees(gated, *both_signs())


def test_a_function_on_one_side_of_a_branch():
    def chosen(x, y):
        if x.sum() > 0:
            z = Power.apply(x, 3)
        else:
            z = Exponential.apply(y) + Clipped.apply(x, -0.1, 0.1)
        return z * x

    agrees(chosen, *both_signs())


def test_a_function_that_changes_its_argument():
    def halved(x, y):
        x = x * y
        while x.abs().sum() > 0.5:
            Halved.apply(x)
        return x

    agrees(halved, *both_signs())


def test_an_argument_that_is_not_saved_may_change_afterwards():
    def changed(x, y):
        x = x * 1
        z = Clipped.apply(x.clone(), -1, 1)
        w = x * 1
        e = Exponential.apply(w)
        w += 1
        return z + e * y, w

    agrees(changed, *both_signs())


def test_a_function_has_a_second_derivative_in_a_loop():
    def bent(x):
        while x.sum() < 20:
            x = Power.apply(x, 2)
        return x.sum()

    compiled = kuai.compile(bent)
    for function in (bent, compiled):
        x = kuai.tensor([1.5, 2.0], requires_grad=True)
        (g,) = kuai.autograd.grad(function(x), x, create_graph=True)
        (second,) = kuai.autograd.grad(g.sum(), x)
        if function is bent:
            expected = g.detach(), second
        else:
            near((g.detach(), second), expected)


def test_a_gradient_inside_the_program_uses_the_function():
    def inside(x):
        with kuai.enable_grad():
            inner = x.detach().requires_grad_()
            y = inner
            while y.sum() < 9:
                y = Clipped.apply(y * 2, -0.5, 0.5)
            (g,) = kuai.autograd.grad(y.square().sum(), inner)
        return g * x

    agrees(inside, (learnable(3, shift=3.0),))


def test_a_function_for_any_batch():
    def any_size(x, w):
        while x.square().sum() > 0.1 * x.shape[0]:
            x = Clipped.apply(x * Spike.apply(w) * 0.5, -0.3, 0.3)
        return x

    agrees(
        any_size,
        *((learnable(n, 3), learnable(3)) for n in (2, 5, 3, 7)),
        compiled=kuai.compile(any_size, dynamic_batch=True),
    )


def test_a_new_backward_makes_a_new_program():
    class Changing(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    compiled = kuai.compile(lambda x: Changing.apply(x))
    x = kuai.ones(2, requires_grad=True)
    compiled(x).sum().backward()
    Changing.backward = staticmethod(lambda ctx, grad: grad * 5)
    compiled(x).sum().backward()
    assert x.grad.tolist() == [7, 7]


def test_a_hook_of_a_value_in_a_loop_is_called_in_each_round():
    def recurrent(x):
        h = kuai.zeros(4)
        rounds = 0
        while rounds < 4 and h.norm() < 9:
            h = kuai.tanh(h + x) * 1.5
            h.register_hook(lambda grad: grad.clamp(-0.1, 0.1))
            h.register_hook(lambda grad: grad * 1.5 if grad.sum() > 0 else grad)
            h = h * 2
            rounds += 1
        return h

    agrees(recurrent, (learnable(4),))


def test_a_hook_of_what_comes_from_outside_of_a_loop_is_refused():
    def hooked(x):
        y = x * 2
        while y.sum() < 9:
            y.register_hook(lambda grad: grad * 2)
            y = y * 2
        return y

    with pytest.raises(CompileError, match="not computed there"):
        kuai.compile(hooked)(learnable(3, shift=2.0))


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_a_hook_of_a_value_in_a_branch_and_of_a_pair(shift):
    def branched(x):
        if x.sum() > 0:
            y = x * 3
            y.register_hook(lambda grad: grad * 2)
            least, _ = y.exp().view(2, 2).min(1)
            least.register_hook(lambda grad: grad + 1)
            return least
        return x[:2]

    agrees(branched, (learnable(4, shift=shift),))


def test_a_backward_hook_of_a_block_in_a_loop():
    layer = nn.Linear(3, 3)
    layer.register_full_backward_hook(lambda block, of_inputs, of_outputs: (of_inputs[0] * 2,))

    def repeated(x):
        rounds = 0
        while rounds < 3 and x.norm() < 50:
            x = layer(x)
            rounds += 1
        return x

    agrees(repeated, (learnable(3),))
