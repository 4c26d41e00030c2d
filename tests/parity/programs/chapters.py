"""Programs in the manner of a textbook's chapters: regression, perceptrons, parameters, layers.

What is given to `torch.compile` runs as plain Python in one test and compiled in the other.
"""

# ruff: noqa: B007, B023, B905 - programs as people write them

from __future__ import annotations

import math
import os
import random
import tempfile
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program, raised


@program
def linear_regression_from_scratch(torch: ModuleType) -> Any:
    """Synthetic data, a generator of mini-batches, `sgd` as a function over parameters."""
    w_true, b_true = torch.tensor([2, -3.4], dtype=torch.float64), 4.2
    X = torch.from_numpy(data(60, 2))
    y = torch.matmul(X, w_true) + b_true
    y += torch.from_numpy(data(60, seed=1)) * 0.01
    y = y.reshape((-1, 1))
    shuffler = random.Random(0)

    def data_iter(batch_size: int, features: Any, labels: Any) -> Any:
        indices = list(range(len(features)))
        shuffler.shuffle(indices)
        for i in range(0, len(features), batch_size):
            batch = torch.tensor(indices[i : min(i + batch_size, len(features))])
            yield features[batch], labels[batch]

    def linreg(X: Any, w: Any, b: Any) -> Any:
        return torch.matmul(X, w) + b

    def squared_loss(y_hat: Any, y: Any) -> Any:
        return (y_hat - y.reshape(y_hat.shape)) ** 2 / 2

    def sgd(params: Any, lr: float, batch_size: int) -> None:
        with torch.no_grad():
            for param in params:
                param -= lr * param.grad / batch_size
                param.grad.zero_()

    w = torch.zeros((2, 1), dtype=torch.float64, requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    @torch.compile
    def step(X: Any, y: Any) -> Any:
        l = squared_loss(linreg(X, w, b), y)
        l.sum().backward()
        sgd([w, b], 0.03, 10)
        return l.mean()

    log = []
    for epoch in range(3):
        for Xb, yb in data_iter(10, X, y):
            last = step(Xb, yb)
        with torch.no_grad():
            train_l = squared_loss(linreg(X, w, b), y)
            log.append(f"epoch {epoch + 1}, loss {float(train_l.mean()):f}")
    return log, last, w, b, w_true - w.reshape(w_true.shape)


@program
def softmax_regression_from_scratch(torch: ModuleType) -> Any:
    """`softmax`, `cross_entropy` by fancy indexing, an accumulator of accuracy."""
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.random((40, 1, 4, 4)))
    y = torch.from_numpy(rng.integers(0, 5, 40))
    W = torch.from_numpy(rng.standard_normal((16, 5)) * 0.01).requires_grad_()
    b = torch.zeros(5, requires_grad=True, dtype=torch.float64)

    def softmax(X: Any) -> Any:
        X_exp = torch.exp(X)
        partition = X_exp.sum(1, keepdim=True)
        return X_exp / partition

    def net(X: Any) -> Any:
        return softmax(torch.matmul(X.reshape((-1, W.shape[0])), W) + b)

    def cross_entropy(y_hat: Any, y: Any) -> Any:
        return -torch.log(y_hat[range(len(y_hat)), y])

    def accuracy(y_hat: Any, y: Any) -> float:
        if len(y_hat.shape) > 1 and y_hat.shape[1] > 1:
            y_hat = y_hat.argmax(axis=1)
        cmp = y_hat.type(y.dtype) == y
        return float(cmp.type(y.dtype).sum())

    class Accumulator:
        def __init__(self, n: int) -> None:
            self.data = [0.0] * n

        def add(self, *args: Any) -> None:
            self.data = [a + float(b) for a, b in zip(self.data, args)]

        def __getitem__(self, idx: int) -> float:
            return self.data[idx]

    updater = torch.optim.SGD([W, b], lr=0.1)

    @torch.compile
    def train_batch(X: Any, y: Any) -> Any:
        y_hat = net(X)
        l = cross_entropy(y_hat, y)
        updater.zero_grad()
        l.mean().backward()
        updater.step()
        return l.sum(), y_hat

    metric, curve = Accumulator(3), []
    for _ in range(4):
        for i in range(0, 40, 16):
            l, y_hat = train_batch(X[i : i + 16], y[i : i + 16])
            metric.add(l, accuracy(y_hat, y[i : i + 16]), y[i : i + 16].numel())
        curve.append((metric[0] / metric[2], metric[1] / metric[2]))
    return curve, W, b, net(X[:3]).argmax(dim=1)


@program
def weight_decay_concise(torch: ModuleType) -> Any:
    """Decay on the weight only, by parameter groups; the norm of what is left."""
    nn = torch.nn
    X, y = torch.from_numpy(data(20, 30)), torch.from_numpy(data(20, 1, seed=3))
    net = fill(torch, nn.Sequential(nn.Linear(30, 1)))
    for param in net.parameters():
        param.data.mul_(0.5)
    loss = nn.MSELoss(reduction="none")
    trainer = torch.optim.SGD(
        [{"params": net[0].weight, "weight_decay": 3}, {"params": net[0].bias}], lr=0.003
    )

    @torch.compile
    def step() -> Any:
        trainer.zero_grad()
        l = loss(net(X), y)
        l.mean().backward()
        trainer.step()
        return l

    for epoch in range(30):
        l = step()
    return (
        l,
        net[0].weight.norm().item(),
        net[0].bias,
        [g["weight_decay"] for g in trainer.param_groups],
    )


@program
def dropout_from_scratch(torch: ModuleType) -> Any:
    """A mask made by comparison; edge cases of the probability; `is_training` as an attribute."""
    nn = torch.nn
    uniform = torch.from_numpy(np.random.default_rng(0).random((6, 8)))

    def dropout_layer(X: Any, dropout: float) -> Any:
        assert 0 <= dropout <= 1
        if dropout == 1:
            return torch.zeros_like(X)
        if dropout == 0:
            return X
        mask = (uniform > dropout).double()
        return mask * X / (1.0 - dropout)

    class Net(nn.Module):
        def __init__(self, num_inputs: int, num_hidden: int, is_training: bool = True) -> None:
            super().__init__()
            self.num_inputs = num_inputs
            self.training = is_training
            self.lin1 = nn.Linear(num_inputs, num_hidden)
            self.lin2 = nn.Linear(num_hidden, 2)
            self.relu = nn.ReLU()

        def forward(self, X: Any) -> Any:
            H1 = self.relu(self.lin1(X.reshape((-1, self.num_inputs))))
            if self.training == True:  # noqa: E712
                H1 = dropout_layer(H1, 0.25)
            return self.lin2(H1)

    net = fill(torch, Net(5, 8))
    run = torch.compile(net)
    X = torch.from_numpy(data(6, 5))
    training = run(X)
    net.eval()
    evaluating = run(X)
    loss = (training - evaluating).pow(2).sum()
    loss.backward()
    kept = nn.Dropout(0.0)(X), nn.Dropout(1.0)(X), nn.Dropout(0.5).eval()(X)
    probabilities = [raised(lambda p=p: nn.Dropout(p)) for p in (-0.1, 1.1, 0.5)]
    return training, evaluating, net.lin1.weight.grad, kept, probabilities, dropout_layer(X, 1)


@program
def parameter_management(torch: ModuleType) -> Any:
    """Access, nested blocks by name, initialisation by `apply`, tied layers."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
    X = torch.from_numpy(data(2, 4))
    first = (
        net(X),
        list(net[2].state_dict()),
        type(net[2].bias).__name__,
        net[2].bias.data,
        net[2].weight.grad is None,
        [(name, param.shape) for name, param in net[0].named_parameters()],
        [(name, tuple(param.shape)) for name, param in net.named_parameters()],
        net.state_dict()["2.bias"].data,
    )

    def block1() -> Any:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())

    def block2() -> Any:
        net = nn.Sequential()
        for i in range(4):
            net.add_module(f"block {i}", block1())
        return net

    rgnet = fill(torch, nn.Sequential(block2(), nn.Linear(4, 1)))
    nested = repr(rgnet), rgnet(X), rgnet[0][1][0].bias.data, list(rgnet.state_dict())[:3]

    def init_constant(m: Any) -> None:
        if type(m) is nn.Linear:
            nn.init.constant_(m.weight, 1)
            nn.init.zeros_(m.bias)

    def my_init(m: Any) -> None:
        if isinstance(m, nn.Linear):
            with torch.no_grad():
                m.weight.uniform_(-10, 10)
                m.weight.data *= m.weight.data.abs() >= 11

    net.apply(init_constant)
    constant = net[0].weight.data[0], net[0].bias.data[0]
    net[0].apply(my_init)
    net[0].weight.data[:] += 1
    net[0].weight.data[0, 0] = 42
    edited = net[0].weight.data[0], net(X)

    shared = nn.Linear(8, 8)
    tied = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1)
    )
    fill(torch, tied)
    run = torch.compile(tied)
    run(X).sum().backward()
    same = bool((tied[2].weight.data[0] == tied[4].weight.data[0]).all())
    tied[2].weight.data[0, 0] = 100
    return (
        first, nested, constant, edited, same, run(X), tied[4].weight.data[0], tied[2].weight.grad,
        len(list(tied.parameters())), list(tied.state_dict()),
    )  # fmt: skip


@program
def deferred_initialisation(torch: ModuleType) -> Any:
    """Lazy layers: before and after the first input, printed and counted."""
    nn = torch.nn
    net = nn.Sequential(
        nn.LazyConv2d(4, kernel_size=3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3),
    )  # fmt: skip
    before = str(net), [type(p).__name__ for p in net.parameters()], raised(net[0].weight.numel)
    X = torch.rand(2, 2, 5, 5)
    net(X)
    after = str(net), [tuple(p.shape) for p in net.parameters()]
    fill(torch, net)
    run = torch.compile(net)
    out = run(torch.from_numpy(data(2, 2, 5, 5)))
    out.sum().backward()
    return before, after, out, net[4].weight.grad, type(net[4]).__name__, list(net.state_dict())


@program
def layers_of_ones_own(torch: ModuleType) -> Any:
    """Without parameters, with parameters, and inside a Sequential."""
    nn, F = torch.nn, torch.nn.functional

    class CenteredLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()

        def forward(self, X: Any) -> Any:
            return X - X.mean()

    class MyLinear(nn.Module):
        def __init__(self, in_units: int, units: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(in_units, units))
            self.bias = nn.Parameter(
                torch.randn(
                    units,
                )
            )

        def forward(self, X: Any) -> Any:
            linear = torch.matmul(X, self.weight.data) + self.bias.data
            return F.relu(linear)

    class Quadratic(nn.Module):
        """y_k = sum_ij W_ijk x_i x_j, with a learnable temperature and an optional bias."""

        def __init__(self, n: int, out: int, bias: bool = True) -> None:
            super().__init__()
            self.W = nn.Parameter(torch.empty(n, n, out))
            self.log_t = nn.Parameter(torch.tensor(0.0))
            if bias:
                self.b = nn.Parameter(torch.zeros(out))
            else:
                self.register_parameter("b", None)
            self.reset_parameters()

        def reset_parameters(self) -> None:
            nn.init.kaiming_uniform_(self.W, a=math.sqrt(5))

        def forward(self, x: Any) -> Any:
            y = torch.einsum("bi,ijk,bj->bk", x, self.W, x) * self.log_t.exp()
            return y if self.b is None else y + self.b

        def extra_repr(self) -> str:
            return f"{self.W.shape[0]} -> {self.W.shape[-1]}, bias={self.b is not None}"

    layer = CenteredLayer()
    a = layer(torch.FloatTensor([1, 2, 3, 4, 5]))
    net = fill(torch, nn.Sequential(MyLinear(6, 3), MyLinear(3, 1)))
    b = torch.compile(net)(torch.from_numpy(data(2, 6)))
    deep = fill(torch, nn.Sequential(Quadratic(4, 5), CenteredLayer(), Quadratic(5, 2, bias=False)))
    x = torch.from_numpy(data(3, 4)).requires_grad_()
    c = torch.compile(deep)(x)
    c.pow(2).sum().backward()
    return a, b, b.requires_grad, c, x.grad, deep[0].log_t.grad, str(deep), str(net)


@program
def files_of_tensors_and_parameters(torch: ModuleType) -> Any:
    """Saving a tensor, a list, a dict, and the parameters of a network; loading into a clone."""
    nn, F = torch.nn, torch.nn.functional

    class MLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(20, 256)
            self.output = nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            return self.output(F.relu(self.hidden(x)))

    with tempfile.TemporaryDirectory() as folder:
        x, y = torch.arange(4), torch.zeros(4)
        torch.save(x, os.path.join(folder, "x-file"))
        torch.save([x, y], os.path.join(folder, "x-files"))
        torch.save({"x": x, "y": y}, os.path.join(folder, "mydict"))
        x2 = torch.load(os.path.join(folder, "x-file"))
        pair = torch.load(os.path.join(folder, "x-files"))
        mydict2 = torch.load(os.path.join(folder, "mydict"), weights_only=True)
        net = fill(torch, MLP())
        X = torch.from_numpy(data(2, 20))
        Y = net(X)
        torch.save(net.state_dict(), os.path.join(folder, "mlp.params"))
        clone = MLP().double()
        message = clone.load_state_dict(torch.load(os.path.join(folder, "mlp.params")))
        clone.eval()
        missing = raised(lambda: torch.load(os.path.join(folder, "nothing")))
    return (
        x2,
        pair,
        mydict2,
        str(message),
        torch.allclose(Y, torch.compile(clone)(X)),
        str(clone),
        missing,
    )


@program
def generalisation_of_polynomials(torch: ModuleType) -> Any:
    """Under- and overfitting: powers, Gamma rescaling, slices of features."""
    nn = torch.nn
    features = np.random.default_rng(0).normal(size=(40, 1))
    poly = np.power(features, np.arange(8).reshape(1, -1))
    for i in range(8):
        poly[:, i] /= math.gamma(i + 1)
    labels = np.dot(poly, np.array([5, 1.2, -3.4, 5.6, 0, 0, 0, 0]))
    poly, labels = (torch.tensor(x, dtype=torch.float32) for x in [poly, labels])
    results = []
    for degree in (2, 4, 8):
        net = nn.Sequential(nn.Linear(degree, 1, bias=False))
        nn.init.zeros_(net[0].weight)
        loss = nn.MSELoss(reduction="none")
        trainer = torch.optim.SGD(net.parameters(), lr=0.01)

        def step(X: Any, y: Any, net: Any = net, trainer: Any = trainer) -> Any:
            trainer.zero_grad()
            l = loss(net(X), y.reshape(-1, 1))
            l.mean().backward()
            trainer.step()
            return l.sum() / l.numel()

        step = torch.compile(step)
        for epoch in range(10):
            for i in range(0, 30, 10):
                last = step(poly[i : i + 10, :degree], labels[i : i + 10])
        results.append((last, net[0].weight.data.numpy()))
    return results


@program
def mlp_from_scratch(torch: ModuleType) -> Any:
    """Parameters in a list, `@` for products, a `relu` of one's own."""
    nn = torch.nn
    W1 = nn.Parameter(torch.from_numpy(data(12, 16) * 0.1))
    b1 = nn.Parameter(torch.zeros(16, dtype=torch.float64))
    W2 = nn.Parameter(torch.from_numpy(data(16, 4, seed=1) * 0.1))
    b2 = nn.Parameter(torch.zeros(4, dtype=torch.float64, requires_grad=True))
    params = [W1, b1, W2, b2]

    def relu(X: Any) -> Any:
        a = torch.zeros_like(X)
        return torch.max(X, a)

    def net(X: Any) -> Any:
        X = X.reshape((-1, 12))
        H = relu(X @ W1 + b1)
        return H @ W2 + b2

    loss = nn.CrossEntropyLoss(reduction="none")
    updater = torch.optim.SGD(params, lr=0.1)
    X = torch.from_numpy(data(20, 3, 4))
    y = torch.from_numpy(np.random.default_rng(0).integers(0, 4, 20))

    @torch.compile
    def step(X: Any, y: Any) -> Any:
        l = loss(net(X), y)
        updater.zero_grad()
        l.mean().backward()
        updater.step()
        return l

    return [step(X, y) for _ in range(5)], [p.grad.norm().item() for p in params], W2


@program
def house_prices_k_fold(torch: ModuleType) -> Any:
    """k-fold validation, log RMSE with clamp, fresh networks for each fold, Adam with decay."""
    nn = torch.nn
    X = torch.from_numpy(data(24, 6))
    y = torch.from_numpy(np.exp(data(24, 1, seed=2))) + 1
    loss = nn.MSELoss()

    def log_rmse(net: Any, features: Any, labels: Any) -> float:
        clipped = torch.clamp(net(features), 1, float("inf"))
        return torch.sqrt(loss(torch.log(clipped), torch.log(labels))).item()

    def get_k_fold_data(k: int, i: int) -> Any:
        fold_size = X.shape[0] // k
        X_train, y_train = None, None
        for j in range(k):
            idx = slice(j * fold_size, (j + 1) * fold_size)
            X_part, y_part = X[idx, :], y[idx]
            if j == i:
                X_valid, y_valid = X_part, y_part
            elif X_train is None:
                X_train, y_train = X_part, y_part
            else:
                X_train = torch.cat([X_train, X_part], 0)
                y_train = torch.cat([y_train, y_part], 0)
        return X_train, y_train, X_valid, y_valid

    scores = []
    for i in range(3):
        Xt, yt, Xv, yv = get_k_fold_data(3, i)
        net = fill(torch, nn.Sequential(nn.Linear(6, 1)), i)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.5, weight_decay=0.01)

        @torch.compile
        def step(Xb: Any, yb: Any) -> Any:
            optimizer.zero_grad()
            l = loss(net(Xb), yb)
            l.backward()
            optimizer.step()
            return l

        for _ in range(5):
            step(Xt[:8], yt[:8])
            step(Xt[8:], yt[8:])
        scores.append((log_rmse(net, Xt, yt), log_rmse(net, Xv, yv)))
    return scores
