"""Programs about blocks: structure, state, hooks."""

# ruff: noqa: B905 - programs as people write them

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict
from types import ModuleType
from typing import Any

from tests.parity.programs import data, fill, program, raised


@program
def layers_and_blocks(torch: ModuleType) -> Any:
    """The chapter's own networks: nested, shared, constant, with control flow."""
    nn, F = torch.nn, torch.nn.functional

    class MySequential(nn.Module):
        def __init__(self, *blocks: Any) -> None:
            super().__init__()
            for i, block in enumerate(blocks):
                self._modules[str(i)] = block

        def forward(self, X: Any) -> Any:
            for block in self._modules.values():
                X = block(X)
            return X

    class FixedHiddenMLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = torch.from_numpy(data(20, 20, seed=9))
            self.linear = nn.Linear(20, 20)

        def forward(self, X: Any) -> Any:
            X = self.linear(X)
            X = F.relu(torch.mm(X, self.constant) + 1)
            X = self.linear(X)
            while X.abs().sum() > 1:
                X /= 2
            return X.sum()

    class NestMLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
            self.linear = nn.Linear(32, 16)

        def forward(self, X: Any) -> Any:
            return self.linear(self.net(X))

    chimera = fill(torch, MySequential(NestMLP(), nn.Linear(16, 20), FixedHiddenMLP()))
    X = torch.from_numpy(data(2, 20))
    out = chimera(X)
    out.backward()
    return (
        out,
        [name for name, _ in chimera.named_parameters()],
        str(chimera),
        [p.grad for p in chimera.parameters()],
        [n for n, _ in chimera.named_modules()],
    )


@program
def state_dict_handling(torch: ModuleType) -> Any:
    """Saving, loading, missing and unexpected keys, wrong shapes, prefixes, buffers."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.a = nn.Linear(2, width)
            self.register_buffer("running", torch.zeros(width))
            self.register_buffer("scratch", torch.ones(1), persistent=False)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Any) -> Any:
            return self.a(x) * self.scale + self.running

    net = fill(torch, Net())
    net.running += 2
    state = net.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer)
    other = Net().double()
    result = other.load_state_dict(loaded)
    partial = {k: v for k, v in state.items() if k != "scale"}
    partial["extra"] = torch.ones(1)
    lenient = other.load_state_dict(partial, strict=False)
    x = torch.from_numpy(data(4, 2))
    return (
        list(state),
        type(state).__name__,
        str(result),
        other(x),
        lenient.missing_keys,
        lenient.unexpected_keys,
        raised(lambda: other.load_state_dict(partial)),
        raised(lambda: Net(4).load_state_dict(state)),
        state["a.weight"].requires_grad,
        state["a.weight"].data_ptr() == net.a.weight.data_ptr(),
        dict(loaded),
        [n for n, _ in net.named_buffers()],
        list(nn.Sequential(net).state_dict(prefix="x.")),
        list(OrderedDict(state).keys()),
    )


@program
def module_hooks(torch: ModuleType) -> Any:
    """Forward and backward hooks: capturing activations, changing inputs and outputs."""
    nn = torch.nn
    net = fill(torch, nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    activations, gradients, calls = {}, [], []
    handles = [
        layer.register_forward_hook(
            lambda m, args, out, name=name: activations.__setitem__(name, out.detach().clone())
        )
        for name, layer in net.named_children()
    ]
    net[2].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    net[2].register_forward_hook(lambda m, args, kwargs, out: out + 1, with_kwargs=True)
    net[0].register_full_backward_hook(lambda m, gi, go: gradients.append((gi[0], go[0])))
    net.register_forward_pre_hook(lambda m, args: calls.append(type(m).__name__))
    x = torch.from_numpy(data(5, 3)).requires_grad_()
    out = net(x)
    out.sum().backward()
    for handle in handles:
        handle.remove()
    count = len(activations)
    net(x)
    return out, activations, gradients, calls, count, x.grad


@program
def containers(torch: ModuleType) -> Any:
    """ModuleList, ModuleDict, ParameterList, ParameterDict, Sequential and what they print."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
            self.choices = nn.ModuleDict({"relu": nn.ReLU(), "tanh": nn.Tanh()})
            self.scales = nn.ParameterList([nn.Parameter(torch.ones(2)) for _ in range(2)])
            self.named = nn.ParameterDict({"bias": nn.Parameter(torch.zeros(2))})

        def forward(self, x: Any, choice: str) -> Any:
            for layer in self.layers:
                x = self.choices[choice](layer(x))
            return x * self.scales[0] + self.scales[1] + self.named["bias"]

    net = fill(torch, Net())
    net.layers.append(nn.Linear(2, 2).double())
    net.layers.insert(0, nn.Identity())
    del net.layers[-1]
    net.choices.update({"id": nn.Identity()})
    sequential = nn.Sequential(OrderedDict([("one", nn.Linear(2, 3)), ("two", nn.Dropout(0.2))]))
    sequential.append(nn.Flatten())
    sequential.add_module("last", nn.Softmax(dim=1))
    x = torch.from_numpy(data(3, 2))
    return (
        net(x, "relu"),
        net(x, "tanh"),
        str(net),
        str(sequential),
        len(sequential),
        str(sequential[1:]),
        type(sequential[0]).__name__,
        list(net.choices),
        "relu" in net.choices,
        [n for n, _ in net.named_parameters()],
        str(sequential.one),
        len(net.layers),
        raised(lambda: sequential[9]),
        sequential.one.weight.shape,
        net.layers[1] in list(net.layers),
    )


@program
def module_bookkeeping(torch: ModuleType) -> Any:
    """apply, train and eval, freezing, casting, deep copies, pickles, weight sharing."""
    nn = torch.nn
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Dropout(0.5)), nn.Linear(3, 2))

    def init(m: Any) -> None:
        if isinstance(m, nn.Linear):
            nn.init.constant_(m.weight, 0.5)
            nn.init.zeros_(m.bias)

    net.apply(init)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin[0].weight.mul_(2)
    net.eval()
    flags = [m.training for m in net.modules()]
    net.train()
    net[1].eval()
    flags += [m.training for m in net.modules()]
    for p in net[0].parameters():
        p.requires_grad = False
    tied = nn.Linear(3, 3)
    tied2 = nn.Linear(3, 3)
    tied2.weight = tied.weight
    pair = nn.ModuleList([tied, tied2])
    again = pickle.loads(pickle.dumps(twin))
    half = copy.deepcopy(net).half()
    return (
        flags,
        net[0].weight,
        twin[0].weight,
        [p.requires_grad for p in net.parameters()],
        len(list(pair.parameters())),
        list(pair.state_dict()),
        again[0].weight,
        str(again),
        next(half.parameters()).dtype,
        net.get_submodule("1.0").__class__.__name__,
        net.get_parameter("2.bias").shape,
        raised(lambda: net.get_submodule("9")),
        sum(p.numel() for p in net.parameters() if p.requires_grad),
        net.training,
        [type(m).__name__ for m in net.children()],
        isinstance(net[0].weight, nn.Parameter),
        isinstance(net[0].weight, torch.Tensor),
        hasattr(net, "nothing"),
        raised(lambda: net.nothing),
        net[0].extra_repr(),
        dict(net.named_children())["1"] is net[1],
    )


@program
def checkpoint_and_resume(torch: ModuleType) -> Any:
    """Model, optimizer and scheduler saved in one file; the resumed run equals the whole one."""
    nn = torch.nn

    def parts() -> Any:
        model = fill(torch, nn.Linear(3, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1, amsgrad=True)
        return model, optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    x, y = torch.from_numpy(data(6, 3)), torch.from_numpy(data(6, 1, seed=1))

    def train(model: Any, optimizer: Any, scheduler: Any, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()

    whole = parts()
    train(*whole, 6)
    first = parts()
    train(*first, 3)
    buffer = io.BytesIO()
    names = ("model", "optimizer", "scheduler")
    torch.save({n: p.state_dict() for n, p in zip(names, first)} | {"epoch": 3}, buffer)
    buffer.seek(0)
    checkpoint = torch.load(buffer, weights_only=True)
    second = parts()
    for name, part in zip(names, second):
        part.load_state_dict(checkpoint[name])
    train(*second, 3)
    return whole[0].weight, second[0].weight, checkpoint["epoch"], second[2].get_last_lr()


@program
def initialisation(torch: ModuleType) -> Any:
    """Gains, fans, constant and orthogonal schemes; ranges of the default."""
    nn = torch.nn
    gains = [nn.init.calculate_gain(n) for n in ("linear", "relu", "tanh", "sigmoid", "selu")] + [
        nn.init.calculate_gain("leaky_relu", 0.2)
    ]
    w = torch.empty(6, 4)
    nn.init.orthogonal_(w)
    layer = nn.Linear(100, 50)
    bound = 1 / 100**0.5
    k = nn.init.kaiming_uniform_(torch.empty(200, 100), nonlinearity="relu")
    n = nn.init.xavier_normal_(torch.empty(300, 200))
    t = nn.init.trunc_normal_(torch.empty(1000), std=1.0, a=-1, b=1)
    return (
        gains,
        torch.allclose(w.T @ w, torch.eye(4), atol=1e-5),
        nn.init.eye_(torch.empty(2, 3)),
        nn.init.dirac_(torch.empty(2, 2, 3)),
        layer.weight.abs().max().item() <= bound,
        layer.bias.abs().max().item() <= bound,
        abs(k.std().item() - (2 / 100) ** 0.5) < 0.01,
        abs(n.std().item() - (2 / 500) ** 0.5) < 0.005,
        t.abs().max().item() <= 1,
        k.requires_grad,
        layer.weight.requires_grad,
        nn.Embedding(3, 2, padding_idx=1).weight[1],
    )


@program
def parametrizations(torch: ModuleType) -> Any:
    """weight_norm, a parametrization of one's own, flattening parameters to a vector."""
    nn = torch.nn
    layer = nn.utils.parametrizations.weight_norm(fill(torch, nn.Linear(3, 2)), dim=0)
    x = torch.from_numpy(data(4, 3))
    layer(x).sum().backward()

    class Symmetric(nn.Module):
        def forward(self, w: Any) -> Any:
            return w.triu() + w.triu(1).transpose(-1, -2)

    square = fill(torch, nn.Linear(3, 3))
    nn.utils.parametrize.register_parametrization(square, "weight", Symmetric())
    vector = nn.utils.parameters_to_vector(fill(torch, nn.Linear(2, 2)).parameters())
    target = nn.Linear(2, 2).double()
    nn.utils.vector_to_parameters(vector * 2, target.parameters())
    return (
        layer(x),
        [n for n, _ in layer.named_parameters()],
        [p.grad for p in layer.parameters()],
        square.weight,
        torch.equal(square.weight, square.weight.T),
        list(square.state_dict()),
        vector,
        target.weight,
        nn.utils.parametrize.is_parametrized(square, "weight"),
    )
