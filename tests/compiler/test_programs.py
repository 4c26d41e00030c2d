"""Programs as people write them in PyTorch's style: compiled, they do what they do eagerly."""

import dataclasses
import math

import pytest

import kuai
import kuai as torch
from kuai import nn
from kuai.nn import functional as F
from tests.compiler.comparing import agrees, gradients_near, near

# -- iterations that end where a tensor says -------------------------------------------------------


def newton(x):
    y = torch.ones_like(x)
    steps = 0
    while ((y * y - x) / x).abs().max() > 1e-5:
        y = 0.5 * (y + x / y)
        steps += 1
    return y, steps


def bisection(target):
    low, high = torch.tensor(0.0), torch.tensor(4.0)
    for _ in range(60):
        middle = (low + high) / 2
        if middle**3 + middle > target:
            high = middle
        else:
            low = middle
        if high - low < 1e-4:
            break
    else:
        return -middle
    return middle * target / target


def power_iteration(a):
    v = torch.ones(a.shape[0], 1) / math.sqrt(a.shape[0])
    value = torch.zeros(())
    while True:
        w = a @ v
        new = (v.T @ w).squeeze()
        v = w / w.norm()
        if (new - value).abs() < 1e-4:
            break
        value = new
    return new, v


def adaptive_heun(y, rate, end):
    """Heun's method with steps that adapt to the error."""
    t, h = 0.0, 0.1
    accepted = rejected = 0
    while t < end:
        h = min(h, end - t)
        k1 = -rate * y
        k2 = -rate * (y + h * k1)
        error = float((h / 2 * (k2 - k1)).abs().max())
        if error <= 1e-3:
            y = y + h / 2 * (k1 + k2)
            t = t + h
            accepted += 1
        else:
            rejected += 1
        h = h * min(2.0, max(0.3, 0.9 * (1e-3 / (error + 1e-12)) ** 0.5))
        if h < 1e-7:
            raise RuntimeError("the step is too small")
    return y, accepted, rejected


def adaptive_tensor_steps(y, rate):
    t = torch.zeros(())
    h = torch.tensor(0.1)
    while t < 1.0:
        h = torch.minimum(h, 1.0 - t)
        k1 = -rate * y
        k2 = -rate * (y + h * k1)
        error = (h / 2 * (k2 - k1)).abs().max()
        if error <= 1e-3:
            y = y + h / 2 * (k1 + k2)
            t = t + h
            h = h * 1.5
        else:
            h = h * 0.5
    return y, t


def collatz(n):
    count = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return n, count


def gcd(a, b):
    while b:
        a, b = b, a % b
    return a


def rejection(x):
    """Draws until the sum is large enough."""
    tries = 0
    sample = torch.zeros_like(x)
    while sample.sum() < 2.5:
        sample = torch.rand(x.shape) * x
        tries += 1
        if tries >= 50:
            break
    return sample, tries


def halving(x):
    while x.abs().sum() > 1:
        x = x / 2
    return x.sum()


def halving_in_place(x):
    x = x * 1
    while x.abs().sum() > 1:
        x /= 2
    return x.sum()


def doubled_until(x, limit: float):
    rounds = 0
    while x.sum() < limit:
        x = x * 2
        rounds = rounds + 1
        if rounds > 30:
            return x.mean()
    return x.sum() * rounds


def nested_loops(x):
    total = torch.zeros(())
    while x.sum() > 1:
        y = x
        while y.max() > 0.5:
            y = y * 0.7
            total = total + y.sum()
        x = x - 0.6 * y.mean() - 0.1
    return total, x


def find_first(x, threshold):
    """The first element above a threshold, by for and else."""
    for i in range(x.shape[0]):
        if x[i] > threshold:
            found = x[i] * 2
            break
    else:
        found = x.sum()
    return found


def skipping(x):
    total = x.new_zeros(())
    for row in x:
        if row.sum() < 0:
            continue
        if row.max() > 2.0:
            break
        total = total + (row**2).sum()
    return total


def clenshaw(x, coefficients):
    b1 = b2 = torch.zeros_like(x)
    for c in coefficients.flip(0)[:-1]:
        b1, b2 = c + 2 * x * b1 - b2, b1
    return coefficients[0] + x * b1 - b2


ITERATIONS = {
    newton: [torch.rand(3) * 4 + 0.1, torch.rand(1) * 1e4],
    bisection: [torch.tensor(1.5), torch.tensor(30.0)],
    power_iteration: [(lambda a: a @ a.T + torch.eye(4))(torch.rand(4, 4))],
    halving: [torch.full((3,), v) for v in (0.1, 1.0, 7.0, 1e5, 1e12)],
    halving_in_place: [torch.full((3,), v) for v in (0.1, 1.0, 7.0, 1e5, 1e12)],
    nested_loops: [torch.rand(4) * s for s in (0.1, 1.0, 3.0)],
    skipping: [torch.randn(6, 3) * s for s in (0.1, 1.0, 2.0)],
}


@pytest.mark.parametrize("program", ITERATIONS, ids=lambda f: f.__name__)
def test_iterations(program):
    calls = [[x.clone().requires_grad_(flag)] for x in ITERATIONS[program] for flag in (0, 1)]
    agrees(program, *calls)


def test_an_adaptive_solver_with_steps_that_are_tensors():
    y = torch.tensor([1.0, -2.0], requires_grad=True)
    agrees(adaptive_tensor_steps, *([y, torch.tensor(r)] for r in (0.1, 3.0, 20.0)))


def test_an_adaptive_solver_with_steps_that_are_numbers():
    y = torch.tensor([1.0, -2.0])
    agrees(adaptive_heun, *([y, torch.tensor(r), 1.0] for r in (0.1, 3.0, 20.0)))


def test_integers():
    agrees(collatz, *([torch.tensor(n)] for n in (1, 2, 7, 27)))
    agrees(gcd, *([torch.tensor(a), torch.tensor(b)] for a, b in ((12, 18), (7, 0), (1071, 462))))


def test_draws_until_they_are_accepted():
    agrees(rejection, [torch.ones(4)], [torch.full((4,), 0.7)], [torch.full((4,), 0.1)])


def test_a_limit_that_is_a_number():
    x = torch.rand(3, requires_grad=True)
    agrees(doubled_until, *([x, limit] for limit in (0.0, 3.0, 100.0, math.inf)))


def test_for_and_else():
    x = torch.arange(6.0, requires_grad=True)
    agrees(find_first, *([x, torch.tensor(t)] for t in (-1.0, 2.5, 9.0)))


def test_clenshaw():
    agrees(clenshaw, [torch.rand(5, requires_grad=True), torch.rand(7, requires_grad=True)])


# -- networks that decide --------------------------------------------------------------------------


class AdaptiveComputation(nn.Module):
    """Graves (2016): each input is thought about until it is sure."""

    def __init__(self, size=6, most=12):
        super().__init__()
        self.cell = nn.GRUCell(size, size)
        self.halt = nn.Linear(size, 1)
        self.most = most

    def forward(self, x):
        state = torch.zeros_like(x)
        output = torch.zeros_like(x)
        remaining = torch.ones(x.shape[0], 1)
        ponder = torch.zeros(())
        for _step in range(self.most):
            state = self.cell(x, state)
            p = torch.sigmoid(self.halt(state))
            weight = torch.where(remaining > p, p, remaining)
            output = output + weight * state
            remaining = remaining - weight
            ponder = ponder + remaining.mean()
            if remaining.max() < 1e-3:
                break
        return output, ponder


class EarlyExit(nn.Module):
    def __init__(self, depth=4, size=5):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Linear(size, 3) for _ in range(depth))

    def forward(self, x):
        for layer, head in zip(self.layers, self.heads, strict=False):
            x = torch.tanh(layer(x))
            logits = head(x)
            if F.softmax(logits, -1).max() > 0.5:
                return logits
        return logits * 2


class UntilEnd(nn.Module):
    """A GRU over time that stops at a row of zeros."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x):
        h = x.new_zeros(1, 5)
        steps = 0
        for row in x:
            if (row == 0).all():
                break
            h = self.cell(row[None], h)
            steps += 1
        return h, steps


class Equilibrium(nn.Module):
    """A fixed point of a layer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        with torch.no_grad():
            self.inner.weight *= 0.5

    def forward(self, x):
        z = torch.zeros_like(x)
        for _i in range(100):
            new = torch.tanh(self.inner(z) + x)
            if (new - z).norm() < 1e-4 * new.norm():
                return new
            z = new
        return z


class Recursive(nn.Module):
    """A tree of blocks, walked by recursion over a static structure."""

    def __init__(self):
        super().__init__()
        self.join = nn.Linear(6, 3)

    def forward(self, tree):
        if isinstance(tree, torch.Tensor):
            return tree
        left, right = (self(t) for t in tree)
        both = torch.cat([left, right], -1)
        return self.join(both) if both.sum() > 0 else torch.relu(self.join(both)) - 1


def blocks_agree(net, *calls, tolerance=2e-5):
    """A block, compiled, does the same as eagerly, for its parameters' gradients, too."""
    compiled = kuai.compile(net)
    for args in calls:
        for _ in range(2):
            kuai.manual_seed(2)
            expected = net(*args)
            kuai.manual_seed(2)
            found = compiled(*args)
            near(found, expected, tolerance)
            parameters = list(net.parameters())
            grads = []
            for result in (expected, found):
                for p in parameters:
                    p.grad = None
                first = result[0] if isinstance(result, tuple) else result
                if first.requires_grad:
                    (
                        first * torch.linspace(0.5, 1, first.numel()).reshape(first.shape)
                    ).sum().backward()
                grads.append([None if p.grad is None else p.grad.clone() for p in parameters])
            gradients_near(grads[1], grads[0], tolerance)


def test_adaptive_computation_time():
    net = AdaptiveComputation()
    blocks_agree(net, *([torch.randn(3, 6) * s] for s in (0.1, 1.0, 5.0)))


def test_early_exit():
    blocks_agree(EarlyExit(), *([torch.randn(1, 5) * s] for s in (0.1, 1.0, 10.0, 50.0)))


@pytest.mark.parametrize("end", [0, 1, 3, 7])
def test_a_recurrent_network_that_stops(end):
    x = torch.randn(7, 4)
    x[end:] = 0
    blocks_agree(UntilEnd(), [x])


def test_an_equilibrium():
    blocks_agree(Equilibrium(), *([torch.randn(2, 4) * s] for s in (0.1, 1.0)), tolerance=1e-4)


def test_recursion_over_a_tree():
    def leaf():
        return torch.randn(2, 3)

    blocks_agree(Recursive(), [((leaf(), leaf()), leaf())], [(leaf(), ((leaf(), leaf()), leaf()))])


def beam_search(start, transition, width: int):
    """The most likely sequences of a chain of Markov."""
    scores = start.log_softmax(-1)
    logits = transition.log_softmax(-1)
    best, tokens = scores.topk(width)
    sequences = tokens[:, None]
    for _ in range(5):
        step = best[:, None] + logits[sequences[:, -1]]
        best, flat = step.flatten().topk(width)
        origin, token = flat // logits.shape[1], flat % logits.shape[1]
        sequences = torch.cat([sequences[origin], token[:, None]], 1)
    return best, sequences


def test_beam_search_of_fixed_length():
    def search(start, transition):
        return beam_search(start, transition, 3)

    agrees(search, [torch.randn(6, requires_grad=True), torch.randn(6, 6, requires_grad=True)])


def beam_search_with_memory(start, transition):
    """With sequences in a tensor of fixed size, so that it may end when all have ended."""
    width, most = 3, 8
    logits = transition.log_softmax(-1)
    best, tokens = start.log_softmax(-1).topk(width)
    sequences = torch.zeros(width, most, dtype=torch.int64)
    sequences[:, 0] = tokens
    length = 1
    while length < most:
        last = sequences[:, length - 1]
        if (last == 0).all():
            break
        step = best[:, None] + logits[last]
        best, flat = step.flatten().topk(width)
        sequences = sequences[flat // logits.shape[1]]
        sequences[:, length] = flat % logits.shape[1]
        length += 1
    return best, sequences, length


def test_beam_search_that_ends():
    start = torch.randn(6, requires_grad=True)
    transition = torch.randn(6, 6)
    ends = transition.clone()
    ends[:, 0] += 20
    calls = [[start, t.requires_grad_()] for t in (transition, ends)]
    agrees(beam_search_with_memory, *calls)


def stack_machine(program, values):
    """Push (0), add (1), multiply (2), duplicate (3); ends at 4."""
    stack = torch.zeros(8)
    top = torch.zeros((), dtype=torch.int64)
    at = 0
    while program[at] != 4:
        op = program[at]
        if op == 0:
            stack = stack.index_put((top,), values[at])
            top = top + 1
        elif op == 3:
            stack = stack.index_put((top,), stack[top - 1])
            top = top + 1
        else:
            a, b = stack[top - 1], stack[top - 2]
            stack = stack.index_put((top - 2,), a + b if op == 1 else a * b)
            top = top - 1
        at += 1
    return stack[0]


@pytest.mark.parametrize("program", [[0, 4], [0, 0, 1, 4], [0, 3, 2, 0, 1, 3, 2, 4]])
def test_a_stack_machine(program):
    values = torch.rand(len(program), requires_grad=True)
    agrees(stack_machine, [torch.tensor(program), values])


# -- Python's ways of writing things ---------------------------------------------------------------


@dataclasses.dataclass
class State:
    position: kuai.Tensor
    velocity: kuai.Tensor
    time: float = 0.0


def bounce(state: State, drag):
    while state.position.min() < 1:
        velocity = state.velocity * (1 - drag) + 0.1
        if (state.position < 0).any():
            velocity = -velocity
        state = State(state.position + 0.1 * velocity.abs(), velocity, state.time + 0.1)
    return state


def test_dataclasses():
    start = State(torch.tensor([0.0, 0.4], requires_grad=True), torch.tensor([0.2, 1.0]))
    agrees(bounce, [start, torch.tensor(0.01)], [start, torch.tensor(0.3, requires_grad=True)])


def test_dictionaries_and_comprehensions():
    def f(batch, scale=2.0):
        features = {k: torch.tanh(v) * scale for k, v in batch.items() if k != "label"}
        total = sum(v.sum() for v in features.values())
        rows = [features["a"][i] * (i + 1) for i in range(3)]
        squares = {i: r**2 for i, r in enumerate(rows)}
        if total > batch["label"]:
            features["a"] = features["a"] * 2
        return {**features, "total": total, "rows": rows, "squares": squares}

    for label in (-100.0, 100.0):
        batch = {
            "a": torch.randn(3, 2, requires_grad=True),
            "b": torch.randn(4),
            "label": torch.tensor(label),
        }
        agrees(f, [batch], [batch, 3.0])


def test_closures_and_higher_functions():
    def scaled(factor):
        def apply(x):
            return x * factor

        return apply

    def compose(*functions):
        def run(x):
            for f in functions:
                x = f(x)
            return x

        return run

    def f(x):
        chain = compose(scaled(2), torch.sin, scaled(x.mean()), lambda y: y + 1)
        count = 0

        def body(y):
            nonlocal count
            count += 1
            return chain(y)

        while x.sum() < 5:
            x = body(x) + 0.5
        return x, list(map(scaled(3), [x, x + 1])), max(x.max(), x.min())

    agrees(f, [torch.rand(3, requires_grad=True)], [torch.full((3,), 9.0)])


def factorial_like(x, n: int):
    if n == 0:
        return torch.ones_like(x)
    return x * factorial_like(x + 1, n - 1)


def test_recursion_on_numbers():
    agrees(factorial_like, *([torch.rand(3, requires_grad=True), n] for n in (0, 1, 5)))


def test_generators_zip_enumerate_and_unpacking():
    def pairs(items):
        yield from enumerate(items)

    def f(xs, *rest, bias=None, **named):
        first, *others = xs
        total = first * 0
        for i, x in pairs(others):
            total = total + x * i
        for a, b in zip(rest, reversed(rest), strict=True):
            total += a * b
        if bias is not None:
            total = total + bias
        text = f"{len(others)} others, {sorted(named)}"
        assert isinstance(total, torch.Tensor), text
        return total, text

    xs = [torch.rand(2, requires_grad=True) for _ in range(3)]
    expected = f(xs, *xs, bias=xs[0], extra=1)
    found = kuai.compile(f)(xs, *xs, bias=xs[0], extra=1)
    near(found, expected)
    agrees(f, [xs], [xs, *xs])


def test_early_returns_in_loops():
    def f(x):
        for i in range(5):
            for j in range(3):
                x = x * 1.3 + 0.1 * j
                if x.sum() > 10:
                    return x, i, j
            if x.max() < 0:
                return -x, i, -1
        return x * 0, -1, -1

    agrees(f, *([torch.full((3,), v, requires_grad=True)] for v in (-5.0, 0.0, 1.0, 3.0, 50.0)))


def test_views_and_assignments():
    def f(x):
        y = x.clone()
        y[0] = y[1] * 2
        column = y[:, 1]
        column += y.sum()
        y[:, ::2] *= 0.5
        y.T[2, 0] = column.mean()
        flat = y.view(-1)
        flat[3:5] = torch.tensor([7.0, 8.0])
        while flat.sum() > 10:
            flat -= 1
            y[1] *= 0.9
        return y, column, flat[2:4]

    agrees(f, [torch.rand(3, 3, requires_grad=True)], [torch.rand(3, 3) * 20])


def test_values_that_gradients_need_changed_in_place():
    def f(x, y):
        m = x.clone()
        m *= y
        m.clamp_(-1.5, 1.5)
        while m.sum() < 3:
            m *= y + 1.5
            m.clamp_(0, 2)
            m += 0.1
        return m

    calls = [[torch.rand(2, 2) * s for _ in range(2)] for s in (0.3, 1.0, 4.0)]
    agrees(f, *([x.requires_grad_() for x in call] for call in calls))


def test_masks_without_data_dependent_shapes():
    def f(x):
        y = x.clone()
        y[y < 0] = 0.5
        y = torch.where(y > 1, y.log(), y)
        return y.masked_fill(y > 0.9, 0.0)

    agrees(f, [torch.randn(4, 4, requires_grad=True)])


def viterbi(emissions, transitions):
    score = emissions[0]
    paths = []
    for e in emissions[1:]:
        best, where = (score[:, None] + transitions).max(0)
        score = best + e
        paths.append(where)
    tag = score.argmax()
    tags = [tag]
    for where in reversed(paths):
        tag = where[tag]
        tags.append(tag)
    return score.max(), torch.stack(tags[::-1])


def test_viterbi():
    agrees(viterbi, [torch.randn(6, 4, requires_grad=True), torch.randn(4, 4, requires_grad=True)])


def sinkhorn(cost):
    k = torch.exp(-cost / 0.5)
    u = torch.ones(cost.shape[0])
    v = torch.ones(cost.shape[1])
    change = torch.tensor(1.0)
    rounds = 0
    while change > 1e-3 and rounds < 200:
        new = 1 / (k @ v)
        v = 1 / (k.T @ new)
        change = (new - u).abs().max()
        u = new
        rounds += 1
    return (u[:, None] * k * v * cost).sum(), rounds


def test_sinkhorn():
    agrees(sinkhorn, [torch.rand(4, 4, requires_grad=True)], tolerance=1e-4)


def conjugate_gradients(a, b):
    x = torch.zeros_like(b)
    r = b - a @ x
    p = r
    rr = r @ r
    while rr > 1e-12:
        ap = a @ p
        alpha = rr / (p @ ap)
        x = x + alpha * p
        r = r - alpha * ap
        new = r @ r
        p = r + new / rr * p
        rr = new
    return x


def test_conjugate_gradients():
    root = torch.rand(5, 5, dtype=torch.float64)
    a = (root @ root.T + torch.eye(5)).requires_grad_()
    b = torch.rand(5, dtype=torch.float64, requires_grad=True)
    agrees(conjugate_gradients, [a, b], tolerance=1e-6)


def attention_with_cache(queries):
    """Keys that are written into memory of fixed size, step by step."""
    size = queries.shape[1]
    memory = torch.zeros(queries.shape[0], size)
    outputs = []
    for t in range(queries.shape[0]):
        memory[t] = torch.tanh(queries[t])
        keys = memory[: t + 1].clone()
        weights = F.softmax(keys @ queries[t] / math.sqrt(size), 0)
        outputs.append(weights @ keys)
    return torch.stack(outputs)


def test_attention_with_a_cache():
    agrees(attention_with_cache, [torch.randn(5, 4, requires_grad=True)])


def test_second_derivatives_through_a_loop():
    def penalty(x):
        y = x
        while y.norm() < 4:
            y = y * 1.5 + y.sin()
        return (y**3).sum()

    compiled = kuai.compile(penalty)
    for scale in (0.1, 1.0, 9.0):
        found = []
        for f in (penalty, compiled):
            x = (torch.ones(3) * scale).requires_grad_()
            (g,) = torch.autograd.grad(f(x), x, create_graph=True)
            found.append(torch.autograd.grad((g**2).sum(), x)[0])
        near(found[1], found[0], 1e-4)


def test_gradients_inside_the_program():
    def f(x, w):
        w = w.detach().requires_grad_()
        for _ in range(3):
            loss = ((x * w - 1) ** 2).sum()
            (g,) = torch.autograd.grad(loss, w)
            w = (w - 0.1 * g).detach().requires_grad_()
        return w, loss

    agrees(lambda x, w: f(x, w)[0].detach(), [torch.rand(3), torch.rand(3)])


def test_meta_learning():
    """A gradient step whose own gradient is wanted."""

    def f(w, x, y):
        inner = ((x @ w - y) ** 2).mean()
        (g,) = torch.autograd.grad(inner, w, create_graph=True)
        fast = w - 0.1 * g
        return ((x @ fast - y) ** 2).mean()

    agrees(f, [torch.rand(3, requires_grad=True), torch.rand(5, 3), torch.rand(5)])


# -- the seed's networks ---------------------------------------------------------------------------


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 256)
        self.out = nn.Linear(256, 10)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x)))


class MySequential(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        for i, block in enumerate(blocks):
            self._modules[str(i)] = block

    def forward(self, x):
        for block in self._modules.values():
            x = block(x)
        return x


class FixedHiddenMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.rand_weight = torch.rand((20, 20), requires_grad=False)
        self.linear = nn.Linear(20, 20)

    def forward(self, x):
        x = self.linear(x)
        x = F.relu(torch.mm(x, self.rand_weight) + 1)
        x = self.linear(x)
        while x.abs().sum() > 1:
            x /= 2
        return x.sum()


class NestMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.linear = nn.Linear(32, 16)

    def forward(self, x):
        return self.linear(self.net(x))


SEED = {
    "one line": lambda: nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10)),
    "block": MLP,
    "own Sequential": lambda: MySequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10)),
    "fixed": FixedHiddenMLP,
    "nested": NestMLP,
    "chimera": lambda: nn.Sequential(NestMLP(), nn.Linear(16, 20), FixedHiddenMLP()),
}


@pytest.mark.parametrize("name", SEED)
def test_the_seeds_networks(name):
    net = SEED[name]()
    blocks_agree(net, [torch.rand(2, 20)], [torch.rand(5, 20)], tolerance=1e-4)


@pytest.mark.parametrize("power", [*range(0, 41, 4)])
@pytest.mark.parametrize("name", ["fixed", "chimera"])
def test_the_loop_runs_any_number_of_times(name, power):
    """The last layer scaled so that the loop halves 0 to about 40 times."""
    net = SEED[name]()
    linear = (net if name == "fixed" else net[2]).linear
    with torch.no_grad():
        linear.weight *= 2.0 ** (power / 2) / 64
        linear.bias *= 2.0 ** (power / 2) / 64
    blocks_agree(net, [torch.rand(2, 20)], tolerance=1e-4)
