"""A graph as text that is the same in every process, to find what was made of it before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kuai import dtypes
from kuai.compiler.graph import Graph, Operation, Region, StackMeta, Value
from kuai.compiler.layout import Layout
from kuai.compiler.native.cache import digest_of
from kuai.core.primitive import Meta, Primitive


class UnknownError(TypeError):
    """A parameter of an operation that has no text of its own."""


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.numbers: dict[Value, int] = {}

    def value(self, v: Value) -> str:
        """A value by its number, in the order of first appearance."""
        number = self.numbers.setdefault(v, len(self.numbers))
        return f"%{number}"

    def of(self, x: Any) -> str:
        """Anything that an operation has for a parameter.

        Raises:
            UnknownError: it is of a kind that has no text.
        """
        kind = type(x)
        if kind in _PLAIN:
            return repr(x)
        if kind is float:
            return x.hex()
        if kind is Value:
            return self.value(x)
        if isinstance(x, (Meta, dtypes.dtype)):
            return f"{'stack of ' if isinstance(x, StackMeta) else ''}{x!r}"
        if isinstance(x, Primitive):
            return f"primitive {x.name}"
        if kind is np.ndarray or isinstance(x, np.generic):
            digest = digest_of(np.ascontiguousarray(x).tobytes())
            return f"array {x.dtype.str}{list(x.shape)} {digest.hex()}"
        if isinstance(x, np.dtype):
            return f"dtype {x.str} {x.name}"
        if isinstance(x, type):
            return f"type {x.__module__}.{x.__qualname__}"
        if isinstance(x, slice):
            return f"slice({self.of(x.start)}, {self.of(x.stop)}, {self.of(x.step)})"
        if isinstance(x, (tuple, list)):
            return f"{kind.__name__}({', '.join(map(self.of, x))})"
        if isinstance(x, dict):
            return "{" + ", ".join(f"{self.of(k)}: {self.of(v)}" for k, v in x.items()) + "}"
        raise UnknownError(f"{kind.__module__}.{kind.__qualname__}")

    def line(self, *parts: Any) -> None:
        """A line of these."""
        self.parts.append(" ".join(map(self.of, parts)))

    def values(self, title: str, values: Iterable[Value]) -> None:
        """A list of values with their types."""
        self.line(title, [(v, v.meta) for v in values])

    def region(self, region: Region) -> None:
        """A region's operations."""
        self.values("parameters", region.parameters)
        for operation in region.operations:
            self.operation(operation)
        self.values("results", region.results)

    def operation(self, op: Operation) -> None:
        """One operation, with its regions. Where it stands in the user's code does not matter."""
        results = [(r, r.meta) for r in op.results]
        self.line(op.primitive, op.inputs, op.parameters, results, len(op.regions))
        for region in op.regions:
            self.region(region)


_PLAIN = frozenset({type(None), bool, int, str, bytes, complex, type(Ellipsis)})


def signature(graph: Graph, layouts: dict[Value, Layout]) -> str | None:
    """The graph as text; `None` where it has a part that has none."""
    writer = _Writer()
    try:
        writer.values("captured", [v for v, _ in graph.captured])
        writer.line("constants", [(v, a) for v, a in graph.constants])
        writer.region(graph)
        writer.line("updates", graph.updates)
        writer.line("gradients", graph.gradients)
        writer.line("layouts", [(v, tuple(where)) for v, where in layouts.items()])
    except UnknownError:
        return None
    return "\n".join(writer.parts)
