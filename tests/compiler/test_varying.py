"""Ints among the arguments become inputs once they are seen to change, where that is possible."""

import pytest

import kuai

X = kuai.tensor([1.0, -2.0])


def arithmetic(x, n):
    return x * n, n + 1, n / 2, n // 2, n % 3, -n, n**2, n > 2


def branches(x, n):
    if n % 2 == 0 and n:
        return x + n
    return x - n


def loops(x, n):
    for i in range(n):
        x = x * 0.5 + i
    return x


def warms_up(x, step):
    return x * min(1.0, (step + 1) / 4)


def may_be_none(x, n):
    return x * 2 if n > 2 else None


def asks_for_its_type(x, n):
    return x * (2 if isinstance(n, int) and not isinstance(n, bool) else 3), type(n) is int


def is_a_size(x, n):
    return x.repeat(n)


def is_a_text(x, n):
    return x, f"{n}"


def decides_how_much_comes(x, n):
    return x if n == 1 else (x, x)


def plain(result):
    if isinstance(result, kuai.Tensor):
        return result.tolist()
    return [plain(x) for x in result] if isinstance(result, (tuple, list)) else result


@pytest.mark.parametrize(
    ("function", "programs"),
    [
        (arithmetic, 3),
        (branches, 3),
        (loops, 3),
        (warms_up, 3),
        (may_be_none, 3),
        (asks_for_its_type, 3),
        (is_a_size, 6),
        (is_a_text, 6),
        (decides_how_much_comes, 6),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_programs_for_ints(function, programs):
    compiled = kuai.compile(function)
    for n in (0, 1, 2, 3, 4, 5, 1, 3, 0, 5):
        assert plain(compiled(X, n)) == plain(function(X, n)), n
    assert len(compiled._compiled.programs) == programs


def test_a_gradient_by_an_int():
    @kuai.compile
    def power(x, n):
        return (x**n).sum()

    for n in (1, 2, 3, 4, 2):
        x = kuai.tensor([1.5, 2.0], requires_grad=True)
        power(x, n).backward()
        assert x.grad.tolist() == pytest.approx([n * 1.5 ** (n - 1), n * 2.0 ** (n - 1)])
