"""Programs that simulate: spikes, environments, filters, fields, graphs."""

# ruff: noqa: B007, B905, E731 - programs as people write them

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, differentiated, fill, program, uniform


@program
def spiking_net(torch: ModuleType) -> Any:
    nn = torch.nn
    Function = torch.autograd.Function

    class SpikeFn(Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return (v > 0).to(v.dtype)

        @staticmethod
        def backward(ctx, g):
            (v,) = ctx.saved_tensors
            return g / (1 + 10 * v.abs()) ** 2

    class SpikingNet(nn.Module):
        """LIF with surrogate gradients, refractory, loop until enough output spikes."""

        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(3, 5)
            self.fc2 = nn.Linear(5, 2)
            self.beta = nn.Parameter(torch.tensor(0.5))

        def forward(self, xs):
            spike = SpikeFn.apply
            m1 = xs.new_zeros(5)
            m2 = xs.new_zeros(2)
            counts = xs.new_zeros(2)
            t = 0
            while t < 6 and counts.sum() < 4:
                b = torch.sigmoid(self.beta)
                m1 = b * m1 + self.fc1(xs[t] * 3)
                s1 = spike(m1 - 1.0)
                m1 = m1 - s1.detach()
                m2 = b * m2 + self.fc2(s1)
                s2 = spike(m2 - 0.3)
                m2 = torch.where(s2 > 0, torch.zeros_like(m2), m2)
                counts = counts + s2
                t += 1
            return counts, m2, t

    net = fill(torch, SpikingNet())
    return differentiated(
        torch,
        torch.compile(net),
        (uniform(6, 3),),
        (uniform(6, 3, seed=8) * 3,),
        parameters=net.parameters(),
    )


@program
def reinforce_rollout(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class CartPole:
        """environment in tensors, as an object with methods that return tuples."""

        g, mc, mp, l, f, tau = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

        def reset(self, s):
            return s * 0.05

        def step(self, state, action):
            x, xd, th, thd = state.unbind()
            force = torch.where(action > 0.5, torch.tensor(self.f), torch.tensor(-self.f)).to(
                state.dtype
            )
            c, s = torch.cos(th), torch.sin(th)
            total = self.mc + self.mp
            temp = (force + self.mp * self.l * thd**2 * s) / total
            tha = (self.g * s - c * temp) / (self.l * (4.0 / 3.0 - self.mp * c**2 / total))
            xa = temp - self.mp * self.l * tha * c / total
            nxt = torch.stack(
                [x + self.tau * xd, xd + self.tau * xa, th + self.tau * thd, thd + self.tau * tha]
            )
            done = bool((nxt[2].abs() > 0.2) | (nxt[0].abs() > 2.4))
            return nxt, 1.0, done

    class ReinforceRollout(nn.Module):
        def __init__(self):
            super().__init__()
            self.pi = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
            self.env = CartPole()

        def forward(self, s, us):
            state = self.env.reset(s)
            logps = torch.zeros(40, dtype=s.dtype)
            rewards = torch.zeros(40, dtype=s.dtype)
            T = 0
            for t in range(40):
                p = F.softmax(self.pi(state), dim=-1)
                a = (us[t] < p[1]).long()
                logps[t] = torch.log(p[a])
                state, r, done = self.env.step(state, a)
                rewards[t] = r
                T = t + 1
                if done:
                    break
            G = torch.zeros((), dtype=s.dtype)
            returns = torch.zeros_like(rewards)
            for t in reversed(range(40)):
                if t < T:
                    G = rewards[t] + 0.99 * G
                    returns[t] = G
            return -(logps * returns.detach()).sum(), T

    net = fill(torch, ReinforceRollout())
    return differentiated(
        torch,
        torch.compile(net),
        (data(4), uniform(40)),
        (data(4, seed=5), uniform(40, seed=3)),
        parameters=net.parameters(),
    )


@program
def burgers_upwind_cfl(torch: ModuleType) -> Any:

    def burgers_upwind_cfl(u):
        t, t_end, dx = 0.0, 0.2, 1 / 20
        n = 0
        while t < t_end:
            dt = min(
                0.5 * dx / (u.abs().max().detach() + 1e-6), torch.tensor(t_end - t).to(u.dtype)
            )
            flux = torch.where(u > 0, 0.5 * u**2, 0.5 * torch.roll(u, -1) ** 2)
            u = u - dt / dx * (flux - flux.roll(1))
            t = t + dt
            n += 1
        return u, n

    return differentiated(
        torch, torch.compile(burgers_upwind_cfl), (data(20),), (data(20, seed=3) * 5,)
    )


@program
def cloth_constraints(torch: ModuleType) -> Any:
    F = torch.nn.functional

    def cloth_constraints(x):
        """Verlet + iterated constraint projection with pinned points."""
        prev = x.clone()
        rest = 1.0
        pinned = x[0].clone()
        gravity = torch.tensor([0, 0, -9.81], dtype=x.dtype)
        for step in range(3):
            x, prev = 2 * x - prev + gravity * 1e-4, x
            for _ in range(4):
                for axis in (0, 1):
                    a = x.narrow(axis, 0, 2)
                    b = x.narrow(axis, 1, 2)
                    d = b - a
                    L = d.norm(dim=-1, keepdim=True)
                    corr = 0.25 * d * (1 - rest / L)
                    pad = [0, 0, 0, 0, 0, 0]
                    up = list(pad)
                    up[-(2 * axis + 1)] = 1
                    dn = list(pad)
                    dn[-(2 * axis + 2)] = 1
                    x = x + F.pad(corr, up) - F.pad(corr, dn)
                x = torch.cat([pinned[None], x[1:]])
        return x

    return differentiated(torch, torch.compile(cloth_constraints), (data(3, 3, 3),))


@program
def kmeans_with_empty_clusters(torch: ModuleType) -> Any:

    def kmeans_with_empty_clusters(x, seeds):
        c = x[seeds].clone()
        assign = torch.full((x.shape[0],), -1)
        while True:
            new = torch.cdist(x, c).argmin(dim=1)
            if torch.equal(new, assign):
                break
            assign = new
            for j in range(c.shape[0]):
                m = assign == j
                if m.any():
                    c[j] = (x * m[:, None]).sum(0) / m.sum()
        return c, assign

    return differentiated(
        torch, torch.compile(kmeans_with_empty_clusters), (data(15, 2), np.array([0, 5, 9]))
    )


@program
def particle_filter(torch: ModuleType) -> Any:

    def particle_filter(ys, us, noise):
        n = 16
        p = torch.zeros(n, dtype=ys.dtype)
        logw = torch.full((n,), -math.log(n), dtype=ys.dtype)
        resampled = 0
        ll = torch.zeros((), dtype=ys.dtype)
        for t, (y, u) in enumerate(zip(ys, us)):
            p = 0.9 * p + 0.5 * noise[t]
            logw = logw - 0.5 * (y - p) ** 2
            z = torch.logsumexp(logw, 0)
            ll = ll + z
            logw = logw - z
            w = logw.exp()
            ess = 1 / (w**2).sum()
            if ess < n / 2:
                positions = (torch.arange(n, dtype=ys.dtype) + u.detach()) / n
                idx = torch.searchsorted(torch.cumsum(w.detach(), 0), positions).clamp(max=n - 1)
                p = p[idx]
                logw = torch.full_like(logw, -math.log(n))
                resampled += 1
        return p, ll, resampled

    return differentiated(
        torch, torch.compile(particle_filter), (data(5), uniform(5, 1), data(5, 16, seed=2))
    )


@program
def em_mixture(torch: ModuleType) -> Any:

    def em_mixture(x, mu):
        k = mu.size(0)
        pi = torch.ones(k, dtype=x.dtype) / k
        var = torch.ones(k, dtype=x.dtype)
        prev = torch.tensor(-math.inf, dtype=x.dtype)
        for it in range(50):
            d2 = ((x[:, None, :] - mu[None]) ** 2).sum(-1)
            logp = torch.log(pi) - d2 / (2 * var) - torch.log(2 * math.pi * var)
            ll = torch.logsumexp(logp, 1)
            r = torch.exp(logp - ll[:, None])
            nk = r.sum(0)
            mu = (r.T @ x) / nk[:, None]
            var = (r * ((x[:, None] - mu) ** 2).sum(-1)).sum(0) / (2 * nk) + 1e-3
            pi = nk / x.shape[0]
            total = ll.sum()
            if (total - prev).abs() < 1e-2:
                break
            prev = total
        return mu, var, pi, total, it

    return differentiated(torch, torch.compile(em_mixture), (data(20, 2), data(3, 2, seed=5)))


@program
def metropolis(torch: ModuleType) -> Any:

    def metropolis(x0, props, us):
        logp = lambda z: -0.5 * (z @ z) - 0.1 * z.pow(4).sum()
        x, lp = x0, logp(x0)
        accepted = 0
        chain = []
        for prop, u in zip(props, us):
            cand = x + 0.7 * prop
            lpc = logp(cand)
            if torch.log(u) < lpc - lp:
                x, lp = cand, lpc
                accepted += 1
            chain.append(x)
        return torch.stack(chain).mean(0), accepted / len(props)

    return differentiated(
        torch,
        torch.compile(metropolis),
        (data(3), data(12, 3, seed=4), uniform(12)),
        (data(3, seed=1), data(12, 3, seed=7), uniform(12, seed=8)),
    )


@program
def sphere_tracing(torch: ModuleType) -> Any:
    F = torch.nn.functional

    def sphere_tracing(dirs, c):
        """ray marching a smooth union, with per ray masks and normals by autograd."""
        d = F.normalize(dirs, dim=-1)
        o = torch.tensor([0.0, 0.0, -3.0], dtype=dirs.dtype)

        def sdf(p):
            s1 = (p - 0.1 * c).norm(dim=-1) - 1.0
            q = p.abs() - 0.6
            box = q.clamp(min=0).norm(dim=-1) + q.max(dim=-1)[0].clamp(max=0)
            h = (0.5 + 0.5 * (box - s1) / 0.3).clamp(0, 1)
            return box * (1 - h) + s1 * h - 0.3 * h * (1 - h)

        t = torch.zeros(3, dtype=dirs.dtype)
        hit = torch.zeros(3, dtype=torch.bool)
        steps = 0
        while (not hit.all()) and steps < 32:
            p = o + t[:, None] * d
            dist = sdf(p)
            hit = hit | (dist < 1e-3)
            t = t + torch.where(hit | (t > 10), torch.zeros_like(t), dist)
            steps += 1
            if bool((t > 10).logical_or(hit).all()):
                break
        return t, hit, steps

    return differentiated(torch, torch.compile(sphere_tracing), (data(3, 3), data(3)))


@program
def bellman_ford(torch: ModuleType) -> Any:

    def bellman_ford(w, e):
        dist = torch.full((5,), float("inf"), dtype=w.dtype)
        dist[0] = 0
        negative = False
        for k in range(5):
            cand = dist[e[0]] + w
            new = dist.scatter_reduce(0, e[1], cand, reduce="amin", include_self=True)
            if (new == dist).all():
                break
            if k == 4:
                negative = True
            dist = new
        return (
            dist[torch.isfinite(dist.detach())].sum()
            if False
            else torch.where(torch.isinf(dist), 0.0, dist).sum(),
            negative,
            k,
        )

    return differentiated(
        torch,
        torch.compile(bellman_ford),
        (data(8), np.array([[0, 1, 2, 0, 3, 2, 4, 1], [1, 2, 3, 4, 1, 4, 3, 3]])),
        (data(8, seed=9) - 1.0, np.array([[0, 1, 2, 0, 3, 2, 4, 1], [1, 2, 3, 4, 1, 4, 3, 3]])),
    )


@program
def floyd_warshall(torch: ModuleType) -> Any:

    def floyd_warshall(w):
        d = torch.where(torch.eye(5, dtype=torch.bool), torch.zeros_like(w), w + 0.1)
        nxt = torch.arange(5).expand(5, 5).clone()
        for k in range(5):
            alt = d[:, k : k + 1] + d[k : k + 1, :]
            better = alt < d
            d = torch.where(better, alt, d)
            nxt = torch.where(better, nxt[:, k : k + 1], nxt)
        i, path, cost = torch.tensor(0), torch.zeros(6, dtype=torch.long), 0
        n = 0
        while i != 4 and n < 6:
            j = nxt[i, 4]
            cost = cost + w[i, j]
            i = j
            path[n] = i
            n += 1
        return d, path, cost, n

    return differentiated(torch, torch.compile(floyd_warshall), (uniform(5, 5),))
