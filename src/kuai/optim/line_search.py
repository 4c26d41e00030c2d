"""A line search that ends where the strong Wolfe conditions hold; `LBFGS` uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kuai.core import primitive as primitives
from kuai.tensor import Tensor


class Point(NamedTuple):
    """A place on the line: how far along it, the loss there, its gradient and its slope."""

    t: Any
    loss: float
    gradient: Tensor
    slope: Any


def strong_wolfe(
    evaluate: Callable[[Any], tuple[float, Tensor]],
    t: Any,
    direction: Tensor,
    start: Point,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_evaluations: int = 25,
) -> tuple[Point, int]:
    """Find a step length whose loss is low enough and whose slope is flat enough.

    Args:
        evaluate: gives the loss and its gradient at a step length.
        t: the first length to try.
        direction: the direction of the step.
        start: length zero.
        c1: how much of the slope at the start the loss must fall by.
        c2: how much of the slope at the start may remain.
        tolerance_change: the search ends when steps differ by less.
        max_evaluations: how often lengths may be tried after the first.

    Returns:
        the place found, and the number of evaluations.

    Source:
        Nocedal and Wright, "Numerical optimization", 2006, algorithms 3.5 and 3.6.
    """
    search = _Search(evaluate, direction, start, c1, c2, tolerance_change, max_evaluations)
    low, high, tries, found = search.bracket(t)
    best, tries = (low, tries) if found else search.zoom(low, high, tries)
    return best, tries + 1


class _Search:
    """The conditions of a search.

    Conditions and loops are on numbers that a capture does not know: all that changes from round to
    round is a local variable of one type, and what is computed before a loop is what its rounds
    compute.
    """

    def __init__(
        self,
        evaluate: Callable[[Any], tuple[float, Tensor]],
        direction: Tensor,
        start: Point,
        c1: float,
        c2: float,
        tolerance_change: float,
        max_tries: int,
    ) -> None:
        self._evaluate = evaluate
        self.direction = direction
        self.start = start._replace(gradient=start.gradient.clone())
        self.c1, self.c2 = c1, c2
        self.tolerance_change = tolerance_change
        self.max_tries = max_tries

    def at(self, t: Any) -> Point:
        """The place at a step length."""
        loss, gradient = self._evaluate(t)
        return Point(t, loss, gradient, gradient.dot(self.direction))

    def too_high(self, point: Point) -> Any:
        """Whether the loss has not fallen enough."""
        return point.loss > self.start.loss + self.c1 * point.t * self.start.slope

    def flat(self, point: Point) -> Any:
        """Whether little of the slope is left."""
        return abs(point.slope) <= -self.c2 * self.start.slope

    def rises(self, before: Point, here: Point, tries: Any) -> Any:
        """Whether a good place lies before this one, because it is too high already."""
        return self.too_high(here) or (tries > 1 and here.loss >= before.loss)

    def bracket(self, t: Any) -> tuple[Point, Point, Any, Any]:
        """Go on until two places have a good one between them, or one is good itself.

        Returns:
            the two places, how often it went on, and whether the first one is good itself.
        """
        before, here, tries = self.start, self.at(t), 0
        ends = self.rises(before, here, tries) or self.flat(here) or here.slope >= 0
        while tries < self.max_tries and not ends:
            nearest = here.t + 0.01 * (here.t - before.t)
            t = _lowest_of_cubic(before, here, (nearest, here.t * 10))
            before, here = here, self.at(t)
            tries += 1
            ends = self.rises(before, here, tries) or self.flat(here) or here.slope >= 0
        if tries >= self.max_tries:
            return self.start, here, tries, False
        if self.flat(here) and not self.rises(before, here, tries):
            return here, here, tries, True
        return before, here, tries, False

    def narrow(self, one: Point, other: Point) -> Any:
        """Whether two places are too near to each other to go on between them."""
        return abs(other.t - one.t) * self.direction.abs().max() < self.tolerance_change

    def zoom(self, one: Point, other: Point, tries: Any) -> tuple[Point, Any]:
        """Close in on a good place between two.

        Returns:
            the better one of the last two, and how often lengths have been tried.
        """
        first_is_better = one.loss <= other.loss
        stuck, done = False, False
        while tries < self.max_tries and not done and not self.narrow(one, other):
            t, stuck = _away_from_ends(_lowest_of_cubic(one, other), one.t, other.t, stuck)
            here = self.at(t)
            tries += 1
            better, worse = (one, other) if first_is_better else (other, one)
            higher = self.too_high(here) or here.loss >= better.loss
            if higher:
                worse = here
            else:
                done = self.flat(here)
                if not done and here.slope * (worse.t - better.t) >= 0:
                    worse = better
                better = here
            one, other = (better, worse) if first_is_better else (worse, better)
            if higher:
                first_is_better = one.loss <= other.loss
        return one if first_is_better else other, tries


def _away_from_ends(t: Any, one: Any, other: Any, stuck: Any) -> tuple[Any, Any]:
    """Keep `t` off the ends of the bracket when it came too near to them twice in a row."""
    least, greatest = min(one, other), max(one, other)
    margin = 0.1 * (greatest - least)
    if min(greatest - t, t - least) >= margin:
        return t, False
    if stuck or t >= greatest or t <= least:
        near_greatest = abs(t - greatest) < abs(t - least)
        return length(greatest - margin if near_greatest else least + margin), False
    return t, True


def _lowest_of_cubic(one: Point, other: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic with the losses and slopes of two places is lowest, within `bounds`."""
    if one.t > other.t:
        return _lowest_between(other, one, bounds or (other.t, one.t))
    return _lowest_between(one, other, bounds or (one.t, other.t))


def _lowest_between(one: Point, other: Point, bounds: tuple[Any, Any]) -> Any:
    least, greatest = bounds
    d1 = one.slope + other.slope - 3 * (one.loss - other.loss) / (one.t - other.t)
    square = d1**2 - one.slope * other.slope
    if not square >= 0:
        return length((least + greatest) / 2.0)
    d2 = square.sqrt()
    share = (other.slope + d2 - d1) / (other.slope - one.slope + 2 * d2)
    lowest = other.t - (other.t - one.t) * share
    return length(min(max(lowest, least), greatest))


def length(t: Any) -> Any:
    """A step length: a number or a tensor; while capturing, always a number."""
    return t if primitives.intercept is None else float(t)
