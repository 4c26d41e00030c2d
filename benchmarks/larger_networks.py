"""The networks of the compiled benchmark that take two cores, once for kuai and for PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def larger_networks(library: Any) -> dict[str, Callable[[], Any]]:
    """Functions that make the networks, by name.

    Args:
        library: `kuai`, or `torch`.
    """
    nn = library.nn
    return {
        "MLP 784-256-10": lambda: nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)),
        "LeNet": lambda: lenet(nn),
        "LSTM": lambda: lstm(library)(),
        "GPT": lambda: gpt(library)(),
    }


def lenet(nn: Any) -> Any:
    """LeNet-5 with ReLU and maximum pooling, for images of 1x28x28."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def lstm(library: Any) -> type:
    """A class of networks that read a sequence and classify what its last step says.

    A library that has an LSTM over whole sequences uses it; else the cell is applied in a Python
    loop over the steps. The parameters are the same and come in the same order.
    """
    nn = library.nn

    class Sequences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, X: Any) -> Any:
            steps, _ = self.lstm(X)
            return self.out(steps[-1])

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, X: Any) -> Any:
            h = library.zeros(X.shape[1], 64)
            c = library.zeros(X.shape[1], 64)
            for x in X:
                h, c = self.cell(x, (h, c))
            return self.out(h)

    return Sequences if hasattr(nn, "LSTM") else Steps


def gpt(library: Any) -> type:
    """A class of language models: 4 layers of width 128, 4 heads, 64 tokens, 65 characters."""
    nn = library.nn
    F = library.nn.functional

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project_in = nn.Linear(128, 3 * 128, bias=False)
            self.project_out = nn.Linear(128, 128, bias=False)

        def forward(self, x: Any) -> Any:
            batch, tokens, width = x.shape
            q, k, v = [
                part.view(batch, tokens, 4, width // 4).transpose(1, 2)
                for part in self.project_in(x).split(width, dim=2)
            ]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.project_out(y.transpose(1, 2).reshape(batch, tokens, width))

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(128, bias=False)
            self.attention = Attention()
            self.norm2 = nn.LayerNorm(128, bias=False)
            self.mlp = nn.Sequential(
                nn.Linear(128, 512, bias=False), nn.GELU(), nn.Linear(512, 128, bias=False)
            )

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(65, 128)
            self.position = nn.Embedding(64, 128)
            self.layers = nn.Sequential(*[Layer() for _ in range(4)])
            self.norm = nn.LayerNorm(128, bias=False)
            self.head = nn.Linear(128, 65, bias=False)

        def forward(self, tokens: Any) -> Any:
            x = self.token(tokens) + self.position.weight
            return self.head(self.norm(self.layers(x)))

    return GPT
