"""Scientific programs: equations, matrices, statistics."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program


@program
def physics_informed_network(torch: ModuleType) -> Any:
    """u'' + u = 0 as a loss on second derivatives of a network."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 1)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    t = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(-1, 1).requires_grad_(True)
    losses = []
    for _ in range(10):
        u = net(t)
        du = torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)[0]
        ddu = torch.autograd.grad(du.sum(), t, create_graph=True)[0]
        loss = (ddu + u).square().mean() + (u[0] - 1).square().sum() + du[0].square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, t.grad is None, net[0].weight.grad


@program
def runge_kutta_fit(torch: ModuleType) -> Any:
    """Parameters of a Lotka-Volterra system, fitted through an integrator."""
    p = torch.tensor([0.6, 0.9, 0.5, 0.4], dtype=torch.float64, requires_grad=True)

    def rate(y: Any) -> Any:
        a, b, c, d = p.unbind()
        return torch.stack([a * y[0] - b * y[0] * y[1], c * y[0] * y[1] - d * y[1]])

    def trajectory() -> Any:
        y, path = torch.tensor([1.0, 0.5], dtype=torch.float64), []
        for _ in range(15):
            k1 = rate(y)
            k2 = rate(y + 0.05 * k1)
            k3 = rate(y + 0.05 * k2)
            k4 = rate(y + 0.1 * k3)
            y = y + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            path.append(y)
        return torch.vstack(path)

    goal = torch.ones(15, 2, dtype=torch.float64).cumsum(0) / 10
    optimizer = torch.optim.Adadelta([p], lr=1.0)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(trajectory(), goal)
        loss.backward()
        optimizer.step()
    return loss, p, p.grad, trajectory()


@program
def gaussian_process(torch: ModuleType) -> Any:
    """Marginal likelihood by Cholesky, its gradient, and the posterior."""
    x = torch.linspace(0, 3, 8, dtype=torch.float64)
    y = torch.sin(x)
    log_length = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    log_noise = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)

    def kernel(a: Any, b: Any) -> Any:
        return torch.exp(-0.5 * ((a[:, None] - b[None, :]) / log_length.exp()) ** 2)

    K = kernel(x, x) + log_noise.exp() * torch.eye(8, dtype=torch.float64)
    L = torch.linalg.cholesky(K)
    alpha = torch.cholesky_solve(y.unsqueeze(-1), L).squeeze(-1)
    likelihood = -0.5 * y @ alpha - L.diagonal().log().sum() - 4 * math.log(2 * math.pi)
    likelihood.backward()
    new = torch.tensor([0.5, 2.5], dtype=torch.float64)
    mean = kernel(new, x) @ alpha
    variance = 1 - (kernel(new, x) * torch.linalg.solve(K, kernel(x, new)).T).sum(-1)
    return likelihood, log_length.grad, log_noise.grad, mean, variance


@program
def principal_components(torch: ModuleType) -> Any:
    """Centering, covariance, eigenvectors, singular values: signs made comparable."""
    x = torch.from_numpy(data(20, 5))
    x = x - x.mean(dim=0, keepdim=True)
    covariance = x.T @ x / (len(x) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    U, S, Vh = torch.linalg.svd(x, full_matrices=False)
    Q, R = torch.linalg.qr(x)
    sign, logabs = torch.linalg.slogdet(covariance)
    return (
        values,
        vectors.abs(),
        S,
        Vh.abs(),
        torch.allclose(U * S @ Vh, x),
        (Q @ R - x).abs().max() < 1e-9,
        sign,
        logabs,
        torch.cov(x.T),
        torch.corrcoef(x.T),
        torch.linalg.matrix_rank(x),
        torch.linalg.inv(covariance),
        torch.linalg.norm(x, ord=2),
        torch.trace(covariance),
    )


@program
def k_means(torch: ModuleType) -> Any:
    """`cdist`, `argmin`, `index_add_`, `bincount`, and a loop until nothing changes."""
    points = torch.from_numpy(np.concatenate([data(15, 2), data(15, 2, seed=1) + 4]))
    centers = points[[0, 20]].clone()
    label, rounds = None, 0
    while True:
        new = torch.cdist(points, centers).argmin(dim=1)
        rounds += 1
        if label is not None and (new == label).all():
            break
        label = new
        sums = torch.zeros_like(centers).index_add_(0, label, points)
        counts = torch.bincount(label, minlength=2).clamp(min=1)
        centers = sums / counts.unsqueeze(1)
    inertia = (points - centers[label]).pow(2).sum().item()
    return centers, label, rounds, inertia, counts


@program
def graph_network(torch: ModuleType) -> Any:
    """Message passing by `index_select` and `scatter_add`, degree normalisation, pooling."""
    nn = torch.nn
    edges = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 4]])
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    x = torch.from_numpy(data(5, 3))
    lift, out = fill(torch, nn.Linear(3, 4), 1), fill(torch, nn.Linear(4, 2), 2)
    source, goal = edges
    degree = torch.zeros(5, dtype=torch.float64).scatter_add_(
        0, goal, torch.ones(edges.size(1), dtype=torch.float64)
    )
    weight = degree[source].rsqrt() * degree[goal].rsqrt()
    h = lift(x)
    for _ in range(2):
        message = h.index_select(0, source) * weight.unsqueeze(-1)
        h = torch.relu(torch.zeros_like(h).scatter_add(0, goal[:, None].expand(-1, 4), message) + h)
    largest = torch.full((5, 4), -9.0, dtype=torch.float64).scatter_reduce(
        0, goal[:, None].expand(-1, 4), h[source], reduce="amax"
    )
    logits = torch.log_softmax(out(h.mean(0) + largest.amax(0)), dim=-1)
    nn.functional.nll_loss(logits[None], torch.tensor([1])).backward()
    return degree, h, largest, logits, lift.weight.grad, out.bias.grad


@program
def hamiltonian_monte_carlo(torch: ModuleType) -> Any:
    """Leapfrog steps along the gradient of a log density from `distributions`."""
    prior = torch.distributions.Normal(
        torch.tensor(0.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    )
    observed = torch.tensor([1.2, 0.7, 1.9], dtype=torch.float64)

    def potential(q: Any) -> Any:
        likelihood = torch.distributions.Normal(q, 0.5).log_prob(observed).sum()
        return -(prior.log_prob(q) + likelihood)

    def slope(q: Any) -> Any:
        q = q.detach().requires_grad_()
        return torch.autograd.grad(potential(q), q)[0]

    q = torch.tensor(0.1, dtype=torch.float64)
    path = []
    for momentum in data(4):
        p = torch.tensor(momentum)
        p = p - 0.05 * slope(q)
        for _ in range(5):
            q = q + 0.1 * p
            p = p - 0.1 * slope(q)
        path.append(q.item())
    return path, potential(q), prior.entropy(), prior.cdf(q)
