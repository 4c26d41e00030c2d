"""Items of tensors that change in place, where only the program knows which items they are."""

import pytest

import kuai
from kuai.errors import CompileError
from tests.compiler.comparing import agrees


def learnable(*shape):
    return kuai.rand(*shape).requires_grad_()


def test_an_item_at_a_captured_place_is_added_to():
    def totals(x, places):
        sums = kuai.zeros(3, 2)
        for row, place in zip(x, places, strict=True):
            if place >= 0:
                sums[place] += row * row
                sums[place, 0] *= 2
        return sums

    agrees(totals, (learnable(4, 2), kuai.tensor([2, 0, -1, 2])))


@pytest.mark.parametrize("kind", [kuai.float32, kuai.int64])
def test_what_a_mask_chooses_is_changed_in_place(kind):
    def counted(x, mask):
        counts = kuai.ones(3, 2, dtype=kind)
        while mask.any():
            counts[mask] += 2
            counts[mask] *= counts[0].max()
            counts[mask[:, 0]] -= kuai.ones(2, dtype=kind)
            mask = mask & (counts < 20)
        return counts, x.sum()

    mask = kuai.tensor([[True, False], [False, False], [True, True]])
    agrees(counted, (learnable(2), mask), (learnable(2), kuai.zeros(3, 2).bool()))


def test_what_a_mask_leaves_out_has_no_part_in_the_gradient():
    def rooted(x, exponent):
        y = x.clone()
        y[x > 0] **= exponent
        return y

    agrees(rooted, (kuai.tensor([4.0, -4.0, 0.0]).requires_grad_(), kuai.tensor(0.5)))


def test_a_name_for_a_part_of_what_changes_may_be_left_over():
    def reduced(x, program):
        stack = kuai.zeros(4, 2)
        top = 0
        for op in program:
            if op == 0:
                stack[top] = x[top]
                top += 1
            else:
                right, left = stack[top - 1], stack[top - 2]
                stack[top - 2] = kuai.stack([left, right]).sum(0)
                top -= 1
        return stack[0]

    agrees(reduced, (learnable(3, 2), kuai.tensor([0, 0, 1, 0, 1])))


def test_a_name_for_a_part_of_what_has_changed_is_refused_where_it_is_read():
    def stale(x, n):
        part = x[0]
        if n > 0:
            part = x[n]
        x += 1
        return part

    with pytest.raises(CompileError, match="may or may not be the same"):
        kuai.compile(lambda x, n: stale(x.clone(), n))(kuai.rand(3, 2), kuai.tensor(1))


def test_a_side_may_read_what_the_other_side_makes_unreadable():
    def either(x, n):
        y = x * 1
        part = y[n] if n > 1 else y[0]
        if n > 0:
            y += 1
            total = y.sum()
        else:
            total = part.sum()
        return total

    agrees(either, *((learnable(3, 2), kuai.tensor(n)) for n in range(3)))


@pytest.mark.parametrize("fill", [lambda n: n, lambda n: n / 2, lambda n: n > 1, lambda n: n * 1.0])
def test_a_tensor_is_filled_with_a_number_that_the_program_counts(fill):
    def filled(x):
        n = 0
        while x.sum() < 9:
            x = x * 2
            n += 1
        value = fill(n)
        return (
            kuai.full((2, 2), value),
            kuai.full_like(x, value),
            x.new_full((3,), value, dtype=kuai.float64),
            kuai.full([2], x[0] > 3) & kuai.full([], x.sum() > 0),
        )

    agrees(filled, (kuai.ones(2),), (kuai.tensor([20.0, 3.0]),))


NUMBERS = {
    "add": lambda x, n, t: (
        kuai.add(x, x, alpha=n),
        x.sub(x * 2, alpha=t),
        x.clone().add_(1, alpha=n),
    ),
    "addcmul": lambda x, n, t: (kuai.addcmul(x, x, x, value=t), kuai.addcdiv(x, x, x, value=n)),
    "addmm": lambda x, n, t: kuai.addmm(
        x[:4].view(2, 2), kuai.eye(2), kuai.eye(2), beta=t, alpha=n
    ),
    "index_add": lambda x, n, t: x.index_add(0, kuai.tensor([1]), x[:1], alpha=t),
    "linspace": lambda x, n, t: (kuai.linspace(-t, n, 5), kuai.linspace(n, t, 1), x * n),
    "select": lambda x, n, t: (x.select(0, n), kuai.select(x.view(2, 3), 1, n)),
    "narrow": lambda x, n, t: (x.narrow(0, n, 2), kuai.narrow(x.view(2, 3), 1, n - 1, 1)),
    "tensor": lambda x, n, t: (kuai.as_tensor(n), kuai.as_tensor([t, n]), x.new_tensor([n, 1])),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_functions_take_numbers_that_the_program_counts(name):
    def counted(x):
        n, t = 1, 0.5
        while n * x.sum() < 4:
            n += 1
            t = t * 1.5
        return NUMBERS[name](x, n, t)

    agrees(counted, (kuai.ones(6, requires_grad=True),), (kuai.full((6,), 0.5),))


def test_a_part_taken_by_a_captured_start_is_no_view_to_be_changed():
    def changed(x):
        n = 0
        while n < x.sum():
            n += 1
        y = x * 1
        y.narrow(0, n, 1).add_(1)
        return y

    with pytest.raises(CompileError, match="may or may not be the same"):
        kuai.compile(changed)(kuai.ones(3) / 3)
