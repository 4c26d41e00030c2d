"""The networks that the eager benchmark measures, written once for kuai and for PyTorch.

They are the blocks of the deep-learning chapter "Layers and Blocks": whatever `library` is, `kuai`
or `torch`, the program is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def networks(library: Any) -> dict[str, Callable[[], Any]]:
    """The measured networks by name: functions that make them.

    Args:
        library: `kuai`, or `torch`.
    """
    nn = library.nn
    F = library.nn.functional

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 256)
            self.out = nn.Linear(256, 10)

        def forward(self, X):
            return self.out(F.relu(self.hidden(X)))

    class FixedHiddenMLP(nn.Module):
        """A constant weight, a layer used twice, and a loop that depends on the values."""

        def __init__(self):
            super().__init__()
            self.rand_weight = library.rand((20, 20), requires_grad=False)
            self.linear = nn.Linear(20, 20)

        def forward(self, X):
            X = self.linear(X)
            X = F.relu(library.mm(X, self.rand_weight) + 1)
            X = self.linear(X)
            while X.abs().sum() > 1:
                X /= 2
            return X.sum()

    class NestMLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
            self.linear = nn.Linear(32, 16)

        def forward(self, X):
            return self.linear(self.net(X))

    return {
        "Sequential (S1)": lambda: nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10)),
        "MLP (S2)": MLP,
        "FixedHiddenMLP (S4)": FixedHiddenMLP,
        "chimera (S6)": lambda: nn.Sequential(NestMLP(), nn.Linear(16, 20), FixedHiddenMLP()),
    }


def give_same_numbers(source: Any, target: Any) -> None:
    """Makes the target network, of either library, hold the numbers of the source network.

    The constant weights are plain attributes, in no state dict, so they are copied by hand.
    """
    for theirs, ours in zip(source.parameters(), target.parameters(), strict=True):
        ours.detach().numpy()[...] = theirs.detach().numpy()
    for theirs, ours in zip(source.modules(), target.modules(), strict=True):
        if hasattr(theirs, "rand_weight"):
            ours.rand_weight.numpy()[...] = theirs.rand_weight.numpy()
