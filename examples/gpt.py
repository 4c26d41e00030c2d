"""A character GPT of two layers learns to write like Shakespeare's A Midsummer Night's Dream.

The more steps, the better: `python examples/gpt.py 3000` gives words and short phrases.

Source: Radford et al. (2019), Language Models are Unsupervised Multitask Learners.
"""

from __future__ import annotations

import sys

import kuai
from kuai import nn, optim
from kuai.data import shakespeare
from kuai.nn import functional as F


class Attention(nn.Module):
    """Causal attention in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: kuai.Tensor) -> kuai.Tensor:
        """`(N, L, width)` to the same shape."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Layer(nn.Module):
    """Attention, and a network for each position, both added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: kuai.Tensor) -> kuai.Tensor:
        """`(N, L, width)` to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """From the characters so far, scores for the next one, at each position."""

    def __init__(
        self, characters: int, context: int = 32, width: int = 64, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.context = context
        self.token = nn.Embedding(characters, width)
        self.position = nn.Embedding(context, width)
        self.layers = nn.Sequential(*[Layer(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, characters)

    def forward(self, tokens: kuai.Tensor) -> kuai.Tensor:
        """Tokens `(N, L)`; scores `(N, L, characters)`."""
        x = self.token(tokens) + self.position(kuai.arange(tokens.shape[1]))
        return self.out(self.norm(self.layers(x)))

    @kuai.no_grad()
    def write(self, tokens: kuai.Tensor, count: int) -> kuai.Tensor:
        """`tokens`, `(L,)`, and `count` more, drawn one after the other."""
        for _ in range(count):
            scores = self(tokens[-self.context :].unsqueeze(0))[0, -1]
            following = kuai.multinomial(scores.softmax(0), 1)
            tokens = kuai.cat([tokens, following])
        return tokens


def train(text: str, steps: int = 150, batch: int = 16) -> tuple[GPT, list[str], list[float]]:
    """A network, its alphabet, and the loss of each step."""
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    data = kuai.tensor([number[character] for character in text])
    net = GPT(len(alphabet))
    optimizer = optim.AdamW(net.parameters(), lr=3e-3)

    @kuai.compile
    def step(x: kuai.Tensor, y: kuai.Tensor) -> kuai.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    losses = []
    within = kuai.arange(net.context + 1)
    for i in range(steps):
        start = kuai.randint(len(data) - net.context, (batch, 1))
        window = data[start + within]
        losses.append(step(window[:, :-1], window[:, 1:]).item())
        if (i + 1) % 50 == 0:
            print(f"step {i + 1}: loss {sum(losses[-50:]) / 50:.3f}")
    return net, alphabet, losses


if __name__ == "__main__":
    kuai.manual_seed(0)
    steps = int(sys.argv[1]) if len(sys.argv) == 2 and sys.argv[1].isdigit() else 150
    net, alphabet, losses = train(shakespeare(), steps)
    start = kuai.tensor([alphabet.index("\n")])
    print("".join(alphabet[i] for i in net.write(start, 300).tolist()))
    assert losses[0] > 4.0
    assert sum(losses[-20:]) / 20 < 2.6
