"""An LSTM reads the digits row by row, from the top to the bottom, and says at the end which."""

from __future__ import annotations

import kuai
from kuai import nn, optim
from kuai.data import DataLoader, TensorDataset, digits
from kuai.nn import functional as F


class RowReader(nn.Module):
    """A sequence of rows, and from the state after the last one a score for each digit."""

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=8, hidden_size=hidden, batch_first=True)
        self.out = nn.Linear(hidden, 10)

    def forward(self, rows: kuai.Tensor) -> kuai.Tensor:
        """Rows `(N, 8, 8)`; scores `(N, 10)`."""
        _, (h, _) = self.lstm(rows)
        return self.out(h[-1])


def train(epochs: int = 10) -> tuple[nn.Module, float]:
    """A network, and the share of unseen digits that it reads right."""
    net = RowReader()
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    @kuai.compile
    def step(x: kuai.Tensor, y: kuai.Tensor) -> kuai.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    images, labels = digits(train=True)
    loader = DataLoader(TensorDataset(images.squeeze(1), labels), batch_size=64, shuffle=True)
    for epoch in range(epochs):
        losses = [step(x, y).item() for x, y in loader]
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")

    unseen, answers = digits(train=False)
    with kuai.no_grad():
        return net, (net(unseen.squeeze(1)).argmax(1) == answers).float().mean().item()


if __name__ == "__main__":
    kuai.manual_seed(0)
    net, right = train()
    print(f"{right:.1%} of the unseen digits are read right")
    assert right > 0.93
