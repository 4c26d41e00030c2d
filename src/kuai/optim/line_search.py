"""A line search that ends where the strong Wolfe conditions hold; `LBFGS` uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
    low, high = search.bracket(t)
    found = low if high is None else search.zoom(low, high)
    return found, search.evaluations


class _Search:
    def __init__(
        self,
        evaluate: Callable[[Any], tuple[float, Tensor]],
        direction: Tensor,
        start: Point,
        c1: float,
        c2: float,
        tolerance_change: float,
        max_evaluations: int,
    ) -> None:
        self._evaluate = evaluate
        self.direction = direction
        self.start = start._replace(gradient=start.gradient.clone())
        self.c1, self.c2 = c1, c2
        self.tolerance_change = tolerance_change
        self.evaluations = 0
        self.tries = 0
        self.max_tries = max_evaluations

    def at(self, t: Any) -> Point:
        loss, gradient = self._evaluate(t)
        self.evaluations += 1
        return Point(t, loss, gradient, gradient.dot(self.direction))

    def too_high(self, point: Point) -> bool:
        return bool(point.loss > self.start.loss + self.c1 * point.t * self.start.slope)

    def flat(self, point: Point) -> bool:
        return bool(abs(point.slope) <= -self.c2 * self.start.slope)

    def bracket(self, t: Any) -> tuple[Point, Point | None]:
        """Go on until two places have a good one between them, or one is good itself."""
        before, here = self.start, self.at(t)
        while self.tries < self.max_tries:
            if self.too_high(here) or (self.tries > 1 and here.loss >= before.loss):
                return before, here
            if self.flat(here):
                return here, None
            if here.slope >= 0:
                return before, here
            nearest = here.t + 0.01 * (here.t - before.t)
            t = _lowest_of_cubic(before, here, (nearest, here.t * 10))
            before, here = here, self.at(t)
            self.tries += 1
        return self.start, here

    def zoom(self, one: Point, other: Point) -> Point:
        """Close in on a good place between two; `ends[low]` is always the better of them."""
        ends = [one, other]
        low = 0 if one.loss <= other.loss else 1
        stuck = False
        while self.tries < self.max_tries:
            width = abs(ends[1].t - ends[0].t)
            if width * self.direction.abs().max() < self.tolerance_change:
                break
            t, stuck = _away_from_ends(
                _lowest_of_cubic(ends[0], ends[1]), ends[0].t, ends[1].t, stuck
            )
            here = self.at(t)
            self.tries += 1
            if self.too_high(here) or here.loss >= ends[low].loss:
                ends[1 - low] = here
                low = 0 if ends[0].loss <= ends[1].loss else 1
                continue
            done = self.flat(here)
            if not done and here.slope * (ends[1 - low].t - ends[low].t) >= 0:
                ends[1 - low] = ends[low]
            ends[low] = here
            if done:
                break
        return ends[low]


def _away_from_ends(t: Any, one: Any, other: Any, stuck: bool) -> tuple[Any, bool]:
    """Keep `t` off the ends of the bracket when it came too near to them twice in a row."""
    least, greatest = min(one, other), max(one, other)
    margin = 0.1 * (greatest - least)
    if min(greatest - t, t - least) >= margin:
        return t, False
    if stuck or t >= greatest or t <= least:
        near_greatest = abs(t - greatest) < abs(t - least)
        return (greatest - margin if near_greatest else least + margin), False
    return t, True


def _lowest_of_cubic(one: Point, other: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic with the losses and slopes of two places is lowest, within `bounds`."""
    if one.t > other.t:
        one, other = other, one
    least, greatest = bounds if bounds is not None else (one.t, other.t)
    d1 = one.slope + other.slope - 3 * (one.loss - other.loss) / (one.t - other.t)
    square = d1**2 - one.slope * other.slope
    if not square >= 0:
        return (least + greatest) / 2.0
    d2 = square.sqrt()
    share = (other.slope + d2 - d1) / (other.slope - one.slope + 2 * d2)
    lowest = other.t - (other.t - one.t) * share
    return min(max(lowest, least), greatest)
