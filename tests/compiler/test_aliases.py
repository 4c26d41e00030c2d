"""What may be the same as something else, as a condition or a number of rounds decides.

A change of it must not be missed by whoever knows it by another name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import kuai
from kuai.errors import CompileError


def other_tensor(t: Any) -> Any:
    a, b = t.clone(), t * 2
    x = a if t.sum() > 0 else b
    x += 1
    return a * 1


def two_names(t: Any) -> Any:
    a, b = t.clone(), t * 2
    x = a if t.sum() > 0 else b
    y = a if t.sum() > 0 else b
    x += 1
    return y * 1


def two_names_made_on_a_side(t: Any) -> Any:
    if t.sum() > 0:
        x = y = t * 2
    else:
        x, y = t * 3, t * 4
    x += 1
    return y * 1


def known_before_the_loop(t: Any) -> Any:
    y = t.clone()
    x, total = y, t.sum()
    while total < 20:
        total = total + y.sum()
        x *= 2
        x = x + 0
    return total


def assigned_in_the_loop(t: Any) -> Any:
    z = t.clone()
    x, total = t + 1, t.sum()
    while total < 20:
        total = total + x.sum()
        x *= 2
        x = z
    return z * 1


def swapped(t: Any) -> Any:
    a, b = t.clone(), t * 2
    p, q, total = a, b, t.sum()
    while total < 20:
        total = total + p.sum()
        p += 1
        p, q = q, p
    return b * 1


def swapped_and_changed_behind(t: Any) -> Any:
    a, b = t.clone(), t * 2
    p, q, total = a, b, t.sum()
    while total < 20:
        p, q = q, p
        total = total + p.sum()
    p += 1
    return a * 1


def two_names_in_a_loop(t: Any) -> Any:
    x = y = t * 2
    total = t.sum()
    while total < 20:
        x += 1
        total = total + y.sum()
        x = y = x * 1.5
    return total


def list_appended(t: Any) -> Any:
    a, b = [t, t + 1], [t * 2, t * 3]
    x = a if t.sum() > 0 else b
    x.append(t * 5)
    return len(a)


def item_assigned(t: Any) -> Any:
    a, b = [t, t + 1], [t * 2, t * 3]
    if t.sum() > 0:
        x = a
    else:
        x = b
    x[0] = t * 7
    return a[0]


def original_changed(t: Any) -> Any:
    a, b = [t, t + 1], [t * 2, t * 3]
    x = a if t.sum() > 0 else b
    a[0] = t * 7
    return x[0]


def original_returned(t: Any) -> Any:
    a, b = [t, t + 1], [t * 2, t * 3]
    x = a if t.sum() > 0 else b
    x[0] = t * 7
    return a


def dict_changed(t: Any) -> Any:
    a, b = {"u": t}, {"u": t * 2}
    x = a if t.sum() > 0 else b
    x["u"] = t * 7
    return a["u"]


def list_in_a_tuple(t: Any) -> Any:
    a, b = [t], [t * 2]
    pair = (a, t) if t.sum() > 0 else (b, t)
    pair[0].append(t)
    return len(a)


def merged_with_the_changed(t: Any) -> Any:
    a, b = [t], [t * 2]
    x = a if t.sum() > 0 else b
    x[0] = t * 7
    y = a if t.mean() > 0 else [t * 3]
    return y[0]


def list_of_a_loop(t: Any) -> Any:
    a = [t]
    x, total = a, t.sum()
    while total < 20:
        total = total + a[0].sum()
        x[0] = x[0] * 2
        x = [x[0]]
    return total


@dataclass
class State:
    """Something with a tensor in it."""

    value: Any


class Plain:
    """The same, without help."""

    def __init__(self, value: Any) -> None:
        self.value = value


def dataclass_changed(t: Any) -> Any:
    a, b = State(t), State(t * 2)
    x = a if t.sum() > 0 else b
    x.value = t * 9
    return a.value


def object_changed(t: Any) -> Any:
    a, b = Plain(t), Plain(t * 2)
    x = a if t.sum() > 0 else b
    x.value = t * 9
    return a.value


def is_the_same_list(t: Any) -> Any:
    a, b = [t], [t * 2]
    x = a if t.sum() > 0 else b
    return x is a


def is_the_same_tensor(t: Any) -> Any:
    a, b = t.clone(), t * 2
    x = a if t.sum() > 0 else b
    return x is not a


MISSED = [
    other_tensor,
    two_names,
    two_names_made_on_a_side,
    known_before_the_loop,
    assigned_in_the_loop,
    swapped,
    swapped_and_changed_behind,
    two_names_in_a_loop,
    list_appended,
    item_assigned,
    original_changed,
    original_returned,
    dict_changed,
    list_in_a_tuple,
    merged_with_the_changed,
    list_of_a_loop,
    dataclass_changed,
    object_changed,
    is_the_same_list,
    is_the_same_tensor,
]


@pytest.mark.parametrize("program", MISSED)
def test_what_would_be_missed_is_refused(program: Callable[[Any], Any]) -> None:
    with pytest.raises(CompileError, match=r"may or may not be the same|one and the same"):
        kuai.compile(program)(kuai.tensor([0.3, 0.9, 0.2]))


def fresh_lists(t: Any) -> Any:
    x = [t, t + 1] if t.sum() > 0 else [t * 2, t * 3]
    x.append(t * 5)
    x[0] = x[0] * 3
    return x


def a_copy(t: Any) -> Any:
    a, b = [t, t + 1], [t * 2, t * 3]
    x = list(a if t.sum() > 0 else b)
    x.append(t * 5)
    return x, a


def the_original_is_not_seen_again(t: Any) -> Any:
    a, b = State(t), State(t * 2)
    x = a if t.sum() > 0 else b
    x.value = x.value + 1
    return x.value


def the_other_original(t: Any) -> Any:
    a, b = t.clone(), t * 2
    x = a if t.sum() > 0 else b
    y = x * 1
    a += 1
    return y, b * 1


def original_and_result_are_known_again(t: Any) -> Any:
    a, b = [t], [t * 2]
    x = a if t.sum() > 0 else b
    y = x[0]
    a = [t * 3]
    a.append(t)
    return a, y


def best_so_far(t: Any) -> Any:
    x = best = t * 1
    for _ in range(5):
        x = x * 1.5 - 1
        if x.sum() > best.sum():
            best = x
    best += 1
    return best


def a_list_for_each_round(t: Any) -> Any:
    state, total = [t, t * 2], t.sum()
    while total < 20:
        state[0] = state[0] + 1
        state = [state[1], state[0]]
        total = total + state[0].sum()
    state.append(total)
    return state


def two_names_of_a_round(t: Any) -> Any:
    x = y = t * 2
    total = t.sum()
    while total < 20:
        total = total + y.abs().sum()
        x += 1
        x = y = x * 1.5
    return total


def different_tensors_are_different(t: Any) -> Any:
    a, b = t.clone(), t * 2
    return a is b, (a if t.sum() > 0 else b) is t


SEEN = [
    fresh_lists,
    a_copy,
    the_original_is_not_seen_again,
    the_other_original,
    original_and_result_are_known_again,
    best_so_far,
    a_list_for_each_round,
    two_names_of_a_round,
    different_tensors_are_different,
]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("program", SEEN)
def test_what_nobody_misses_is_as_in_eager(program: Callable[[Any], Any], sign: float) -> None:
    x = kuai.tensor([0.3, 0.9, 0.2]) * sign
    assert str(kuai.compile(program)(x)) == str(program(x))
