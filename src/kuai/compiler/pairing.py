"""The kernels of one function for two batch sizes, side by side.

What is the same but for integers is one program: an integer that differs must lie on a line over
the batch size, and becomes a `Size`. The same walk verifies later that the kernels for another
batch size are those that the program was made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from kuai import dtypes
from kuai.compiler.capture.trees import is_dataclass
from kuai.compiler.graph import Graph, Operation, Region, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import Layout
from kuai.compiler.sizes import Batch, ratio, varies
from kuai.compiler.steps import Pass, Step
from kuai.core.primitive import Meta

Join = Callable[[Any, Any], Any]
"""Makes one number of the two that stand at one place, or refuses."""

_PLAIN = (bool, str, bytes, complex, type(None), type(Ellipsis), type, np.dtype, dtypes.dtype)
ROUNDED = ((2, 2), (4, 1), (4, 4), (2, 1))  # up: how many random words are drawn, in fours
MOST_BELOW = 1 << 24  # of the fractions that floats are taken for


class DifferentError(ValueError):
    """Two batch sizes need two programs; the message says why."""


def on_a_line(batch: Batch, other: int) -> Join:
    """Numbers for the batch sizes `batch.value` and `other` become sizes."""
    distance = other - batch.value

    def line(x: int, y: int) -> int:
        factor, rest = divmod(y - x, distance)
        if not rest:
            return batch.size(factor, x - factor * batch.value)
        for by, of in ROUNDED:
            # x = of * ceil(factor * batch / by), and the same for y
            least, most = 0.0, math.inf
            for value, size in ((x, batch.value), (y, other)):
                least = max(least, (value / of - 1) * by / size)
                most = min(most, value / of * by / size)
            factor = math.floor(most)
            if factor > least and x % of == y % of == 0:
                return -(-batch.size(factor) // by) * of
        raise DifferentError(f"{x} becomes {y} for {distance} more in the batch")

    def join(x: Any, y: Any) -> Any:
        if varies(x):  # joined already, where it stands in another graph too
            return as_it_is(other)(x, y)
        if x == y or (x != x and y != y):
            return x
        if type(x) is int:
            return line(x, y)
        part = Fraction(x).limit_denominator(MOST_BELOW) / batch.value
        if float(part * batch.value) == x and float(part * other) == y:
            return ratio(batch.size(part.numerator, 0), part.denominator)
        (above, below), (more_above, more_below) = _fractions(x, y)
        return ratio(line(above, more_above), line(below, more_below))

    return join


def _fractions(x: float, y: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two floats as quotients of small numbers, with the same numerators if possible."""
    one, two = (Fraction(f).limit_denominator(MOST_BELOW) for f in (x, y))
    if float(one) != x or float(two) != y:
        raise DifferentError(f"{x} becomes {y}, which is no quotient of sizes")
    if one.denominator == two.denominator == 1 or not (one.numerator and two.numerator):
        return one.as_integer_ratio(), two.as_integer_ratio()
    if one.numerator != two.numerator and one.numerator % two.numerator == 0:
        times = one.numerator // two.numerator
        return one.as_integer_ratio(), (one.numerator, two.denominator * times)
    if one.numerator != two.numerator and two.numerator % one.numerator == 0:
        times = two.numerator // one.numerator
        return (two.numerator, one.denominator * times), two.as_integer_ratio()
    return one.as_integer_ratio(), two.as_integer_ratio()


def as_it_is(batch: int) -> Join:
    """Sizes must be the numbers of this batch size."""

    def join(x: Any, y: Any) -> Any:
        if varies(x):
            if x.at(batch) != y:
                raise DifferentError(f"{x!r} is {y} for a batch of {batch}")
        elif type(x) is not type(y) or not (x == y or (x != x and y != y)):
            raise DifferentError(f"{x} is {y} for a batch of {batch}")
        return x

    return join


class Pairing:
    """Walks two sets of kernels that shall differ in numbers only.

    Args:
        mine: those that get the joined numbers.
        other: those of another batch size.
        join: what becomes of a number.

    Attributes:
        values: for each value of `mine`, the one that stands in its place.
        operations: the same for operations.

    Raises:
        DifferentError: they differ in something else.
    """

    def __init__(self, mine: Kernels, other: Kernels, join: Join) -> None:
        self.mine, self.other, self._join = mine, other, join
        self.values: dict[Value, Value] = {}
        self.operations: dict[Operation, Operation] = {}
        self._graphs(mine.graph, other.graph)
        self._steps(mine.steps, other.steps)
        self._facts()

    def _need(self, condition: bool, what: str) -> None:
        if not condition:
            raise DifferentError(what)

    # -- values -----------------------------------------------------------------------------

    def _meet(self, mine: Value, other: Value) -> None:
        """Two values that stand at one place."""
        known = self.values.get(mine)
        if known is not None:
            self._need(known is other, f"{mine!r} is used in another order")
            return
        meta = self.join(mine.meta, other.meta)
        self.values[mine] = other
        mine.meta, mine.shape = meta, meta.shape

    def _all(self, mine: Sequence[Value], other: Sequence[Value], what: str) -> None:
        self._need(len(mine) == len(other), f"another number of {what}")
        for x, y in zip(mine, other, strict=True):
            self._meet(x, y)

    def join(self, x: Any, y: Any) -> Any:
        """Anything that stands at one place, as one."""
        if isinstance(x, Value):
            self._need(x in self.values and self.values[x] is y, f"{x!r} in the place of {y!r}")
            return x
        if varies(x) or type(x) in (int, float):
            self._need(type(y) in (int, float), f"{y!r} in the place of {x!r}")
            return self._join(x, y)
        if isinstance(x, _PLAIN):
            self._need(type(x) is type(y) and bool(x == y), f"{y!r} in the place of {x!r}")
            return x
        if isinstance(x, Meta) and type(x) is type(y):
            self._need(x.dtype is y.dtype, f"{y!r} in the place of {x!r}")
            return type(x)(self.join(x.shape, y.shape), x.dtype)
        if isinstance(x, (tuple, list)):
            self._need(type(x) is type(y) and len(x) == len(y), f"{y!r} in the place of {x!r}")
            items = [self.join(a, b) for a, b in zip(x, y, strict=True)]
            return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
        if isinstance(x, dict):
            self._need(type(x) is type(y) and list(x) == list(y), f"{y!r} in the place of {x!r}")
            return {k: self.join(v, y[k]) for k, v in x.items()}
        if is_dataclass(x) and type(x) is type(y):
            names = vars(type(x))["__dataclass_fields__"]
            return type(x)(**{n: self.join(getattr(x, n), getattr(y, n)) for n in names})
        if isinstance(x, slice) and isinstance(y, slice):
            ends = [(x.start, y.start), (x.stop, y.stop), (x.step, y.step)]
            return slice(*[self.join(a, b) for a, b in ends])
        if isinstance(x, (np.ndarray, np.generic)):
            self._need(_same_array(x, y), "a constant array depends on the batch")
            return x
        self._need(x is y, f"{y!r} in the place of {x!r}")
        return x

    # -- graphs -----------------------------------------------------------------------------

    def _graphs(self, mine: Graph, other: Graph) -> None:
        self._all([v for v, _ in mine.captured], [v for v, _ in other.captured], "tensors")
        self._all([v for v, _ in mine.constants], [v for v, _ in other.constants], "constants")
        self._region(mine, other)
        self.join(mine.updates, other.updates)
        self.join(mine.gradients, other.gradients)

    def _region(self, mine: Region, other: Region) -> None:
        self._all(mine.parameters, other.parameters, "arguments")
        self._need(len(mine.operations) == len(other.operations), "another number of operations")
        for x, y in zip(mine.operations, other.operations, strict=True):
            self._operation(x, y)
        self.join(mine.results, other.results)

    def _operation(self, mine: Operation, other: Operation) -> None:
        same = mine.primitive is other.primitive and len(mine.regions) == len(other.regions)
        self._need(same, f"{other.primitive.name} in the place of {mine.primitive.name}")
        self.operations[mine] = other
        mine.inputs = self.join(mine.inputs, other.inputs)
        mine.parameters = self.join(mine.parameters, other.parameters)
        for x, y in zip(mine.regions, other.regions, strict=True):
            self._region(x, y)
        self._all(mine.results, other.results, "results")

    # -- steps ------------------------------------------------------------------------------

    def _steps(self, mine: Sequence[Step], other: Sequence[Step]) -> None:
        self._need(len(mine) == len(other), "another number of kernels")
        for x, y in zip(mine, other, strict=True):
            self._step(x, y)

    def _step(self, x: Any, y: Any) -> None:
        self._need(type(x) is type(y), "another kind of kernel")
        self._same_operations(x.operations, y.operations)
        for name, mine in vars(x).items():
            setattr(x, name, self._part(mine, getattr(y, name)))

    def _part(self, x: Any, y: Any) -> Any:
        """What a step has: operations, steps, passes, and numbers of all kinds."""
        if isinstance(x, list) and x:
            self._need(type(x) is type(y) and len(x) == len(y), "another number of parts")
            return [self._part(a, b) for a, b in zip(x, y, strict=True)]
        if isinstance(x, Operation):
            self._need(self.operations.get(x) is y, "another order of operations in a kernel")
        elif isinstance(x, Step):
            self._step(x, y)
        elif isinstance(x, Pass):
            for name, mine in vars(x).items():
                self._part(mine, getattr(y, name))
        else:
            return self.join(x, y)
        return x

    def _same_operations(self, mine: Sequence[Operation], other: Sequence[Operation]) -> None:
        self._need(len(mine) == len(other), "another number of operations in a kernel")
        for x, y in zip(mine, other, strict=True):
            if x not in self.operations:  # one that the kernels have added
                self._operation(x, y)
            self._need(self.operations[x] is y, "another order of operations in a kernel")

    # -- what is known of values ------------------------------------------------------------

    def _facts(self) -> None:
        mine, other, values = self.mine, self.other, self.values
        self._need({values[v] for v in mine.stored} == other.stored, "other arrays in memory")
        self._need({values[v] for v in mine.aliases} == set(other.aliases), "other views")
        for v, alias in mine.aliases.items():
            like = other.aliases[values[v]]
            self.join(alias.base, like.base)
            alias.layout = self.join(alias.layout, like.layout)
        tables: list[tuple[dict[Value, Any], dict[Value, Any]]] = [
            (mine.constants, other.constants),
            (mine.arrays, other.arrays),
        ]
        for table, others in tables:
            self._need({values[v] for v in table} == set(others), "other constants")
            for v in table:
                table[v] = self.join(table[v], others[values[v]])
        for v in mine.layouts:
            lies: Layout = other.layout_of(values[v])
            mine.layouts[v] = self.join(mine.layouts[v], lies)


def _same_array(x: Any, y: Any) -> bool:
    return (
        type(x) is type(y)
        and x.dtype == y.dtype
        and x.shape == y.shape
        and bool(x.tobytes() == y.tobytes())
    )
