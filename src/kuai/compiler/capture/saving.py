"""What a loop keeps for its backward loop: values that a round computed, and no more than is used.

The backward loop is built by computing each round anew. Afterwards, what its gradients take from
that is looked for: it is pushed by the forward loop and read back, and computing it anew becomes
dead code. Views, and the stacks of inner loops, are computed anew all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from kuai.compiler.graph import Operation, Region, StackMeta, Value


class Replayed:
    """A forward round computed anew in a round of a backward loop.

    Attributes:
        region: the body of the backward loop.
        first, last: its operations from `first` on, and before `last`, are those of the round.
        values: for each value of the forward body, the one that stands for it.
        place: where among the operations items of stacks can be read.
    """

    def __init__(self, region: Region, place: int) -> None:
        self.region = region
        self.place = place
        self.first = len(region.operations)
        self.last = self.first
        self.values: dict[Value, Value] = {}


def keep(replayed: Replayed, item: Callable[[Value], tuple[Operation, Value]]) -> None:
    """Read from stacks what the gradients of a round use of it.

    Args:
        replayed: the round.
        item: gives, for a value of the forward body, an operation that reads it and its result.
    """
    region = replayed.region
    operations = region.operations
    again = operations[replayed.first : replayed.last]
    made = {v: op for op in again for v in op.results}
    forward = {new: old for old, new in replayed.values.items() if new in made}
    others = [*operations[: replayed.first], *operations[replayed.last :]]
    pending = [v for op in others for v in op.used if v in made]
    pending += [v for v in region.results if v in made]
    kept: set[Operation] = set()
    read: dict[Value, Value] = {}
    new: list[Operation] = []
    while pending:
        value = pending.pop()
        maker = made.get(value)
        if maker is None or value in read or maker in kept:
            continue
        if _is_computed_anew(maker) or value not in forward:
            kept.add(maker)
            pending += maker.used
        else:
            operation, read[value] = item(forward[value])
            new.append(operation)
    survivors = [op for op in again if op in kept]
    for operation in [*survivors, *others]:
        _substitute(operation, read)
    region.results = [read.get(v, v) for v in region.results]
    place = replayed.place
    region.operations[:] = [
        *operations[:place],
        *new,
        *operations[place : replayed.first],
        *survivors,
        *operations[replayed.last :],
    ]


def _is_computed_anew(operation: Operation) -> bool:
    return (
        operation.is_view
        or operation.primitive.name == "cast"
        or any(isinstance(v.meta, StackMeta) for v in operation.results)
    )


def _substitute(operation: Operation, read: dict[Value, Value]) -> None:
    """Let an operation, and those in its regions, use other values."""
    operation.inputs = tuple(
        [read.get(x, x) if isinstance(x, Value) else x for x in operation.inputs]
    )
    for region in operation.regions:
        for inner in region.operations:
            _substitute(inner, read)
        region.results = [read.get(v, v) for v in region.results]
