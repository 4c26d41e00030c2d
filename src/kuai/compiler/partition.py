"""One graph of forward and backward, taken apart into two programs.

The forward program computes what the function returns, and returns beside it what the backward
program will need of it. An operation that only the backward needs is computed there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from kuai.compiler.graph import Graph, Operation, Value
from kuai.compiler.simplify import makers, remove_dead, simplify


class Halves(NamedTuple):
    """A forward and a backward graph.

    Attributes:
        forward: its outputs are those of the function, then `saved`.
        backward: its inputs are `saved`, then `arguments` (inputs of the function that it reads),
            then the gradients of the function's outputs; its outputs are the gradients of the
            leaves.
        saved: the values that the backward takes over from the forward.
        arguments: for each input of the function that the backward reads, its number.
        leaves: for each leaf, the number of its gradient among the backward's outputs; `None`
            where none arrives.
    """

    forward: Graph
    backward: Graph
    saved: list[Value]
    arguments: list[int]
    leaves: list[int | None]


def partition(
    joint: Graph,
    grad_inputs: Sequence[Value],
    leaf_gradients: Sequence[Value | None],
    loose: Collection[Value] = (),
) -> Halves:
    """Take a joint graph apart.

    Args:
        joint: a graph whose last inputs are `grad_inputs` and which computes the function's
            outputs and `leaf_gradients`. It is used up.
        grad_inputs: the gradients of those outputs that need one.
        leaf_gradients: what flows to each leaf.
        loose: the inputs that are Python numbers.
    """
    leaf_gradients = _simplified(joint, leaf_gradients)
    ends = [*joint.outputs, *(new for _, new in joint.updates)]
    ends += [g for _, g in joint.gradients if g is not None]
    first = _leading_to(joint, ends)
    forward, backward = _copy_of(joint), _copy_of(joint)
    forward.operations = [op for op in joint.operations if op in first]
    forward.outputs = list(joint.outputs)
    forward.updates, forward.gradients = joint.updates, joint.gradients
    forward.parameters = [v for v in joint.inputs if v not in set(grad_inputs)]

    wanted = [g for g in leaf_gradients if g is not None]
    rest = _leading_to(joint, wanted)
    made = makers(forward.operations)
    operations: list[Operation] = [op for op in joint.operations if op in rest and op not in first]
    saved: dict[Value, None] = {}
    again: set[Operation] = set()
    pending = [v for op in operations for v in op.used] + wanted
    changed = {old for old, _ in joint.updates}
    while pending:
        value = pending.pop()
        maker = made.get(value)
        if maker is None:
            if value in changed or value in loose:
                saved[value] = None  # what it is now is not there any more at the backward
        elif maker.is_view:
            if maker not in again:
                again.add(maker)
                pending += maker.used
        else:
            saved[value] = None
    chosen = again.union(operations)
    backward.operations = [op for op in joint.operations if op in chosen]
    used = {v for op in backward.operations for v in op.used} | set(wanted)
    arguments = [i for i, v in enumerate(forward.inputs) if v in used and v not in saved]
    backward.parameters = [*saved, *(forward.inputs[i] for i in arguments), *grad_inputs]
    backward.captured = [(v, t) for v, t in joint.captured if v in used and v not in saved]
    numbers = {v: i for i, v in enumerate(dict.fromkeys(wanted))}
    backward.outputs = list(numbers)
    forward.outputs = [*joint.outputs, *saved]
    for graph in (forward, backward):
        remove_dead(graph)
    leaves = [None if g is None else numbers[g] for g in leaf_gradients]
    return Halves(forward, backward, list(saved), arguments, leaves)


def _simplified(joint: Graph, gradients: Sequence[Value | None]) -> list[Value | None]:
    """Simplify the graph, before its parts hold on to what will not be needed."""
    count = len(joint.outputs)
    joint.outputs = [*joint.outputs, *(g for g in gradients if g is not None)]
    simplify(joint)
    found = iter(joint.outputs[count:])
    joint.outputs = joint.outputs[:count]
    return [None if g is None else next(found) for g in gradients]


def _copy_of(joint: Graph) -> Graph:
    graph = Graph()
    graph._count = joint._count
    graph.captured = list(joint.captured)
    graph.constants = list(joint.constants)
    return graph


def _leading_to(graph: Graph, ends: Sequence[Value]) -> set[Operation]:
    """The operations that these values come from, and those with effects."""
    live = set(ends)
    found = set()
    for operation in reversed(graph.operations):
        if operation.has_effects or any(r in live for r in operation.results):
            found.add(operation)
            live.update(operation.used)
    return found
