"""Loops and branches as operations on the tape: building them from captured regions, and running
regions again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kuai import dtypes
from kuai.compiler.capture import control
from kuai.compiler.capture.places import Scope
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.graph import Operation, Region, StackMeta, Value
from kuai.core import tape
from kuai.core.base import wrap
from kuai.core.primitive import Meta, is_floating
from kuai.core.tape import Node, OutputEdge, edge_of, mode, set_grad_enabled
from kuai.tensor import Tensor

Tensors = list[Tensor]
cond: Any = control.cond
while_loop: Any = control.while_loop
check: Any = control.check


class ControlNode(Node):
    """A loop or branch on the tape.

    Attributes:
        sources: the values from outside that its regions compute with, and their edges.
        flags: of a loop: which carried values have gradients.
    """

    recorder: Recorder
    operation: Operation
    sources: list[tuple[Value, Any]]
    flags: list[bool]

    def gradients(self, grad: Any) -> Sequence[Any]:
        """The gradients of what its edges lead to."""
        from kuai.compiler.capture import gradients

        with self.recorder.differentiating(self.operation):
            if self.operation.primitive is cond:
                return gradients.of_branch(self, grad)
            return gradients.of_loop(self, grad)


class Entry(Node):
    """Where a loop's carried value enters a round: the tape of one round ends here."""

    recorder: Recorder

    def gradients(self, grad: Any) -> Sequence[Any]:
        """Refuse: what came before is another round."""
        self.recorder.refuse(
            "backward() in a loop, through what earlier rounds computed",
            "detach() what is carried from round to round, or call backward() after the loop",
        )


def prepare(node: Any, primitive: Any, edges: Sequence[Any], payload: Any) -> Any:
    """Fill in a new node of the tape; returns it."""
    node.primitive = primitive
    node.parameters = {}
    node.edges = edges
    node.shape, node.numpy_dtype = payload.shape, payload.dtype
    node.saved = ()
    node.sequence = tape._sequence()
    return node


def _attach(
    recorder: Recorder,
    operation: Operation,
    results: Tensors,
    wanted: Sequence[bool],
    edges: Sequence[Any],
    sources: list[tuple[Value, Any]],
) -> ControlNode:
    """Put a loop or branch on the tape, as what computed those of its results."""
    node = prepare(ControlNode(), operation.primitive, edges, results[0]._payload)
    node.recorder, node.operation, node.sources = recorder, operation, sources
    node.flags = list(wanted)
    node.label = f"{operation.primitive.gradient_name}"
    node.outputs = len(operation.results)
    for i, (result, has_gradient) in enumerate(zip(results, wanted, strict=False)):
        if has_gradient:
            result._requires_grad = True
            result._node = OutputEdge(node, i, result._payload.shape, result._payload.dtype)
            recorder.edges[operation.results[i]] = result._node
    recorder.tracked.add(operation)
    return node


# -- building --------------------------------------------------------------------------------------


def finish_branch(
    recorder: Recorder,
    predicate: Tensor,
    scopes: Sequence[Scope],
    sides: Sequence[Tensors],
    poisoned: Sequence[dict[int, str]] | None = None,
) -> Tensors:
    """The operation of a branch whose two regions have been captured.

    Args:
        predicate: a bool.
        scopes: the two regions.
        sides: what each of them yields.
        poisoned: the notes on memory that must not be read any more where each of them has run.
    """
    notes = poisoned or [recorder.poisoned] * len(scopes)
    for scope, yielded, recorder.poisoned in zip(scopes, sides, notes, strict=True):
        with recorder.inside(scope):
            scope.region.results = [recorder.value(t) for t in yielded]
    recorder.poisoned = {key: why for side in notes for key, why in side.items()}
    results = [recorder.new(v.meta) for v in scopes[0].region.results]
    regions = [scope.region for scope in scopes]
    operation = recorder.emit(cond, [recorder.value(predicate)], {}, results, regions)
    tensors: Tensors = [wrap(v) for v in results]
    wanted = [
        mode.grad and is_floating(a._payload) and (a._requires_grad or b._requires_grad)
        for a, b in zip(*sides, strict=True)
    ]
    if any(wanted):
        sources = list({**scopes[0].uses, **scopes[1].uses}.items())
        _attach(recorder, operation, tensors, wanted, [e for _, e in sources], sources)
    return tensors


def branch_on(
    recorder: Recorder,
    predicate: Tensor,
    then: Callable[[], Tensors],
    orelse: Callable[[], Tensors],
) -> Tensors:
    """A branch between two functions that give tensors of the same shapes and types."""
    scopes, sides = [], []
    for name, function in (("then", then), ("else", orelse)):
        with recorder.region(name) as scope:
            sides.append(function())
        scopes.append(scope)
    return finish_branch(recorder, predicate, scopes, sides)


def parameter(recorder: Recorder, scope: Scope, meta: Meta, requires_grad: bool) -> Tensor:
    """A tensor for a new parameter of the innermost region."""
    value = recorder.new(meta)
    scope.region.parameters.append(value)
    result: Tensor = wrap(value)
    if requires_grad:
        node = prepare(Entry(), while_loop, (), value)
        node.recorder, node.saved = recorder, None
        result._requires_grad, result._node = True, node
    return result


def finish_loop(
    recorder: Recorder,
    initial: Tensors,
    flags: Sequence[bool],
    test: Scope,
    body: Scope,
    proceeds: Tensor,
    yielded: Tensors,
) -> tuple[Tensors, Operation]:
    """The operation of a loop whose regions have been captured.

    Args:
        initial: the first carried values.
        flags: which of them have gradients.
        test, body: the regions.
        proceeds: what the test yields.
        yielded: what the body yields.

    Returns:
        The tensors of its results, and the operation.
    """
    with recorder.inside(test):
        test.region.results = [recorder.value(proceeds)]
    with recorder.inside(body):
        body.region.results = [recorder.value(t) for t in yielded]
    count = len(initial)
    inputs = [recorder.value(t) for t in initial]
    results = [recorder.new(v.meta) for v in body.region.parameters]
    results.append(recorder.new(Meta((), dtypes.int64)))
    for v in body.region.results[count:]:
        results.append(recorder.new(StackMeta(v.shape, v.meta.dtype)))
    operation = recorder.emit(while_loop, inputs, {}, results, [test.region, body.region])
    tensors: Tensors = [wrap(v) for v in results]
    stacks = [mode.grad and t._requires_grad and is_floating(t._payload) for t in yielded[count:]]
    if any(flags) or any(stacks):
        edges = [edge_of(t) if flag else None for t, flag in zip(initial, flags, strict=True)]
        sources = list(body.uses.items())
        wanted = [*flags, False, *stacks]
        edges += [e for _, e in sources]
        node = _attach(recorder, operation, tensors, wanted, edges, sources)
        node.flags = list(flags)
    return tensors, operation


def loop_on(
    recorder: Recorder,
    initial: Tensors,
    test: Callable[[Tensors], Tensor],
    body: Callable[[Tensors], Tensors],
) -> tuple[Tensors, Operation]:
    """A loop of functions: `body` takes and gives the carried tensors, and gives what is pushed."""
    count = len(initial)
    flags = [mode.grad and t._requires_grad for t in initial]
    metas = [recorder.value(t).meta for t in initial]
    while True:
        with recorder.region("test") as first:
            proceeds = test([parameter(recorder, first, m, False) for m in metas])
        with recorder.region("body") as second:
            given = [parameter(recorder, second, m, f) for m, f in zip(metas, flags, strict=True)]
            yielded = body(given)
        needed = [
            flag or (mode.grad and t._requires_grad)
            for flag, t in zip(flags, yielded[:count], strict=True)
        ]
        if needed == flags:
            return finish_loop(recorder, initial, flags, first, second, proceeds, yielded)
        flags = needed


# -- running a region again ------------------------------------------------------------------------


def _found(known: dict[Value, Tensor], value: Value) -> Tensor:
    t = known.get(value)
    return wrap(value) if t is None else t


def _share_hooks(recorder: Recorder, value: Value, new: Any) -> None:
    """Let the hooks for the gradient of a value be called for that of what stands for it."""
    edge = recorder.edges.get(value)
    if edge is None or not new._requires_grad:
        return
    # A negative number is that of `retain_grad`, which has no tensor here to keep it for.
    hooks = {number: hook for number, hook in (edge.pre_hooks or {}).items() if number >= 0}
    if hooks:
        new._node.pre_hooks = hooks
    if edge.post_hooks:
        node = new._node.node if isinstance(new._node, OutputEdge) else new._node
        node.post_hooks = edge.post_hooks


def replay(recorder: Recorder, region: Region, known: dict[Value, Tensor]) -> Tensors:
    """Record a region's operations once more, without what matters beyond their results.

    What was printed is not printed again, and a check that held once holds.

    Args:
        region: which.
        known: the tensors to compute with in the place of the region's parameters, and of
            values from outside.

    Returns:
        What it yields.
    """
    for operation in list(region.operations):
        if operation.primitive.has_effects:  # a check, which gives what it looks at, or a print
            for value, given in zip(operation.results, operation.inputs, strict=False):
                known[value] = _found(known, given)
            continue
        with recorder.differentiating(operation), set_grad_enabled(operation in recorder.tracked):
            results = _again(recorder, operation, known)
        for value, new in zip(operation.results, results, strict=True):
            known[value] = new
            _share_hooks(recorder, value, new)
    return [_found(known, v) for v in region.results]


def _again(recorder: Recorder, operation: Operation, known: dict[Value, Tensor]) -> Sequence[Any]:
    inputs = [_found(known, x) if isinstance(x, Value) else x for x in operation.inputs]
    if operation.primitive is cond:
        then, orelse = operation.regions
        return branch_on(
            recorder,
            inputs[0],
            lambda: replay(recorder, then, dict(known)),
            lambda: replay(recorder, orelse, dict(known)),
        )
    if operation.primitive is while_loop:
        test, body = operation.regions

        def of(region: Region, given: Tensors) -> dict[Value, Tensor]:
            return {**known, **dict(zip(region.parameters, given, strict=True))}

        results, new = loop_on(
            recorder,
            inputs,
            lambda given: replay(recorder, test, of(test, given))[0],
            lambda given: replay(recorder, body, of(body, given)),
        )
        if operation in recorder.surely:
            recorder.surely.add(new)
        for stack, order in recorder.orders.get(operation, {}).items():
            recorder.set_order(new, _found(known, stack)._payload, order)
        return results
    result = recorder.record(operation.primitive, inputs, operation.parameters)
    return result if isinstance(result, (tuple, list)) else (result,)
