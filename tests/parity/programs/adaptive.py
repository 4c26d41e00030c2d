"""Programs that decide how much to compute: halting, routing, steps, roots."""

# ruff: noqa: B905, E731 - programs as people write them

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, differentiated, fill, program


@program
def act_cell(torch: ModuleType) -> Any:
    nn = torch.nn

    class ACTCell(nn.Module):
        """Graves, per example halting with masks and python counters."""

        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(6 + 1, 8)
            self.halt = nn.Linear(8, 1)
            self.out = nn.Linear(8, 3)
            self.eps = 0.01
            self.max_steps = 7

        def forward(self, x):
            B = x.size(0)
            h = x.new_zeros(B, 8)
            acc = torch.zeros_like(h)
            halting = x.new_zeros(B)
            remainders = x.new_zeros(B)
            n_updates = x.new_zeros(B)
            step = 0
            while ((halting < 1 - self.eps) & (n_updates < self.max_steps)).any():
                flag = torch.full((B, 1), 1.0 if step == 0 else 0.0, dtype=x.dtype)
                h = self.cell(torch.cat([x, flag], dim=-1), h)
                p = torch.sigmoid(self.halt(h)).squeeze(-1)
                still = (halting < 1.0).to(x.dtype)
                new_halted = ((halting + p * still) > 1 - self.eps).to(x.dtype) * still
                still = ((halting + p * still) <= 1 - self.eps).to(x.dtype) * still
                halting = halting + p * still
                remainders = remainders + new_halted * (1 - halting)
                halting = halting + new_halted * remainders
                n_updates = n_updates + still + new_halted
                w = (p * still + new_halted * remainders).unsqueeze(-1)
                acc = h * w + acc * (1 - w)
                step += 1
            return self.out(acc), (remainders + n_updates).mean()

    net = fill(torch, ACTCell())
    return differentiated(
        torch, torch.compile(net), (data(4, 6),), (data(2, 6, seed=5),), parameters=net.parameters()
    )


@program
def ponder_net(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class PonderNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
            self.lam = nn.Linear(5, 1)
            self.y = nn.Linear(5, 2)

        def forward(self, x):
            h = self.f(x)
            un_halted = torch.ones(x.shape[0], dtype=x.dtype)
            ps, ys = [], []
            for n in range(1, 6):
                lam = torch.sigmoid(self.lam(h))[:, 0] if n < 5 else torch.ones_like(un_halted)
                ps.append(un_halted * lam)
                un_halted = un_halted * (1 - lam)
                ys.append(self.y(h))
                h = self.f(h)
            p = torch.stack(ps)
            y = torch.stack(ys)
            prior = torch.tensor([0.2 * 0.8**k for k in range(5)], dtype=x.dtype)
            kl = F.kl_div(
                (p + 1e-8).transpose(0, 1).log(), prior.expand(x.shape[0], 5), reduction="batchmean"
            )
            return (p.unsqueeze(-1) * y).sum(0), kl

    net = fill(torch, PonderNet())
    return differentiated(
        torch, torch.compile(net), (data(3, 5),), (data(1, 5, seed=2),), parameters=net.parameters()
    )


@program
def early_exit_net(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class EarlyExitNet(nn.Module):
        """Stops at the first head that is confident."""

        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(4)])
            self.heads = nn.ModuleList([nn.Linear(4, 3) for _ in range(4)])
            self.threshold = 0.6

        def forward(self, x):
            for i, (block, head) in enumerate(zip(self.blocks, self.heads)):
                x = F.relu(block(x)) + x
                logits = head(x)
                conf = F.softmax(logits, dim=-1).max(dim=-1).values
                if conf.min().item() > self.threshold if False else conf.min() > self.threshold:
                    return logits, i
            return logits, len(self.blocks)

    net = fill(torch, EarlyExitNet())
    return differentiated(
        torch,
        torch.compile(net),
        (data(2, 4),),
        (data(2, 4, scale=5.0),),
        (data(2, 4, scale=0.01),),
        parameters=net.parameters(),
    )


@program
def hard_routing(torch: ModuleType) -> Any:
    nn = torch.nn

    class HardRouting(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(4, 3)
            self.experts = nn.ModuleList(
                [
                    nn.Linear(4, 4),
                    nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)),
                    nn.Identity(),
                ]
            )

        def forward(self, x):
            outs = []
            for row in x:
                k = int(self.gate(row).argmax())
                outs.append(self.experts[k](row))
            return torch.stack(outs)

    net = fill(torch, HardRouting())
    return differentiated(
        torch,
        torch.compile(net),
        (data(3, 4),),
        (data(3, 4, seed=2),),
        (data(3, 4, seed=3),),
        parameters=net.parameters(),
    )


@program
def bracketing(torch: ModuleType) -> Any:

    def bracketing(x):
        """illinois / regula falsi with sign tests and helper with early return."""

        def g(t):
            return (t - x[0]) ** 3 + t * x[1].abs() + x[2]

        def solve(lo, hi):
            flo, fhi = g(lo), g(hi)
            side = 0
            for i in range(100):
                mid = (flo * hi - fhi * lo) / (flo - fhi)
                fm = g(mid)
                if fm.abs() < 1e-7 or (hi - lo).abs() < 1e-9:
                    return mid, i
                if torch.sign(fm) == torch.sign(fhi):
                    hi, fhi = mid, fm
                    if side == -1:
                        flo = flo / 2
                    side = -1
                else:
                    lo, flo = mid, fm
                    if side == +1:
                        fhi = fhi / 2
                    side = +1
            return mid, 100

        return solve(torch.tensor(-50.0, dtype=x.dtype), torch.tensor(50.0, dtype=x.dtype))

    return differentiated(torch, torch.compile(bracketing), (data(3),), (data(3, seed=9),))


@program
def adaptive_simpson(torch: ModuleType) -> Any:

    def adaptive_simpson(w):
        """explicit stack in a tensor."""
        f = lambda t: torch.sin(w * t * t) + t
        simpson = lambda a, b: (b - a) / 6 * (f(a) + 4 * f((a + b) / 2) + f(b))
        stack = torch.zeros(64, 2, dtype=w.dtype)
        stack[0, 1] = 2.0
        top = 1
        total = torch.zeros_like(w)
        evals = 0
        while top > 0:
            top -= 1
            a, b = stack[top, 0].clone(), stack[top, 1].clone()
            m = (a + b) / 2
            whole, parts = simpson(a, b), simpson(a, m) + simpson(m, b)
            evals += 1
            if (parts - whole).abs() < 1e-4 or b - a < 1e-3:
                total = total + parts + (parts - whole) / 15
            else:
                stack[top] = torch.stack([a, m])
                stack[top + 1] = torch.stack([m, b])
                top += 2
        return total, evals

    return differentiated(torch, torch.compile(adaptive_simpson), (data(),), (data(seed=3) * 5,))
