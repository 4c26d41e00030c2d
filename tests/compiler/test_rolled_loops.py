"""Loops of many rounds that are alike become one loop of the program; others are unrolled."""

import numpy as np
import pytest

import kuai
from kuai import nn
from tests.compiler.comparing import agrees
from tests.compiler.evaluating import check, doubles


def loops(captured):
    """How many loops the forward graph has at its top."""
    return sum(op.primitive.name == "while_loop" for op in captured.graph.operations)


def test_a_recurrence_over_time_is_one_loop():
    def function(x, w, h):
        states = []
        for t in range(12):
            h = kuai.tanh(x[:, t] @ w + h)
            states.append(h)
        return kuai.stack(states, 1), h, states[3]

    given = doubles(2, 12, 3), doubles(3, 3, seed=1), doubles(2, 3, seed=2)
    captured = check(function, *given, orders=2, rtol=1e-7)
    assert loops(captured) == 2  # forward and backward


def test_rows_of_a_tensor_are_walked_by_a_loop():
    def function(x):
        total = x[0] * 0
        for row in x:
            total = total + row if row.sum() > 0 else total * row
        return total

    assert loops(check(function, doubles(10, 3), orders=2)) == 2


def test_what_each_round_appends():
    def function(x):
        squares, sums = [], []
        for i in range(8):
            y = x * i
            squares.append(y * y)
            sums.append(y.sum())
            squares.append(y)
        return squares, sums

    captured = check(function, doubles(3), orders=2)
    assert loops(captured) == 2


def test_a_break_on_a_tensor_ends_the_loop():
    def function(x):
        for i in range(100):  # noqa: B007
            x = x * 0.9
            if x.sum() < 0.3:
                break
        return x, i

    x = kuai.tensor([3.0, 4.0], dtype=kuai.float64, requires_grad=True)
    captured = check(function, x, orders=2)
    assert len(captured.graph.operations) < 20


def test_numbers_that_are_known_stay_known():
    def function(x):
        size = 0
        for i in range(10):
            size += i
        return x.sum() + kuai.zeros(size, dtype=kuai.float64)

    assert loops(check(function, doubles(3))) == 0


@pytest.mark.parametrize("orders", [1, 2])
def test_lists_that_rounds_read_are_unrolled(orders):
    def function(x):
        values = [x]
        for i in range(10):
            values.append(values[-1] * 0.9 + i)
        return values

    assert loops(check(function, doubles(3), orders=orders)) == 0


def test_parts_of_a_block_in_turn_are_unrolled():
    layers = nn.ModuleList([nn.Linear(3, 3, dtype=kuai.float64) for _ in range(9)])

    def function(x):
        for i in range(9):
            x = layers[i](x)
        return x

    assert loops(check(function, doubles(2, 3))) == 0


def test_rounds_that_change_shapes_are_unrolled():
    def function(x):
        for _ in range(8):
            x = kuai.cat([x, x.sum(0, keepdim=True)])
        return x

    assert loops(check(function, doubles(2, 3))) == 0


def test_changes_in_place_of_rows():
    def function(x):
        y = x * 1
        for i in range(1, 9):
            y[i] = y[i] + y[i - 1].clone() * 0.5
        return y

    assert loops(check(function, doubles(9, 2), orders=2)) == 2


def test_training_steps_in_a_loop():
    def function(w, x):
        w = w.clone()
        losses = []
        for _ in range(10):
            v = w.detach().requires_grad_()
            loss = ((x @ v) ** 2).mean()
            (gradient,) = kuai.autograd.grad(loss, [v])
            w = w - 0.1 * gradient
            losses.append(loss.detach())
        return w, kuai.stack(losses)

    check(function, doubles(3), doubles(4, 3, seed=1, requires_grad=False))


def test_random_numbers_are_drawn_in_order():
    def function(x):
        kept = []
        for _ in range(9):
            x = x * 0.5 + kuai.rand(3, dtype=kuai.float64)
            kept.append(x)
        return kept

    from kuai.compiler.capture import capture_call

    kuai.manual_seed(3)
    x = doubles(3, requires_grad=False)
    captured = capture_call(function, (x,))
    found = captured.evaluate(x.numpy())
    for a, b in zip(found, function(x), strict=True):
        np.testing.assert_allclose(a, b.numpy())
    assert loops(captured) == 1


def test_what_rounds_that_are_not_alike_have_changed_is_as_it_was():
    def counted(x):
        y = kuai.ones(12, 2, dtype=x.dtype)
        place = 0
        for i in range(9):
            if x[i].sum() > 0:
                y[place] = y[place] + x[i] * 2
            place += 1
        return y, kuai.zeros(place)

    agrees(counted, (doubles(12, 2),))


def constants(*shape):
    return doubles(*shape, seed=len(shape), requires_grad=False)


@kuai.compile
def walk(rows, weight, start):
    state, i = rows[0] * 0, start
    while i < 3:
        state = kuai.tanh(state @ weight + rows[i])
        i = i + 1
    return state


@pytest.mark.parametrize("start", [0, -2])
def test_a_slice_that_a_round_reads_is_no_copy(start, capsys):
    rows, weight = constants(3, 5, 4), constants(4, 4)
    expected = walk.__wrapped__(rows, weight, kuai.tensor(start))
    np.testing.assert_allclose(walk(rows, weight, kuai.tensor(start)), expected, rtol=1e-9)
    walk.explain("kernels")
    assert "item index" in capsys.readouterr().out


@pytest.mark.parametrize("start", [-4, -9])
def test_a_slice_that_is_not_there_is_refused(start):
    rows, weight = constants(3, 5, 4), constants(4, 4)
    for run in (walk.__wrapped__, walk):
        with pytest.raises(IndexError, match=f"index {start} is out of bounds for dimension 0"):
            run(rows, weight, kuai.tensor(start))


def test_what_all_rounds_multiply_by_is_packed_before_the_loop(capsys):
    @kuai.compile
    def recur(x, weight, rounds):
        while rounds > 0:
            x = kuai.tanh(x @ weight.T)
            rounds = rounds - 1
        return x

    given = constants(20, 64), constants(64, 64)
    for rounds in (0, 1, 5):
        expected = recur.__wrapped__(*given, kuai.tensor(rounds))
        np.testing.assert_allclose(recur(*given, kuai.tensor(rounds)), expected, atol=1e-9)
    recur.explain("llvm")
    text = capsys.readouterr().out.split("define i32 @program")[1]
    assert text.count("call void @panels") == 1
    assert text.index("call void @panels") < text.index("\ntest")
