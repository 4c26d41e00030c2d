"""Training that is stopped, saved, loaded and resumed gives the numbers of one that was not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import kuai
from kuai import nn, optim
from kuai.nn import functional as F


def parts() -> tuple[nn.Module, optim.Optimizer]:
    """A network and its optimizer."""
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    return net, optim.Adam(net.parameters(), lr=0.01)


def steps(net: nn.Module, optimizer: optim.Optimizer, count: int) -> float:
    """Train for some steps on data drawn anew each time; returns the last loss."""

    @kuai.compile
    def step() -> kuai.Tensor:
        X = kuai.randn(32, 8)
        optimizer.zero_grad()
        loss = F.mse_loss(net(X), X.sum(dim=1, keepdim=True))
        loss.backward()
        optimizer.step()
        return loss.detach()

    loss = kuai.tensor(0.0)
    for _ in range(count):
        loss = step()
    return loss.item()


if __name__ == "__main__":
    kuai.manual_seed(0)
    whole = steps(*parts(), 200)

    kuai.manual_seed(0)
    net, optimizer = parts()
    steps(net, optimizer, 100)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.safetensors"
        kuai.save(
            {
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "random": kuai.get_rng_state(),
            },
            checkpoint,
        )
        kept = kuai.load(checkpoint)

    net, optimizer = parts()
    net.load_state_dict(kept["net"])
    optimizer.load_state_dict(kept["optimizer"])
    kuai.set_rng_state(kept["random"])
    resumed = steps(net, optimizer, 100)
    print(f"loss after 200 steps: {whole:.6f} in one go, {resumed:.6f} resumed half-way")
    assert whole == resumed
