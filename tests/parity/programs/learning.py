"""Programs that train something."""

# ruff: noqa: B007, B905 - programs as people write them

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program


@program
def linear_regression_by_hand(torch: ModuleType) -> Any:
    """The first program of every tutorial: parameters, a loop, `no_grad` updates."""
    x = torch.from_numpy(data(50, 3))
    y = x @ torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64) + 4.2
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    losses = []
    for _ in range(60):
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
            w.grad.zero_()
            b.grad = None
        losses.append(loss.item())
    return losses, w, b, w.grad, b.grad


@program
def tabular_classification(torch: ModuleType) -> Any:
    """Embeddings of categories beside numeric columns, mini-batches, Adam with a schedule."""
    nn, optim = torch.nn, torch.optim
    rng = np.random.default_rng(1)
    numeric = torch.from_numpy(rng.standard_normal((64, 4)))
    category = torch.from_numpy(rng.integers(0, 5, (64, 2)))
    target = torch.from_numpy(rng.integers(0, 3, 64))

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleList([nn.Embedding(5, 3) for _ in range(2)])
            self.norm = nn.LayerNorm(10)
            self.head = nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.Linear(16, 3))

        def forward(self, numeric: Any, category: Any) -> Any:
            parts = [e(category[:, i]) for i, e in enumerate(self.embeddings)]
            return self.head(self.norm(torch.cat([numeric, *parts], dim=-1)))

    model = fill(torch, Table())
    optimizer = optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    dataset = torch.utils.data.TensorDataset(numeric, category, target)
    loader = torch.utils.data.DataLoader(dataset, batch_size=24, shuffle=False)
    history = []
    for _ in range(4):
        for xs, cs, ys in loader:
            optimizer.zero_grad()
            loss = criterion(model(xs, cs), ys)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            history.append((loss.item(), norm.item()))
        scheduler.step()
        history.append(scheduler.get_last_lr()[0])
    model.eval()
    with torch.no_grad():
        predicted = model(numeric, category).argmax(dim=1)
    accuracy = (predicted == target).double().mean().item()
    return history, predicted, accuracy, dict(model.state_dict())


@program
def time_series_forecast(torch: ModuleType) -> Any:
    """Windows over a series by `unfold`, an exponential moving average, SGD with momentum."""
    nn = torch.nn
    series = torch.sin(torch.arange(0, 12, 0.1, dtype=torch.float64)) + 0.3
    windows = series.unfold(0, 11, 1)
    x, y = windows[:, :-1], windows[:, -1:]
    mean, std = x.mean(), x.std()
    x = (x - mean) / std
    model = fill(torch, nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 1)))
    average = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
    for _ in range(25):
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.smooth_l1_loss(model(x), y, beta=0.5)
        loss.backward()
        optimizer.step()
        scheduler.step()
        for name, value in model.state_dict().items():
            average[name].mul_(0.9).add_(value, alpha=0.1)
    history = x[-1].clone()
    forecast = []
    with torch.inference_mode():
        for _ in range(5):
            following = model(history)
            forecast.append(following.item())
            history = torch.cat([history[1:], (following - mean) / std])
    return loss, average, forecast, optimizer.param_groups[0]["lr"]


@program
def policy_gradient(torch: ModuleType) -> Any:
    """REINFORCE on a made-up environment: categorical policy, discounted returns, entropy."""
    nn, F = torch.nn, torch.nn.functional
    rng = np.random.default_rng(3)
    policy = fill(torch, nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)))
    optimizer = torch.optim.RMSprop(policy.parameters(), lr=0.01)
    trace = []
    for _ in range(5):
        state = torch.from_numpy(rng.standard_normal(4))
        logs, rewards, entropies = [], [], []
        for _ in range(10):
            distribution = torch.distributions.Categorical(logits=policy(state))
            action = torch.tensor(int(rng.integers(0, 2)))
            logs.append(distribution.log_prob(action))
            entropies.append(distribution.entropy())
            rewards.append(float(rng.random()))
            state = state * 0.9 + 0.1 * (1 if action.item() == 1 else -1)
        returns, running = [], 0.0
        for reward in reversed(rewards):
            running = reward + 0.99 * running
            returns.insert(0, running)
        returns_ = torch.tensor(returns, dtype=torch.float64)
        advantage = (returns_ - returns_.mean()) / (returns_.std() + 1e-8)
        loss = -(torch.stack(logs) * advantage).sum() - 0.01 * torch.stack(entropies).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trace.append(loss.item())
    return trace, F.softmax(policy(state), dim=-1), dict(policy.state_dict())


@program
def q_learning_with_a_target_network(torch: ModuleType) -> Any:
    """`gather` of chosen actions, a frozen copy, soft updates."""
    import copy

    nn = torch.nn
    online = fill(torch, nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)))
    target = copy.deepcopy(online)
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(online.parameters(), lr=1e-2)
    rng = np.random.default_rng(5)
    losses = []
    for _ in range(8):
        s, s2 = (torch.as_tensor(rng.standard_normal((6, 3))) for _ in range(2))
        a = torch.as_tensor(rng.integers(0, 4, (6, 1)))
        r = torch.as_tensor(rng.random(6))
        done = torch.as_tensor(rng.random(6) < 0.3)
        with torch.no_grad():
            best = online(s2).argmax(1, keepdim=True)
            goal = r + 0.9 * target(s2).gather(1, best).squeeze(1) * (~done).double()
        q = online(s).gather(1, a).squeeze(-1)
        loss = nn.HuberLoss()(q, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for old, new in zip(target.parameters(), online.parameters()):
            old.data.lerp_(new.data, 0.05)
        losses.append(loss.item())
    return losses, dict(target.state_dict())


@program
def autoencoder_with_reparametrisation(torch: ModuleType) -> Any:
    """A variational autoencoder; the noise comes from outside."""
    nn, F = torch.nn, torch.nn.functional

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(6, 5)
            self.mu, self.logvar = nn.Linear(5, 2), nn.Linear(5, 2)
            self.decoder = nn.Sequential(nn.Linear(2, 5), nn.SiLU(), nn.Linear(5, 6))

        def forward(self, x: Any, noise: Any) -> Any:
            h = F.elu(self.encoder(x))
            mu, logvar = self.mu(h), self.logvar(h)
            z = mu + torch.exp(0.5 * logvar) * noise
            return torch.sigmoid(self.decoder(z)), mu, logvar

    model = fill(torch, VAE())
    x = torch.from_numpy(data(9, 6)).sigmoid()
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.02)
    losses = []
    for step in range(10):
        out, mu, logvar = model(x, torch.from_numpy(data(9, 2, seed=step)))
        reconstruction = F.binary_cross_entropy(out, x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = reconstruction + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, out


@program
def attention_language_model(torch: ModuleType) -> Any:
    """A causal self-attention block written with einsum and masks, trained a few steps."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 2 * width),
                nn.GELU(approximate="tanh"),
                nn.Linear(2 * width, width),
            )
            self.register_buffer("mask", torch.tril(torch.ones(16, 16)).bool(), persistent=False)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
            q, k, v = (a.view(b, t, self.heads, c // self.heads).transpose(1, 2) for a in (q, k, v))
            scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(c // self.heads)
            scores = scores.masked_fill(~self.mask[:t, :t], float("-inf"))
            mixed = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(b, t, c)
            x = x + self.out(mixed)
            return x + self.mlp(self.norm2(x))

    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(11, 8)
            self.positions = nn.Parameter(torch.zeros(1, 16, 8))
            self.blocks = nn.ModuleList(Block(8, 2) for _ in range(2))
            self.head = nn.Linear(8, 11, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.positions[:, : ids.size(1)]
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    model = fill(torch, Language())
    ids = torch.from_numpy(np.random.default_rng(2).integers(0, 11, (4, 9)))
    optimizer = torch.optim.NAdam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, 11), ids[:, 1:].reshape(-1), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    generated = ids[:1, :2]
    with torch.no_grad():
        for _ in range(5):
            values, _ = torch.topk(model(generated)[:, -1], 3)
            following = model(generated)[:, -1].argmax(-1, keepdim=True)
            generated = torch.cat((generated, following), dim=1)
    names = [name for name, _ in model.named_parameters()]
    return losses, generated, values, names, sum(p.numel() for p in model.parameters())


@program
def recurrent_cell_by_hand(torch: ModuleType) -> Any:
    """Backpropagation through time over a loop, with truncation by `detach`."""
    nn = torch.nn

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x, self.h = nn.Linear(2, 9), nn.Linear(3, 9, bias=False)

        def forward(self, x: Any, h: Any) -> Any:
            (zx, rx, nx), (zh, rh, nh) = self.x(x).split(3, -1), self.h(h).split(3, -1)
            z, r = torch.sigmoid(zx + zh), torch.sigmoid(rx + rh)
            return (1 - z) * torch.tanh(nx + r * nh) + z * h

    cell = fill(torch, Cell())
    x = torch.from_numpy(data(12, 5, 2))
    h = x.new_zeros(5, 3)
    optimizer = torch.optim.Adagrad(cell.parameters(), lr=0.1)
    losses = []
    for start in range(0, 12, 4):
        h = h.detach()
        outputs = []
        for t in range(start, start + 4):
            h = cell(x[t], h)
            outputs.append(h)
        loss = (torch.stack(outputs).mean(-1) - x[start : start + 4].sum(-1)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, h, dict(cell.state_dict())


@program
def full_batch_lbfgs(torch: ModuleType) -> Any:
    """A closure-driven optimizer on the Rosenbrock function."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([x], lr=1, max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
        loss.backward()
        return loss

    first = optimizer.step(closure)
    return first, x, closure().item() < 1e-10


@program
def fine_tuning_with_parameter_groups(torch: ModuleType) -> Any:
    """A frozen body, groups with their own rates, a schedule by lambda, gradient accumulation."""
    nn = torch.nn
    body = fill(torch, nn.Sequential(nn.Linear(4, 6), nn.ReLU()), seed=1)
    head = fill(torch, nn.Linear(6, 2), seed=2)
    body[0].weight.requires_grad = False
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in body.parameters() if p.requires_grad], "lr": 0.01},
            {"params": head.parameters(), "weight_decay": 0.1},
        ],
        lr=0.1,
        momentum=0.5,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda e: 0.9**e, lambda e: 1.0])
    before = body[0].weight.clone()
    x = torch.from_numpy(data(8, 4))
    y = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    for epoch in range(3):
        for i, (xs, ys) in enumerate(zip(x.split(2), y.split(2))):
            loss = nn.functional.cross_entropy(head(body(xs)), ys) / 2
            loss.backward()
            if i % 2 == 1:
                optimizer.step()
                optimizer.zero_grad()
        scheduler.step()
    state = optimizer.state_dict()
    return (
        torch.equal(before, body[0].weight),
        body[0].bias,
        head.weight,
        [g["lr"] for g in optimizer.param_groups],
        state["param_groups"][1]["params"],
        [state["state"][k]["momentum_buffer"] for k in sorted(state["state"])],
        body[0].weight.grad,
    )
