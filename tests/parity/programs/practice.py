"""Programs of daily practice: loops with everything in them, losses, metrics, hooks, formulas."""

# ruff: noqa: B905, E501, F841, SIM113, UP031 - programs as people write them

from __future__ import annotations

import collections
import contextlib
import copy
import io
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tests.parity.programs import data, fill, program


@program
def trainer_class_with_callbacks(torch: ModuleType) -> Any:
    """A trainer with warm-up, accumulation, clipping, early stopping, checkpoints and a log."""
    nn = torch.nn

    class Trainer:
        def __init__(self, model: Any, lr: float, accumulate: int) -> None:
            self.model, self.accumulate = model, accumulate
            decay, no_decay = [], []
            for name, p in model.named_parameters():
                (no_decay if p.ndim == 1 or name.endswith(".bias") else decay).append(p)
            groups = [
                {"params": decay, "weight_decay": 0.1},
                {"params": no_decay, "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))
            self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.warmup)
            self.history = collections.defaultdict(list)
            self.best, self.bad, self.state = float("inf"), 0, None
            self.micro = torch.compile(self.micro)

        @staticmethod
        def warmup(step: int) -> float:
            return min(1.0, (step + 1) / 4) * 0.5 * (1 + math.cos(math.pi * step / 20))

        def micro(self, x: Any, y: Any) -> Any:
            loss = nn.functional.mse_loss(self.model(x), y) / self.accumulate
            loss.backward()
            return loss.detach()

        def fit(self, x: Any, y: Any, epochs: int) -> Any:
            for epoch in range(epochs):
                self.model.train()
                self.optimizer.zero_grad(set_to_none=True)
                for i, (xb, yb) in enumerate(zip(x.chunk(4), y.chunk(4))):
                    loss = self.micro(xb, yb)
                    if (i + 1) % self.accumulate == 0:
                        norm = nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=0.5)
                        self.optimizer.step()
                        self.scheduler.step()
                        self.optimizer.zero_grad(set_to_none=True)
                        self.history["norm"].append(round(norm.item(), 6))
                self.history["lr"].append(self.scheduler.get_last_lr()[0])
                val = self.evaluate(x, y)
                self.history["val"].append(val)
                if val < self.best - 1e-3:
                    self.best, self.bad = val, 0
                    buffer = io.BytesIO()
                    torch.save({"model": self.model.state_dict(), "epoch": epoch}, buffer)
                    self.state = buffer
                else:
                    self.bad += 1
                    if self.bad >= 2:
                        break
            self.state.seek(0)
            checkpoint = torch.load(self.state, map_location="cpu")
            self.model.load_state_dict(checkpoint["model"])
            return checkpoint["epoch"]

        @torch.no_grad()
        def evaluate(self, x: Any, y: Any) -> float:
            self.model.eval()
            return nn.functional.l1_loss(self.model(x), y).item()

    model = fill(torch, nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Mish(), nn.Linear(8, 1)))
    trainer = Trainer(model, 0.05, 2)
    x = torch.from_numpy(data(16, 4))
    epoch = trainer.fit(x, x.prod(1, keepdim=True), 8)
    line = " | ".join(f"{k}: {v[-1]:.4f}" for k, v in trainer.history.items())
    return epoch, dict(trainer.history), line, trainer.evaluate(x, x[:, :1])


@program
def losses_of_ones_own(torch: ModuleType) -> Any:
    """Focal, dice, Tversky, Huber by hand, ArcFace, label smoothing, mixup, distillation."""
    nn, F = torch.nn, torch.nn.functional

    class FocalLoss(nn.Module):
        def __init__(self, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean") -> None:
            super().__init__()
            self.gamma, self.reduction = gamma, reduction
            if isinstance(alpha, (list, tuple)):
                alpha = torch.tensor(alpha).double()
            self.register_buffer("alpha", alpha)

        def forward(self, logits: Any, target: Any) -> Any:
            log_p = F.log_softmax(logits, dim=-1)
            ce = F.nll_loss(log_p, target, weight=self.alpha, reduction="none")
            pt = log_p[torch.arange(len(logits)), target].exp()
            loss = (1 - pt) ** self.gamma * ce
            return loss.mean() if self.reduction == "mean" else loss.sum()

    def tversky(p: Any, t: Any, a: float = 0.3, smooth: float = 1.0) -> Any:
        tp = (p * t).sum()
        fp, fn = ((1 - t) * p).sum(), (t * (1 - p)).sum()
        return 1 - (tp + smooth) / (tp + a * fp + (1 - a) * fn + smooth)

    class ArcFace(nn.Module):
        def __init__(self, d: int, n: int, s: float = 8.0, m: float = 0.3) -> None:
            super().__init__()
            self.s, self.m = s, m
            self.weight = nn.Parameter(torch.empty(n, d))
            nn.init.xavier_uniform_(self.weight)

        def forward(self, x: Any, label: Any) -> Any:
            cosine = F.linear(F.normalize(x), F.normalize(self.weight)).clamp(-1 + 1e-7, 1 - 1e-7)
            phi = torch.cos(torch.acos(cosine) + self.m)
            one_hot = torch.zeros_like(cosine).scatter_(1, label.view(-1, 1).long(), 1)
            return F.cross_entropy((one_hot * phi + (1.0 - one_hot) * cosine) * self.s, label)

    def distillation(
        student: Any, teacher: Any, label: Any, T: float = 3.0, alpha: float = 0.7
    ) -> Any:
        soft = F.kl_div(
            F.log_softmax(student / T, dim=1), F.softmax(teacher / T, dim=1), reduction="batchmean"
        )
        return soft * (alpha * T * T) + F.cross_entropy(student, label) * (1.0 - alpha)

    def mixup(x: Any, y: Any, lam: float, index: Any) -> Any:
        mixed = lam * x + (1 - lam) * x[index, :]
        return lam * F.cross_entropy(mixed, y) + (1 - lam) * F.cross_entropy(mixed, y[index])

    logits = torch.from_numpy(data(6, 3)).requires_grad_()
    target = torch.tensor([0, 2, 1, 1, 0, 2])
    arc = fill(torch, ArcFace(3, 3))
    results = [
        torch.compile(FocalLoss(alpha=[0.2, 0.3, 0.5]))(logits, target),
        torch.compile(tversky)(logits.sigmoid(), (logits.detach() > 0).double()),
        torch.compile(arc)(logits, target),
        torch.compile(distillation)(logits, logits.detach().flip(0), target),
        torch.compile(mixup)(logits, target, 0.3, torch.tensor([3, 1, 0, 5, 4, 2])),
        F.cross_entropy(logits, target, label_smoothing=0.2, weight=torch.tensor([1.0, 2.0, 0.5]).double()),
        F.multi_margin_loss(logits, target), nn.MultiLabelSoftMarginLoss()(logits, logits.detach().sign().relu()),
        F.poisson_nll_loss(logits, target[:, None].expand(6, 3)), F.gaussian_nll_loss(logits, logits.detach() * 0, logits.detach() ** 2),
        F.margin_ranking_loss(logits[:, 0], logits[:, 1], torch.ones(6), margin=0.1),
    ]  # fmt: skip
    sum(results).backward()
    return results, logits.grad, arc.weight.grad


@program
def metrics(torch: ModuleType) -> Any:
    """Confusion matrix, precision, recall, F1, top-k, ROC-AUC, expected calibration error, IoU."""
    rng = np.random.default_rng(0)
    logits, target = (
        torch.from_numpy(rng.standard_normal((40, 4))),
        torch.from_numpy(rng.integers(0, 4, 40)),
    )

    def confusion(pred: Any, target: Any, n: int) -> Any:
        return torch.bincount(target * n + pred, minlength=n**2).reshape(n, n)

    pred = logits.argmax(1)
    cm = confusion(pred, target, 4)
    tp = cm.diag().float()
    precision, recall = tp / cm.sum(0).clamp(min=1), tp / cm.sum(1).clamp(min=1)
    f1 = torch.nan_to_num(2 * precision * recall / (precision + recall))

    def accuracy(output: Any, target: Any, topk: Any = (1,)) -> Any:
        maxk = max(topk)
        _, pred = output.topk(maxk, 1, True, True)
        pred = pred.t()
        correct = pred.eq(target.view(1, -1).expand_as(pred))
        return [
            correct[:k].reshape(-1).float().sum(0, keepdim=True).mul_(100.0 / target.size(0))
            for k in topk
        ]

    @torch.compile
    def auc(scores: Any, labels: Any) -> Any:
        order = torch.argsort(scores, descending=True, stable=True)
        labels = labels[order].double()
        tpr, fpr = labels.cumsum(0) / labels.sum(), (1 - labels).cumsum(0) / (1 - labels).sum()
        return torch.trapezoid(tpr, fpr)

    probs = logits.softmax(1)
    conf, hits = probs.max(1).values, (pred == target).double()
    bins = torch.bucketize(conf, torch.linspace(0, 1, 6, dtype=torch.float64)[1:-1])
    ece = sum(
        (bins == b).double().mean() * (conf[bins == b].mean() - hits[bins == b].mean()).abs()
        for b in bins.unique().tolist()
    )
    values, counts = torch.unique(target, return_counts=True)
    quantiles = torch.quantile(conf, torch.tensor([0.1, 0.5, 0.9]).double())
    hist = torch.histc(conf.float(), bins=5, min=0, max=1)
    return (
        cm, precision, recall, f1, accuracy(logits, target, (1, 2, 3)), auc(probs[:, 0], target == 0), ece,
        values, counts, quantiles, hist, torch.cov(logits.T), f"{f1.mean():.3f}", f"{cm[0, 0]:>5d}|{conf[0]:8.4e}",
    )  # fmt: skip


@program
def activations_recorded_by_hooks(torch: ModuleType) -> Any:
    """Activations, gradients of activations (Grad-CAM), inputs changed by a pre-hook, shapes."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(3, 2),
    ))  # fmt: skip
    seen, grads, shapes = {}, {}, []

    def get_activation(name: str) -> Any:
        def hook(model: Any, input: Any, output: Any) -> None:
            seen[name] = output.detach()

        return hook

    handles = [net[i].register_forward_hook(get_activation(f"layer{i}")) for i in (0, 3)]
    handles.append(
        net[3].register_full_backward_hook(lambda m, gi, go: grads.update(relu=go[0].detach()))
    )
    handles.append(net.register_forward_pre_hook(lambda m, args: (args[0] * 2,)))
    for name, module in net.named_modules():
        if not list(module.children()):
            handles.append(module.register_forward_hook(
                lambda m, i, o, name=name: shapes.append(f"{name:>3} {m.__class__.__name__:<18} {list(o.shape)!s:>16}")
            ))  # fmt: skip
    x = torch.from_numpy(data(1, 1, 8, 8)).requires_grad_()
    out = net(x)
    out[0, out.argmax()].backward()
    weights = grads["relu"].mean(dim=(2, 3), keepdim=True)
    cam = (weights * seen["layer3"]).sum(1).clamp(min=0)
    cam = cam / (cam.max() + 1e-8)
    saliency = x.grad.abs().amax(dim=1)
    for handle in handles:
        handle.remove()
    after = torch.compile(net)(x.detach())
    return out, seen, grads, shapes, cam, saliency, after, len(net[0]._forward_hooks)


@program
def einsum_everywhere(torch: ModuleType) -> Any:
    """Contractions of tensor networks, attention, bilinear forms, traces, batched diagonals."""
    a, b, c = (torch.from_numpy(data(3, 4, 5, seed=s)) for s in range(3))
    q, k = torch.from_numpy(data(2, 3, 4, 5)), torch.from_numpy(data(2, 3, 6, 5))
    M = torch.from_numpy(data(4, 4))
    x = torch.from_numpy(data(3, 4)).requires_grad_()
    E = torch.einsum

    @torch.compile
    def network(x: Any) -> Any:
        t = E("ij,jk,kl->il", x, M, M.T)
        u = E("bi,ij,bj->b", t, M, x)
        core = E("ia,ja,ka->ijk", x, x + 1, x - 1)
        return E("ijk,i,j,k->", core, u, u.tanh(), u.sigmoid()), E("...i,...j->...ij", x, t)

    value, outer = network(x)
    (value + outer.square().sum()).backward()
    return (
        E("ijk,ijk->i", a, b), E("ijk,ilk->ijl", a, b), E("bhqd,bhkd->bhqk", q, k), E("ii", M), E("ii->i", M),
        E("ij->ji", M), E("i,j->ij", M[0], M[1]), E("...ij->...ji", a), E("ijk->", a), E("ijk,ljk,mjk->ilm", a, b, c),
        E("b n (d) -> b d n".replace(" ", "").replace("(d)", "d"), a), E(a, [0, 1, 2], b, [0, 3, 2], [1, 3]),
        torch.tensordot(a, b, dims=([0, 1], [0, 1])), torch.kron(M[:2, :2], M[2:, 2:]),
        torch.chain_matmul(M, M, M) if hasattr(torch, "chain_matmul") else M @ M @ M,
        torch.linalg.multi_dot([M, M, M[:, :2]]), value, outer, x.grad,
    )  # fmt: skip


@program
def in_place_tricks(torch: ModuleType) -> Any:
    """Sieve, cumulative writes, swaps, rolling buffers, masks, views that write through, aliases."""

    def sieve(n: int) -> Any:
        prime = torch.ones(n + 1, dtype=torch.bool)
        prime[:2] = False
        for i in range(2, int(n**0.5) + 1):
            if prime[i]:
                prime[i * i :: i] = False
        return prime.nonzero().squeeze(1)

    def life(board: Any, steps: int) -> Any:
        for _ in range(steps):
            neighbours = sum(
                torch.roll(board, (i, j), (0, 1))
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                if (i, j) != (0, 0)
            )
            board = ((neighbours == 3) | ((board == 1) & (neighbours == 2))).int()
        return board

    @torch.compile
    def prefix(x: Any) -> Any:
        y = x.clone()
        for i in range(1, y.shape[0]):
            y[i] += y[i - 1] * 0.5
            y[i - 1].mul_(2)
        y[:, 0], y[:, 1] = y[:, 1].clone(), y[:, 0].clone()
        y[y > 2] = 2
        view = y.view(-1)[::2]
        view += 1
        y.T[0].neg_()
        return y

    @torch.compile
    def buffer(values: Any) -> Any:
        ring, at = torch.zeros(4, values.shape[1], dtype=values.dtype), 0
        means = []
        for v in values:
            ring[at % 4] = v
            at += 1
            means.append(ring[: min(at, 4)].mean(0))
        return torch.stack(means), ring

    @torch.compile
    def bubble(x: Any) -> Any:
        x, swapped, passes = x.clone(), True, 0
        while swapped:
            swapped = False
            passes += 1
            for i in range(len(x) - 1):
                if x[i] > x[i + 1]:
                    x[i], x[i + 1] = x[i + 1].clone(), x[i].clone()
                    swapped = True
        return x, passes

    x = torch.from_numpy(data(5, 4)).requires_grad_()
    y = prefix(x)
    y.square().sum().backward()
    glider = torch.zeros(8, 8, dtype=torch.int32)
    glider[[0, 1, 2, 2, 2], [1, 2, 0, 1, 2]] = 1
    ordered, passes = bubble(torch.tensor([3.0, 1.0, 2.0, -1.0]))
    t = torch.arange(12).reshape(3, 4)
    t[1:] ^= 3
    t[:, ::2] <<= 1
    t.fill_diagonal_(-1)
    alias = t.T
    alias[0] += 100
    return (
        sieve(50), life(glider, 4), y, x.grad, buffer(x.detach()), ordered, int(passes), t, alias.is_contiguous(),
        t.stride(), alias.stride(), t.data_ptr() == alias.data_ptr(), t.unfold(1, 2, 1).sum(-1),
        torch.as_strided(t, (2, 2), (4, 1), 1), t.masked_fill(t % 2 == 0, 0), t.tril().triu(-1),
    )  # fmt: skip


@program
def what_programs_print(torch: ModuleType) -> Any:
    """`print` of tensors, losses, shapes, parameters, optimizers, data loaders' batches, devices."""
    nn = torch.nn
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        x = torch.arange(6.0).reshape(2, 3)
        print(x, x.shape, x.dtype, x.device, x.size(0), x.ndim, len(x), sep="\n")
        print(f"{x[0, 1]} {x.mean():.2f} {x.sum().item()} {x.tolist()} {x.numel():,}")
        print(x / 3, x * 1e6, x * 1e-6, x > 2, x.int(), -x.double(), sep="\n")
        print(
            torch.tensor([1.0, float("nan"), float("inf")]),
            torch.tensor(3),
            torch.tensor([]),
            torch.zeros(0, 3),
        )
        w = torch.tensor([[0.1, -2.0]], requires_grad=True)
        loss = (w * 2).sum()
        print(w, loss, w.grad, (w @ w.T), w.detach(), w.exp().mean(1), sep="\n")
        loss.backward()
        print(
            w.grad,
            nn.Parameter(torch.ones(2)),
            torch.ones(2).half(),
            torch.ones(2, dtype=torch.bfloat16),
        )
        net = nn.Sequential(
            nn.Conv2d(1, 2, (3, 5), stride=2, padding=1, bias=False), nn.BatchNorm2d(2), nn.Dropout(0.25),
            nn.MaxPool2d(2), nn.LSTM(3, 4, 2, batch_first=True, dropout=0.1), nn.Embedding(5, 2, padding_idx=0),
            nn.LeakyReLU(0.2, True), nn.Softmax(dim=-1), nn.ModuleList([nn.Linear(1, 2), nn.Identity()]),
            nn.ModuleDict({"a": nn.GELU(), "b": nn.Sequential()}), nn.ParameterList([torch.ones(2, 3)]), nn.ReLU6(),
            nn.GroupNorm(1, 2), nn.ConvTranspose2d(2, 2, 2, output_padding=0),
        )  # fmt: skip
        print(net)
        print(torch.optim.SGD([w], lr=0.1, momentum=0.9), torch.optim.Adam([w]), sep="\n")
        print(nn.CrossEntropyLoss(), nn.MSELoss(reduction="sum"), nn.BCEWithLogitsLoss())
        print(
            torch.distributions.Normal(0.0, 1.0),
            torch.device("cpu"),
            torch.float32,
            torch.Size([1, 2]),
        )
        print(
            [p.shape for p in nn.Linear(2, 3).parameters()],
            {"x": torch.tensor([1, 2])},
            (torch.tensor(1.5),),
        )
        print(
            torch.linspace(0, 1, 1200),
            torch.eye(3, dtype=torch.int64),
            torch.full((2, 2), -0.5),
            sep="\n",
        )
        print(
            torch.randn(2, 3).size(),
            torch.ones(2, 3, 2).sum((0, 1)),
            torch.tensor([1e10, 1.0]),
            torch.tensor([0.1234567]),
        )
        for name, p in nn.Linear(2, 1).named_parameters():
            print(name, tuple(p.shape), p.requires_grad, p.is_leaf, type(p.data).__name__)
        print(torch.sort(torch.tensor([3, 1, 2])), torch.max(x, 1), torch.topk(x[0], 2), sep="\n")
        print(
            repr(w),
            str(w),
            format(x[0, 2]),
            "%.3f" % x[1, 1],
            x[1].numpy(),
            type(x),
            isinstance(x, torch.Tensor),
        )
    return out.getvalue().split("\n")


@program
def kalman_filter_and_hidden_markov_model(torch: ModuleType) -> Any:
    """Filtering with learnt noise by likelihood; forward algorithm and Viterbi decoding."""
    A = torch.tensor([[1.0, 0.1], [0.0, 1.0]]).double()
    H = torch.tensor([[1.0, 0.0]]).double()
    zs = torch.from_numpy(np.cumsum(data(12)) * 0.1).view(-1, 1, 1)
    log_q = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)

    @torch.compile
    def negative_log_likelihood(log_q: Any, zs: Any) -> Any:
        x, P, total = torch.zeros(2, 1).double(), torch.eye(2).double(), 0.0
        for z in zs:
            x, P = A @ x, A @ P @ A.mT + log_q.exp() * torch.eye(2).double()
            S = H @ P @ H.T + 0.1
            r = z - H @ x
            K = P @ H.T @ torch.linalg.inv(S)
            x, P = x + K @ r, P - K @ H @ P
            total = total + 0.5 * (torch.log(2 * math.pi * S) + r * r / S).squeeze()
        return total, x

    nll, x = negative_log_likelihood(log_q, zs)
    nll.backward()
    T, emit = (
        torch.tensor([[0.7, 0.3], [0.4, 0.6]]).log(),
        torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]]).log(),
    )
    obs = torch.tensor([0, 1, 2, 2, 0])

    @torch.compile
    def forward_algorithm(T: Any, emit: Any, obs: Any) -> Any:
        alpha = math.log(0.5) + emit[:, obs[0]]
        for o in obs[1:]:
            alpha = torch.logsumexp(alpha[:, None] + T, dim=0) + emit[:, o]
        return alpha.logsumexp(0)

    @torch.compile
    def viterbi(T: Any, emit: Any, obs: Any) -> Any:
        score, pointers = math.log(0.5) + emit[:, obs[0]], []
        for t in range(1, len(obs)):
            best, index = (score.unsqueeze(1) + T).max(0)
            score = best + emit[:, obs[t]]
            pointers.append(index)
        state = score.argmax()
        path = [state]
        for index in reversed(pointers):
            state = index[state]
            path.insert(0, state)
        return torch.stack(path), score.max()

    return nll, log_q.grad, x, forward_algorithm(T, emit, obs), viterbi(T, emit, obs)


@program
def recommender_and_graphs(torch: ModuleType) -> Any:
    """Matrix factorisation with biases, BPR, graph attention, PageRank, shortest paths."""
    nn, F = torch.nn, torch.nn.functional

    class Output(NamedTuple):
        score: Any
        penalty: Any

    class MF(nn.Module):
        def __init__(self, users: int, items: int, k: int) -> None:
            super().__init__()
            self.P, self.Q = nn.Embedding(users, k), nn.Embedding(items, k)
            self.bu, self.bi = nn.Embedding(users, 1), nn.Embedding(items, 1)

        def forward(self, u: Any, i: Any) -> Output:
            p, q = self.P(u), self.Q(i)
            score = (p * q).sum(1) + self.bu(u).squeeze() + self.bi(i).squeeze()
            return Output(score, (p.norm(dim=1) + q.norm(dim=1)).mean())

    class GAT(nn.Module):
        def __init__(self, cin: int, cout: int) -> None:
            super().__init__()
            self.W, self.a = (
                nn.Linear(cin, cout, bias=False),
                nn.Parameter(torch.empty(2 * cout, 1)),
            )
            nn.init.xavier_uniform_(self.a.data, gain=1.414)

        def forward(self, h: Any, adj: Any) -> Any:
            Wh = self.W(h)
            n = Wh.size(0)
            pairs = torch.cat([Wh.repeat_interleave(n, dim=0), Wh.repeat(n, 1)], dim=1).view(
                n, n, -1
            )
            e = F.leaky_relu((pairs @ self.a).squeeze(2), 0.2)
            attention = F.softmax(torch.where(adj > 0, e, -9e15 * torch.ones_like(e)), dim=1)
            return F.elu(attention @ Wh)

    mf = fill(torch, MF(5, 6, 3))
    optimizer = torch.optim.Adagrad(mf.parameters(), lr=0.1)

    @torch.compile
    def step(u: Any, i: Any, j: Any) -> Any:
        optimizer.zero_grad()
        positive, penalty = mf(u, i)
        loss = -F.logsigmoid(positive - mf(u, j).score).mean() + 0.01 * penalty
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    log = [step(*(torch.from_numpy(rng.integers(0, 5, 8)) for _ in range(3))) for _ in range(4)]
    adj = (torch.from_numpy(rng.random((6, 6))) > 0.5).double()
    adj = torch.max(adj, adj.T)
    adj.fill_diagonal_(1)
    gat = fill(torch, GAT(4, 3))
    h = torch.compile(gat)(torch.from_numpy(data(6, 4)), adj)
    h.sum().backward()

    @torch.compile
    def pagerank(adj: Any, damping: float = 0.85) -> Any:
        n = adj.shape[0]
        M = adj / adj.sum(0, keepdim=True)
        r, rounds = torch.full((n,), 1.0 / n, dtype=adj.dtype), 0
        while True:
            new = damping * (M @ r) + (1 - damping) / n
            rounds += 1
            if torch.norm(new - r, 1) < 1e-9:
                return new, rounds
            r = new

    distance = torch.where(
        adj > 0,
        torch.rand(6, 6, generator=torch.Generator().manual_seed(0)).double() * 0 + 1.0,
        torch.inf,
    )
    distance.fill_diagonal_(0)
    for k in range(6):
        distance = torch.minimum(distance, distance[:, k : k + 1] + distance[k : k + 1, :])
    ranks, rounds = pagerank(adj)
    return log, h, gat.a.grad, ranks, int(rounds), distance, mf.P.weight.grad


@program
def averaging_and_mixed_precision(torch: ModuleType) -> Any:
    """SWA, EMA by `AveragedModel`, one-cycle, autocast on the CPU, bfloat16 weights."""
    nn, optim = torch.nn, torch.optim
    model = fill(
        torch, nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    )
    swa = optim.swa_utils.AveragedModel(model)
    ema = optim.swa_utils.AveragedModel(
        model, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    optimizer = optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    swa_scheduler = optim.swa_utils.SWALR(optimizer, swa_lr=0.02, anneal_epochs=2)
    x, y = (
        torch.from_numpy(data(12, 3)),
        torch.from_numpy(np.random.default_rng(0).integers(0, 2, 12)),
    )

    @torch.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    log = []
    for i in range(8):
        loss = step(x, y)
        ema.update_parameters(model)
        if i >= 5:
            swa.update_parameters(model)
            swa_scheduler.step()
        else:
            scheduler.step()
        log.append(
            (loss.item(), optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"])
        )
    optim.swa_utils.update_bn([(x[:6], y[:6]), (x[6:], y[6:])], swa)
    swa.eval(), ema.eval()
    small = copy.deepcopy(model).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = small[0](x.float())
    low = small.eval().to(torch.bfloat16)
    return (
        log,
        swa(x),
        ema(x),
        int(swa.n_averaged),
        half.dtype,
        half.shape,
        low(x.bfloat16()).dtype,
        swa.module[1].running_mean,
    )
