"""`heapq` and `bisect` in Python, for lists with captured numbers in them.

These functions are captured as the user's are. Their source: Python's documentation of `heapq`
(the order of the items is the same, so that the list looks the same between the calls).
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture.ordering import ordered

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session
from kuai.compiler.capture.special import SPECIAL, has_captured, special


def _rise(heap: list[Any], start: int, place: int) -> None:
    """Move the item at a place up, until none above it is greater."""
    item = heap[place]
    while place > start:
        parent = (place - 1) >> 1
        if not item < heap[parent]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = item


def _sink(heap: list[Any], place: int) -> None:
    """Move the item at a place down to the leaves, and up to where it belongs."""
    end, start = len(heap), place
    item = heap[place]
    child = 2 * place + 1
    while child < end:
        if child + 1 < end and not heap[child] < heap[child + 1]:
            child += 1
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = item
    _rise(heap, start, place)


def _push(heap: list[Any], item: Any) -> None:
    heap.append(item)
    _rise(heap, 0, len(heap) - 1)


def _pop(heap: list[Any]) -> Any:
    last = heap.pop()
    if not heap:
        return last
    first = heap[0]
    heap[0] = last
    _sink(heap, 0)
    return first


def _replace(heap: list[Any], item: Any) -> Any:
    first = heap[0]
    heap[0] = item
    _sink(heap, 0)
    return first


def _push_and_pop(heap: list[Any], item: Any) -> Any:
    if heap and heap[0] < item:
        item, heap[0] = heap[0], item
        _sink(heap, 0)
    return item


def _heapify(x: list[Any]) -> None:
    for place in reversed(range(len(x) // 2)):
        _sink(x, place)


def _first_place(a: Any, lo: int, hi: Any, key: Any, is_before: Callable[[Any], Any]) -> Any:
    """Where the items end that come before, as one asks in the middle of what is left."""
    if hi is None:
        hi = len(a)
    while lo < hi:
        middle = (lo + hi) // 2
        if is_before(a[middle] if key is None else key(a[middle])):
            lo = middle + 1
        else:
            hi = middle
    return lo


def _left(a: Any, x: Any, lo: int = 0, hi: Any = None, *, key: Any = None) -> Any:
    return _first_place(a, lo, hi, key, lambda item: item < x)


def _right(a: Any, x: Any, lo: int = 0, hi: Any = None, *, key: Any = None) -> Any:
    return _first_place(a, lo, hi, key, lambda item: not x < item)


def _insert_left(a: Any, x: Any, lo: int = 0, hi: Any = None, *, key: Any = None) -> None:
    a.insert(_left(a, x if key is None else key(x), lo, hi, key=key), x)


def _insert_right(a: Any, x: Any, lo: int = 0, hi: Any = None, *, key: Any = None) -> None:
    a.insert(_right(a, x if key is None else key(x), lo, hi, key=key), x)


def _captured_as(plain: Any, function: Any, name: str) -> None:
    def compute(session: Session, *args: Any, **kwargs: Any) -> Any:
        if has_captured(session, [args, kwargs]):
            return session.function(function)(*args, **kwargs)
        if name:
            session.changes_container(args[0], name)
        args, kwargs = session._prepared(args, kwargs)
        return plain(*args, **kwargs)

    SPECIAL[plain] = compute


@special(heapq.nlargest)
def _largest(session: Session, n: int, iterable: Any, key: Any = None) -> Any:
    return ordered(session, iterable, key=key, reverse=True)[:n]


@special(heapq.nsmallest)
def _smallest(session: Session, n: int, iterable: Any, key: Any = None) -> Any:
    return ordered(session, iterable, key=key)[:n]


_FORMS: list[tuple[Any, Callable[..., Any]]] = [
    (heapq.heappush, _push),
    (heapq.heappop, _pop),
    (heapq.heapreplace, _replace),
    (heapq.heappushpop, _push_and_pop),
    (heapq.heapify, _heapify),
    (bisect.bisect_left, _left),
    (bisect.bisect_right, _right),
    (bisect.insort_left, _insert_left),
    (bisect.insort_right, _insert_right),
]
for _plain, _function in _FORMS:
    _changes = "" if _plain.__name__.startswith("bisect") else _plain.__name__
    _captured_as(_plain, _function, _changes)
