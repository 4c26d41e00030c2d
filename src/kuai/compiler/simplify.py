"""Graphs with less in them: what nothing uses goes, what is computed twice is computed once.

Nothing here changes a number: constants are folded with the primitives' own kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kuai.compiler.graph import Graph, Operation, Region, StackMeta, Value
from kuai.core.primitive import Primitive

FOLDED_BYTES = 4096  # a constant larger than this is computed when the program runs
ROUNDS = 8


def simplify(graph: Graph, any_batch: bool = False) -> Graph:
    """Simplify a graph in place, as long as that changes something; returns it.

    Args:
        graph: what is simplified.
        any_batch: whether it must come out the same for every size of the batch, but for the
            sizes themselves: then no constants are made of what may depend on one.
    """
    for _ in range(ROUNDS):
        changed = _Substitution(graph, any_batch).run()
        changed |= remove_dead(graph)
        if not changed:
            break
    return graph


# -- what nothing uses ---------------------------------------------------------------------------


def ends(graph: Graph) -> list[Value]:
    """The values for which a graph is computed."""
    return [
        *graph.outputs,
        *(new for _, new in graph.updates),
        *(g for _, g in graph.gradients if g is not None),
    ]


def remove_dead(graph: Graph) -> bool:
    """Remove operations, and parts of loops and branches, whose results nothing uses."""
    changed = _sweep(graph, set(ends(graph)))
    used = {v for op in graph.walk() for v in op.inputs if isinstance(v, Value)}
    used.update(v for op in graph.walk() for r in op.regions for v in r.results)
    used.update(ends(graph))
    used.update(v for v, _ in graph.updates)
    used.update(v for v, _ in graph.gradients)
    graph.constants = [(v, a) for v, a in graph.constants if v in used]
    graph.captured = [(v, t) for v, t in graph.captured if v in used]
    return changed


def _sweep(region: Region, live: set[Value]) -> bool:
    """Keep what `live` needs; adds to it what that needs in turn."""
    kept: list[Operation] = []
    changed = False
    for operation in reversed(region.operations):
        if not operation.has_effects and not any(r in live for r in operation.results):
            changed = True
            continue
        if operation.regions:
            changed |= _prune(operation, live)
        live.update(operation.used)
        kept.append(operation)
    kept.reverse()
    region.operations[:] = kept
    return changed


def _prune(operation: Operation, live: set[Value]) -> bool:
    """Drop what a loop or a branch carries and yields in vain."""
    if operation.primitive.name == "while_loop":
        return _prune_loop(operation, live)
    keep = [i for i, r in enumerate(operation.results) if r in live]
    changed = len(keep) < len(operation.results)
    if changed:
        operation.results = tuple(operation.results[i] for i in keep)
        for region in operation.regions:
            region.results = [region.results[i] for i in keep]
    for region in operation.regions:
        changed |= _sweep(region, set(region.results))
    return changed


def _prune_loop(operation: Operation, live: set[Value]) -> bool:
    test, body = operation.regions
    n = len(body.parameters)
    stacks = [i for i in range(n + 1, len(operation.results)) if operation.results[i] in live]
    needed = {i for i in range(n) if operation.results[i] in live}
    place = {p: i for region in (test, body) for i, p in enumerate(region.parameters)}
    while True:
        wanted = set(test.results)
        wanted |= _needs(test, wanted)
        ends_of_body = {body.results[i] for i in needed} | {body.results[i - 1] for i in stacks}
        wanted |= _needs(body, ends_of_body) | ends_of_body
        more = needed | {place[v] for v in wanted if v in place}
        if more == needed:
            break
        needed = more
    carried = sorted(needed)
    changed = len(carried) < n or len(stacks) < len(operation.results) - n - 1
    if changed:
        operation.inputs = tuple(operation.inputs[i] for i in carried)
        finals = [operation.results[i] for i in carried]
        pushed = [operation.results[i] for i in stacks]
        results = [body.results[i] for i in carried] + [body.results[i - 1] for i in stacks]
        operation.results = (*finals, operation.results[n], *pushed)
        body.results = results
        for region in (test, body):
            region.parameters = [region.parameters[i] for i in carried]
    for region in (test, body):
        changed |= _sweep(region, set(region.results))
    return changed


def _needs(region: Region, ends: set[Value]) -> set[Value]:
    """All values that these, and the effects, come from."""
    live = set(ends)
    for operation in reversed(region.operations):
        if operation.has_effects or any(r in live for r in operation.results):
            live.update(operation.used)
    return live


# -- what is computed twice, and what is known ---------------------------------------------------


class _Substitution:
    """Walks a graph, putting known values in place of operations."""

    def __init__(self, graph: Graph, any_batch: bool) -> None:
        self.graph = graph
        self.any_batch = any_batch
        self.known: dict[Value, np.ndarray] = dict(graph.constants)
        self.instead: dict[Value, Value] = {}

    def run(self) -> bool:
        """Whether anything was replaced."""
        self._region(self.graph, {})
        graph = self.graph
        graph.outputs = [self._now(v) for v in graph.outputs]
        graph.updates = [(old, self._now(new)) for old, new in graph.updates]
        graph.gradients = [(v, g if g is None else self._now(g)) for v, g in graph.gradients]
        return bool(self.instead)

    def _now(self, value: Any) -> Any:
        while value in self.instead:
            value = self.instead[value]
        return value

    def _region(self, region: Region, outer: dict[Any, Operation]) -> None:
        seen = dict(outer)
        kept = []
        for operation in region.operations:
            operation.inputs = tuple(
                [self._now(x) if isinstance(x, Value) else x for x in operation.inputs]
            )
            for inner in operation.regions:
                self._region(inner, seen)
            if operation.regions or operation.has_effects:
                kept.append(operation)
                continue
            if self._folded(operation) or self._idle(operation):
                continue
            key = _key(operation)
            before = seen.get(key)
            if before is not None:
                for mine, theirs in zip(operation.results, before.results, strict=True):
                    self.instead[mine] = theirs
                continue
            seen[key] = operation
            kept.append(operation)
        region.operations[:] = kept
        region.results = [self._now(v) for v in region.results]

    def _folded(self, operation: Operation) -> bool:
        """Compute an operation on constants now."""
        values = [x for x in operation.inputs if isinstance(x, Value)]
        if not values or not all(v in self.known for v in values):
            return False
        if self.any_batch and (
            len(values) < len(operation.inputs) or any(r.size != 1 for r in operation.results)
        ):
            return False
        size = sum(r.size * r.meta.dtype.itemsize for r in operation.results)
        if size > FOLDED_BYTES or any(isinstance(r.meta, StackMeta) for r in operation.results):
            return False
        arrays = [self.known[x] if isinstance(x, Value) else x for x in operation.inputs]
        try:
            with np.errstate(all="ignore"):
                result = operation.primitive.kernel(*arrays, **operation.parameters)
        except Exception:
            return False  # it will fail when the program runs, as it does in eager
        results = result if isinstance(result, tuple) else (result,)
        for value, array in zip(operation.results, results, strict=True):
            found = np.array(array, copy=True)
            self.known[value] = found
            self.graph.constants.append((value, found))
        return True

    def _idle(self, operation: Operation) -> bool:
        """Leave out an operation that returns what it gets, or the first of that."""
        if operation.primitive.is_identity:
            results = operation.results
            self.instead.update(zip(results, operation.inputs[: len(results)], strict=True))
            return True
        if operation.primitive.name != "cast":
            return False
        (source,), (result,) = operation.inputs, operation.results
        if not isinstance(source, Value) or source.meta.dtype is not result.meta.dtype:
            return False
        self.instead[result] = source
        return True


def _key(operation: Operation) -> Any:
    inputs = tuple(x if isinstance(x, Value) else (type(x), repr(x)) for x in operation.inputs)
    return operation.primitive, inputs, _frozen(operation.parameters)


def _frozen(x: Any) -> Any:
    """Parameters as something that can be compared and hashed."""
    if isinstance(x, dict):
        return tuple((k, _frozen(v)) for k, v in sorted(x.items()))
    if isinstance(x, (list, tuple)):
        return tuple(_frozen(v) for v in x)
    if isinstance(x, (float, int, bool)):
        return type(x), repr(x)
    if isinstance(x, Primitive):
        return x.name
    try:
        hash(x)
    except TypeError:
        return id(x)
    return x


def makers(operations: Iterable[Operation]) -> dict[Value, Operation]:
    """For each value, the operation that makes it."""
    return {r: op for op in operations for r in op.results}
