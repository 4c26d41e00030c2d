"""Programs that differentiate through solvers: equations, fixed points, Gaussian processes."""

# ruff: noqa: B905 - programs as people write them

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from tests.parity.programs import data, fill, program


@program
def neural_ode_with_adaptive_steps(torch: ModuleType) -> Any:
    """Dormand-Prince with error control in a `while`; gradients through every step."""
    nn = torch.nn
    f = fill(torch, nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)))

    def step(y: Any, h: Any) -> Any:
        k1 = f(y)
        k2 = f(y + h * k1 / 2)
        k3 = f(y + h * 3 * k2 / 4)
        y3 = y + h * (2 * k1 + 3 * k2 + 4 * k3) / 9
        k4 = f(y3)
        error = h * (-5 * k1 / 72 + k2 / 12 + k3 / 9 - k4 / 8)
        return y3, error

    def odeint(y: Any, t1: float, tol: float = 1e-4) -> Any:
        t, h, accepted = torch.zeros((), dtype=torch.float64), torch.tensor(0.1).double(), 0
        while t < t1:
            h = torch.minimum(h, t1 - t)
            new, error = step(y, h)
            ratio = (error.abs().max() / tol).detach()
            if ratio <= 1:
                t, y = t + h, new
                accepted += 1
            h = h * torch.clamp(0.9 * ratio.clamp(min=1e-8) ** (-1 / 3), 0.2, 5.0)
        return y, accepted

    y0 = torch.tensor([[1.0, 0.5], [-0.3, 0.8]], dtype=torch.float64, requires_grad=True)
    y, accepted = torch.compile(odeint)(y0, 1.5)
    loss = (y - 1).square().sum()
    loss.backward()
    return y, int(accepted), loss, y0.grad, [p.grad for p in f.parameters()]


@program
def adjoint_method(torch: ModuleType) -> Any:
    """A custom Function whose backward integrates the adjoint with `vjp`s of a block."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.Linear(4, 2)))

    class Odeint(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, y0: Any, h: float, n: int, *params: Any) -> Any:
            ctx.h, ctx.n = h, n
            y = y0
            with torch.no_grad():
                for _ in range(n):
                    y = y + h * net(y)
            ctx.save_for_backward(y, *params)
            return y

        @staticmethod
        def backward(ctx: Any, a: Any) -> Any:
            y, *params = ctx.saved_tensors
            grads = [torch.zeros_like(p) for p in params]
            for _ in range(ctx.n):
                with torch.enable_grad():
                    y = y.detach().requires_grad_(True)
                    value = net(y)
                    out = torch.autograd.grad(value, (y, *params), a)
                y = y.detach() - ctx.h * value.detach()
                a = a + ctx.h * out[0]
                grads = [g + ctx.h * o for g, o in zip(grads, out[1:])]
            return (a, None, None, *grads)

    y0 = torch.from_numpy(data(3, 2)).requires_grad_()
    y = Odeint.apply(y0, 0.05, 10, *net.parameters())
    y.square().mean().backward()
    return y, y0.grad, [p.grad for p in net.parameters()], y.grad_fn.name()


@program
def burgers_equation(torch: ModuleType) -> Any:
    """A PINN with mixed and third derivatives as one compiled step; LBFGS after Adam."""
    nn = torch.nn
    net = fill(
        torch,
        nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1)),
    )
    xt = torch.from_numpy(data(12, 2)).clamp(-1, 1)
    x0 = torch.linspace(-1, 1, 8, dtype=torch.float64).unsqueeze(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def gradients(u: Any, x: Any, order: int = 1) -> Any:
        if order == 1:
            return torch.autograd.grad(
                u, x, grad_outputs=torch.ones_like(u), create_graph=True, only_inputs=True
            )[0]
        return gradients(gradients(u, x), x, order=order - 1)

    def residual(points: Any) -> Any:
        x = points[:, 0:1].clone().requires_grad_(True)
        t = points[:, 1:2].clone().requires_grad_(True)
        u = net(torch.cat((x, t), dim=1))
        u_t, u_x = gradients(u, t), gradients(u, x)
        u_xx, u_xxx = gradients(u_x, x), gradients(u, x, order=3)
        return u_t + u * u_x - (0.01 / math.pi) * u_xx + 0.002 * u_xxx

    def objective() -> Any:
        initial = net(torch.cat([x0, torch.zeros_like(x0)], 1)) + torch.sin(math.pi * x0)
        return residual(xt).pow(2).mean() + initial.pow(2).mean()

    @torch.compile
    def step() -> Any:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step().item() for _ in range(5)]
    lbfgs = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe")

    def closure() -> Any:
        lbfgs.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    lbfgs.step(closure)
    return losses, objective().item(), residual(xt).detach()[:3]


@program
def implicit_layers(torch: ModuleType) -> Any:
    """A deep equilibrium layer: a fixed point found without the tape, its gradient by a hook."""
    nn = torch.nn

    class DEQ(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.W, self.U = nn.Linear(d, d, bias=False), nn.Linear(d, d)

        def f(self, z: Any, x: Any) -> Any:
            return torch.tanh(0.3 * self.W(z) + self.U(x))

        def forward(self, x: Any) -> Any:
            with torch.no_grad():
                z = torch.zeros_like(x)
                for _ in range(60):
                    new = self.f(z, x)
                    if (new - z).norm() < 1e-10:
                        break
                    z = new
            z = self.f(z, x)
            z0 = z.clone().detach().requires_grad_()
            f0 = self.f(z0, x)

            def backward_hook(grad: Any) -> Any:
                g = grad
                for _ in range(60):
                    g = torch.autograd.grad(f0, z0, g, retain_graph=True)[0] + grad
                return g

            if z.requires_grad:
                z.register_hook(backward_hook)
            return z

    class Picard(nn.Module):
        """The same by unrolling: the loop itself is differentiated."""

        def __init__(self, deq: Any) -> None:
            super().__init__()
            self.deq = deq

        def forward(self, x: Any) -> Any:
            z = torch.zeros_like(x)
            while True:
                new = self.deq.f(z, x)
                if (new - z).norm() < 1e-10:
                    return new
                z = new

    deq = fill(torch, DEQ(4))
    x = torch.from_numpy(data(3, 4))
    z = deq(x)
    implicit = torch.autograd.grad(z.square().sum(), list(deq.parameters()))
    unrolled = torch.compile(Picard(deq))(x)
    explicit = torch.autograd.grad(unrolled.square().sum(), list(deq.parameters()))
    close = [torch.allclose(a, b, atol=1e-6) for a, b in zip(implicit, explicit)]
    return z, implicit, close


@program
def gaussian_process_training(torch: ModuleType) -> Any:
    """Kernels as blocks, a jittered Cholesky, marginal likelihood, prediction with variances."""
    nn = torch.nn

    class RBF(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw_length = nn.Parameter(torch.zeros(1))
            self.raw_scale = nn.Parameter(torch.zeros(1))

        @property
        def length(self) -> Any:
            return nn.functional.softplus(self.raw_length) + 1e-4

        def forward(self, a: Any, b: Any) -> Any:
            d = (a.unsqueeze(1) - b.unsqueeze(0)).div(self.length).pow(2).sum(-1)
            return self.raw_scale.exp() * torch.exp(-0.5 * d)

    class GP(nn.Module):
        def __init__(self, kernel: Any) -> None:
            super().__init__()
            self.kernel, self.raw_noise = kernel, nn.Parameter(torch.tensor(-2.0))
            self.mean = nn.Parameter(torch.tensor(0.0))

        def forward(self, x: Any, y: Any) -> Any:
            n = x.shape[0]
            K = self.kernel(x, x) + (self.raw_noise.exp() + 1e-6) * torch.eye(n, dtype=x.dtype)
            L = torch.linalg.cholesky(K)
            r = (y - self.mean).unsqueeze(-1)
            alpha = torch.cholesky_solve(r, L)
            return (
                0.5 * (r * alpha).sum() + L.diagonal().log().sum() + 0.5 * n * math.log(2 * math.pi)
            )

    x = torch.linspace(0, 4, 10, dtype=torch.float64).unsqueeze(-1)
    y = torch.sin(x).squeeze(-1) + 0.1 * torch.from_numpy(data(10))
    gp = GP(RBF()).double()
    optimizer = torch.optim.Adam(gp.parameters(), lr=0.1)

    @torch.compile
    def step() -> Any:
        optimizer.zero_grad()
        loss = gp(x, y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step().item() for _ in range(6)]
    return losses, gp.kernel.length, gp.raw_noise, gp.mean, gp.kernel.raw_scale.grad


@program
def natural_gradients_and_newton(torch: ModuleType) -> Any:
    """Hessian-vector products, conjugate gradients, a Newton step by `solve`, Fisher diagonals."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    x, y = torch.from_numpy(data(10, 3)), torch.from_numpy(data(10, 1, seed=1))
    params = list(net.parameters())
    vec, back = nn.utils.parameters_to_vector, nn.utils.vector_to_parameters

    def hvp(v: Any) -> Any:
        loss = nn.functional.mse_loss(net(x), y)
        grads = torch.autograd.grad(loss, params, create_graph=True)
        flat = torch.cat([g.reshape(-1) for g in grads])
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(flat @ v, params)]) + 0.5 * v

    def conjugate_gradient(b: Any, iterations: int = 8) -> Any:
        p, r, s = b.clone(), b.clone(), torch.zeros_like(b)
        rdotr = torch.dot(r, r)
        for _ in range(iterations):
            Ap = hvp(p)
            alpha = rdotr / torch.dot(p, Ap)
            s = s + alpha * p
            r = r - alpha * Ap
            new = torch.dot(r, r)
            p = r + (new / rdotr) * p
            rdotr = new
            if rdotr < 1e-12:
                break
        return s

    loss = nn.functional.mse_loss(net(x), y)
    g = vec(torch.autograd.grad(loss, params)).detach()
    s = conjugate_gradient(g)
    s_compiled = torch.compile(hvp)(g)
    before = vec(params).detach().clone()
    back(before - s, params)
    after = nn.functional.mse_loss(net(x), y)

    @torch.compile
    def newton(z: Any) -> Any:
        for _ in range(6):
            F = torch.stack([z[0] ** 2 + z[1] ** 2 - 1, z[0] - z[1] ** 3])
            J = torch.stack(
                [
                    torch.stack([2 * z[0], 2 * z[1]]),
                    torch.stack([torch.ones_like(z[0]), -3 * z[1] ** 2]),
                ]
            )
            z = z - torch.linalg.solve(J, F)
        return z

    fisher = [torch.zeros_like(p) for p in params]
    for i in range(4):
        net.zero_grad()
        net(x[i : i + 1]).sum().backward()
        for f, p in zip(fisher, params):
            f.add_(p.grad.detach() ** 2)
    return loss, g, s, s_compiled, after, newton(torch.tensor([1.0, 0.5]).double()), fisher
