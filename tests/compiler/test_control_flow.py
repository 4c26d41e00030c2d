"""Python's control flow on captured tensors gives what it gives eagerly, with its gradients."""

import dataclasses
import itertools
import math
from collections import namedtuple

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.nn import functional as F
from tests.compiler.evaluating import check, doubles


def at(value, requires_grad=True):
    return kuai.tensor(value, dtype=kuai.float64, requires_grad=requires_grad)


SIGNS = [at([1.5, -0.5]), at([-1.5, 0.5]), at([0.1, 0.2])]


# -- branches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", SIGNS)
def test_if_else(x):
    def function(x):
        if x.sum() > 0:
            y = x * 2
        else:
            y = x.exp()
        return y

    check(function, x, orders=3)


@pytest.mark.parametrize("x", SIGNS)
def test_if_alone(x):
    def function(x):
        y = x * x
        if x.sum() > 0.5:
            y = y * 3
        return y + 1

    check(function, x, orders=2)


@pytest.mark.parametrize("x", SIGNS)
def test_elif_and_nesting(x):
    def function(x):
        s = x.sum()
        if s > 0.9:
            y = x
        elif s > 0.2:
            if x[0] > 0:
                y = x * 2
            else:
                y = x * 3
        else:
            y = x.sin()
        return y

    check(function, x, orders=2)


@pytest.mark.parametrize("x", SIGNS)
def test_early_returns(x):
    def function(x):
        if x[0] > 1:
            return x * 2
        y = x.exp()
        if x[1] > 0.3:
            return y
        y = y + 1
        return y * y

    check(function, x, orders=2)


@pytest.mark.parametrize("x", SIGNS)
def test_returns_under_nested_conditions(x):
    def function(x):
        if x[0] > 0:
            if x[1] > 0:
                return x * 2
            x = x * 5
        return x.exp()

    check(function, x, orders=2)


@pytest.mark.parametrize("x", SIGNS)
def test_conditional_expressions(x):
    def function(x):
        return (x if x.sum() > 0 else -x) * (2 if x[0] > 0 else 3)

    check(function, x, orders=2)


@pytest.mark.parametrize("x", SIGNS)
def test_and_or_not(x):
    def function(x):
        y = x * 1
        if x[0] > 0 and x[1] > 0:
            y = y * 2
        if x[0] > 1 or x[1] > 0.3:
            y = y * 3
        if not x[0] > 1:
            y = y * 5
        if not (x[0] > 0 or x[1] > 0) and True:
            y = y * 7
        return y

    check(function, x)


@pytest.mark.parametrize("x", SIGNS)
def test_and_or_as_values(x):
    def function(x):
        a = x[0] > 0
        b = x[1] > 0
        c = a and b
        d = a or b
        return c, d, x * 1

    check(function, x)


@pytest.mark.parametrize("x", SIGNS)
def test_chained_comparisons(x):
    def function(x):
        if -1 < x[0] < 1 < x.abs().sum() + 1:
            return x * 2
        return x * 3

    check(function, x)


def test_the_operands_of_and_are_computed_only_where_they_are_needed():
    def function(x, i):
        table = kuai.tensor([1.0, 2.0, 3.0], dtype=kuai.float64)
        if i < 3 and table[i] > 1.5:
            return x * 2
        return x

    for i in (0, 2, 3):
        check(function, at([1.0]), kuai.tensor(i))


@pytest.mark.parametrize("x", SIGNS)
def test_variables_first_bound_in_a_branch(x):
    def function(x):
        if x[0] > 0:
            y = x * 2
            z = 3
        else:
            z = 4
        if x[0] > 0:
            return y * z
        return x * z

    check(function, x)


def test_a_variable_that_was_not_bound_is_an_error_when_it_is_read():
    def function(x):
        if x[0] > 0:
            y = x * 2
        return y

    check(function, at([1.0]))
    with pytest.raises(UnboundLocalError, match="'y'"):
        check(function, at([-1.0]))


@pytest.mark.parametrize("x", SIGNS)
def test_numbers_from_branches(x):
    def function(x):
        n, f, b = 1, 0.5, False
        if x[0] > 0:
            n, f, b = 7, 2.5, True
        return x * n, n, f, b, n * f, n // 2, n / 2

    check(function, x)


@pytest.mark.parametrize("x", SIGNS)
def test_a_number_on_one_side_and_a_tensor_on_the_other(x):
    def function(x):
        y = 0.0
        if x[0] > 0:
            y = x.sum()
        return x * y

    check(function, x, orders=2)


Pair = namedtuple("Pair", "a b")


@dataclasses.dataclass
class State:
    position: kuai.Tensor
    steps: int


@pytest.mark.parametrize("x", SIGNS)
def test_structures_from_branches(x):
    def function(x):
        pair, items, named, state = Pair(x, 1), [x, (x, 2)], {"a": x}, State(x, 0)
        if x[0] > 0:
            pair, items = Pair(x * 2, 5), [x * 2, (x * 3, 4)]
            named, state = {"a": x.exp()}, State(x.sin(), 1)
        return pair, items, named, state.position, state.steps

    check(function, x)


@pytest.mark.parametrize("x", SIGNS)
def test_changes_in_place_under_a_condition(x):
    def function(x):
        y = x * 2
        row = y[0]
        if x[0] > 0:
            y += 1
            row *= 3
        else:
            y[1] = 7.0
        return y, row

    check(function, x)


def test_an_argument_changed_under_a_condition():
    def function(x):
        if x[0] > 0:
            x *= 2
        return x.sum()

    check(function, at([1.0, 2.0], False))
    check(function, at([-1.0, 2.0], False))


@pytest.mark.parametrize("x", SIGNS)
def test_attributes_and_items_changed_under_a_condition(x):
    def function(x):
        state = State(x, 0)
        items = [x, x]
        named = {"k": x}
        if x[0] > 0:
            state.position = state.position * 2
            state.steps += 1
            items[1] = x.exp()
            named["k"] = x.sin()
        return state.position, state.steps, items[1], named["k"]

    check(function, x)


@pytest.mark.parametrize("x", SIGNS)
def test_asserts_and_raises(x):
    def function(x):
        assert x.sum() > -2, "too small"
        if x[0] > 100:
            raise ValueError("too large")
        return x * 1

    check(function, x)
    with pytest.raises(AssertionError, match="too small"):
        check(function, at([-5.0, 1.0]))
    with pytest.raises(ValueError, match="too large"):
        check(function, at([500.0, 1.0]))


# -- loops ---------------------------------------------------------------------------------------

SIZES = [0.5, 3.0, 1e6]


@pytest.mark.parametrize("size", SIZES)
def test_while(size):
    def function(x):
        while x.abs().sum() > 1:
            x = x / 2
        return x

    check(function, at([size, -size]), orders=3)


@pytest.mark.parametrize("size", SIZES)
def test_while_with_a_nonlinear_body(size):
    def function(x, w):
        h = x * 1
        while h.abs().sum() > 1:
            h = (h * w).sin() * h.abs().sum() / 3
        return h

    check(function, at([size, 1.0]), at([0.3, 0.4]), orders=3, rtol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_a_change_in_place_in_a_loop(size):
    def function(x):
        y = x * 1
        while y.abs().sum() > 1:
            y /= 2
        return y.sum()

    check(function, at([size, -size]), orders=3)


@pytest.mark.parametrize("size", SIZES)
def test_an_argument_changed_in_a_loop(size):
    def function(x):
        while x.abs().sum() > 1:
            x /= 2
        return x.sum()

    check(function, at([size, -size], False))


@pytest.mark.parametrize("size", SIZES)
def test_while_true_with_break(size):
    def function(x):
        n = 0
        while True:
            x = x * 0.5
            n += 1
            if x.abs().sum() < 1:
                break
        return x, n

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_break_and_continue(size):
    def function(x):
        total = x.sum() * 0
        i = 0
        while i < 20:
            i += 1
            if (x * i).sum() > 50:
                break
            if i % 3 == 0:
                continue
            if x[0] < 1:
                continue
            total = total + x.sum() * i
        return total, i

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_return_within_a_loop(size):
    def function(x):
        for i in range(6):
            x = x * 0.5
            if x.abs().sum() < 1:
                return x * i
        return x

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_return_within_a_captured_loop(size):
    def function(x):
        n = 0
        while x.abs().sum() > 0.1:
            x = x * 0.5
            n = n + 1
            if n > 4:
                return x + 10
        return x

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_while_else(size):
    def function(x):
        n = 0
        while x.abs().sum() > 1:
            x = x / 2
            n += 1
            if n == 5:
                break
        else:
            x = x + 100
        return x

    check(function, at([size, 1.0]))


@pytest.mark.parametrize("n", [0, 1, 4])
def test_range_of_a_tensor(n):
    def function(x, n):
        total = x * 0
        for i in range(n):
            total = total + x * i
        for j in range(1, n, 2):
            total = total * j
        for k in range(n, 0, -1):
            total = total + k
        return total

    check(function, at([1.5, 2.0]), kuai.tensor(n), orders=2)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_indices_that_are_captured_numbers(n):
    def function(x, n):
        y = x * 1
        i = 0
        while i < n:
            y[i] = y[i] + x[i + 1] * x[i]
            i += 1
        return y

    check(function, doubles(6), kuai.tensor(n), orders=2)


def test_rows_of_a_tensor():
    def function(x):
        total = x[0] * 0
        for row in x:
            if row.sum() > 0:
                total = total + row
            else:
                total = total * row
        return total

    check(function, doubles(4, 3), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_nested_loops(size):
    def function(x, w):
        while x.abs().sum() > 1:
            y = x
            k = 0
            while y.abs().sum() > 0.5 and k < 3:
                y = y * w
                k += 1
            x = x * 0.25 + y * 0.1
        return x

    check(function, at([size, 1.0]), at([0.5, 0.4]), orders=2, rtol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_branches_in_loops(size):
    def function(x):
        while x.abs().sum() > 1:
            if x[0] > x[1]:
                x = x * kuai.tensor([0.5, 0.9], dtype=kuai.float64)
            else:
                x = (x * 0.5).abs().flip(0)
        return x

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_loops_in_branches(size):
    def function(x, w):
        if x[0] > 1:
            while x.abs().sum() > 1:
                x = x * w
            return x + 1
        return x * w

    check(function, at([size, 1.0]), at([0.5, 0.4]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_numbers_carried_by_loops(size):
    def function(x):
        n, s, flag = 0, 0.5, True
        while x.abs().sum() > 1 and flag:
            x = x / 2
            n += 1
            s = s * 1.5 + n
            flag = n < 10
        return x * s, n, s, flag, n % 3, -n, n / 4, abs(n - 3), max(n, 2), min(s, 3.0), round(s)

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_temporaries_of_a_loop(size):
    def function(x):
        while x.abs().sum() > 1:
            t = x * 0.5
            if t[0] > 1:
                u = t * 0.9
            else:
                u = t
            x = u
        return x

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_structures_carried_by_loops(size):
    def function(x):
        state = (x, [x * 0, 0])
        named = {"n": 0, "s": State(x, 0)}
        while state[0].abs().sum() > 1:
            a, (b, n) = state
            state = (a / 2, [b + a, n + 1])
            named["n"] += 1
            named["s"].steps += 2
            named["s"].position = named["s"].position * 0.5
        return state, named["n"], named["s"].steps, named["s"].position

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_the_condition_may_bind_a_variable(size):
    def function(x):
        n = 0
        while (s := x.abs().sum()) > 1:
            x = x / s.sqrt()
            n += 1
            if n > 20:
                break
        return x, s, n

    check(function, at([size, 1.0]), rtol=1e-7)


def test_a_counter_that_ends_by_a_tensor():
    def function(x):
        for i in itertools.count(1):  # noqa: B007
            x = x * 0.5
            if x.sum() < 1:
                break
        return x, i

    check(function, at([100.0, 1.0]))


@pytest.mark.parametrize("size", SIZES)
def test_closures_share_variables(size):
    def function(x):
        count = 0

        def halve(v):
            nonlocal count
            count += 1
            return v / 2

        while x.abs().sum() > 1:
            x = halve(x)
        return x, count

    check(function, at([size, 1.0]), orders=2)


def helper(x, limit, *, factor=0.5):
    while x.abs().sum() > limit:
        x = x * factor
    return x


@pytest.mark.parametrize("size", SIZES)
def test_helpers_lambdas_methods_and_recursion(size):
    class Halver:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return x * self.factor if x[0] > 0 else x

        @property
        def twice(self):
            return self.factor * 2

    halver = Halver(0.25)

    def power(x, n):
        if n == 0:
            return x * 0 + 1
        return x * power(x, n - 1)

    def function(x):
        x = helper(x, 1.0, factor=0.5)
        x = halver(x) + halver.twice
        f = lambda v: v if v.sum() > 0 else -v  # noqa: E731
        parts = [f(v) for v in (x, x * 2)]
        return power(parts[0] + parts[1], 3)

    check(function, at([size, 1.0]), orders=2)


@pytest.mark.parametrize("size", SIZES)
def test_with_and_try(size):
    def function(x):
        with kuai.no_grad():
            y = x * 2
            while y.abs().sum() > 1:
                y = y / 2
        try:
            z = x * y
            if z.sum() > 1:
                z = z * 2
        finally:
            z = z + 1
        try:
            raise KeyError("static")
        except KeyError:
            z = z * 3
        with kuai.enable_grad():
            if z.sum() > 0:
                return z
        return -z

    check(function, at([size, 1.0]), orders=2)


def test_updates_under_no_grad_in_a_loop():
    def function(x, w):
        w = w.clone()
        for _ in range(3):
            with kuai.no_grad():
                if w.sum() > 0:
                    w -= 0.5 * x
        return w

    check(function, at([0.5, 1.0], False), at([1.0, 2.0], False))


def test_mathematics_of_numbers():
    def function(x):
        s = float(x.sum())
        t = math.sqrt(s * s + 1) + math.exp(-s) + math.sin(s) + math.log(abs(s) + 1)
        n = int(x[0] * 10)
        k = math.floor(t) + math.ceil(s) + n // 3 + n % 7
        return x * t, s, t, n, k, n**2, 2**3, float(n), bool(n), isinstance(n, int), not n

    for value in (0.3, -2.7):
        check(function, at([value, 1.25], False))


def test_in_and_quantifiers():
    def function(x):
        y = x * 1
        if 2.0 in x:
            y = y * 2
        if 5.0 not in x:
            y = y * 3
        if any(v > 1 for v in x):
            y = y * 5
        if all(v > 0 for v in x):
            y = y * 7
        if x.sum() in (3.0, 4.0):
            y = y * 11
        return y

    for value in ([1.0, 2.0], [5.0, 0.5], [-1.0, 0.0]):
        check(function, at(value))


# -- programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2.0, 100.0, 1e-3])
def test_newtons_iteration(value):
    def function(a):
        x = kuai.ones_like(a)
        for _ in range(50):
            new = 0.5 * (x + a / x)
            if (new - x).abs().max() < 1e-12:
                break
            x = new
        return x

    check(function, at([value, 3.0]), orders=2, rtol=1e-7, atol=1e-9)


def test_an_adaptive_solver_of_differential_equations():
    def function(y, k):
        t, h = 0.0, 0.1
        rounds = 0
        while t < 1.0:
            h = min(h, 1.0 - t)
            full = y + h * (-k * y)
            half = y + h / 2 * (-k * y)
            better = half + h / 2 * (-k * half)
            error = float((full - better).abs().max())
            if error < 1e-3:
                y = better
                t = t + h
                h = h * 1.5
            else:
                h = h * 0.5
            rounds += 1
        return y, rounds

    for rate in (0.5, 8.0):
        check(function, at([1.0, 2.0]), at([rate, rate / 2]), orders=2, rtol=1e-7)


def test_power_iteration():
    def function(a):
        v = kuai.ones(3, dtype=kuai.float64)
        value = a[0, 0] * 0
        while True:
            w = a @ v
            new = w.norm()
            v = w / new
            if (new - value).abs() < 1e-10:
                break
            value = new
        return value, v

    m = doubles(3, 3).detach()
    symmetric = (m @ m.T + kuai.eye(3, dtype=kuai.float64)).requires_grad_()
    check(function, symmetric, rtol=1e-6, atol=1e-8)


def test_bisection():
    def function(c):
        low, high = 0.0, 4.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            if middle * middle * middle > c:
                high = middle
            else:
                low = middle
        return low, high

    check(function, at(5.0, False))


@pytest.mark.parametrize("start", [1, 6, 27])
def test_collatz(start):
    def function(n):
        n = int(n)
        steps, highest = 0, n
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            highest = max(highest, n)
            steps += 1
        return steps, highest

    check(function, kuai.tensor(start))


def test_beam_search():
    def function(scores):
        beams = kuai.zeros(2, dtype=kuai.float64)
        paths = kuai.zeros(2, 5, dtype=kuai.int64)
        step = 0
        while step < 5 and beams.max() > -6:
            candidates = beams.unsqueeze(1) + scores[step]
            flat = candidates.reshape(-1)
            beams, index = flat.topk(2)
            parents = index // 4
            paths = paths[parents]
            paths[:, step] = index % 4
            step += 1
        return beams, paths, step

    scores = kuai.log_softmax(doubles(5, 4, scale=2.0).detach(), -1).requires_grad_()
    check(function, scores, orders=1)


@pytest.mark.parametrize("program", [[0, 0, 1, 0, 2, 3], [0, 0, 0, 2, 1, 3], [0, 3, 0, 0, 1, 1]])
def test_a_stack_machine(program):
    def function(code, values):
        stack = kuai.zeros(8, dtype=kuai.float64)
        top, next_value, pc = 0, 0, 0
        while pc < 6:
            op = code[pc]
            if op == 0:
                stack[top] = values[next_value]
                top += 1
                next_value += 1
            elif op == 1 and top > 1:
                a, b = stack[top - 2].clone(), stack[top - 1].clone()
                stack[top - 2] = a + b
                top -= 1
            elif op == 2 and top > 1:
                a, b = stack[top - 2].clone(), stack[top - 1].clone()
                stack[top - 2] = a * b
                top -= 1
            elif op == 3:
                break
            pc += 1
        return stack[0], top

    check(function, kuai.tensor(program), doubles(6), orders=2)


# -- the mission's networks ----------------------------------------------------------------------


class FixedHiddenMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.rand_weight = kuai.rand((20, 20), dtype=kuai.float64)
        self.linear = nn.Linear(20, 20, dtype=kuai.float64)

    def forward(self, X):
        X = self.linear(X)
        X = F.relu(kuai.mm(X, self.rand_weight) + 1)
        X = self.linear(X)
        while X.abs().sum() > 1:
            X /= 2
        return X.sum()


class NestMLP(nn.Module):
    def __init__(self):
        super().__init__()
        d = kuai.float64
        self.net = nn.Sequential(
            nn.Linear(20, 64, dtype=d), nn.ReLU(), nn.Linear(64, 32, dtype=d), nn.ReLU()
        )
        self.linear = nn.Linear(32, 16, dtype=d)

    def forward(self, X):
        return self.linear(self.net(X))


@pytest.mark.parametrize("power", [-5, 0, 3, 20, 38])
def test_the_chimera(power):
    kuai.manual_seed(0)
    net = nn.Sequential(NestMLP(), nn.Linear(16, 20, dtype=kuai.float64), FixedHiddenMLP())
    captured = check(net, doubles(2, 20, scale=2.0**power), orders=1)
    x = doubles(2, 20, scale=2.0**power)
    found = captured.graph.evaluate(x.detach().numpy(), np.ones(()))
    net(x).backward()
    for source, gradient in captured.leaf_gradients:
        if not isinstance(source, int):
            np.testing.assert_allclose(found[gradient], source.grad.numpy(), rtol=1e-9, atol=1e-12)
