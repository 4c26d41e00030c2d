"""LeNet-5, the convolutional network of 1998, reads the digits.

Source: LeCun et al. (1998), Gradient-Based Learning Applied to Document Recognition.
"""

from __future__ import annotations

import kuai
from kuai import nn, optim
from kuai.data import DataLoader, TensorDataset, digits
from kuai.nn import functional as F


class LeNet(nn.Module):
    """Two convolutions with pooling, and three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def forward(self, images: kuai.Tensor) -> kuai.Tensor:
        """Images `(N, 1, 32, 32)`; a score for each of the ten digits."""
        return self.classifier(self.features(images))


def enlarged(images: kuai.Tensor) -> kuai.Tensor:
    """Each pixel as a square of 4 by 4, so that 8 by 8 images have LeNet's 32 by 32."""
    return images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def train(epochs: int = 8) -> tuple[nn.Module, float]:
    """A network, and the share of unseen digits that it reads right."""
    net = LeNet()
    optimizer = optim.Adam(net.parameters(), lr=2e-3)

    @kuai.compile
    def step(x: kuai.Tensor, y: kuai.Tensor) -> kuai.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    images, labels = digits(train=True)
    loader = DataLoader(TensorDataset(enlarged(images), labels), batch_size=64, shuffle=True)
    for epoch in range(epochs):
        losses = [step(x, y).item() for x, y in loader]
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")

    unseen, answers = digits(train=False)
    with kuai.no_grad():
        return net, (net(enlarged(unseen)).argmax(1) == answers).float().mean().item()


if __name__ == "__main__":
    kuai.manual_seed(0)
    net, right = train()
    print(f"{right:.1%} of the unseen digits are read right")
    assert right > 0.95
