"""What a capture read is noted, and a change of any of it is noticed."""

import functools
import math
import types

import pytest

import kuai
from kuai import nn
from kuai.compiler.capture import capture_call, changed_floats

SCALE = 2.0
COUNT = 3
TABLE = {"a": 1, "b": kuai.ones(2)}
ITEMS = [1, 2, 3]
CHOSEN = {1, 2}
settings = types.ModuleType("settings")
settings.factor = 2


class Config:
    kind = "plain"

    def __init__(self):
        self.k = 2
        self.flag = True
        self.items = [1, 2]


config = Config()


def helper(x, d=3):
    return x * d


def make_closure(k):
    def inner(x):
        return x * k

    def change(value):
        nonlocal k
        k = value

    return inner, change


def walks(x):
    for k in ITEMS:
        x = x * k
    return x


def stale(captured):
    return [r for r in captured.records if not r.check()]


def set_global(name, value):
    globals()[name] = value


inner, change_k = make_closure(3)
first_helper = helper
first_tensor = TABLE["b"]

# name: function, change, undo
CASES = {
    "a global float": (
        lambda x: x * SCALE,
        lambda: set_global("SCALE", 3.0),
        lambda: set_global("SCALE", 2.0),
    ),
    "a global int": (
        lambda x: x * COUNT,
        lambda: set_global("COUNT", 4),
        lambda: set_global("COUNT", 3),
    ),
    "an item of a dict": (
        lambda x: x * TABLE["a"],
        lambda: TABLE.update(a=5),
        lambda: TABLE.update(a=1),
    ),
    "a tensor in a dict": (
        lambda x: x * TABLE["b"],
        lambda: TABLE.update(b=kuai.zeros(2)),
        lambda: TABLE.update(b=first_tensor),
    ),
    "a key that was not there": (
        lambda x: x * TABLE.get("q", 2),
        lambda: TABLE.update(q=1),
        lambda: TABLE.pop("q"),
    ),
    "membership": (
        lambda x: x * (2 if "q" in TABLE else 3),
        lambda: TABLE.update(q=1),
        lambda: TABLE.pop("q"),
    ),
    "the length of a walked list": (walks, lambda: ITEMS.append(7), ITEMS.pop),
    "an item of a list": (
        lambda x: x * ITEMS[1],
        lambda: ITEMS.__setitem__(1, 9),
        lambda: ITEMS.__setitem__(1, 2),
    ),
    "len": (lambda x: x * len(ITEMS), lambda: ITEMS.append(9), ITEMS.pop),
    "sum": (lambda x: x * sum(ITEMS), lambda: ITEMS.append(9), ITEMS.pop),
    "a comprehension": (lambda x: [x * k for k in ITEMS], lambda: ITEMS.append(9), ITEMS.pop),
    "a starred list": (lambda x: x * max(*ITEMS), lambda: ITEMS.append(9), ITEMS.pop),
    "a set": (lambda x: x * sum(CHOSEN), lambda: CHOSEN.add(9), lambda: CHOSEN.discard(9)),
    "an attribute": (
        lambda x: x * config.k,
        lambda: setattr(config, "k", 5),
        lambda: setattr(config, "k", 2),
    ),
    "an attribute of a class": (
        lambda x: x if config.kind == "plain" else -x,
        lambda: setattr(Config, "kind", "other"),
        lambda: setattr(Config, "kind", "plain"),
    ),
    "a missing attribute": (
        lambda x: x * getattr(config, "missing", 4),
        lambda: setattr(config, "missing", 5),
        lambda: delattr(config, "missing"),
    ),
    "hasattr": (
        lambda x: x * (3 if hasattr(config, "missing") else 2),
        lambda: setattr(config, "missing", 5),
        lambda: delattr(config, "missing"),
    ),
    "a list in an attribute": (
        lambda x: x * config.items[0],
        lambda: config.items.__setitem__(0, 5),
        lambda: config.items.__setitem__(0, 1),
    ),
    "a module's attribute": (
        lambda x: x * settings.factor * math.pi,
        lambda: setattr(settings, "factor", 3),
        lambda: setattr(settings, "factor", 2),
    ),
    "a default": (
        lambda x: helper(x),
        lambda: setattr(helper, "__defaults__", (5,)),
        lambda: setattr(helper, "__defaults__", (3,)),
    ),
    "a patched helper": (
        lambda x: helper(x),
        lambda: set_global("helper", lambda x: x),
        lambda: set_global("helper", first_helper),
    ),
    "a variable of a closure": (inner, lambda: change_k(4), lambda: change_k(3)),
    "a partial": (
        functools.partial(lambda x, k: x * k * COUNT, k=2),
        lambda: set_global("COUNT", 4),
        lambda: set_global("COUNT", 3),
    ),
    "the default type": (
        lambda x: x + kuai.ones(2),
        lambda: kuai.set_default_dtype(kuai.float64),
        lambda: kuai.set_default_dtype(kuai.float32),
    ),
    "the mode of recording": (
        lambda x: x + 1,
        lambda: kuai.set_grad_enabled(False),
        lambda: kuai.set_grad_enabled(True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_noticed(name):
    function, change, undo = CASES[name]
    captured = capture_call(function, (kuai.tensor([1.0, 2.0]),))
    assert not stale(captured)
    change()
    try:
        assert stale(captured)
    finally:
        undo()
    assert not stale(captured)


class Net(nn.Module):
    K = 2

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.scale = 2.0
        self.kind = "a"
        self.factors = [1, 2]
        self.dropout = nn.Dropout(0.5)

    def helped(self, x):
        return x * self.K

    @property
    def twice(self):
        return self.scale * 2

    def forward(self, x):
        y = self.linear(x) * self.scale + self.twice
        if self.kind == "a":
            y = y + 1
        for k in self.factors:
            y = y * k
        return self.helped(self.dropout(y))


def replace_weight(net):
    net.linear.weight = nn.Parameter(kuai.zeros(2, 2))


CHANGES = {
    "an attribute": lambda net: setattr(net, "kind", "b"),
    "a float": lambda net: setattr(net, "scale", 3.0),
    "a list": lambda net: net.factors.append(3),
    "the mode": lambda net: net.eval(),
    "the mode of a part": lambda net: net.dropout.eval(),
    "a parameter": replace_weight,
    "whether a parameter needs gradients": lambda net: net.linear.weight.requires_grad_(False),
    "a hook": lambda net: net.linear.register_forward_hook(lambda block, args, out: out * 2),
    "a pre-hook": lambda net: net.register_forward_pre_hook(lambda block, args: args),
    "a part": lambda net: setattr(net, "linear", nn.Linear(2, 2)),
    "forward": lambda net: setattr(net, "forward", lambda x: x),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_block_is_noticed(name):
    net = Net()
    captured = capture_call(net, (kuai.ones(2),))
    assert not stale(captured)
    CHANGES[name](net)
    assert stale(captured)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("K", 3),
        ("forward", lambda self, x: x),
        ("helped", lambda self, x: x),
        ("twice", property(lambda self: 9.0)),
    ],
)
def test_a_change_of_a_class_is_noticed(name, value, monkeypatch):
    captured = capture_call(Net(), (kuai.ones(2),))
    monkeypatch.setattr(Net, name, value)
    assert stale(captured)


def test_a_hook_on_all_blocks_is_noticed():
    captured = capture_call(Net(), (kuai.ones(2),))
    handle = nn.module.register_module_forward_hook(lambda block, args, output: output)
    assert stale(captured)
    handle.remove()
    assert not stale(captured)


def test_a_float_that_changes_becomes_an_input():
    net = Net()
    x = kuai.ones(2)
    captured = capture_call(net, (x,))
    net.scale = 3.0
    floats = changed_floats(stale(captured))
    assert len(floats) == 1
    captured = capture_call(net, (x,), floats=floats)
    assert len(captured.numbers) == 1
    net.dropout.eval()
    captured = capture_call(net, (x,), floats=floats)
    for net.scale in (0.5, 7.0):
        assert not stale(captured)
        found = captured.evaluate(x.numpy())
        assert kuai.allclose(kuai.tensor(found), net(x))


def test_a_float_that_cannot_be_an_input_is_baked_in():
    net = nn.LeakyReLU(0.1)
    x = kuai.tensor([-1.0, 1.0])
    captured = capture_call(net, (x,))
    net.negative_slope = 0.3
    floats = changed_floats(stale(captured))
    captured = capture_call(net, (x,), floats=floats)
    assert not stale(captured)
    assert kuai.allclose(kuai.tensor(captured.evaluate(x.numpy())), net(x))
