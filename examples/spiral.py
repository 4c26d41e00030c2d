"""Two spirals that no straight line tells apart, and the boundary that a small network learns."""

from __future__ import annotations

from math import pi

import kuai
from kuai import nn, optim
from kuai.nn import functional as F


def spirals(points: int) -> tuple[kuai.Tensor, kuai.Tensor]:
    """Points on two spiral arms, with noise; which arm each belongs to."""
    arm = kuai.arange(2).repeat_interleave(points)
    angle = kuai.rand(2 * points).sqrt() * 3 * pi
    turned = angle + arm * pi
    x = kuai.stack([angle * turned.cos(), angle * turned.sin()], dim=1) / (3 * pi)
    return x + 0.02 * kuai.randn(2 * points, 2), arm


def train(steps: int = 600) -> tuple[nn.Module, float]:
    """A network that tells the arms apart, and the share of points that it places right."""
    X, y = spirals(200)
    net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    @kuai.compile
    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(X), y).backward()
        optimizer.step()

    for _ in range(steps):
        step()
    with kuai.no_grad():
        return net, (net(X).argmax(1) == y).float().mean().item()


def boundary(net: nn.Module, rows: int = 22, columns: int = 48) -> str:
    """The plane as text: which arm the network sees at each point."""
    y, x = kuai.meshgrid(
        kuai.linspace(1.1, -1.1, rows), kuai.linspace(-1.1, 1.1, columns), indexing="ij"
    )
    with kuai.no_grad():
        arm = net(kuai.stack([x, y], dim=-1)).argmax(-1)
    return "\n".join("".join("·█"[a] for a in row) for row in arm.tolist())


if __name__ == "__main__":
    kuai.manual_seed(0)
    net, right = train()
    print(boundary(net))
    print(f"{right:.1%} of the points are on the right side")
    assert right > 0.97
