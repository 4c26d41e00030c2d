"""Lists, dicts and variables that change where the course of a program depends on values."""

from collections import deque

import pytest

import kuai
from kuai.errors import CompileError
from tests.compiler.comparing import agrees


def learnable(*shape):
    return kuai.randn(*shape).requires_grad_()


def test_both_sides_of_a_branch_append():
    def collected(xs, ys):
        rows, named = [], {}
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if x.sum() > y.sum():
                rows.append(x - y)
                named[f"row {i}"] = x
            elif i % 2:
                rows += [y]
                named[f"row {i}"] = y
            else:
                rows.extend([x * 0])
                named[f"row {i}"] = x * 2
        return kuai.stack(rows), named

    agrees(collected, *((learnable(5, 3), learnable(5, 3)) for _ in range(3)))


def test_a_window_slides_along_a_loop():
    def smoothed(x):
        window = deque([kuai.zeros_like(x)] * 3, maxlen=3)
        before = [kuai.zeros_like(x), kuai.ones_like(x)]
        rounds = 0
        while rounds < 12 and x.norm() > 0.1:
            window.append(x)
            before.append(x * 2)
            x = x * 0.5 + sum(window) / 9 - 0.05 * before.pop(0)
            rounds += 1
        return x, rounds, list(window), before

    agrees(smoothed, (learnable(4),), (kuai.zeros(4),))


def test_a_window_slides_along_many_equal_rounds():
    def rolled(x):
        window = [x, x + 1]
        for _ in range(20):
            window.append(window[0] * 0.5)
            window.insert(0, kuai.sin(x))
            del window[1]
            x = x * 0.9 + window.pop() * 0.1
        return x, window

    agrees(rolled, (learnable(3),))


def test_a_stack_that_is_pushed_and_popped():
    def machine(x, program):
        stack = [x[0], x[1]]
        for i, op in enumerate(program):
            top = stack.pop()
            if op == 0:
                stack.insert(0, top)
            else:
                stack.append(top.sin() + x[i])
        return stack

    agrees(machine, *((learnable(4), kuai.tensor(p)) for p in ([0, 1, 0, 1], [1, 1, 0, 0])))


def test_a_list_whose_length_would_depend_on_values_is_refused_where_it_changes():
    def chosen(xs):
        rows = []
        for x in xs:
            if x.sum() > 0:
                rows.append(x)
        return rows

    with pytest.raises(CompileError, match=r"change \(append\) of a list") as refusal:
        kuai.compile(chosen)(kuai.randn(3, 2))
    assert "rows.append(x)" in str(refusal.value)


def test_a_list_that_a_loop_fills_is_refused_where_it_changes():
    def history(x):
        rows = []
        while x.sum() < 9:
            rows.append(x)
            x = x * 2
        return rows

    with pytest.raises(CompileError, match=r"change \(append\) of a list") as refusal:
        kuai.compile(history)(kuai.ones(2))
    assert "rows.append(x)" in str(refusal.value)


def test_sides_that_leave_two_lists_of_which_one_changed_are_refused():
    def either(x):
        one, other = [x], [x * 2]
        if x.sum() > 0:
            one[0] = x + 1
            chosen = one
        else:
            chosen = other
        return chosen

    with pytest.raises(CompileError, match="different objects"):
        kuai.compile(either)(kuai.ones(2))


def test_what_an_inner_function_assigns_changes_only_where_it_is_called():
    def counted(x):
        calls, total = 0, kuai.zeros(1)

        def count():
            nonlocal calls, total
            calls += 1
            total = total + x
            return x * 2

        def count_if_positive(y):
            return count() if y.sum() > 0 else x * 3

        rounds = 0
        while rounds < x.abs().sum():
            y = count_if_positive(x - rounds)
            rounds += 1
        z = x * 4 if x.sum() < 0 else count()
        return y, z, calls, total

    agrees(counted, *((kuai.tensor([v], requires_grad=True),) for v in (-1.0, 1.0, 3.0)))
