"""Training compiled ends where eager training ends: 200 steps of each optimizer and network."""

import pytest

import kuai
import kuai as torch
from kuai import nn
from kuai.nn import functional as F
from tests.compiler.comparing import gradients_near, near, trained
from tests.compiler.test_programs import SEED, FixedHiddenMLP, NestMLP

STEPS = 200


def batches(steps=STEPS, size=4):
    generator = torch.Generator().manual_seed(5)
    return [
        (
            torch.rand(size, 20, generator=generator),
            torch.randint(0, 10, (size,), generator=generator),
        )
        for _ in range(steps)
    ]


def classified(net, batch):
    x, y = batch
    return F.cross_entropy(net(x), y)


def scalar(net, batch):
    value = net(batch[0])
    return ((value if value.ndim == 0 else value.mean()) - 0.3) ** 2


def same_ends(make, optimizer, loss, how, steps=STEPS, tolerance=2e-4, after=lambda net: None):
    """Parameters, buffers and losses of training in a compiled way, beside those of eager."""
    data = batches(steps)
    eager, losses = trained(make, optimizer, loss, data, "eager", after)
    net, found = trained(make, optimizer, loss, data, how, after)
    near(found[:20], losses[:20], tolerance)
    near(found, losses, 20 * tolerance)
    for (name, p), (_, q) in zip(net.state_dict().items(), eager.state_dict().items(), strict=True):
        near(p, q, 20 * tolerance, name)


@pytest.mark.parametrize("how", ["block", "step"])
@pytest.mark.parametrize("name", SEED)
def test_the_seeds_networks(name, how):
    loss = classified if name in ("one line", "block", "own Sequential") else scalar
    same_ends(SEED[name], lambda net: torch.optim.SGD(net.parameters(), lr=0.01), loss, how)


OPTIMIZERS = {
    "momentum": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
    "nesterov": lambda net: torch.optim.SGD(
        net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3
    ),
    "Adam": lambda net: torch.optim.Adam(net.parameters(), lr=1e-3),
    "AMSGrad": lambda net: torch.optim.Adam(net.parameters(), lr=1e-3, amsgrad=True),
    "AdamW": lambda net: torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1),
    "RMSprop": lambda net: torch.optim.RMSprop(net.parameters(), lr=1e-3, momentum=0.5),
    "Adagrad": lambda net: torch.optim.Adagrad(net.parameters(), lr=1e-2),
    "groups": lambda net: torch.optim.SGD(
        [
            {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in net.parameters() if p.ndim < 2], "lr": 0.1},
        ],
        lr=0.05,
    ),
}


def small():
    return nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 10))


@pytest.mark.parametrize("how", ["block", "step"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, how):
    same_ends(small, OPTIMIZERS[name], classified, how)


@pytest.mark.parametrize("how", ["block", "step"])
def test_gradients_that_are_clipped(how):
    same_ends(
        small,
        lambda net: torch.optim.SGD(net.parameters(), lr=0.5),
        classified,
        how,
        after=lambda net: nn.utils.clip_grad_norm_(net.parameters(), 0.2),
    )


def with_dropout():
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, 10))


def with_statistics():
    return nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))


@pytest.mark.parametrize("how", ["block", "step"])
@pytest.mark.parametrize("make", [with_dropout, with_statistics])
def test_layers_with_state(make, how):
    same_ends(make, lambda net: torch.optim.SGD(net.parameters(), lr=0.05), classified, how)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6, padding_idx=0)
        self.norm = nn.LayerNorm(6)
        self.out = nn.Linear(6, 10)

    def forward(self, words):
        return self.out(self.norm(self.embedding(words)).mean(1))


@pytest.mark.parametrize("how", ["block", "step"])
def test_embeddings(how):
    same_ends(
        Words,
        lambda net: torch.optim.Adam(net.parameters(), lr=1e-2),
        lambda net, batch: F.cross_entropy(net((batch[0][:, :5] * 10).long()), batch[1]),
        how,
    )


@pytest.mark.parametrize("schedule", ["step", "cosine", "cycle"])
def test_schedulers_make_no_new_programs(schedule):
    def run(compiled):
        kuai.manual_seed(1)
        net = small()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        scheduler = {
            "step": lambda: torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5),
            "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
            "cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 0.02, total_steps=STEPS
            ),
        }[schedule]()

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        call = kuai.compile(step) if compiled else step
        losses = []
        for x, y in batches():
            losses.append(float(call(x, y)))
            scheduler.step()
        if compiled:
            programs = call._compiled.programs.values()
            assert len(programs) <= 2
            assert all(p.bound.is_native for p in programs)
        return net, losses

    (net, found), (eager, expected) = run(True), run(False)
    near(found, expected, 1e-3)
    for p, q in zip(net.parameters(), eager.parameters(), strict=True):
        near(p, q, 1e-3)


def test_gradients_that_accumulate():
    def run(compiled):
        kuai.manual_seed(1)
        net = small()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

        def add(x, y):
            loss = F.cross_entropy(net(x), y) / 4
            loss.backward()
            return loss.detach()

        def update():
            optimizer.step()
            optimizer.zero_grad()

        calls = (kuai.compile(add), kuai.compile(update)) if compiled else (add, update)
        losses = []
        for i, (x, y) in enumerate(batches()):
            losses.append(float(calls[0](x, y)))
            if i % 4 == 3:
                calls[1]()
        return net, losses

    (net, found), (eager, expected) = run(True), run(False)
    near(found, expected, 1e-3)
    for p, q in zip(net.parameters(), eager.parameters(), strict=True):
        near(p, q, 1e-3)


def test_a_compiled_block_in_an_eager_loop_with_evaluation_between():
    def run(compiled):
        kuai.manual_seed(1)
        net = nn.Sequential(with_statistics(), nn.Dropout(0.2))
        called = kuai.compile(net) if compiled else net
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        scores = []
        for i, (x, y) in enumerate(batches(60)):
            net.train()
            optimizer.zero_grad()
            F.cross_entropy(called(x), y).backward()
            optimizer.step()
            if i % 5 == 0:
                net.eval()
                with torch.no_grad():
                    scores.append(called(x).sum())
        return net, scores

    (net, found), (eager, expected) = run(True), run(False)
    near(found, expected, 1e-3)
    near(dict(net.state_dict()), dict(eager.state_dict()), 1e-3)


def test_frozen_and_thawed_layers():
    def run(compiled):
        kuai.manual_seed(1)
        net = small()
        called = kuai.compile(net) if compiled else net
        for i, (x, y) in enumerate(batches(20)):
            net[0].requires_grad_(i % 3 != 1)
            net.zero_grad()
            F.cross_entropy(called(x), y).backward()
            with torch.no_grad():
                for p in net.parameters():
                    if p.grad is not None:
                        p -= 0.1 * p.grad
        return [p.grad for p in net.parameters()], list(net.parameters())

    (grads, found), (eager_grads, expected) = run(True), run(False)
    gradients_near(grads, eager_grads, 1e-4)
    for p, q in zip(found, expected, strict=True):
        near(p, q, 1e-4)


class Adversary(nn.Module):
    """Two networks with their own losses."""

    def __init__(self):
        super().__init__()
        self.maker = nn.Linear(4, 20)
        self.judge = nn.Sequential(nn.Linear(20, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))


def test_two_optimizers_in_one_step():
    def run(compiled):
        kuai.manual_seed(1)
        net = Adversary()
        first = torch.optim.Adam(net.maker.parameters(), lr=1e-3)
        second = torch.optim.Adam(net.judge.parameters(), lr=1e-3)

        def step(x):
            made = net.maker(torch.randn(x.shape[0], 4))
            second.zero_grad()
            loss = F.softplus(-net.judge(x)).mean() + F.softplus(net.judge(made.detach())).mean()
            loss.backward()
            second.step()
            first.zero_grad()
            other = F.softplus(-net.judge(made)).mean()
            other.backward()
            first.step()
            return loss.detach(), other.detach()

        call = kuai.compile(step) if compiled else step
        kuai.manual_seed(2)
        return net, [call(x) for x, _ in batches(60)]

    (net, found), (eager, expected) = run(True), run(False)
    near(found, expected, 1e-3)
    near(dict(net.state_dict()), dict(eager.state_dict()), 1e-3)


def test_a_moving_average_of_the_parameters():
    def run(compiled):
        kuai.manual_seed(1)
        net, slow = small(), small()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for p, q in zip(net.parameters(), slow.parameters(), strict=False):
                    q.mul_(0.9).add_(p, alpha=0.1)
            return loss

        call = kuai.compile(step) if compiled else step
        return slow, [float(call(x, y)) for x, y in batches(60)]

    (slow, found), (eager, expected) = run(True), run(False)
    near(found, expected, 1e-3)
    near(dict(slow.state_dict()), dict(eager.state_dict()), 1e-3)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_the_chimera_step_by_step(scale):
    def make():
        return nn.Sequential(NestMLP(), nn.Linear(16, 20), FixedHiddenMLP())

    same_ends(
        make,
        lambda net: torch.optim.SGD(net.parameters(), lr=0.01),
        lambda net, batch: net(batch[0] * scale),
        "step",
        steps=50,
    )
