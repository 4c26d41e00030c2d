"""A compiled program that fails says what eager says: the error, its values, and where it arose."""

import re
import traceback

import pytest

import kuai
import kuai as torch
from kuai import config, nn
from kuai.errors import CompileError, ShapeError
from kuai.nn import functional as F


def failure_of(function, *args):
    """What a call raises."""
    with pytest.raises(Exception) as raised:
        function(*args)
    return raised.value


def notes_of(error):
    """The notes that eager gives too: not the line, which its traceback shows."""
    return [note for note in getattr(error, "__notes__", []) if not note.startswith("at ")]


def fails_alike(function, good, bad):
    """The errors of eager, of a call that compiles, and of a call that is compiled already."""
    expected = failure_of(function, *bad)
    first = failure_of(kuai.compile(function), *bad)
    compiled = kuai.compile(function)
    compiled(*good)
    later = failure_of(compiled, *bad)
    for error in (first, later):
        assert type(error) is type(expected)
        assert str(error) == str(expected)
        assert notes_of(error) == notes_of(expected)
        assert any(note.startswith(f"at {__file__}:") for note in error.__notes__)
    return expected


# -- values ----------------------------------------------------------------------------------------

TABLE = torch.arange(20.0).reshape(10, 2)
WIDE = torch.arange(5 * 37.0).reshape(5, 37)


def numbers(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


def put(x, i):
    y = x.clone()
    y[i] = 1.0
    return y


# What indexes, a good index, a bad one, and the number that the message tells.
INDICES = {
    "rows": (lambda i: TABLE[i], numbers(1, 2), numbers(1, 12, 13), "12"),
    "rows from the end": (lambda i: TABLE[i], numbers(-1, 2), numbers(-10, -11), "-11"),
    "many rows": (lambda i: TABLE[i], torch.arange(100) % 10, torch.arange(100) % 11, "10"),
    "the second index": (lambda i: WIDE[i % 5, i], numbers(1, 36), numbers(0, 37, 40), "37"),
    "int32": (
        lambda i: TABLE[i],
        numbers(1, dtype=torch.int32),
        numbers(99, dtype=torch.int32),
        "",
    ),
    "one": (lambda i: TABLE[i[0]], numbers(3), numbers(11), "11"),
    "columns": (lambda i: WIDE[:, i], numbers(3, 4), numbers(36, 38), "38"),
    "stored": (lambda i: put(TABLE, i), numbers(3, 4), numbers(3, 10), "10"),
    "embedding": (lambda i: F.embedding(i, TABLE), numbers(1, 9), numbers(9, 10, -1), "10"),
    "a wide embedding": (lambda i: F.embedding(i, WIDE), numbers(1, 2), numbers(1, -3, 7), "-3"),
    "index_select": (lambda i: WIDE.index_select(1, i), numbers(3), numbers(36, 37), "37"),
    "gather": (
        lambda i: WIDE.gather(1, i),
        numbers(0, 1).view(1, 2),
        numbers(0, 37).view(1, 2),
        "",
    ),
    "take_along_dim": (
        lambda i: WIDE.take_along_dim(i, 0),
        numbers(*[4] * 37).view(1, 37),
        numbers(*[5] * 37).view(1, 37),
        "5",
    ),
    "scatter": (
        lambda i: WIDE.scatter(1, i, 1.0),
        numbers(0, 1).view(1, 2),
        numbers(0, 40).view(1, 2),
        "40",
    ),
    "index_add": (lambda i: TABLE.index_add(0, i, TABLE[:2]), numbers(3, 4), numbers(3, 10), "10"),
    "index_copy": (
        lambda i: TABLE.index_copy(0, i, TABLE[:2]),
        numbers(3, 4),
        numbers(3, -1),
        "-1",
    ),
    "one hot": (lambda i: F.one_hot(i, 4), numbers(0, 3), numbers(1, 5, 6), "5"),
    "one hot of less": (lambda i: F.one_hot(i, 4), numbers(0, 3), numbers(5, -2), "-2"),
    "targets": (
        lambda i: F.cross_entropy(TABLE.T[:, :4], i),
        numbers(0, 3),
        numbers(3, 4),
        "Target 4",
    ),
    "ignored targets": (
        lambda i: F.cross_entropy(TABLE.T[:, :4], i, ignore_index=9),
        numbers(0, 9),
        numbers(9, -1),
        "Target -1",
    ),
    "targets of planes": (
        lambda i: F.nll_loss(torch.ones(2, 3, 20), i),
        torch.ones(2, 20, dtype=torch.int64),
        torch.arange(40).reshape(2, 20) // 13,
        "Target 3",
    ),
    "margins": (
        lambda i: F.multi_margin_loss(TABLE.T[:, :4], i),
        numbers(0, 3),
        numbers(3, 4),
        "4",
    ),
}


@pytest.mark.parametrize("name", INDICES)
def test_an_index_out_of_range_is_told_as_eager_tells_it(name):
    function, good, bad, told = INDICES[name]
    assert told in str(fails_alike(function, [good], [bad]))


@pytest.mark.parametrize("size", [1, 3, 8, 15, 16, 17, 64, 1000])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_the_first_index_out_of_range_is_told_wherever_it_is(size, place):
    i = torch.arange(size) % 10
    at = {"first": 0, "middle": size // 2, "last": size - 1}[place]
    bad = i.clone()
    bad[at] = 1234
    bad[at + 1 :] = 4321
    assert "1234" in str(fails_alike(lambda i: TABLE[i] * 2, [i], [bad]))


def test_what_is_computed_together_fails_in_the_order_of_eager():
    def f(x, i, j):
        return torch.sigmoid(x[i] + x[j])

    x, good = torch.rand(10), torch.arange(50) % 10
    i, j = good.clone(), good.clone()
    i[40], j[3] = 77, 99
    assert "77" in str(fails_alike(f, [x, good, good], [x, i, j]))


def test_each_number_of_threads_tells_the_same():
    table, i = torch.rand(100, 64), torch.arange(20_000) % 100
    i[15_000], i[19_000] = 101, 102
    compiled = kuai.compile(lambda i: F.embedding(i, table).sum(1))
    threads = kuai.get_num_threads()
    try:
        for n in (1, 2, 4):
            kuai.set_num_threads(n)
            assert " 101 " in str(failure_of(compiled, i))
    finally:
        kuai.set_num_threads(threads)


def test_a_program_for_any_batch_tells_the_index_and_the_size():
    def f(x, i):
        return x[i].sum() + torch.rand(3).sum() * 0

    compiled = kuai.compile(f, dynamic_batch=True)
    for n in (4, 7, 9, 20):
        x, i = torch.rand(n), torch.arange(n)
        compiled(x, i)
        i[n - 1] = n + 5
        assert str(failure_of(compiled, x, i)) == str(failure_of(f, x, i))


def test_calls_from_several_threads_each_tell_their_own():
    import threading

    compiled = kuai.compile(lambda i: TABLE[i].sum())
    compiled(torch.arange(10))
    wrong = []

    def work(n):
        for _ in range(200):
            error = failure_of(compiled, torch.tensor([1, 2, n]))
            if f"index {n} " not in str(error):
                wrong.append(str(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in (100, 200, 300, 400)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize("how", ["//", "%", "fmod", "trunc"])
def test_integers_divided_by_zero(how):
    functions = {
        "//": lambda x, y: x // y,
        "%": lambda x, y: x % y,
        "fmod": torch.fmod,
        "trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    }
    good = torch.arange(1, 30)
    bad = good.clone()
    bad[17] = 0
    fails_alike(functions[how], [good, good], [good, bad])


def test_probabilities_are_refused_after_a_product_too():
    weight = torch.full((4, 4), 0.1)

    def f(x, y):
        return F.binary_cross_entropy(x @ weight, y)

    y = torch.ones(3, 4)
    fails_alike(f, [torch.ones(3, 4), y], [torch.full((3, 4), 5.0), y])


def test_linear_algebra_fails_as_in_eager():
    def f(x):
        return kuai.linalg.inv(x * 1.0).sum()

    fails_alike(f, [torch.eye(3)], [torch.zeros(3, 3)])
    fails_alike(lambda x: kuai.linalg.cholesky(x), [torch.eye(3)], [-torch.eye(3)])


DISTRIBUTIONS = kuai.distributions


@pytest.mark.parametrize("name", ["parameter", "value", "one number", "gamma", "geometric"])
def test_distributions_refuse_what_eager_refuses(name):
    functions = {
        "parameter": lambda p: DISTRIBUTIONS.Normal(p, p).sample(),
        "value": lambda p: DISTRIBUTIONS.Bernoulli(torch.full((2,), 0.5)).log_prob((p > 0) + p * 0),
        "one number": lambda p: DISTRIBUTIONS.Normal(p[0], p[1]).sample(),
        "gamma": lambda p: DISTRIBUTIONS.Gamma(p, p).sample(),
        "geometric": lambda p: DISTRIBUTIONS.Geometric(p).sample(),
    }
    function = functions[name]
    bad = torch.tensor([0.5, float("nan") if name == "value" else -0.5])
    expected = failure_of(function, bad)
    compiled = kuai.compile(function)
    compiled(torch.tensor([0.5, 0.25]))
    error = failure_of(compiled, bad)
    assert type(error) is type(expected) is ValueError
    assert re.split("of (the )?distribution", str(error))[0] in str(expected)


def test_python_numbers_are_divided_and_chosen_as_in_eager():
    def indexed(x, i):
        return [x, x + 1][i]

    fails_alike(indexed, [torch.ones(2), torch.tensor(-2)], [torch.ones(2), torch.tensor(2)])
    divisions = {
        "//": lambda x: int(x) // int(x - 1),
        "%": lambda x: int(x) % int(x - 1),
        "/": lambda x: float(x) / float(x - 1),
        "float //": lambda x: float(x) // float(x - 1),
    }
    for divide in divisions.values():
        error = fails_alike(divide, [torch.tensor(3)], [torch.tensor(1)])
        assert type(error) is ZeroDivisionError


def test_take_and_put_tell_the_index_as_in_eager():
    x = torch.arange(6.0).reshape(2, 3)
    for f in (lambda i: x.take(i), lambda i: x.clone().put_(i, torch.ones(2))):
        fails_alike(f, [numbers(0, -6)], [numbers(0, 6)])


def test_what_fails_first_in_eager_fails_first_though_it_is_computed_elsewhere():
    def f(x, i, j):
        y = x * 2
        z = kuai.linalg.inv(x[i].reshape(1, 1)).sum()
        return (y // j).sum() + z

    x, good = torch.arange(1, 9), numbers(1)
    fails_alike(lambda i, j: f(x.float(), i, j), [good, x], [numbers(9), x])

    def g(x, i, j):
        y = x * 2
        z = TABLE[i].sum()
        return (y // j).sum() + z

    zero = x.clone()
    zero[3] = 0
    fails_alike(lambda i, j: g(x, i, j), [good, x], [numbers(10), zero])


def test_a_message_may_have_braces_of_its_own():
    def f(x):
        if x.sum() <= 0:
            raise ValueError("a set: {} and {0}")
        return x

    fails_alike(f, [torch.ones(2)], [-torch.ones(2)])


# -- blocks ----------------------------------------------------------------------------------------


class Lookup(nn.Module):
    def __init__(self, rows=10):
        super().__init__()
        self.table = nn.Embedding(rows, 3)
        self.net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())

    def forward(self, i):
        return self.net(self.table(i))


class Twice(nn.Module):
    """A shared block, called by way of a helper."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(Lookup())
        self.same = self.one
        self.other = Lookup(5)

    def look(self, i, block):
        return block(i)

    def forward(self, i, j):
        return self.look(i, self.same).sum() + self.look(j, self.other).sum()


class Refuses(nn.Module):
    def forward(self, x):
        if x.sum() >= 90:
            raise ArithmeticError("too much")
        return x * 2


class Rounds(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([Refuses(), Refuses()])

    def forward(self, x):
        while x.sum() < 150:
            x = self.inner[1](x) if x.sum() > 10 else self.inner[0](x)
        return x


class Solves(nn.Module):
    def forward(self, x):
        return kuai.linalg.inv(x)


class Hidden:
    """Not a block."""

    def __init__(self):
        self.block = Lookup()


class Unregistered(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = Hidden()

    def forward(self, i):
        return self.hidden.block(i)


class Applies(nn.Module):
    """A block that gets another one as an argument."""

    def __init__(self):
        super().__init__()
        self.inner = Given()
        self.table = Lookup()

    def forward(self, i):
        return self.inner(self.table, i)


class Given(nn.Module):
    def forward(self, block, i):
        return block(i)


GOOD, BAD = numbers(1, 2), numbers(1, 99)
NETS = {
    "one block": (nn.Embedding(4, 2), [GOOD], [BAD]),
    "sequences": (nn.Sequential(nn.Sequential(Lookup(), nn.Linear(3, 1))), [GOOD], [BAD]),
    "a shared block": (Twice(), [GOOD, GOOD], [BAD, GOOD]),
    "a block after a shared one": (Twice(), [GOOD, GOOD], [GOOD, BAD]),
    "a loop": (nn.Sequential(Rounds()), [torch.full((3,), 100.0)], [torch.ones(3)]),
    "NumPy's kernel": (nn.Sequential(nn.Sequential(Solves())), [torch.eye(2)], [torch.zeros(2, 2)]),
    "a block that is not registered": (Unregistered(), [GOOD], [BAD]),
    "a block as an argument": (Applies(), [GOOD], [BAD]),
}


@pytest.mark.parametrize("name", NETS)
def test_every_block_around_a_failure_is_named(name):
    net, good, bad = NETS[name]
    expected = notes_of(failure_of(net, *bad))
    assert expected
    for grad in (True, False):
        with kuai.set_grad_enabled(grad):
            compiled = kuai.compile(net)
            assert notes_of(failure_of(compiled, *bad)) == expected
            compiled(*good)
            assert notes_of(failure_of(compiled, *bad)) == expected
            assert notes_of(failure_of(compiled, *bad)) == expected


@pytest.mark.parametrize("name", NETS)
def test_a_function_around_blocks_names_them(name):
    net, good, bad = NETS[name]

    def step(*args):
        return net(*args) * 2

    fails_alike(step, good, bad)


def test_hooks_do_not_name_a_block_twice():
    net = nn.Sequential(Lookup())
    net.register_forward_hook(lambda *_: None)
    expected = notes_of(failure_of(net, BAD))
    compiled = kuai.compile(net)
    for _ in range(3):
        assert notes_of(failure_of(compiled, BAD)) == expected


def test_eager_blocks_around_a_compiled_one_are_named():
    class Outer(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, i):
            return self.inner(i) + 1

    inner = nn.Sequential(Lookup())
    expected = notes_of(failure_of(nn.Sequential(Outer(inner)), BAD))
    compiled = nn.Sequential(Outer(kuai.compile(inner)))
    for _ in range(3):
        assert notes_of(failure_of(compiled, BAD)) == expected
    compiled = kuai.compile(nn.Sequential(Outer(kuai.compile(inner))))
    for _ in range(3):
        assert notes_of(failure_of(compiled, BAD)) == expected


def test_programs_from_the_disk_name_the_blocks(tmp_path, monkeypatch):
    monkeypatch.setenv("KUAI_CACHE_DIR", str(tmp_path))
    for net in (nn.Sequential(Lookup()), Applies(), Unregistered()):
        for _ in range(2):
            assert notes_of(failure_of(kuai.compile(net), BAD)) == notes_of(failure_of(net, BAD))


def test_programs_for_any_batch_name_the_blocks():
    net = nn.Sequential(Lookup())
    compiled = kuai.compile(net, dynamic_batch=True)
    for n in (4, 7, 30):
        i = torch.arange(n)
        assert notes_of(failure_of(compiled, i + 9)) == notes_of(failure_of(net, i + 9))


class Square(kuai.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x + TABLE[x.detach().abs().long()].sum(-1)


class Squares(nn.Module):
    def forward(self, x):
        return Square.apply(x)


@pytest.mark.parametrize("inside", [False, True])
def test_a_failure_in_the_backward_part_is_noted_as_in_eager(inside):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 2), Squares())

        def forward(self, x):
            loss = self.net(x).sum()
            if inside:
                loss.backward()
            return loss.detach() if inside else loss

    torch.manual_seed(0)
    net = nn.Sequential(Steps())

    def step(x):
        loss = net(x)
        if not inside:
            loss.backward()
        return loss.detach()

    error = fails_alike(step, [torch.zeros(1, 2)], [torch.full((1, 2), 100.0)])
    assert bool(notes_of(error)) is inside


def test_a_failure_of_the_backward_program_is_noted_as_in_eager():
    net = nn.Sequential(nn.Linear(2, 2), Squares())
    x = torch.full((1, 2), 100.0)
    expected = failure_of(net(x).sum().backward)
    error = failure_of(kuai.compile(net)(x).sum().backward)
    assert (type(error), str(error)) == (type(expected), str(expected))
    assert notes_of(error) == notes_of(expected) == []
    assert any(note.startswith(f"at {__file__}:") for note in error.__notes__)


# -- tracebacks ------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Tracebacks as users see them."""
    monkeypatch.setattr(config, "full_tracebacks", False)


def frames(error):
    """Of each frame, whether it is kuai's, and the function."""
    found = traceback.extract_tb(error.__traceback__)
    return ["kuai" if "/kuai/" in f.filename else f.name for f in found]


def of_kuai(error):
    return frames(error).count("kuai")


@pytest.mark.usefixtures("short")
def test_a_failure_shows_few_frames_of_kuai():
    net = kuai.compile(nn.Sequential(Lookup()))
    function = kuai.compile(lambda i: TABLE[i])
    for compiled in (net, function):
        for _ in range(3):
            error = failure_of(compiled, BAD)
            assert of_kuai(error) <= 1
            assert frames(error)[0] == "failure_of"


def mean_of_positive(x):
    return x[x > 0].mean()


@pytest.mark.usefixtures("short")
def test_a_refusal_shows_the_users_frames_alone():
    def f(x):
        return mean_of_positive(x) + 1

    for function in (f, lambda x: x * x.sum().item()):
        error = failure_of(kuai.compile(function), torch.ones(3))
        assert isinstance(error, CompileError)
        assert of_kuai(error) == 0
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
    error = failure_of(kuai.compile(f), torch.ones(3))
    assert frames(error) == ["failure_of", "f", "mean_of_positive"]


def test_a_refusal_names_every_block_around_it():
    class Masks(nn.Module):
        def forward(self, x):
            return mean_of_positive(x)

    class Counts(nn.Module):
        def forward(self, x):
            return x * x.sum().item()

    for block, name in ((Masks(), "Masks"), (Counts(), "Counts")):
        error = failure_of(kuai.compile(nn.Sequential(nn.Sequential(block))), torch.ones(3))
        assert error.__notes__ == [
            f"in Sequential.0.0: {name}()",
            "in Sequential.0: Sequential",
            "in Sequential",
        ]


@pytest.mark.usefixtures("short")
def test_an_error_of_eager_code_while_compiling_shows_where_it_came_from():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5)))
    error = failure_of(kuai.compile(net), torch.ones(1, 2))
    assert type(error) is ShapeError
    assert notes_of(error) == notes_of(failure_of(net, torch.ones(1, 2)))
    assert of_kuai(error) <= 1


@pytest.mark.usefixtures("short")
def test_chains_of_the_users_exceptions_are_kept():
    def f(x):
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("mine") from error

    error = failure_of(kuai.compile(f), torch.ones(3))
    assert frames(error) == ["failure_of", "f"]
    assert isinstance(error.__cause__, KeyError)
    assert frames(error.__cause__) == ["f"]

    def g(x):
        try:
            {}["missing"]
        except KeyError:
            raise ValueError("mine")  # noqa: B904

    error = failure_of(kuai.compile(g), torch.ones(3))
    assert isinstance(error.__context__, KeyError)
    assert not error.__suppress_context__


@pytest.mark.usefixtures("short")
def test_an_exception_that_is_being_handled_stays_the_context():
    compiled = kuai.compile(lambda i: TABLE[i])
    for _ in range(2):
        outer = KeyError("outer")
        try:
            raise outer
        except KeyError:
            error = failure_of(compiled, BAD)
        assert error.__context__ is outer


@pytest.mark.usefixtures("short")
def test_mistakes_of_the_compilers_own_keep_their_frames(monkeypatch):
    def broken(*_):
        raise AssertionError("a mistake")

    monkeypatch.setattr("kuai.compiler.run.code.jit.compiled", broken)
    monkeypatch.setenv("KUAI_CACHE_DIR", "/dev/null/none")
    error = failure_of(kuai.compile(lambda x: x * 1.0625 - 0.3), torch.ones(3))
    assert of_kuai(error) > 3
