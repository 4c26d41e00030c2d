"""`kuai demo`: learn to read handwritten digits, from nothing to a saved network, in seconds.

The file is also an example. The network comes first: blocks made of blocks, each saying only what
it is made of and what it computes. Then the training loop, and then what one does with a network:
look at it, keep it, use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import kuai
from kuai import nn, optim
from kuai.data import digits
from kuai.nn import functional as F
from kuai.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from rich.console import Console

    from kuai.tensor import Tensor

GOAL = 0.97
"""The share of held-out digits that the trained network must name right."""


class Residual(nn.Module):
    """Any block, with a shortcut around it: `x + block(x)`."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class RandomFeatures(nn.Module):
    """Adds features that are not learned: products with a constant matrix, rectified."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        # `persistent`, by default: a constant that is kept with the weights, but never trained.
        self.register_buffer("directions", kuai.randn(inputs, features) / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return kuai.cat([x, F.relu(kuai.mm(x, self.directions))], dim=1)


class Refine(nn.Module):
    """One layer, applied as often as one likes: its uses share their parameters."""

    def __init__(self, width: int, times: int = 2) -> None:
        super().__init__()
        self.step = nn.Linear(width, width)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = F.relu(self.step(x))
        return x


def network() -> nn.Module:
    """Scores of the ten digits from the 64 pixels of an image."""
    width = 128
    return nn.Sequential(
        RandomFeatures(64, 64),
        nn.Linear(128, width),
        nn.ReLU(),
        Residual(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Dropout(0.1),
                nn.Linear(width, width),
            )
        ),
        Residual(Refine(width)),
        nn.LayerNorm(width),
        nn.Dropout(0.2),
        nn.Linear(width, 10),
    )


class Progress:
    """What a training run has reached.

    Attributes:
        epoch: passes over the training images so far.
        loss: mean loss of the last pass.
        accuracy: share of held-out images named right.
        samples_per_second: training images per second, in the last pass.
    """

    def __init__(self, epoch: int, loss: float, accuracy: float, samples_per_second: float) -> None:
        self.epoch = epoch
        self.loss = loss
        self.accuracy = accuracy
        self.samples_per_second = samples_per_second


def train(net: nn.Module, epochs: int) -> Iterator[Progress]:
    """Train `net` on the digits, and report after every pass over them."""
    images, labels = digits(train=True, flatten=True)
    loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    optimizer = optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(loader))
    for epoch in range(1, epochs + 1):
        began = perf_counter()
        total = 0.0
        net.train()
        for X, y in loader:
            optimizer.zero_grad()
            noisy = X + 0.2 * kuai.randn_like(X)  # no image twice, so none is learned by heart
            loss = F.cross_entropy(net(noisy), y, label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(X)
        seconds = perf_counter() - began
        yield Progress(epoch, total / len(images), accuracy(net), len(images) / seconds)


def accuracy(net: nn.Module) -> float:
    """Share of the held-out digits that `net` names right."""
    images, labels = digits(train=False, flatten=True)
    net.eval()
    with kuai.no_grad():
        return float((net(images).argmax(1) == labels).float().mean())


def picture(image: Tensor) -> list[str]:
    """An image as text, two characters a pixel."""
    shades = " ░▒▓█"
    rows = (image.reshape(8, 8) * (len(shades) - 1)).round().int().tolist()
    return ["".join(shades[level] * 2 for level in row) for row in rows]


def run(out: Path, epochs: int = 40, seed: int = 0, console: Console | None = None) -> bool:
    """Train, look at, keep, load and use the network.

    Args:
        out: the folder to write `digits.svg` and `digits.safetensors` into.
        epochs: passes over the training images.
        seed: of all random numbers; the same seed gives the same network.
        console: where to print; the terminal by default.

    Returns:
        Whether the network reached `GOAL`.
    """
    from rich.console import Console

    console = console or Console()
    out.mkdir(parents=True, exist_ok=True)
    kuai.manual_seed(seed)
    net = network()
    images, labels = digits(train=False, flatten=True)
    console.print(f"[bold]1,438 handwritten digits to learn from, {len(labels)} held out[/bold]")
    reached = show_training(net, epochs, console)

    console.print(kuai.summary(net, images[:1]))
    drawing = kuai.draw(net, images[:1]).save(out / "digits.svg")
    console.print(f"drawing  {drawing}")
    weights = out / "digits.safetensors"
    kuai.save(net.state_dict(), weights)
    console.print(f"weights  {weights} ({weights.stat().st_size:,} bytes)")

    loaded = network()
    loaded.load_state_dict(kuai.load(weights))
    same = accuracy(loaded)
    console.print(f"loaded again: {same:.2%} of the held-out digits right\n")
    show_digits(loaded, images, labels, console)
    ok = reached >= GOAL and same == reached
    console.print(
        f"[bold green]{reached:.2%}, goal {GOAL:.0%}: reached[/bold green]"
        if ok
        else f"[bold red]{reached:.2%}, goal {GOAL:.0%}: missed[/bold red]"
    )
    return ok


def show_training(net: nn.Module, epochs: int, console: Console) -> float:
    """Train behind a live progress bar; returns the accuracy reached."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("accuracy [bold]{task.fields[accuracy]:.2%}[/bold]"),
        TextColumn("{task.fields[speed]:,.0f} samples/s"),
        TimeElapsedColumn(),
    )
    reached = 0.0
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=epochs, loss=0.0, accuracy=0.0, speed=0.0)
        for progress in train(net, epochs):
            reached = progress.accuracy
            bar.update(
                task,
                completed=progress.epoch,
                loss=progress.loss,
                accuracy=reached,
                speed=progress.samples_per_second,
            )
    return reached


def show_digits(net: nn.Module, images: Tensor, labels: Tensor, console: Console) -> None:
    """Print a few held-out digits, and what the network takes them for."""
    from rich.text import Text

    shown = kuai.randperm(len(images))[:4]
    net.eval()
    with kuai.no_grad():
        chances = F.softmax(net(images[shown]), dim=1)
    for line in zip(*(picture(images[i]) for i in shown.tolist()), strict=True):
        console.print(Text("   ".join(line)))
    captions = []
    for chance, label in zip(chances, labels[shown].tolist(), strict=True):
        named = chance.argmax().item()
        words = f"{named}, {chance[named].item():.0%} sure"
        captions.append(f"{words if named == label else f'{words}, is {label}':<19}")
    console.print(Text("".join(captions).rstrip()))
