"""Sizes that depend on the batch: arithmetic, decisions, code."""

import ctypes

import pytest

from kuai.compiler.native import jit
from kuai.compiler.sizes import Batch, SizeError, hint, identical, larger, ratio


@pytest.fixture
def batch():
    return Batch(7)


def compiled(batch, size):
    """The size as a native function of the batch."""
    text = str(size)
    lines = "\n".join(batch.define([text[2:-1]]))
    code = f"define i64 @size(i64 %batch) {{\n{lines}\n  ret i64 {text}\n}}\n"
    library = jit.load(jit.assemble(code, verify=True), ("size",))
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library["size"])
    return lambda value: (library, call(value))[1]


FORMS = {
    "affine": lambda n: 3 * n - 5,
    "product": lambda n: n * (n + 1) - n * n,
    "square": lambda n: 2 * n * n - n + 4,
    "whole vectors": lambda n: (5 * n) - (5 * n) % 16,
    "rounded up": lambda n: -(-(12 * n) // 64) * 64,
    "quotient of quotients": lambda n: (n // 2 + 3) // 4,
    "negative": lambda n: (3 - 2 * n) // 5,
}


@pytest.mark.parametrize("name", FORMS)
def test_a_size_is_computed_with_like_an_integer(batch, name):
    form = FORMS[name]
    size = form(batch.size(1))
    native = compiled(batch, size)
    for n in range(2, 200):
        assert size.at(n) == form(n)
        assert native(n) == form(n)


def test_what_does_not_depend_on_the_batch_is_an_int(batch):
    n = batch.size(1)
    assert type(n - n + 3) is int
    assert type(32 * n % 16) is int


def test_what_holds_for_all_batches_is_no_condition(batch):
    n = batch.size(4, 4)
    assert n > 11
    assert n != 0
    assert n != 1
    assert n != 33  # 4 n + 4 never is
    assert not n < 12
    assert batch.conditions == {}
    assert batch.holds(10**9)


def test_a_decision_is_a_condition(batch):
    n = batch.size(1)
    assert n <= 16
    assert n != 10
    assert n % 2 == 1
    assert [k for k in range(20) if batch.holds(k)] == [3, 5, 7, 9, 11, 13, 15]
    assert len(batch.broken(32)) == 2


def test_batches_of_0_and_1_never_hold(batch):
    assert not batch.holds(0)
    assert not batch.holds(1)


@pytest.mark.parametrize("use", [int, float, range, lambda n: [0] * n, lambda n: n / 2])
def test_a_size_is_never_taken_for_a_number(batch, use):
    with pytest.raises((SizeError, TypeError)):
        use(batch.size(1))


def test_a_hint_decides_nothing(batch):
    assert hint(batch.size(2)) == 14
    assert hint(3) == 3
    assert batch.conditions == {}


def test_sizes_are_identical_where_they_always_are_equal(batch):
    n = batch.size(1)
    assert identical((2 * n, 4), (n + n, 4))
    assert not identical(n, 7)
    assert batch.conditions == {}


def test_the_larger_one_is_at_least_as_large_as_both(batch):
    n = batch.size(1)
    assert larger(n, 1) is n
    assert larger(3, 5) == 5
    both = larger(n, 100)
    assert all(both.at(k) >= max(k, 100) for k in range(2, 300))


def test_a_ratio_is_a_float_at_each_size_and_refuses_decisions(batch):
    n = batch.size(1)
    x = ratio(n, n - 1)
    assert x.at(7) == 7 / 6
    with pytest.raises(SizeError):
        bool(x)
    with pytest.raises(SizeError):
        _ = x == 1.0
