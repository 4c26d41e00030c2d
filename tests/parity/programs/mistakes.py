"""Mistakes in blocks, layers and training loops: the exception is PyTorch's, also compiled."""

# ruff: noqa: E501, F821 - programs as people write them

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, fill, program, raised


@program
def mistakes_in_blocks(torch: ModuleType) -> Any:
    """Typos, forgotten constructors, classes for blocks, tensors for modules."""
    nn = torch.nn
    x = torch.ones(2, 4)

    class Typo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.hiden(x)

    class NoInit(nn.Module):
        def __init__(self) -> None:
            self.hidden = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.hidden(x)

    class NoInitParameter(nn.Module):
        def __init__(self) -> None:
            self.w = nn.Parameter(torch.ones(3))

    class NoForward(nn.Module):
        pass

    class Misspelt(nn.Module):
        def foward(self, x: Any) -> Any:
            return x

    class Forgets(nn.Module):
        """Its forward returns nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            self.l(x)

    class TooFew(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    def parameter_of_non_leaf() -> None:
        nn.Linear(2, 2).register_parameter("w", torch.ones(2, requires_grad=True) * 2)

    def module_for_parameter() -> None:
        layer = nn.Linear(2, 2)
        layer.weight = torch.ones(2, 2)

    def name_taken() -> None:
        layer = nn.Linear(2, 2)
        layer.add_module("weight", nn.ReLU())

    def dotted() -> None:
        nn.Module().add_module("a.b", nn.ReLU())

    def shape_of_a_state() -> None:
        nn.Linear(3, 2).load_state_dict(nn.Linear(2, 2).state_dict())

    wrong = [
        lambda f: f(Typo())(x), lambda f: NoInit(), lambda f: NoInitParameter(),
        lambda f: f(NoForward())(x), lambda f: f(Misspelt())(x), lambda f: f(Forgets())(x).sum(),
        lambda f: f(TooFew())(x), lambda f: f(nn.Sequential(nn.Linear(4, 2), nn.ReLU)),
        lambda f: f(nn.Sequential(Forgets(), nn.Linear(2, 2)))(x),
        lambda f: nn.Sequential(nn.Linear(4, 3), lambda x: x), lambda f: nn.Sequential([nn.ReLU()]),
        lambda f: nn.ModuleList([nn.ReLU, nn.ReLU()]), lambda f: f(nn.ModuleList([nn.ReLU()]))(x),
        lambda f: nn.Linear("4", 3), lambda f: nn.Linear(4), lambda f: nn.Linear(4, 3)(x, x),
        lambda f: parameter_of_non_leaf(), lambda f: module_for_parameter(), lambda f: name_taken(),
        lambda f: dotted(), lambda f: shape_of_a_state(), lambda f: nn.Linear(2, 2).wieght,
        lambda f: nn.Sequential(nn.ReLU())[1], lambda f: nn.ModuleDict({"a": nn.ReLU()})["b"],
        lambda f: torch.nn.Linera(2, 2), lambda f: torch.zeross(2), lambda f: x.tranpose(0, 1),
        lambda f: nn.functional.rellu(x), lambda f: nn.Linear(2, 2).load_state_dict({"weight": 1}),
        lambda f: torch.optim.SGD(nn.Linear(2, 2), lr=0.1), lambda f: nn.Module().get_submodule("a"),
        lambda f: nn.Conv2d(3, 4, 3, groups=2), lambda f: nn.Conv2d(3, 4, 3, padding="vaild"),
        lambda f: nn.MultiheadAttention(5, 2), lambda f: nn.GroupNorm(3, 4),
        lambda f: nn.LSTM(3, 4, num_layers=0), lambda f: nn.RNN(3, 4, nonlinearity="sin"),
        lambda f: nn.Dropout(p=2), lambda f: nn.CrossEntropyLoss(reduction="avg")(x, torch.zeros(2).long()),
    ]  # fmt: skip
    plain = [raised(lambda w=w: w(lambda m: m)) for w in wrong]
    compiled = [raised(lambda w=w: w(torch.compile)) for w in wrong]
    return plain, compiled


@program
def mistakes_in_data(torch: ModuleType) -> Any:
    """Shapes, dtypes and indices that layers cannot take, and losses cannot compare."""
    nn, F = torch.nn, torch.nn.functional
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2))
    ids = torch.tensor([[0, 5]])
    x = torch.ones(2, 4)
    image = torch.ones(1, 3, 8, 8)
    rows = torch.arange(6.0).view(2, 3)
    wrong = [
        (net, x), (nn.Linear(4, 2), torch.ones(2, 5)), (nn.Linear(4, 2), torch.ones(2, 4).long()),
        (nn.Linear(4, 2), torch.ones(2, 4).double()), (nn.Linear(4, 2), torch.tensor(1.0)),
        (nn.Embedding(5, 2), ids), (nn.Embedding(5, 2), ids.float()), (nn.Embedding(5, 2), -ids),
        (nn.Conv2d(1, 2, 3), image), (nn.Conv2d(3, 2, 9), image), (nn.Conv2d(3, 2, 3), image[0, 0]),
        (nn.Conv2d(3, 2, 3), image.long()), (nn.BatchNorm2d(4), image), (nn.BatchNorm2d(3), x),
        (nn.BatchNorm1d(4), x[:1]), (nn.LayerNorm(5), x), (nn.MaxPool2d(9), image),
        (nn.LSTM(3, 2), torch.ones(5, 2, 4)), (nn.GRU(3, 2), torch.ones(3)),
        (nn.LSTMCell(3, 2), torch.ones(2, 4)), (nn.Flatten(5), x), (nn.Unflatten(1, (3, 2)), x),
        (nn.Bilinear(2, 3, 1), x), (nn.Softmax(dim=3), x), (nn.PReLU(3), x), (nn.GLU(0), torch.ones(3)),
        (nn.ConvTranspose2d(2, 2, 2), image), (nn.Conv1d(4, 2, 3), torch.ones(1, 4, 2)),
        (lambda x: F.cross_entropy(x, torch.tensor([0, 4])), x),
        (lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2])), x),
        (lambda x: F.cross_entropy(x, torch.tensor([0.5, 1.0])), x),
        (lambda x: F.nll_loss(x, torch.tensor([0, -1])), x),
        (lambda x: F.binary_cross_entropy(x, torch.ones(2)), x),
        (lambda x: F.binary_cross_entropy(x * 2, torch.ones(2, 4)), x),
        (lambda x: F.binary_cross_entropy_with_logits(x, torch.ones(2)), x),
        (lambda x: F.mse_loss(x, torch.ones(2, 3)), x), (lambda x: F.one_hot(x), x),
        (lambda x: F.one_hot(x, 3), torch.tensor([3])), (lambda x: F.one_hot(x), torch.tensor([-1])),
        (lambda x: torch.cat([x, x[:, :2]], 0), x), (lambda x: torch.stack([x, x[0]]), x),
        (lambda x: x.view(3, 3), x), (lambda x: x @ x, x), (lambda x: x[2], x), (lambda x: x[:, 4], x),
        (lambda x: x[0, 0, 0], x), (lambda x: x["a"], x), (lambda x: x.gather(1, torch.tensor([[4]])), x),
        (lambda x: x[torch.tensor([0, 2])], x), (lambda x: x[torch.tensor([True, False, True])], x),
        (lambda x: torch.index_select(x, 0, torch.tensor([2])), x), (lambda x: x.sum(dim=2), x),
        (lambda x: x + torch.ones(3), x), (lambda x: x.expand(4, 4), x), (lambda x: x + "1", x),
        (lambda x: x + None, x), (lambda x: torch.cat(x, 5), (x, x)), (lambda x: x.backward(), x),
        (lambda x: x.squeeze().undefined, x), (lambda x: x.reshape(2, -1, -1), x), (lambda x: {}["k"], x),
        (lambda x: int("seven"), x), (lambda x: [][0], x), (lambda x: 1 / 0, x), (lambda x: undefined, x),
        (lambda x: x.to(torch.flaot32), x), (lambda x: x.split([1, 2], dim=1), x),
        (lambda x: torch.einsum("ij,kj->ikl", x, x), x), (lambda x: torch.einsum("ijk", x), x),
        (lambda x: x.masked_fill(x, 0.0), x), (lambda x: torch.where(x, x, x), x),
        (lambda x: x & x, x), (lambda x: ~x, x), (lambda x: x.mean(), ids),
        (lambda x: torch.linalg.cholesky(x @ x.T - 10), x), (lambda x: torch.softmax(x, 1), ids),
        (lambda x: torch.bernoulli(x * 3), x), (lambda x: torch.normal(x, -x), x),
        (lambda x: torch.multinomial(-x, 1), x), (lambda x: torch.bincount(x.view(-1)), x),
        (lambda x: x[:, :0].min(1), x), (lambda x: x[:0].argmax(), x), (lambda x: torch.rand(-1), x),
        (lambda x: x.copy_(torch.ones(3)), x.clone()), (lambda x: x.add_(1j) if False else x.mul_(ids), rows),
    ]  # fmt: skip
    plain = [raised(lambda f=f, a=a: f(a)) for f, a in wrong]
    compiled = [raised(lambda f=f, a=a: torch.compile(f)(a)) for f, a in wrong]
    return plain, compiled


@program
def mistakes_in_training(torch: ModuleType) -> Any:
    """Backward twice, in-place changes, missing gradients, NumPy of what needs gradients."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    x = torch.from_numpy(data(5, 3))

    def twice() -> None:
        loss = net(x).sum()
        loss.backward()
        loss.backward()

    def changed() -> None:
        h = net[1](net[0](x))
        y = net[2](h)
        h += 1
        y.sum().backward()

    def leaf() -> None:
        net[0].weight += 1

    def view_of_leaf() -> None:
        net[0].weight[0] = 0

    def no_grad() -> None:
        with torch.no_grad():
            loss = net(x).sum()
        loss.backward()

    def vector() -> None:
        net(x).backward()

    def seed() -> None:
        net(x).backward(torch.ones(4, 1).double())

    def detached() -> None:
        net(x).sum().detach().backward()

    def integer() -> None:
        torch.tensor([1, 2], requires_grad=True)

    def deepcopied() -> None:
        import copy

        copy.deepcopy(net(x))

    def unused() -> None:
        torch.autograd.grad(net(x).sum(), torch.ones(2, requires_grad=True))

    def assigned() -> None:
        net[0].weight.grad = torch.ones(2, 2).double()

    def flag() -> None:
        net(x).requires_grad = False

    def stepped() -> None:
        torch.optim.lr_scheduler.StepLR(torch.optim.SGD(net.parameters(), lr=0.1))

    def no_parameters() -> None:
        torch.optim.Adam([])

    def negative() -> None:
        torch.optim.SGD(net.parameters(), lr=-1)

    def not_leaf() -> None:
        torch.optim.SGD([net(x)], lr=0.1)

    def group_twice() -> None:
        torch.optim.SGD([{"params": net.parameters()}, {"params": net[0].parameters()}], lr=0.1)

    def closure() -> None:
        torch.optim.LBFGS(net.parameters()).step()

    def state() -> None:
        a, b = torch.optim.Adam(net.parameters()), torch.optim.Adam(net[0].parameters())
        b.load_state_dict(a.state_dict())

    def sizes() -> None:
        torch.utils.data.TensorDataset(torch.ones(3), torch.ones(2))

    def batch() -> None:
        torch.utils.data.DataLoader([1, 2], batch_size=0)

    def both() -> None:
        loader = torch.utils.data.DataLoader
        loader([1, 2], shuffle=True, sampler=torch.utils.data.SequentialSampler([1, 2]))

    def collate() -> None:
        next(iter(torch.utils.data.DataLoader([torch.ones(2), torch.ones(3)], batch_size=2)))

    def out_of_range() -> None:
        torch.utils.data.TensorDataset(torch.ones(3))[3]

    def split() -> None:
        torch.utils.data.random_split([1, 2, 3], [1, 1])

    actions = [
        twice, changed, leaf, view_of_leaf, no_grad, vector, seed, detached, integer, deepcopied,
        unused, assigned, flag, stepped, no_parameters, negative, not_leaf, group_twice, closure,
        state, sizes, batch, both, collate, out_of_range, split,
        lambda: net(x).numpy(), lambda: net(x).tolist() and None, lambda: float(net(x)),
        lambda: bool(x), lambda: len(torch.tensor(1)), lambda: iter(torch.tensor(1)),
        lambda: torch.tensor([[1, 2], [3]]), lambda: torch.tensor("a"), lambda: torch.tensor([1, None]),
        lambda: torch.ones(2, 3, dtype="float32"), lambda: torch.arange(0, 5, -1), lambda: torch.eye(-1),
        lambda: torch.device("gpu"), lambda: torch.manual_seed("a"),
        lambda: torch.randint(5, 5, (2,)), lambda: torch.randperm(-1), lambda: torch.multinomial(-x[0], 1),
        lambda: torch.bernoulli(x * 10), lambda: torch.distributions.Normal(0.0, -1.0),
        lambda: torch.distributions.Categorical(torch.tensor([-1.0, 2.0])),
        lambda: torch.distributions.Bernoulli(0.5).log_prob(torch.tensor(0.3)),
        lambda: nn.init.xavier_uniform_(torch.ones(3)), lambda: nn.init.calculate_gain("swish"),
        lambda: nn.utils.clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True) and None,
    ]  # fmt: skip
    return [raised(a) for a in actions]
