"""Lists, dicts and variables that change where the course of a program depends on values."""

import itertools
from collections import defaultdict, deque

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


def next_in_a_branch(x):
    rows = iter([x, x * 2, x * 3])
    first = next(rows) if x.sum() > 0 else x
    return first + next(rows)


def next_in_a_loop(x):
    rows = iter([x, x * 2, x * 3])
    y = x
    while y.sum() < 20:
        y = y + next(rows)
    return y


def count_in_a_loop(x):
    numbers = itertools.count()
    while x.sum() < 20:
        x = x * 1.5 + next(numbers)
    return x


def generator_in_a_branch(x):
    def powers():
        y = x
        while True:
            yield y
            y = y * x

    found = powers()
    y = next(found)
    if x.sum() > 0:
        for z in found:
            return y + z
    return y


def what_is_left_after_a_break(x):
    rows = iter(x)
    for row in rows:
        if row > 0:
            break
    return row + sum(rows)


@pytest.mark.parametrize(
    "function",
    [
        next_in_a_branch,
        next_in_a_loop,
        count_in_a_loop,
        generator_in_a_branch,
        what_is_left_after_a_break,
    ],
)
def test_an_iterator_that_values_advance_is_refused(function):
    with pytest.raises(CompileError, match="is advanced in a loop or branch"):
        kuai.compile(function)(kuai.ones(3))


def test_an_iterator_that_a_round_makes_is_its_own():
    def paired(x):
        rounds = 0
        while x.sum() < 20:
            rows = zip(x, reversed(x), strict=True)
            first, _ = next(rows)
            x = x + first + sum(a * b for a, b in rows)
            rounds += 1
        return x, rounds

    agrees(paired, (kuai.ones(3, requires_grad=True),))


class Tally:
    """Counts what is added and assigned, and how often it is asked for the next number."""

    def __init__(self, x):
        self.total, self.count = kuai.zeros_like(x), 0

    def __iadd__(self, x):
        self.total = self.total + x
        self.count += 1
        return self

    def __setitem__(self, place, x):
        self.total = self.total * place + x
        self.count += 10

    def __iter__(self):
        return self

    def __next__(self):
        self.count += 100
        return self.count


def test_an_object_changes_by_its_own_operators_where_values_decide():
    def tallied(x):
        tally = Tally(x)
        for row in x:
            if row.sum() > 0:
                tally += row
            else:
                tally[2] = row
        vars(tally)["count"] += 1
        return tally.total, tally.count

    agrees(tallied, *((learnable(4, 2),) for _ in range(3)))


def test_items_counted_from_the_end_and_slices():
    def assigned(x):
        rows, queue = [x * 1, x * 2, x * 3], deque([x + 2, x + 1])
        if x.sum() > 0:
            rows[-1] = x * 5
            rows[0:2] = [x * 6, x * 7]
            queue[-1] = x * 9
        else:
            rows[2] = x * 8
        return rows, list(queue)

    agrees(assigned, (kuai.ones(2, requires_grad=True),), (-kuai.ones(2),))


def test_a_key_that_a_default_makes_on_one_side_is_refused():
    def counted(x):
        counts = defaultdict(int)
        if x.sum() > 0:
            counts["positive"] += 1
        return len(counts) * x

    with pytest.raises(CompileError, match="a new key"):
        kuai.compile(counted)(kuai.ones(2))


def test_membership_of_a_tensor_is_a_bool():
    def member(x):
        return x.sum() in [1, 2], x.sum() not in (x[0], 3)

    agrees(member, (kuai.tensor([0.5, 0.5]),), (kuai.tensor([2.0, 0.0]),), (kuai.zeros(2),))


class Meter:
    """Counts in everything that Python calls by itself."""

    def __init__(self):
        self.count, self._level, self.marks = 0, 1.0, [1.0, 2.0, 3.0]

    def __enter__(self):
        self.count += 1
        return self

    def __exit__(self, *error):
        self.count += 10

    def __len__(self):
        self.count += 100
        return self.count

    def __bool__(self):
        self.count += 1000
        return self.count > 1500

    def __contains__(self, x):
        self.count += 10000
        return x.sum() > 0

    def __getitem__(self, place):
        self.count += 100000
        return self.marks[place]

    @property
    def level(self):
        return self._level

    @level.setter
    def level(self, value):
        self.count += 1000000
        self._level = value


class Noted:
    """Notes how often its attributes are set."""

    def __init__(self):
        self.value = 0.0

    def __setattr__(self, name, value):
        object.__setattr__(self, "settings", getattr(self, "settings", 0) + 1)
        object.__setattr__(self, name, value)


@pytest.mark.parametrize(
    "use",
    [
        lambda meter, x: meter.level,
        lambda meter, x: len(meter),
        lambda meter, x: bool(meter),
        lambda meter, x: 1 if meter else 2,
        lambda meter, x: x in meter,
        lambda meter, x: meter[meter.count % 3],
    ],
)
def test_what_python_calls_by_itself_is_called_where_values_say(use):
    def metered(x):
        meter, noted = Meter(), Noted()
        while x.sum() > -4:
            if x[0] > 0:
                with meter as same:
                    same.level = meter.level * 2
                noted.value = float(x.sum())
            x = x - 1
        return use(meter, x), meter.count, meter.level, noted.value, noted.settings

    agrees(metered, *((kuai.tensor(v),) for v in ([2.5, 0.5], [0.5, 0.5], [-3.0, -3.0])))


def test_a_number_that_is_returned_twice():
    def counted(x):
        rounds, half = 0, 1.0
        while x.sum() < 9:
            x = x * 2
            half = half / 2
            rounds += 1
        return rounds, [rounds, half], {"half": half, "x": x}, x

    agrees(counted, (kuai.ones(2),), (kuai.ones(2, requires_grad=True),))
