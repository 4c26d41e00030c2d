"""A deep network, built by code that repeats a block; its table, and its picture with `× 36`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import kuai
from kuai import nn
from kuai.nn import functional as F


class Residual(nn.Module):
    """Two layers with a shortcut around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: kuai.Tensor) -> kuai.Tensor:
        return x + self.down(F.relu(self.up(self.norm(x))))


def deep(depth: int, width: int = 32) -> nn.Module:
    """A network of `depth` equal blocks between its first and its last layer."""
    return nn.Sequential(
        nn.Linear(20, width), *(Residual(width) for _ in range(depth)), nn.Linear(width, 10)
    )


if __name__ == "__main__":
    net = deep(36)
    X = kuai.rand(2, 20)
    table = kuai.summary(net, X)
    print(table.totals)
    assert table.parameters == sum(p.numel() for p in net.parameters())
    net(X).sum().backward()
    assert all(p.grad is not None for p in net.parameters())

    with tempfile.TemporaryDirectory() as folder:
        picture = kuai.draw(net, X, Path(folder) / "deep.svg")
    assert "× 36" in picture.svg
    print(picture)
