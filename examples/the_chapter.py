"""Layers and blocks: every network of the chapter, in its order.

The programs are PyTorch's, with one line changed: the import.
"""

from __future__ import annotations

from time import perf_counter

import kuai as torch
from kuai import nn
from kuai.data import digits
from kuai.nn import functional as F

torch.manual_seed(0)
X = torch.rand(2, 20)

print("1. A model in one line")
net = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
assert net(X).shape == (2, 10)
assert torch.equal(net(X), net.__call__(X))
assert len(net) == 3
assert isinstance(net[1], nn.ReLU)
print(net)

print("\n2. A block of one's own")


class MLP(nn.Module):
    """A hidden layer and an output layer."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 256)
        self.out = nn.Linear(256, 10)

    def forward(self, X):
        return self.out(F.relu(self.hidden(X)))


one, other = MLP(), MLP()
assert one(X).shape == (2, 10)
assert not torch.equal(one(X), other(X)), "two instances have parameters of their own"
print([name for name, _ in one.named_parameters()])

print("\n3. A Sequential of one's own")


class MySequential(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, *args):
        super().__init__()
        for i, block in enumerate(args):
            self._modules[str(i)] = block

    def forward(self, X):
        for block in self._modules.values():
            X = block(X)
        return X


mine = MySequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
mine.load_state_dict(net.state_dict())
assert torch.equal(mine(X), net(X)), "it is the built-in one"
print(mine)

print("\n4. Any Python in forward: a constant, a shared layer, a loop that depends on values")


class FixedHiddenMLP(nn.Module):
    """What no list of layers can express."""

    def __init__(self):
        super().__init__()
        self.rand_weight = torch.rand((20, 20), requires_grad=False)
        self.linear = nn.Linear(20, 20)

    def forward(self, X):
        X = self.linear(X)
        X = F.relu(torch.mm(X, self.rand_weight) + 1)
        X = self.linear(X)
        while X.abs().sum() > 1:
            X /= 2
        return X.sum()


fixed = FixedHiddenMLP()
constant = fixed.rand_weight.clone()
result = fixed(X)
result.backward()
assert result.shape == ()
assert [name for name, _ in fixed.named_parameters()] == ["linear.weight", "linear.bias"]
assert fixed.linear.weight.grad.abs().sum() > 0
assert torch.equal(fixed.rand_weight, constant)
assert fixed.rand_weight.grad is None
print(result)

print("\n5. Blocks in blocks")


class NestMLP(nn.Module):
    """A Sequential inside a block."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.linear = nn.Linear(32, 16)

    def forward(self, X):
        return self.linear(self.net(X))


nest = NestMLP()
assert nest(X).shape == (2, 16)
assert "net.0.weight" in nest.state_dict()
print(nest)

print("\n6. The chimera: all of them together, trained end to end")
chimera = nn.Sequential(NestMLP(), nn.Linear(16, 20), FixedHiddenMLP())
optimizer = torch.optim.SGD(chimera.parameters(), lr=0.01)
before = chimera(X).item()
for _ in range(5):
    optimizer.zero_grad()
    chimera(X).backward()
    optimizer.step()
after = chimera(X).item()
assert after < before
print(f"its output, made small: {before:.4f} -> {after:.4f}")

print("\n7. A layer: output = input @ weight.T + bias")
layer = nn.Linear(in_features=20, out_features=64)
assert layer.weight.shape == (64, 20)
assert layer.bias.shape == (64,)
assert torch.allclose(layer(X), X @ layer.weight.T + layer.bias)
assert layer(torch.rand(5, 3, 20)).shape == (5, 3, 64)
assert nn.Linear(20, 64, bias=False).bias is None
print(layer)

print("\n8. What every block does")
x = torch.rand(2, 20, requires_grad=True)  # takes its input as arguments of forward,
y = one(x)  # returns an output, of another shape perhaps,
y.sum().backward()  # gives the gradient of its output with respect to its input,
assert x.grad.shape == x.shape
assert sum(p.numel() for p in one.parameters()) == 20 * 256 + 256 + 256 * 10 + 10  # keeps
assert one.hidden.weight.abs().max() <= 20**-0.5  # and initialises its parameters.
print("input, output, gradient, parameters, initialisation")

print("\n9. One layer that learns: softmax regression on handwritten digits")
images, labels = digits(train=True, flatten=True)
unseen, answers = digits(train=False, flatten=True)
softmax_regression = nn.Linear(64, 10)
optimizer = torch.optim.Adam(softmax_regression.parameters(), lr=0.05)
for _ in range(100):
    optimizer.zero_grad()
    loss = F.cross_entropy(softmax_regression(images), labels)
    loss.backward()
    optimizer.step()
right = (softmax_regression(unseen).argmax(dim=1) == answers).float().mean().item()
assert right > 0.93
print(f"{right:.1%} of the digits it has not seen")

print("\n10. A layer with a constant parameter: f(x, w) = c · wᵀx")


class Scaled(nn.Module):
    """A constant that is no parameter, and a parameter."""

    def __init__(self, size, c):
        super().__init__()
        self.c, self.w = c, nn.Parameter(torch.rand(size))

    def forward(self, x):
        return self.c * self.w @ x


scaled = Scaled(20, c=3.0)
assert torch.allclose(scaled(X[0]), 3.0 * (scaled.w * X[0]).sum())
assert len(list(scaled.parameters())) == 1
print(scaled(X[0]))

print("\n11. The chimera compiled: a training step, its loop and all, as one native program")
compiled_optimizer = torch.optim.SGD(chimera.parameters(), lr=0.01)


def step(X):
    """Forward, backward, update."""
    compiled_optimizer.zero_grad()
    loss = chimera(X)
    loss.backward()
    compiled_optimizer.step()
    return loss.detach()


def train(step):
    """The losses of some steps, from the same weights, and the microseconds that one takes."""
    chimera.load_state_dict(start)
    begun = perf_counter()
    losses = [step(X).item() for _ in range(200)]
    return losses, (perf_counter() - begun) / 200 * 1e6


start = {name: tensor.clone() for name, tensor in chimera.state_dict().items()}
compiled_step = torch.compile(step)
begun = perf_counter()
compiled_step(X)
print(f"compiled in {perf_counter() - begun:.2f} s")
(eager, eager_time), (compiled, compiled_time) = train(step), train(compiled_step)
assert torch.allclose(torch.tensor(eager), torch.tensor(compiled), rtol=1e-3)
assert compiled_time < eager_time
print(f"a step: {eager_time:.0f} µs eager, {compiled_time:.1f} µs compiled")
