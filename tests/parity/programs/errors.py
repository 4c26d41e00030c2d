"""Programs that make mistakes: what matters is which exception they meet."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import program, raised


@program
def wrong_shapes(torch: ModuleType) -> Any:
    """Shapes that do not fit."""
    a, b = torch.ones(2, 3), torch.ones(2, 4)
    F = torch.nn.functional
    return [
        raised(lambda: a + b),
        raised(lambda: a @ b),
        raised(lambda: torch.cat([a, b])),
        raised(lambda: torch.stack([a, b])),
        raised(lambda: a.view(5)),
        raised(lambda: a.reshape(-1, 4)),
        raised(lambda: a.expand(3, 3)),
        raised(lambda: a.squeeze(5)),
        raised(lambda: a.sum(7)),
        raised(lambda: a.transpose(0, 2)),
        raised(lambda: a.permute(0)),
        raised(lambda: torch.mm(a, a)),
        raised(lambda: a.t().view(6)),
        raised(lambda: F.linear(a, b)),
        raised(lambda: torch.nn.Linear(4, 2)(a)),
        raised(lambda: a.add_(torch.ones(2, 2, 3))),
        raised(lambda: a.item()),
        raised(lambda: bool(a)),
        raised(lambda: float(a)),
        raised(lambda: torch.bmm(a, b)),
        raised(lambda: a.split([1, 5])),
        raised(lambda: a.unflatten(1, (2, 2))),
        raised(lambda: torch.dot(a, a)),
        raised(lambda: torch.einsum("ij,jk->ik", a, b)),
        raised(lambda: a.masked_fill(torch.ones(5, dtype=torch.bool), 0)),
        raised(lambda: torch.zeros(-1)),
        raised(lambda: a.narrow(0, 1, 5)),
        raised(lambda: torch.linalg.inv(a)),
        raised(lambda: torch.linalg.inv(torch.zeros(2, 2))),
        raised(lambda: torch.linalg.cholesky(-torch.eye(2))),
    ]


@program
def wrong_indices(torch: ModuleType) -> Any:
    """Indices out of range and of the wrong kind."""
    x = torch.arange(6.0).view(2, 3)

    def write() -> None:
        x[0] = torch.ones(4)

    def write_mask() -> None:
        x[torch.tensor([True, False, True])] = 1

    return [
        raised(lambda: x[2]),
        raised(lambda: x[0, 3]),
        raised(lambda: x[0, 0, 0]),
        raised(lambda: x[torch.tensor([5])]),
        raised(lambda: x[torch.tensor([0.5])]),
        raised(lambda: x["a"]),
        raised(lambda: x[0.5]),
        raised(write),
        raised(write_mask),
        raised(lambda: x[::-1]),
        raised(lambda: x.gather(0, torch.tensor([[7]]))),
        raised(lambda: x.index_select(0, torch.tensor([9]))),
        raised(lambda: iter(torch.tensor(1))),
        raised(lambda: len(torch.tensor(1))),
        raised(lambda: x[[True, False, True]]),
        raised(lambda: torch.nn.functional.embedding(torch.tensor([9]), x)),
        raised(lambda: torch.nn.functional.embedding(torch.tensor([0.5]), x)),
        raised(lambda: torch.nn.functional.one_hot(torch.tensor([-1]))),
        raised(lambda: torch.nn.functional.nll_loss(x, torch.tensor([0, 5]))),
    ]


@program
def wrong_types(torch: ModuleType) -> Any:
    """Types that do not fit."""
    i, f, d = torch.ones(2, 2).long(), torch.ones(2, 2), torch.ones(2, 2).double()
    b = torch.tensor([True, False])
    nn, F = torch.nn, torch.nn.functional
    return [
        raised(lambda: i @ f),
        raised(lambda: f @ d),
        raised(lambda: nn.Linear(2, 2)(i)),
        raised(lambda: nn.Linear(2, 2)(d)),
        raised(lambda: i.mean()),
        raised(lambda: -b),
        raised(lambda: b - b),
        raised(lambda: i.add_(0.5)),
        raised(lambda: i.div_(2)),
        raised(lambda: f & f),
        raised(lambda: i.requires_grad_()),
        raised(lambda: f + "a"),
        raised(lambda: torch.tensor("a")),
        raised(lambda: torch.tensor([[1], [1, 2]])),
        raised(lambda: torch.zeros("a")),
        raised(lambda: f.to("nowhere")),
        raised(lambda: f.foo),
        raised(lambda: torch.ones(2, dtype=int).dtype),
        raised(lambda: torch.sum("a")),
        raised(lambda: F.cross_entropy(f, torch.ones(2))),
        raised(lambda: torch.from_numpy([1])),
        raised(lambda: F.mse_loss(f, 1.0)),
        raised(lambda: f.masked_fill(i, 0)),
        raised(lambda: torch.where(f, f, f)),
        raised(lambda: torch.cat(f)),
        raised(lambda: 1 @ f),
        raised(lambda: torch.tensor(1.5).__index__()),
        raised(lambda: int(torch.tensor([]))),
        raised(lambda: f.sum(dim="a")),
        raised(lambda: torch.tensor(None)),
        raised(lambda: ~f),
        raised(lambda: f.view("a")),
        raised(lambda: torch.full((2,), "a")),
    ]


@program
def wrong_blocks(torch: ModuleType) -> Any:
    """Misuse of modules, optimizers, data and losses."""
    nn, F = torch.nn, torch.nn.functional

    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    class Empty(nn.Module):
        pass

    net = nn.Sequential(nn.Linear(2, 2))
    x = torch.ones(1, 2)

    def assign() -> None:
        net[0].weight = torch.ones(2, 2)

    return [
        raised(Forgetful),
        raised(lambda: Empty()(x)),
        raised(lambda: nn.Sequential(nn.Linear)),
        raised(lambda: nn.Sequential(3)),
        raised(assign),
        raised(lambda: net(x, x)),
        raised(lambda: net.nothing),
        raised(lambda: nn.Linear(2)),
        raised(lambda: nn.Dropout(2.0)),
        raised(lambda: torch.optim.SGD([], lr=0.1)),
        raised(lambda: torch.optim.SGD(net, lr=0.1)),
        raised(lambda: torch.optim.Adam(net.parameters(), lr=-1)),
        raised(lambda: torch.optim.SGD([x * x.requires_grad_()], lr=0.1)),
        raised(lambda: F.mse_loss(x, x, reduction="nothing")),
        raised(lambda: F.binary_cross_entropy(x * 3, x)),
        raised(lambda: nn.Module.forward(net)),
        raised(lambda: nn.ModuleList([1])),
        raised(lambda: net.load_state_dict({})),
        raised(lambda: net.register_buffer("a.b", x)),
        raised(lambda: net.register_parameter("", x)),
        raised(lambda: nn.Parameter(torch.ones(2).long())),
        raised(lambda: net.add_module("x", 3)),
        raised(lambda: torch.utils.data.TensorDataset(torch.ones(2), torch.ones(3))),
        raised(lambda: torch.utils.data.DataLoader([1, 2], batch_size=0)),
        raised(lambda: torch.optim.lr_scheduler.StepLR(net, 1)),
        raised(lambda: nn.LayerNorm(3)(x)),
        raised(lambda: nn.Embedding(2, 2, padding_idx=5)),
        raised(lambda: nn.Unflatten(1, 3)(x)),
    ]
