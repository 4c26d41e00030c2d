"""Whatever compiled code has looked at may change: the next call gives the new answer."""

import array
import collections
import copy
import dataclasses
import functools
import json
import math
import operator
import types

import numpy as np
import pytest

import kuai
import kuai as torch
from kuai import nn
from kuai.errors import CompileError

X = torch.tensor([1.0, -2.0])


class Thing:
    """An object of the user's, with operators that look at what changes."""

    scale = 2.0

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def times(self, x):
        return x * 3

    def __call__(self, x):
        return x * self.a

    def __len__(self):
        return int(self.a)

    def __iter__(self):
        return iter([self.a, 1.0])

    def __contains__(self, x):
        return self.a > x

    def __eq__(self, other):
        return self.a == other

    __hash__ = object.__hash__

    def __float__(self):
        return self.a

    def __add__(self, other):
        return self.a + other

    __radd__ = __add__

    def __neg__(self):
        return -self.a

    def __getitem__(self, index):
        return self.a + index

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self.a * 10

    def __str__(self):
        return str(self.a)

    @property
    def half(self):
        return self.a / 2

    @staticmethod
    def static(x):
        return x * 5


class Truthful(Thing):
    def __bool__(self):
        return self.a > 1


class Other(Thing):
    def times(self, x):
        return x * 4


class AttrDict(dict):
    def __getattr__(self, name):
        return self[name]


class Slots:
    __slots__ = ("a",)


@dataclasses.dataclass
class Record:
    a: float
    items: list


Pair = collections.namedtuple("Pair", "a items")


def by_default(x, k=[2.0], *, scale={"a": 2.0}):  # noqa: B006
    return x * k[0] * scale["a"]


def by_attribute(x):
    return x * by_attribute.scale


by_attribute.scale = 2.0


def set_a(value):
    return lambda thing: setattr(thing, "a", value)


def put(key, value):
    return lambda container: container.__setitem__(key, value)


# For each: what is looked at, how, and what happens to it.
CASES = {
    "the truth of a list": (list, lambda x, c: x if c else x * 2, lambda c: c.append(1)),
    "the truth of a dict": (dict, lambda x, c: x if not c else x * 2, put("a", 1)),
    "a list in a condition": (lambda: [1], lambda x, c: x if c and x.ndim else x * 2, list.clear),
    "a list as a bool": (lambda: [1], lambda x, c: x * bool(c), list.clear),
    "lists that are equal": (lambda: [1.0], lambda x, c: x * (c == [1.0]), put(0, 2.0)),
    "lists within lists": (
        lambda: [[1.0]],
        lambda x, c: x * (c == [[1.0]]),
        lambda c: c[0].clear(),
    ),
    "lists in order": (lambda: [1.0], lambda x, c: x * (c < [3.0]), put(0, 4.0)),
    "a sum of lists": (lambda: [1.0], lambda x, c: x * (c + [2.0])[0], put(0, 4.0)),
    "a repeated list": (lambda: [1.0], lambda x, c: x * len(c * 2), lambda c: c.append(1)),
    "a united dict": (dict, lambda x, c: x * len(c | {"b": 1}), put("a", 1)),
    "an unpacked dict": (lambda: {"a": 1.0}, lambda x, c: x * {**c}["a"], put("a", 2.0)),
    "a text of a list": (lambda: [1.0], lambda x, c: x * len(f"{c}"), lambda c: c.append(1)),
    "a formatted list": (lambda: [1.0], lambda x, c: x * len("%s" % (c,)), lambda c: c.append(1)),  # noqa: UP031
    "str() of a list": (lambda: [1.0], lambda x, c: x * len(str(c)), lambda c: c.append(1)),
    "json": (
        lambda: [[1.0]],
        lambda x, c: x * json.loads(json.dumps(c))[0][0],
        lambda c: put(0, 2)(c[0]),
    ),
    "a deep copy": (
        lambda: [[1.0]],
        lambda x, c: x * copy.deepcopy(c)[0][0],
        lambda c: put(0, 2)(c[0]),
    ),
    "math.fsum": (lambda: [1.0], lambda x, c: x * math.fsum(c), put(0, 2.0)),
    "a deque": (
        lambda: collections.deque([1.0]),
        lambda x, c: x * c[0],
        lambda c: c.appendleft(2.0),
    ),
    "the order of a dict": (
        lambda: {"a": 1.0, "b": 2.0},
        lambda x, c: x * next(iter(c.values())),
        lambda c: c.update(a=c.pop("a")),
    ),
    "the order of an OrderedDict": (
        lambda: collections.OrderedDict(a=1.0, b=2.0),
        lambda x, c: x * next(iter(c.values())),
        lambda c: c.move_to_end("a"),
    ),
    "a missing key": (dict, lambda x, c: x * c.get("a", 1.0), put("a", 2.0)),
    "a counter": (
        lambda: collections.Counter("aab"),
        lambda x, c: x * c.most_common(1)[0][1],
        lambda c: c.update("aaa"),
    ),
    "a chain of maps": (
        lambda: collections.ChainMap({}, {"a": 1.0}),
        lambda x, c: x * c["a"],
        lambda c: c.maps[0].update(a=2.0),
    ),
    "a proxy of a dict": (
        lambda: types.MappingProxyType(SHARED),
        lambda x, c: x * c["a"],
        lambda c: SHARED.update(a=SHARED["a"] + 1),
    ),
    "an array": (lambda: array.array("d", [1.0]), lambda x, c: x * c[0], put(0, 2.0)),
    "bytes": (lambda: bytearray(b"a"), lambda x, c: x * c[0], put(0, 2)),
    "a partial function": (
        lambda: functools.partial(lambda x, k: x * k, k=1.0),
        lambda x, c: c(x),
        lambda c: c.keywords.update(k=2.0),
    ),
    "attributes by name": (
        lambda: Thing(a=1.0),
        lambda x, c: x * operator.attrgetter("a")(c),
        set_a(2.0),
    ),
    "items by place": (lambda: [1.0], lambda x, c: x * operator.itemgetter(0)(c), put(0, 2.0)),
    "a method by name": (
        lambda: {"a": 1.0},
        lambda x, c: x * operator.methodcaller("get", "a")(c),
        put("a", 2.0),
    ),
    "a method of a dict": (
        lambda: {"a": 1.0}.get,
        lambda x, c: x * c("a"),
        lambda c: put("a", 2.0)(c.__self__),
    ),
    "vars": (lambda: Thing(a=1.0), lambda x, c: x * vars(c)["a"], set_a(2.0)),
    "a record's list": (
        lambda: Record(1.0, [1.0]),
        lambda x, c: x * c.items[0],
        lambda c: put(0, 2.0)(c.items),
    ),
    "records that are equal": (
        lambda: Record(1.0, []),
        lambda x, c: x * (c == Record(1.0, [])),
        set_a(2.0),
    ),
    "a named tuple's list": (
        lambda: Pair(1.0, [1.0]),
        lambda x, c: x * c.items[0],
        lambda c: put(0, 2.0)(c.items),
    ),
    "an attribute that is an item": (lambda: AttrDict(a=1.0), lambda x, c: x * c.a, put("a", 2.0)),
    "a call": (lambda: Thing(a=1.0), lambda x, c: c(x), set_a(2.0)),
    "a length": (lambda: Thing(a=1.0), lambda x, c: x * len(c), set_a(2.0)),
    "a walk": (lambda: Thing(a=1.0), lambda x, c: x * sum(c), set_a(2.0)),
    "a loop": (lambda: Thing(a=1.0), lambda x, c: x * max([v * 2 for v in c]), set_a(2.0)),
    "what is in it": (lambda: Thing(a=1.0), lambda x, c: x * (1.5 in c), set_a(2.0)),
    "equality": (lambda: Thing(a=1.0), lambda x, c: x * (c == 1.0), set_a(2.0)),
    "inequality": (lambda: Thing(a=1.0), lambda x, c: x * (c != 1.0), set_a(2.0)),
    "a float of it": (lambda: Thing(a=1.0), lambda x, c: x * float(c), set_a(2.0)),
    "its text": (lambda: Thing(a=1.0), lambda x, c: x * float(str(c)), set_a(2.0)),
    "its sum": (lambda: Thing(a=1.0), lambda x, c: x * (c + 1), set_a(2.0)),
    "its sum from the right": (lambda: Thing(a=1.0), lambda x, c: x * (1 + c), set_a(2.0)),
    "its negative": (lambda: Thing(a=1.0), lambda x, c: x * -c, set_a(2.0)),
    "its item": (lambda: Thing(a=1.0), lambda x, c: x * c[3], set_a(2.0)),
    "its made-up attribute": (lambda: Thing(a=1.0), lambda x, c: x * c.missing, set_a(2.0)),
    "its property": (lambda: Thing(a=1.0), lambda x, c: x * c.half, set_a(2.0)),
    "its truth": (lambda: Truthful(a=1.0), lambda x, c: x if c else x * 2, set_a(2.0)),
    "its length as its truth": (lambda: Thing(a=0.0), lambda x, c: x if c else x * 2, set_a(2.0)),
    "its class": (
        lambda: Thing(a=1.0),
        lambda x, c: c.times(x),
        lambda c: setattr(c, "__class__", Other),
    ),
    "its class that is asked": (
        lambda: Thing(a=1.0),
        lambda x, c: x * isinstance(c, Other),
        lambda c: setattr(c, "__class__", Other),
    ),
    "a method of its own": (
        lambda: Thing(a=1.0),
        lambda x, c: c.times(x),
        lambda c: setattr(c, "times", lambda x: x * 7),
    ),
    "an attribute over that of the class": (
        lambda: Thing(a=1.0),
        lambda x, c: x * c.scale,
        lambda c: setattr(c, "scale", 7.0),
    ),
    "a slot": (Slots, lambda x, c: x * getattr(c, "a", 1.0), set_a(2.0)),
    "a default": (
        lambda: by_default,
        lambda x, c: c(x),
        lambda c: put(0, c.__defaults__[0][0] + 1)(c.__defaults__[0]),
    ),
    "a keyword's default": (
        lambda: by_default,
        lambda x, c: c(x),
        lambda c: c.__kwdefaults__["scale"].update(a=c.__kwdefaults__["scale"]["a"] + 1),
    ),
    "an attribute of a function": (
        lambda: by_attribute,
        lambda x, c: c(x),
        lambda c: setattr(c, "scale", c.scale + 1),
    ),
    "a list of blocks": (
        lambda: nn.ModuleList([nn.Tanh()]),
        lambda x, c: [m(x) for m in c][-1],
        lambda c: c.append(nn.ReLU()),
    ),
    "a list of parameters": (
        lambda: nn.ParameterList([nn.Parameter(torch.ones(2))]),
        lambda x, c: sum(p * x for p in c),
        lambda c: c.append(nn.Parameter(torch.ones(2))),
    ),
    "the class of a block": (
        nn.ReLU,
        lambda x, c: c(x),
        lambda c: setattr(c, "__class__", nn.Tanh),
    ),
    "indices in a list": (lambda: [0], lambda x, c: x[c], put(0, 1)),
    "indices in an array": (lambda: np.array([0]), lambda x, c: x[c], put(0, 1)),
    "nested numbers": (
        lambda: [[1.0, 2.0]],
        lambda x, c: (x * torch.tensor(c)).sum(),
        lambda c: put(0, 2.0)(c[0]),
    ),
}
for _name, _use in {
    "a tensor of an array": lambda x, c: x * torch.tensor(c),
    "a tensor on an array": lambda x, c: x * torch.from_numpy(c),
    "an array as a tensor": lambda x, c: x * torch.as_tensor(c),
    "an array's sum": lambda x, c: x * float(c.sum()),
    "an array's item": lambda x, c: x * float(c[0]),
    "an array's mean": lambda x, c: x * float(np.mean(c)),
    "an array's list": lambda x, c: x * c.tolist()[0],
}.items():
    CASES[_name] = (lambda: np.ones(2, np.float32), _use, put(0, 2.0))

SHARED = {"a": 1.0}


def values(x):
    return x.tolist() if isinstance(x, kuai.Tensor) else x


@pytest.mark.parametrize("as_argument", [False, True], ids=["from outside", "as an argument"])
@pytest.mark.parametrize("name", CASES)
def test_what_was_looked_at_may_change(name, as_argument):
    make, use, change = CASES[name]
    thing = make()
    function = kuai.compile(use if as_argument else lambda x: use(x, thing))
    given = (X, thing) if as_argument else (X,)
    for _ in range(3):
        assert values(function(*given)) == pytest.approx(values(use(X, thing)))
    before = values(use(X, thing))
    change(thing)
    expected = values(use(X, thing))
    assert expected != before
    for _ in range(3):
        assert values(function(*given)) == pytest.approx(expected)


class Scaling:
    factor = 1.0

    def __init__(self):
        self.scale, self.factors, self.calls = 1.0, [1.0], 0

    def __call__(self, x):
        self.calls += 1
        return x * self.scale * self.factors[0] * self.factor * self.calls


@pytest.mark.parametrize(
    "function",
    [
        lambda thing: thing,
        lambda thing: thing.__call__,
        lambda thing: functools.partial(Scaling.__call__, thing),
        lambda thing: functools.partial(Scaling.__call__, self=thing),
        lambda thing: lambda x: thing(x),
    ],
    ids=["object", "method", "partial", "keyword", "closure"],
)
def test_the_object_of_a_method(function):
    thing, other = Scaling(), Scaling()
    compiled = kuai.compile(function(thing))

    def agrees():
        if isinstance(function(thing), functools.partial) and function(thing).keywords:
            found, expected = compiled(x=X), other(X)
        else:
            found, expected = compiled(X), other(X)
        assert found.tolist() == expected.tolist()
        assert thing.calls == other.calls

    agrees()
    for both in (thing, other):
        both.scale = 3.0
    agrees()
    for both in (thing, other):
        both.factors[0] = 5.0
    agrees()
    for both in (thing, other):
        both.factor = 7.0
    agrees()


def test_the_bases_of_a_class():
    class Base:
        pass

    class Derived(Thing):
        pass

    @kuai.compile
    def asks(x):
        return x * issubclass(Derived, Base) + isinstance(made, Base)

    made = Derived()
    assert asks(X).tolist() == [0, 0]
    Derived.__bases__ = (Base,)
    assert asks(X).tolist() == [2, -1]


def test_the_bases_of_an_objects_class():
    class Base:
        pass

    class Object(types.SimpleNamespace):
        pass

    thing = Object()
    compiled = kuai.compile(lambda x: x * 2 if isinstance(thing, Base) else x)
    assert kuai.equal(compiled(X), X)
    Object.__bases__ = (Base, types.SimpleNamespace)
    assert kuai.equal(compiled(X), X * 2)


def test_the_number_of_threads():
    before = kuai.get_num_threads()
    compiled = kuai.compile(lambda x: x * kuai.get_num_threads())
    try:
        for n in (1, 2, 1):
            kuai.set_num_threads(n)
            assert kuai.equal(compiled(X), X * n)
    finally:
        kuai.set_num_threads(before)


def test_a_container_from_outside_is_returned_as_it_is():
    items, named = [1.0], {"a": X}

    @kuai.compile
    def both(x):
        return x * 2, items, {"named": named}

    _, first, second = both(X)
    assert first is items
    assert second["named"] is named
    items.append(2.0)
    assert both(X)[1] == [1.0, 2.0]


@pytest.mark.parametrize("used", [False, True])
def test_a_tensor_from_outside_is_returned_as_it_is(used):
    weight, held, block = nn.Parameter(torch.ones(2)), {"t": torch.ones(2)}, nn.Linear(2, 2)

    @kuai.compile
    def returns(x):
        y = x * weight * held["t"] * block.bias if used else x
        return weight, [held["t"], block.bias], y * 2

    for _ in range(2):
        first, (second, third), _ = returns(X)
        assert first is weight
        assert second is held["t"]
        assert third is block.bias
        held["t"], block.bias = torch.zeros(2), nn.Parameter(torch.ones(2))


def test_the_order_of_a_dict_of_tensors_counts():
    @kuai.compile
    def fold(named):
        total = 1.0
        for x in named.values():
            total = total * 2 + x
        return total

    one, other = torch.ones(1), torch.full((1,), 5.0)
    for named in ({"a": one, "b": other}, {"b": other, "a": one}, {"a": one, "b": other}):
        assert fold(named).tolist() == fold.__wrapped__(named).tolist()


@pytest.mark.parametrize("make", [lambda: iter([1.0, 2.0]), lambda: (v for v in (1.0, 2.0))])
def test_an_iterator_from_outside_is_refused(make):
    items = make()

    @kuai.compile
    def advance(x, given=None):
        return x * next(items if given is None else given)

    for given in ((), (make(),)):
        with pytest.raises(CompileError, match="from outside of the compiled function: it would"):
            advance(X, *given)


class Dual:
    """A number and its derivative."""

    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __add__(self, other):
        other = dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    __radd__ = __add__

    def __mul__(self, other):
        other = dual(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    __rmul__ = __mul__

    def __neg__(self):
        return Dual(-self.value, -self.slope)

    def __sub__(self, other):
        return self + -dual(other)

    def __rsub__(self, other):
        return dual(other) - self

    def __pow__(self, power):
        result = dual(torch.ones(2))
        for _ in range(power):
            result = result * self
        return result

    def __lt__(self, other):
        return (self.value < dual(other).value).all()

    def __abs__(self):
        if self.value.sum() < 0:
            return torch.stack([-self.value, -self.slope])
        return torch.stack([self.value, self.slope])


def dual(x):
    return x if isinstance(x, Dual) else Dual(x, torch.zeros(2))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_operators_of_the_users_classes_are_captured(sign):
    def polynomial(x):
        a = Dual(x, torch.ones(2))
        b = 3 * a * a + 2 * a - 1 - a**3 + x
        c = 5.0 - a
        if a < 0:
            c = c * 2
        return b.value, b.slope, c.value, c.slope, c > a, a.__abs__()

    x = torch.tensor([1.0, 2.0]) * sign
    for found, expected in zip(kuai.compile(polynomial)(x), polynomial(x), strict=True):
        assert values(found) == values(expected)


class State:
    """What a loop carries."""

    def __init__(self, x, rounds):
        self.x, self.rounds = x, rounds

    def following(self):
        return State(self.x / 2, self.rounds + 1)


def test_objects_are_carried_and_merged():
    def halve(x):
        state = State(x, 0)
        while state.x.abs().sum() > 1:
            state = state.following()
            if state.x[0] < 0:
                state = State(-state.x, state.rounds)
        return state.x, state.rounds

    for start in ([8.0, 3.0], [-8.0, 3.0], [0.1, 0.2]):
        given = torch.tensor(start, requires_grad=True)
        x, rounds = kuai.compile(halve)(given)
        expected, count = halve(given)
        assert (x.tolist(), rounds) == (expected.tolist(), count)
        found = torch.autograd.grad(x.sum(), given)[0]
        assert found.tolist() == torch.autograd.grad(expected.sum(), given)[0].tolist()


# -- training steps --------------------------------------------------------------------------------


class Training:
    """A network, its optimizer, and a step of both."""

    def __init__(self, compiled):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.5)
        self.most = 1.0
        self.to_none = True
        self.step = kuai.compile(self.plain_step) if compiled else self.plain_step

    def plain_step(self, x, target):
        self.optimizer.zero_grad(set_to_none=self.to_none)
        loss = nn.functional.cross_entropy(self.net(x), target)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), self.most)
        self.optimizer.step()
        return loss

    @property
    def group(self):
        return self.optimizer.param_groups[0]

    @property
    def weight(self):
        return self.net[0].weight


def scale_gradients(optimizer, args, kwargs):
    for p in optimizer.param_groups[0]["params"]:
        p.grad.mul_(0.1)


TRAINING_CHANGES = {
    "a rate": lambda t: t.group.update(lr=0.5),
    "a rate that is an int": lambda t: t.group.update(lr=1),
    "a rate that is a tensor": lambda t: t.group.update(lr=torch.tensor(0.3)),
    "weight decay": lambda t: t.group.update(weight_decay=0.3),
    "the direction": lambda t: t.group.update(maximize=True),
    "momentum": lambda t: t.group.update(momentum=0.1),
    "the kind of momentum": lambda t: t.group.update(nesterov=True),
    "a bound": lambda t: setattr(t, "most", 0.01),
    "how gradients are cleared": lambda t: setattr(t, "to_none", False),
    "a frozen parameter": lambda t: t.weight.requires_grad_(False),
    "another parameter": lambda t: setattr(
        t.net[0], "weight", nn.Parameter(torch.ones(4, 3).double())
    ),
    "other data": lambda t: setattr(t.weight, "data", torch.ones(4, 3).double()),
    "no state": lambda t: t.optimizer.state.clear(),
    "another state": lambda t: t.optimizer.load_state_dict(copy.deepcopy(t.optimizer.state_dict())),
    "half of the state": lambda t: [
        entry.update({k: v * 0.5 for k, v in entry.items()}) for entry in t.optimizer.state.values()
    ],
    "a further group": lambda t: t.optimizer.add_param_group(
        {"params": [nn.Parameter(torch.ones(2))]}
    ),
    "a parameter less": lambda t: t.group["params"].pop(),
    "another layer": lambda t: t.net.__setitem__(1, nn.ReLU()),
    "a gradient before": lambda t: setattr(t.weight, "grad", torch.ones(4, 3).double()),
    "a hook of a gradient": lambda t: t.weight.register_hook(lambda g: g * 3),
    "a hook after a gradient": lambda t: t.weight.register_post_accumulate_grad_hook(
        lambda p: p.grad.mul_(2)
    ),
    "a hook of the optimizer": lambda t: t.optimizer.register_step_pre_hook(scale_gradients),
    "a hook of a block": lambda t: t.net[0].register_forward_hook(lambda m, i, y: y * 2),
    "a hook of a block's gradient": lambda t: t.net[2].register_full_backward_hook(
        lambda m, given, g: tuple(x * 2 for x in given)
    ),
}


@pytest.mark.parametrize("name", TRAINING_CHANGES)
def test_what_changes_a_training_step(name):
    x, target = torch.rand(5, 3).double(), torch.tensor([0, 1, 0, 1, 1])
    found, expected = Training(True), Training(False)
    for training in (found, expected):
        training.losses = [training.step(x, target).item() for _ in range(3)]
        TRAINING_CHANGES[name](training)
        training.losses += [training.step(x, target).item() for _ in range(3)]
    assert found.losses == pytest.approx(expected.losses)
    for p, q in zip(found.net.parameters(), expected.net.parameters(), strict=True):
        np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-9)
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-6, atol=1e-12)
