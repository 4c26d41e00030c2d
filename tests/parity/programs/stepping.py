"""Programs that go step by step: adaptive steps, events, searches along lines, damping."""

# ruff: noqa: B007, B905 - programs as people write them

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from tests.parity.programs import data, differentiated, fill, program


@program
def dopri5(torch: ModuleType) -> Any:
    nn = torch.nn

    class ODEFunc(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))
            self.nfe = 0

        def forward(self, t, y):
            return self.net(y**3) - 0.1 * y * torch.cos(t)

    C = [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1]

    A = [
        [],
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    ]

    B5 = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0]

    B4 = [5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40]

    class Dopri5(nn.Module):
        def __init__(self):
            super().__init__()
            self.func = ODEFunc()
            self.rtol, self.atol = 1e-4, 1e-5

        def step(self, t, y, h):
            ks = []
            for c, row in zip(C, A):
                yi = y
                for a, k in zip(row, ks):
                    if a != 0:
                        yi = yi + h * a * k
                ks.append(self.func(t + c * h, yi))
            y5 = y + h * sum(b * k for b, k in zip(B5, ks))
            y4 = y + h * sum(b * k for b, k in zip(B4, ks))
            return y5, y5 - y4

        def forward(self, y0):
            t = torch.tensor(0.0, dtype=y0.dtype)
            t1 = torch.tensor(1.0, dtype=y0.dtype)
            h = torch.tensor(0.3, dtype=y0.dtype)
            y = y0
            accepted = rejected = 0
            while t < t1:
                if t + h > t1:
                    h = t1 - t
                y_new, err = self.step(t, y, h)
                scale = self.atol + self.rtol * torch.max(y.abs(), y_new.abs())
                norm = torch.sqrt(torch.mean((err / scale) ** 2)).detach()
                if norm <= 1:
                    t = t + h
                    y = y_new
                    accepted += 1
                    if t1 - t < 1e-7:
                        break
                else:
                    rejected += 1
                factor = 0.9 * norm**-0.2
                factor = min(5.0, max(0.2, factor))
                h = h * factor
            return y, accepted, rejected

    net = fill(torch, Dopri5())
    return differentiated(
        torch,
        torch.compile(net),
        (data(2, 2),),
        (data(2, 2, seed=3, scale=2),),
        parameters=net.parameters(),
    )


@program
def bogacki_shampine_fsal(torch: ModuleType) -> Any:

    @dataclass
    class Stepper:
        t: torch.Tensor
        y: torch.Tensor
        h: torch.Tensor
        k: torch.Tensor

    def bogacki_shampine_fsal(y0):
        def f(t, y):
            return (
                torch.stack(
                    [10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]]
                )
                * 0.1
            )

        s = Stepper(
            torch.zeros((), dtype=y0.dtype), y0, torch.full((), 0.05, dtype=y0.dtype), f(0.0, y0)
        )
        n = 0
        for _ in range(500):
            if s.t >= 0.5:
                break
            h = torch.minimum(s.h, 0.5 - s.t)
            k1 = s.k
            k2 = f(s.t + h / 2, s.y + h / 2 * k1)
            k3 = f(s.t + 3 / 4 * h, s.y + 3 / 4 * h * k2)
            y3 = s.y + h * (2 / 9 * k1 + 1 / 3 * k2 + 4 / 9 * k3)
            k4 = f(s.t + h, y3)
            e = h * (-5 / 72 * k1 + 1 / 12 * k2 + 1 / 9 * k3 - 1 / 8 * k4)
            err = e.detach().norm(p=float("inf")) / 1e-3
            if err > 1:
                s = replace(s, h=h * max(0.3, 0.9 * 1.0 * 0.5))
                continue
            n += 1
            s = Stepper(s.t + h, y3, h * 1.2, k4)
        return s.y, n

    return differentiated(
        torch, torch.compile(bogacki_shampine_fsal), (data(3),), (data(3, seed=1) * 4,)
    )


@program
def event_bouncing_ball(torch: ModuleType) -> Any:

    def event_bouncing_ball(p):
        """Integrate till contact, locate the event by bisection, reflect."""
        g = 9.81
        h, v = p[0].abs() + 1, p[1]
        t = 0.0
        dt = 0.01
        bounces = 0
        for step in range(400):
            h_new, v_new = h + dt * v - 0.5 * g * dt * dt, v - g * dt
            if h_new < 0:
                lo, hi = 0.0, dt
                for _ in range(20):
                    mid = (lo + hi) / 2
                    hm = h + mid * v - 0.5 * g * mid**2
                    if hm < 0:
                        hi = mid
                    else:
                        lo = mid
                v_hit = v - g * lo
                h_new, v_new = torch.zeros_like(h), -0.8 * v_hit
                t += lo
                bounces += 1
                if bounces == 2:
                    return h_new, v_new, t
            else:
                t += dt
            h, v = h_new, v_new
        return h, v, t

    return differentiated(torch, torch.compile(event_bouncing_ball), (data(2),), (data(2, seed=7),))


@program
def armijo_gradient_descent(torch: ModuleType) -> Any:

    def armijo_gradient_descent(x):
        def rosen(x):
            return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

        def grad(x):
            g = torch.zeros_like(x)
            d = x[1:] - x[:-1] ** 2
            g[:-1] += -400 * x[:-1] * d - 2 * (1 - x[:-1])
            g[1:] += 200 * d
            return g

        fx = rosen(x)
        evals = 1
        for k in range(15):
            g = grad(x)
            if g.norm() < 1e-3:
                break
            t = 1.0
            m = (g * g).sum()
            while True:
                x_new = x - t * g
                f_new = rosen(x_new)
                evals += 1
                if f_new <= fx - 1e-4 * t * m or t < 1e-10:
                    break
                t *= 0.5
            x, fx = x_new, f_new
        return x, fx, evals

    return differentiated(
        torch, torch.compile(armijo_gradient_descent), (data(4),), (data(4, seed=11) * 3,)
    )


@program
def levenberg_marquardt(torch: ModuleType) -> Any:

    def levenberg_marquardt(t, theta):
        """fit a * exp(b t) with damping that adapts."""
        target = (1.5 * torch.exp(-0.4 * t)).detach()
        lam = 1e-2

        def residual(th):
            return th[0] * torch.exp(th[1] * t) - target

        r = residual(theta)
        cost = 0.5 * (r * r).sum()
        iters = 0
        for _ in range(30):
            J = torch.stack(
                [torch.exp(theta[1] * t), theta[0] * t * torch.exp(theta[1] * t)], dim=1
            )
            H = J.T @ J
            g = J.T @ r
            delta = torch.linalg.solve(H + lam * torch.diag(H.diagonal()), -g)
            new = theta + delta
            rn = residual(new)
            new_cost = 0.5 * (rn * rn).sum()
            iters += 1
            if new_cost < cost:
                converged = abs(cost - new_cost) < 1e-6
                theta, r, cost = new, rn, new_cost
                lam = max(lam / 3, 1e-9)
                if converged:
                    break
            else:
                lam = lam * 2
        return theta, cost, iters

    return differentiated(torch, torch.compile(levenberg_marquardt), (data(8, seed=3), data(2)))
