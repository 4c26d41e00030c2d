"""Programs about differentiation itself."""

# ruff: noqa: B905 - programs as people write them

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, fill, program, raised


@program
def custom_functions(torch: ModuleType) -> Any:
    """`autograd.Function` with saved tensors, several inputs, and a straight-through estimator."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * 3 * x**2

    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, factor: float, y: Any) -> Any:
            ctx.factor = factor
            ctx.save_for_backward(x, y)
            return x * factor * y, x + y

        @staticmethod
        def backward(ctx: Any, one: Any, two: Any) -> Any:
            x, y = ctx.saved_tensors
            left = one * ctx.factor * y + two if ctx.needs_input_grad[0] else None
            right = one * ctx.factor * x + two if ctx.needs_input_grad[2] else None
            return left, None, right

    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.round()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.clamp(-1, 1)

    x = torch.from_numpy(data(4)).requires_grad_()
    y = torch.from_numpy(data(4, seed=1)).requires_grad_()
    first = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x)[0]
    a, b = Scale.apply(x, 2.5, y)
    (a * b).sum().backward()
    z = torch.from_numpy(data(4, seed=2) * 3).requires_grad_()
    (Round.apply(z) * z).sum().backward()
    checked = torch.autograd.gradcheck(Cube.apply, (x,))
    return first, second, x.grad, y.grad, z.grad, checked, a.grad_fn is not None


@program
def tensor_hooks(torch: ModuleType) -> Any:
    """Hooks that look, that change gradients, and that are removed; `retain_grad`."""
    seen = []
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    handle = y.register_hook(lambda g: seen.append(g.clone()))
    y.register_hook(lambda g: g * 10)
    z = (y**2).sum()
    z.backward(retain_graph=True)
    first = x.grad.clone()
    handle.remove()
    x.grad = None
    z.backward()
    x2 = torch.ones(2, requires_grad=True)
    x2.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad * 5))
    (x2 * 3).sum().backward()
    return seen, first, x.grad, y.grad, x2.grad


@program
def higher_order_derivatives(torch: ModuleType) -> Any:
    """Derivatives of derivatives, Jacobian, Hessian, and products with them."""
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y, derivatives = torch.sin(x) * torch.exp(-x), []
    for _ in range(5):
        (y,) = torch.autograd.grad(y, x, create_graph=True)
        derivatives.append(y.item())

    def f(v: Any) -> Any:
        return (v[0] ** 3 * v[1]).unsqueeze(0).exp() + v.prod() * torch.stack([v[0], v[1]])

    v = torch.tensor([0.4, -0.3], dtype=torch.float64)
    functional = torch.autograd.functional
    return (
        derivatives,
        functional.jacobian(f, v),
        functional.hessian(lambda u: f(u).sum(), v),
        torch.func.grad(lambda u: f(u).sum())(v),
        torch.func.jacrev(f)(v),
        torch.func.hessian(lambda u: f(u).sum())(v),
        functional.vjp(f, v, torch.ones(2, dtype=torch.float64)),
    )


@program
def graph_lifetime(torch: ModuleType) -> Any:
    """What may be differentiated twice, what was changed meanwhile, what is a leaf."""
    x = torch.ones(3, requires_grad=True)
    y = (x**2).sum()
    y.backward()
    twice = raised(lambda: y.backward())
    z = x.exp()
    w = z * 2
    z.add_(1)
    changed = raised(lambda: w.sum().backward() or (z * z).sum().backward())
    a = x.sigmoid()
    b = a * a
    a += 1
    stale = raised(lambda: b.sum().backward())
    leaf = raised(lambda: x.add_(1))
    view = raised(lambda: x[0].mul_(2))
    return (
        twice,
        changed,
        stale,
        leaf,
        view,
        x.is_leaf,
        b.is_leaf,
        b.requires_grad,
        x.detach().requires_grad,
        raised(lambda: b.numpy()),
        raised(lambda: (x * 2).backward()),
        raised(lambda: torch.ones(2).sum().backward()),
        x._version,
        a._version,
    )


@program
def modes(torch: ModuleType) -> Any:
    """`no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`: contexts, decorators."""
    x = torch.ones(2, requires_grad=True)

    @torch.no_grad()
    def frozen() -> Any:
        return x * 2

    flags = [frozen().requires_grad, torch.is_grad_enabled()]
    with torch.no_grad():
        flags.append((x * 2).requires_grad)
        with torch.enable_grad():
            flags.append((x * 2).requires_grad)
        with torch.set_grad_enabled(False):
            flags.append(torch.is_grad_enabled())
    with torch.inference_mode():
        y = x * 3
        flags += [y.requires_grad, y.is_inference()]
    flags.append(raised(lambda: y.requires_grad_()))
    flags.append(raised(lambda: (x * y).sum().backward()))
    return flags


@program
def gradients_through_views_and_in_place(torch: ModuleType) -> Any:
    """In-place changes of parts of a tensor, differentiated."""
    x = torch.from_numpy(data(3, 4)).requires_grad_()
    y = x * 1
    y[0] *= 2
    y[:, 1].mul_(y[:, 2].detach().clone())
    y[1:, ::2] = 5
    y.T[3].add_(x[:, 0] ** 2)
    row = y[2]
    row += 1
    y.relu_()
    (y * torch.arange(12.0, dtype=torch.float64).view(3, 4)).sum().backward()
    base = torch.zeros(5, dtype=torch.float64)
    w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    base[1:3] = w * 3
    base[torch.tensor([0, 4])] = w
    base.narrow(0, 3, 1).fill_(7)
    (base**2).sum().backward()
    return y, x.grad, base, w.grad, base.requires_grad


@program
def meta_learning(torch: ModuleType) -> Any:
    """MAML: a gradient step inside the loss, differentiated through, with `functional_call`."""
    nn = torch.nn
    model = fill(torch, nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)))
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).unsqueeze(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        total = 0
        for amplitude in (0.5, 2.0):
            y = amplitude * torch.sin(3 * x)
            weights = dict(model.named_parameters())
            inner = (torch.func.functional_call(model, weights, (x[::2],)) - y[::2]).pow(2).mean()
            grads = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
            fast = {k: w - 0.1 * g for (k, w), g in zip(weights.items(), grads)}
            total = total + (torch.func.functional_call(model, fast, (x,)) - y).pow(2).mean()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return losses, [p.grad for p in model.parameters()]


@program
def gradient_penalty(torch: ModuleType) -> Any:
    """The critic of a Wasserstein GAN: the norm of the gradient at the input in the loss."""
    nn = torch.nn
    critic = fill(torch, nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1)))
    real, fake = torch.from_numpy(data(5, 3)), torch.from_numpy(data(5, 3, seed=1))
    mix = torch.from_numpy(data(5, 1, seed=2)).sigmoid()
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    score = critic(between)
    (grad,) = torch.autograd.grad(
        outputs=score, inputs=between, grad_outputs=torch.ones_like(score), create_graph=True
    )
    penalty = ((grad.norm(2, dim=1) - 1) ** 2).mean()
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
    loss.backward()
    return loss, penalty, [p.grad for p in critic.parameters()]
