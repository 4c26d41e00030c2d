"""Sorting, extremes, searches and comparisons of what has captured numbers in it."""

import bisect
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import kuai
from kuai.errors import CompileError


@dataclass
class Hypothesis:
    """What a beam search keeps."""

    score: Any
    tokens: list[Any]
    state: Any


def sorted_tensors(t: Any) -> Any:
    return sorted(t), sorted(t, reverse=True)


def sorted_numbers(t: Any) -> Any:
    return sorted([float(x) for x in t]), sorted(int(x * 10) for x in t)


def sorted_by_a_key(t: Any) -> Any:
    return sorted(range(6), key=lambda i: float(t[i])), sorted(t, key=lambda x: -x)


def sorted_pairs(t: Any) -> Any:
    return sorted((round(float(x)), -i) for i, x in enumerate(t))


def sorted_pairs_with_texts(t: Any) -> Any:
    order = sorted(zip([int(x) for x in t], ["b", "a", "d", "c", "b", "a"], range(6), strict=True))
    return [x[0] for x in order], [x[2] for x in order]


def order_is_stable(t: Any) -> Any:
    pairs = [(int(x), i) for i, x in enumerate(t)]
    up = sorted(pairs, key=lambda p: p[0])
    down = sorted(pairs, key=lambda p: p[0], reverse=True)
    return up, down


def sorted_in_place(t: Any) -> Any:
    pairs = [[float(x), x * 2] for x in t]
    pairs.sort(key=lambda p: p[0], reverse=True)
    return pairs[:3]


def extremes_with_keys(t: Any) -> Any:
    return (
        max(t, key=lambda x: (x - 0.5) ** 2),
        min(range(6), key=lambda i: float(t[i])),
        max(enumerate(t), key=lambda pair: pair[1]),
    )


def extremes_of_pairs(t: Any) -> Any:
    return max((x, i) for i, x in enumerate(t)), min((int(x), -i) for i, x in enumerate(t))


def extremes_of_generators(t: Any) -> Any:
    return max(float(x) for x in t), min((x * 2 for x in t), default=None)


def no_items(t: Any) -> Any:
    return max([], default=float(t[0])), min((x for x in ()), default=None)


def the_first_of_equals(t: Any) -> Any:
    pairs = [(int(x), i) for i, x in enumerate(t)]
    return max(pairs, key=lambda p: p[0]), min(pairs, key=lambda p: p[0])


def largest(t: Any) -> Any:
    return heapq.nlargest(2, t), heapq.nsmallest(2, list(enumerate(t)), key=lambda p: p[1])


def objects(t: Any) -> Any:
    found = [Hypothesis(x, [i, x], {"h": x * t}) for i, x in enumerate(t)]
    found.sort(key=lambda h: h.score)
    best = max(found, key=lambda h: -h.score)
    return [h.tokens for h in found], found[2].state["h"], best.tokens, best.state


def a_name_of_the_best(t: Any) -> Any:
    votes = {"red": t[0], "green": t[1], "blue": t[2]}
    return votes[max(votes, key=votes.get)], votes[min(votes, key=lambda name: votes[name])]


def an_item_of_a_list_of_pairs(t: Any) -> Any:
    pairs = [(x, x * t) for x in t]
    score, vector = pairs[int(t.argmax())]
    return score, vector, pairs[-1 - int(t.argmin())][1]


def comparisons_of_pairs(t: Any) -> Any:
    a, b = (int(t[0]), float(t[1])), (int(t[2]), float(t[3]))
    same = (a[0], a[1])
    return a < b, a <= same, a > b, a == b, a == same, a != b, a < (a[0],), [*a] >= [*b]


def conditions_on_pairs(t: Any) -> Any:
    return t * 2 if (int(t[0]), t[1]) < (int(t[2]), t[3]) else t * 3


def searches(t: Any) -> Any:
    whole = [int(x) for x in t]
    pairs = [(x, 1) for x in whole]
    return whole.index(whole[3]), tuple(whole).count(whole[0]), (whole[1], 1) in pairs


def beam_search(t: Any) -> Any:
    beams = [(0.0, [0], t)]
    for _ in range(3):
        found = []
        for score, tokens, state in beams:
            new = (state * 1.3).sin()
            values, indices = new.log_softmax(-1).topk(2)
            for k in range(2):
                found.append((score + values[k], [*tokens, indices[k]], new))
        beams = sorted(found, key=lambda b: b[0], reverse=True)[:2]
    return beams


def beam_search_on_rows(t: Any) -> Any:
    rows = kuai.softmax(t.reshape(2, 3), 1)
    beams: list[Any] = [[[], 0.0]]
    for row in rows:
        found = [
            [[*tokens, j], score - math.log(row[j])] for tokens, score in beams for j in range(3)
        ]
        beams = sorted(found, key=lambda pair: pair[1])[:2]
    return beams


def counts(t: Any) -> Any:
    found = [0, 0, 0]
    for x in t:
        found[int(x) % 3] += 1
    return found


def items_assigned(t: Any) -> Any:
    vectors = [t, t * 2, t * 3]
    vectors[int(t.argmax()) % 3] = t * 5
    vectors[-1 - int(t.argmin()) % 3] = t * 7
    return vectors


def items_taken_out(t: Any) -> Any:
    pending, order = list(t), []
    while pending:
        order.append(pending.pop(min(range(len(pending)), key=lambda i: pending[i])))
    return order


def items_put_in(t: Any) -> Any:
    found: list[Any] = [1, 2, 3]
    found.insert(int(t[0] * 3), 7)
    found.insert(-1 - int(t[1] * 3), 8)
    del found[int(t[2]) % 3]
    found.remove(found[int(t.argmax()) % 4])
    return found


def a_visited_list_in_a_loop(t: Any) -> Any:
    visited, place, rounds = [False] * 6, 0, 0
    while not visited[place]:
        visited[place] = True
        place = int(t[place] * 10 + place) % 6
        rounds += 1
    return visited, place, rounds


def heaps(t: Any) -> Any:
    heap: list[Any] = []
    states = []
    for i, x in enumerate(t):
        heapq.heappush(heap, (float(x), i))
        states.append(list(heap))
    first = heapq.heappop(heap)
    states.append(list(heap))
    second = heapq.heapreplace(heap, (float(t[0] + t[1]), 7))
    third = heapq.heappushpop(heap, (float(t[2] * t[3]), 8))
    other = [float(x * x) for x in t]
    heapq.heapify(other)
    return states, first, second, third, heap, other, [heapq.heappop(other) for _ in range(4)]


def bisections(t: Any) -> Any:
    known = [0.2, 0.9, 1.0, 1.0, 3.0]
    order = sorted(float(x) for x in t)
    bisect.insort(order, float(t[3] * 2))
    bisect.insort_left(order, 1.0)
    return (
        bisect.bisect(known, float(t[0])),
        bisect.bisect_left(known, float(t[1]) + 0.5),
        bisect.bisect_left(order, 1.0),
        bisect.bisect_right(order, float(t[2])),
        order,
    )


def the_best_few(t: Any) -> Any:
    best: list[Any] = []
    for i, x in enumerate(t):
        heapq.heappush(best, (x, i))
        if len(best) > 3:
            heapq.heappop(best)
    return sorted(best)


PROGRAMS = [
    heaps,
    bisections,
    the_best_few,
    counts,
    items_assigned,
    items_taken_out,
    items_put_in,
    a_visited_list_in_a_loop,
    sorted_tensors,
    sorted_numbers,
    sorted_by_a_key,
    sorted_pairs,
    sorted_pairs_with_texts,
    order_is_stable,
    sorted_in_place,
    extremes_with_keys,
    extremes_of_pairs,
    extremes_of_generators,
    no_items,
    the_first_of_equals,
    largest,
    objects,
    a_name_of_the_best,
    an_item_of_a_list_of_pairs,
    comparisons_of_pairs,
    conditions_on_pairs,
    searches,
    beam_search,
    beam_search_on_rows,
]


def near(got: Any, want: Any) -> None:
    """The same structure, types and numbers."""
    assert type(got) is type(want)
    if isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for x, y in zip(got, want, strict=True):
            near(x, y)
    elif isinstance(want, dict):
        near([*got.items()], [*want.items()])
    elif isinstance(want, kuai.Tensor):
        assert got.dtype is want.dtype
        assert kuai.allclose(got, want)
    elif isinstance(want, float):
        assert math.isclose(got, want, rel_tol=1e-6)
    else:
        assert got == want


@pytest.mark.parametrize("program", PROGRAMS)
def test_as_in_eager(program: Callable[[Any], Any]) -> None:
    compiled = kuai.compile(program)
    draw = random.Random(0)
    for scale in (1.0, 5.0, 0.0):  # the last one: all are equal
        t = kuai.tensor([draw.uniform(-1, 1) * scale + 1 for _ in range(6)])
        near(compiled(t), program(t))


def test_gradients_go_through_an_order() -> None:
    def loss(t: Any) -> Any:
        pairs = sorted([(x, x * i) for i, x in enumerate(t)], key=lambda p: -p[0])
        return pairs[0][1] + 2 * pairs[1][0] + max(pairs, key=lambda p: p[1])[0]

    values = [0.3, 0.9, -0.2, 0.5]
    eager = kuai.tensor(values, requires_grad=True)
    loss(eager).backward()
    t = kuai.tensor(values, requires_grad=True)
    kuai.compile(loss)(t).backward()
    assert kuai.equal(t.grad, eager.grad)


def test_an_order_of_unlike_things_is_refused() -> None:
    def unlike(t: Any) -> Any:
        return sorted([(t[0], t), (t[1], "text")], key=lambda p: p[0])

    with pytest.raises(CompileError, match="not alike"):
        kuai.compile(unlike)(kuai.tensor([1.0, 2.0]))


def test_what_is_not_there() -> None:
    def place(t: Any) -> Any:
        return [int(x) for x in t].index(7)

    compiled = kuai.compile(place)
    assert compiled(kuai.tensor([1.0, 7.0])) == 1
    with pytest.raises(ValueError, match="does not have"):
        compiled(kuai.tensor([1.0, 2.0]))


def test_a_place_that_a_list_does_not_have() -> None:
    def assigned(t: Any) -> Any:
        found = [0, 0, 0]
        found[int(t[0])] = 1
        return found

    compiled = kuai.compile(assigned)
    assert compiled(kuai.tensor([-3.0])) == [1, 0, 0]
    with pytest.raises(IndexError, match="out of range"):
        compiled(kuai.tensor([3.0]))


def test_a_change_of_what_was_sorted_is_not_missed() -> None:
    def changed(t: Any) -> Any:
        first, second = [t[0]], [t[1]]
        best = max([first, second], key=lambda x: x[0])
        best.append(t[0])
        return first

    with pytest.raises(CompileError, match="may or may not be the same"):
        kuai.compile(changed)(kuai.tensor([1.0, 2.0]))
