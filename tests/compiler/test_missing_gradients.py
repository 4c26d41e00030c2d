"""What the course of a compiled program leaves out has no gradient, as eagerly: `grad` is None."""

import warnings

import pytest

import kuai
from kuai import nn, optim
from tests.compiler.comparing import near
from tests.compiler.test_schedules import OPTIMIZERS

UP, DOWN, BIT = kuai.ones(3), -kuai.ones(3), kuai.ones(3) / 6


class TwoWays(nn.Module):
    """One of two layers, as the sign of what a third gives decides."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = self.c(x)
        y = self.a(x) if x.sum() > 0 else self.b(x)
        return (y * y).sum()


class Rounds(nn.Module):
    """A layer for each round, and another in some rounds."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x, n):
        y, z = self.c(x), kuai.zeros(3)
        for _ in range(n):
            y = self.a(y).tanh()
            if y.sum() > 0:
                z = self.b(y)
        return y.sum() + z.sum()


class Overwritten(nn.Module):
    """A start that the first round makes superfluous."""

    def __init__(self):
        super().__init__()
        self.start, self.weight = nn.Parameter(kuai.rand(3)), nn.Parameter(kuai.rand(3))

    def forward(self, x, n):
        y = self.start * 2
        for _ in range(n):
            y = self.weight * x
        return y.sum()


class Deferred(nn.Module):
    """A carried value that only matters if there is another round."""

    def __init__(self):
        super().__init__()
        self.start, self.weight = nn.Parameter(kuai.rand(3)), nn.Parameter(kuai.rand(3))

    def forward(self, x, n):
        y, z = x * 1.0, self.start * 2
        for _ in range(n):
            y, z = y + z, self.weight * y
        return y.sum()


class Nested(nn.Module):
    """Branches in branches, and in loops in branches."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x, n):
        if n > 0:
            y = self.a(x)
            while n > 0:
                y = self.b(y) if n > 2 else y * 2
                n = n - 1
        elif n > -2:
            y = self.c(x)
        else:
            y = self.a(x) + self.c(x)
        return y.sum()


def trips(*counts):
    return [(UP, kuai.tensor(n)) for n in counts]


CASES = {
    "TwoWays": (TwoWays, [(UP,), (DOWN,), (UP,)]),
    "Rounds": (Rounds, trips(0, 1, 3, 0)),
    "Overwritten": (Overwritten, trips(0, 1, 2)),
    "Deferred": (Deferred, trips(1, 2, 3, 1)),
    "Nested": (Nested, trips(3, 1, 0, -1, -3)),
}


def made(name):
    kuai.manual_seed(2)
    return CASES[name][0]()


def same_gradients(found, expected):
    for p, q in zip(found.parameters(), expected.parameters(), strict=True):
        near(p.grad, q.grad, 1e-4)


@pytest.mark.parametrize("name", CASES)
def test_gradients_that_leave_a_compiled_block(name):
    net, eager = made(name), made(name)
    compiled = kuai.compile(net)
    for args in CASES[name][1]:
        for each, call in ((net, compiled), (eager, eager)):
            each.zero_grad()
            call(*args).backward()
        same_gradients(net, eager)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_a_backward_inside(name):
    net, eager = made(name), made(name)

    def step(net, *args):
        net.zero_grad()
        net(*args).backward()

    compiled = kuai.compile(lambda *args: step(net, *args))
    for args in CASES[name][1]:
        compiled(*args)
        step(eager, *args)
        same_gradients(net, eager)


@pytest.mark.parametrize("name", CASES)
def test_grad_outside_tells_what_was_not_used(name):
    net = made(name)
    compiled = kuai.compile(net)
    leaves = list(net.parameters())
    for args in CASES[name][1]:
        expected = kuai.autograd.grad(net(*args), leaves, allow_unused=True)
        near(kuai.autograd.grad(compiled(*args), leaves, allow_unused=True), expected, 1e-4)
        if any(g is None for g in expected):
            with pytest.raises(RuntimeError, match="not have been used"):
                kuai.autograd.grad(compiled(*args), leaves)


@pytest.mark.parametrize("options", [{"allow_unused": True}, {"materialize_grads": True}])
def test_grad_inside_tells_what_was_not_used(options):
    net = made("TwoWays")
    leaves = list(net.parameters())

    def gradients(x):
        return kuai.autograd.grad(net(x), leaves, **options)

    compiled = kuai.compile(gradients)
    for x in (UP, DOWN):
        near(compiled(x), gradients(x), 1e-4)


def test_grad_inside_raises_where_eager_raises():
    a, b = (kuai.rand(3, requires_grad=True) for _ in range(2))

    @kuai.compile
    def gradient(x):
        y = a * x if x.sum() > 0 else b * x
        return kuai.autograd.grad(y.sum(), [a])

    near(gradient(UP), (UP,))
    with pytest.raises(RuntimeError, match="not have been used"):
        gradient(DOWN)


def test_an_input_that_was_not_used():
    def f(x, y):
        return (x * 2).sum() if x.sum() > 0 else (y * 3).sum()

    compiled = kuai.compile(f)
    for sign in (1.0, -1.0):
        x = kuai.full((3,), sign, requires_grad=True)
        y = kuai.ones(3, requires_grad=True)
        expected = kuai.autograd.grad(f(x, y), [x, y], allow_unused=True)
        near(kuai.autograd.grad(compiled(x, y), [x, y], allow_unused=True), expected)


def test_what_the_user_asks_of_a_gradient_is_a_branch():
    def run(compiled):
        a, b = kuai.ones(3, requires_grad=True), kuai.ones(3, requires_grad=True)

        def step(x):
            a.grad = b.grad = None
            (a * x if x.sum() > 0 else b * x).sum().backward()
            with kuai.no_grad():
                for p in (a, b):
                    if p.grad is not None:
                        p -= 0.1 * p.grad + 0.1 * p
                count = 0
                for p in (a, b):
                    g = p.grad
                    if g is None:
                        continue
                    count = count + 1
            return count, a.grad, b.grad

        call = kuai.compile(step) if compiled else step
        return [(call(x), a.detach().clone(), b.detach().clone()) for x in (UP, DOWN, UP)]

    near(run(True), run(False))


def test_gradients_add_up_where_they_arrive():
    def run(compiled):
        a, b = kuai.ones(3, requires_grad=True), kuai.ones(3, requires_grad=True)

        def step(x):
            (a * x if x.sum() > 0 else b * x).sum().backward()
            (a * x if x.sum() > 1 else b * 2).sum().backward()

        call = kuai.compile(step) if compiled else step
        seen = []
        for x in (UP, DOWN, BIT, UP):
            call(x)
            seen.append([None if p.grad is None else p.grad.clone() for p in (a, b)])
        return seen

    near(run(True), run(False))


def test_gradients_that_a_branch_clears():
    def run(compiled):
        a = kuai.ones(3, requires_grad=True)

        def step(x):
            if x.sum() > 0:
                a.grad = None

        def add(x):
            (a * x).sum().backward()

        call = kuai.compile(step) if compiled else step
        seen = []
        for x in (UP, DOWN, DOWN, UP, DOWN):
            call(x)
            seen.append(None if a.grad is None else a.grad.clone())
            if x is DOWN:
                add(x)
        return seen

    near(run(True), run(False))


def stepped(make, compiled, inputs):
    """Parameters, gradients and state of a network after each of some steps."""
    kuai.manual_seed(2)
    net = TwoWays()
    optimizer = make(list(net.parameters()))

    def step(x):
        optimizer.zero_grad()
        loss = net(x)
        loss.backward()
        optimizer.step()
        return loss

    call = kuai.compile(step) if compiled else step
    seen = []
    for x in inputs:
        call(x)
        seen.append(
            (
                [p.detach().clone() for p in net.parameters()],
                [p.grad is None for p in net.parameters()],
                {
                    number: {name: entry.clone() for name, entry in state.items()}
                    for number, state in optimizer.state_dict()["state"].items()
                },
            )
        )
    return seen, len(call._compiled.programs) if compiled else 0


@pytest.mark.parametrize("inputs", [[UP, UP, UP, DOWN, DOWN, UP, DOWN], [DOWN, DOWN, UP, UP]])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_leave_out_what_has_no_gradient(name, inputs):
    """No weight decay, no momentum, no state, no count of steps."""
    found, programs = stepped(OPTIMIZERS[name], True, inputs)
    expected, _ = stepped(OPTIMIZERS[name], False, inputs)
    near(found, expected, 2e-4)
    assert programs <= 2  # before and after the other side has state


def test_decay_and_momentum_rest_with_the_gradient():
    def make(ps):
        return optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)

    inputs = [UP, DOWN, UP, UP, DOWN]
    near(stepped(make, True, inputs)[0], stepped(make, False, inputs)[0], 1e-4)


def test_a_cycled_momentum_with_gradients_that_may_be_missing():
    def run(compiled):
        kuai.manual_seed(2)
        net = TwoWays()
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=12)

        def step(x):
            optimizer.zero_grad()
            net(x).backward()
            optimizer.step()

        call = kuai.compile(step) if compiled else step
        for x in [UP, DOWN] * 5:
            call(x)
            scheduler.step()
        if compiled:
            assert len(call._compiled.programs) <= 2
        return [p.detach() for p in net.parameters()]

    near(run(True), run(False), 1e-4)


class Summing(optim.Optimizer):
    """One of the user's, which overrides `_update_group`, and decides by values."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def _update_group(self, group):
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if "sum" not in state:
                state["sum"] = kuai.zeros_like(p)
            state["sum"].mul_(0.5).add_(p.grad)
            if state["sum"].abs().max() > 1:
                p.add_(state["sum"], alpha=-group["lr"])


class Counting(optim.Optimizer):
    """One of the user's, which overrides `step`."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    @kuai.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["count"] = kuai.tensor(0.0)
                state["count"] += 1
                p.add_(p.grad / state["count"], alpha=-group["lr"])


@pytest.mark.parametrize("make", [Summing, Counting])
def test_optimizers_of_the_users(make):
    inputs = [UP, UP, DOWN, UP, DOWN]
    near(stepped(make, True, inputs)[0], stepped(make, False, inputs)[0], 1e-4)


def test_two_steps_in_one_call():
    def run(compiled):
        a, b = kuai.ones(3, requires_grad=True), kuai.ones(3, requires_grad=True)
        optimizer = optim.Adam([a, b], lr=0.1)

        def steps(x):
            for bound in (0.0, 1.0):
                optimizer.zero_grad()
                ((a if x.sum() > bound else b) * x).sum().square().backward()
                optimizer.step()

        call = kuai.compile(steps) if compiled else steps
        seen = []
        for x in (UP, UP, DOWN, BIT, DOWN):
            call(x)
            seen.append([a.detach().clone(), b.detach().clone()])
        return seen

    near(run(True), run(False))


def test_clipped_gradients_stay_away():
    def run(compiled):
        a, b = kuai.ones(3, requires_grad=True), kuai.ones(3, requires_grad=True)
        optimizer = optim.AdamW([a, b], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            ((a if x.sum() > 0 else b) * x).sum().square().backward()
            norm = nn.utils.clip_grad_norm_([a, b], 0.5)
            nn.utils.clip_grad_value_([a, b], 0.2)
            optimizer.step()
            return norm

        call = kuai.compile(step) if compiled else step
        return [(call(x), a.detach().clone(), b.detach().clone()) for x in (UP, UP, DOWN, UP)]

    near(run(True), run(False))


def test_a_hook_of_a_gradient_that_may_be_missing():
    def run(compiled):
        a, b = kuai.ones(3, requires_grad=True), kuai.ones(3, requires_grad=True)

        def step(x):
            a.grad = b.grad = None
            y, z = a * 2, b * 2
            y.register_hook(lambda grad: grad * 3)
            (y * x if x.sum() > 0 else z * x).sum().backward()

        call = kuai.compile(step) if compiled else step
        seen = []
        for x in (UP, DOWN):
            call(x)
            seen.append((a.grad, b.grad))
        return seen

    near(run(True), run(False))


@pytest.mark.parametrize("inside", [True, False])
def test_one_program_for_any_batch(inside):
    net, eager = made("TwoWays"), made("TwoWays")

    def step(net, x):
        net.zero_grad()
        net(x).backward()

    if inside:
        take = kuai.compile(lambda x: step(net, x), dynamic_batch=True)
    else:
        compiled = kuai.compile(net, dynamic_batch=True)
        take = lambda x: (net.zero_grad(), compiled(x).backward())  # noqa: E731
    for size in (2, 5, 7, 3):
        for sign in (1.0, -1.0):
            x = kuai.full((size, 3), sign)
            take(x)
            step(eager, x)
            same_gradients(net, eager)


def test_a_program_without_captured_branches_carries_no_bools():
    """Loops whose rounds are known always give gradients."""
    weight = kuai.rand(3, requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)

    @kuai.compile
    def step(x):
        optimizer.zero_grad()
        for _ in range(20):
            x = (x * weight).tanh()
        x.sum().backward()
        optimizer.step()

    step(UP)
    (program,) = step._compiled.programs.values()
    assert not program.recorded.arrivals
    assert not any(op.primitive.name == "cond" for op in program.recorded.graph.walk())


def test_no_warning_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stepped(OPTIMIZERS["Adam"], True, [UP, DOWN])
