"""Attributes that compiled code sets hold after a call what eager code would have put there."""

import copy
import types
from dataclasses import dataclass

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.errors import CompileError


class Attention(nn.Module):
    """The textbook's: the weights are there to be looked at afterwards."""

    attention_weights = None

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(4, 4)

    def forward(self, x):
        self.attention_weights = kuai.softmax(self.query(x) @ x.T, -1)
        return self.attention_weights @ x


class Norm(nn.Module):
    """Batch norm from scratch, with plain attributes for what it remembers."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(kuai.ones(4))
        self.moving_mean = kuai.zeros(4)
        self.steps = 0
        self.seen = 0.0

    def forward(self, x):
        if not self.training:
            return (x - self.moving_mean) * self.gamma
        mean = x.mean(0)
        self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean.detach()
        self.steps += 1
        self.seen = self.seen + 0.5
        return (x - mean) * self.gamma


class Memory(nn.Module):
    """A state that is made at the first call, and goes on from one to the next."""

    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(4, 4)
        self.state = None

    def forward(self, x):
        if self.state is None:
            self.state = kuai.zeros(x.shape[0], 4)
        self.state = kuai.tanh(self.cell(x) + self.state)
        return self.state.sum()


class Deciding(nn.Module):
    """Sets attributes as the values of tensors decide."""

    def __init__(self):
        super().__init__()
        self.halvings = 0
        self.last = kuai.zeros(4)

    def forward(self, x):
        while x.abs().sum() > 1:
            x = x / 2
            self.halvings += 1
        if x.sum() > 0:
            self.last = x * 1
        return x


def copies(block):
    return block, kuai.compile(copy.deepcopy(block))


def programs(compiled):
    return len(compiled._compiled.programs)


def equal(x, y):
    np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), 1e-5, 1e-6)


def test_what_a_call_leaves_in_an_attribute_can_be_looked_at_and_differentiated():
    eager, compiled = copies(Attention())
    for _ in range(3):
        x = kuai.rand(3, 4)
        equal(compiled(x), eager(x))
        equal(compiled.attention_weights, eager.attention_weights)
        for net in (eager, compiled):
            net.zero_grad()
            (net.attention_weights**2).sum().backward()
        equal(compiled.query.weight.grad, eager.query.weight.grad)
    assert compiled.attention_weights is compiled._orig_mod.attention_weights
    assert programs(compiled) == 1
    with kuai.no_grad():
        compiled(x)
    assert not compiled.attention_weights.requires_grad


def test_counters_and_means_go_on_without_new_programs():
    eager, compiled = copies(Norm())
    for _ in range(5):
        x = kuai.rand(3, 4)
        equal(compiled(x), eager(x))
        equal(compiled.moving_mean, eager.moving_mean)
        assert (compiled.steps, compiled.seen) == (eager.steps, eager.seen)
        assert (type(compiled.steps), type(compiled.seen)) == (int, float)
    assert programs(compiled) == 1


def test_a_program_that_does_not_look_at_an_attribute_serves_whatever_it_holds():
    eager, compiled = copies(Norm())
    x = kuai.rand(3, 4)
    for _ in range(3):
        for mode in (True, False):
            equal(compiled.train(mode)(x), eager.train(mode)(x))
    assert programs(compiled) == 2


def test_what_the_user_sets_between_calls_is_what_the_next_call_finds():
    eager, compiled = copies(Norm())
    x = kuai.rand(3, 4)
    for net in (eager, compiled):
        net(x)
        net.steps = 100
        net.moving_mean = kuai.ones(4)
    equal(compiled(x), eager(x))
    equal(compiled.moving_mean, eager.moving_mean)
    assert compiled.steps == eager.steps == 101


def test_other_changes_of_the_block_are_still_noticed():
    eager, compiled = copies(Norm())
    x = kuai.rand(3, 4)
    for net in (eager, compiled):
        net(x)
        net.gamma = nn.Parameter(kuai.full((4,), 3.0))
    equal(compiled(x), eager(x))


def test_a_compiled_reader_of_the_attribute_sees_what_it_became():
    norm = Norm()
    train = kuai.compile(norm)
    read = kuai.compile(lambda x: x + norm.steps + norm.moving_mean)
    x = kuai.rand(3, 4)
    for _ in range(3):
        train(x)
        equal(read(x), x + norm.steps + norm.moving_mean)


def test_gradients_flow_through_a_state_from_call_to_call():
    eager, compiled = copies(Memory())
    xs = [kuai.rand(2, 4, requires_grad=True) for _ in range(3)]
    grads = []
    for net in (eager, compiled):
        net.state = None
        loss = sum(net(x) for x in xs)
        grads.append(kuai.autograd.grad(loss, [*xs, *net.parameters()]))
    for one, other in zip(*grads, strict=True):
        equal(one, other)


def test_gradients_of_gradients_leave_attributes_alone():
    eager, compiled = copies(Memory())
    x = kuai.rand(2, 4, requires_grad=True)
    found = []
    for net in (eager, compiled):
        y = net(x)
        state = net.state
        (g,) = kuai.autograd.grad(y, x, create_graph=True)
        found.append(kuai.autograd.grad((g * g).sum(), x)[0])
        assert net.state is state
    equal(*found)


def test_branches_and_loops_set_attributes_as_values_decide():
    eager, compiled = copies(Deciding())
    for scale in (0.1, -1.0, 30.0):
        x = kuai.rand(4) * scale
        equal(compiled(x), eager(x))
        assert compiled.halvings == eager.halvings
        equal(compiled.last, eager.last)
    assert programs(compiled) == 1


def test_a_failing_call_sets_nothing():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.table = nn.Embedding(3, 2)

        def forward(self, i):
            self.calls += 1
            return self.table(i)

    net = kuai.compile(Failing())
    net(kuai.tensor([1]))
    with pytest.raises(IndexError):
        net(kuai.tensor([7]))
    assert net.calls == 1


def test_a_refused_capture_leaves_attributes_as_they_were():
    class Refused(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.mask = x > 0
            return x[self.mask]

    net = kuai.compile(Refused())
    with pytest.raises(CompileError):
        net(kuai.rand(3))
    assert net.calls == 0
    assert not hasattr(net, "mask")


def test_containers_and_static_values():
    class Tracing(nn.Module):
        def forward(self, x):
            self.shape = x.shape
            self.parts = [x * 1, {"twice": x * 2}]
            self.name = "seen"
            return x

    eager, compiled = copies(Tracing())
    for n in (2, 3):
        x = kuai.rand(n)
        eager(x), compiled(x)
        assert compiled.shape == eager.shape
        assert compiled.name == "seen"
        equal(compiled.parts[0], eager.parts[0])
        equal(compiled.parts[1]["twice"], eager.parts[1]["twice"])


@dataclass
class Totals:
    sum: float = 0.0
    count: int = 0


@pytest.mark.parametrize("make", [Totals, lambda: types.SimpleNamespace(sum=0.0, count=0)])
def test_objects_that_are_no_blocks(make):
    totals = make()

    @kuai.compile
    def add(x):
        totals.count += 1
        totals.sum = totals.sum + x.sum()
        return x * totals.count

    for i in range(1, 4):
        np.testing.assert_array_equal(add(kuai.ones(2)).numpy(), [i, i])
        assert totals.count == i
        assert float(totals.sum) == 2 * i


def test_an_attribute_that_exists_only_in_some_cases_is_refused():
    class Sometimes(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                self.positive = x
            return x

    net = kuai.compile(Sometimes())
    with pytest.raises(CompileError, match="__init__"):
        net(kuai.ones(2))
    assert not hasattr(net, "positive")


class Guarded:
    def __init__(self):
        self._value = 0

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, x):
        self._value = x


def test_properties_set_what_their_setters_set():
    guarded = Guarded()

    @kuai.compile
    def f(x):
        guarded.value = guarded.value + 3
        return x * guarded.value

    assert f(kuai.ones(1)).item() == 3
    assert f(kuai.ones(1)).item() == 6
    assert guarded.value == 6


def test_attributes_of_kuais_own_blocks_are_refused():
    dropout = nn.Dropout(0.5)

    def f(x):
        dropout.p = 0.25
        return dropout(x)

    with pytest.raises(CompileError, match="attribute"):
        kuai.compile(f)(kuai.ones(2))
    assert dropout.p == 0.5
