"""Loops and branches on the tape: building them, and the operations that differentiate them.

The gradient of a branch is a branch on the same condition; that of a loop is a loop over its
rounds in reverse. Each runs the operations of the region once more on fresh tensors and walks
their tape back, so that it is itself made of operations and can be differentiated again. What a
round computed with is taken from stacks that the forward loop is made to push; what the simplified
backward loop turns out not to need is not pushed in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai import dtypes, ops
from kuai.compiler import control
from kuai.compiler.control import StackGradient, stack_gradient
from kuai.compiler.graph import Operation, Region, StackMeta, Value
from kuai.compiler.places import Scope
from kuai.compiler.recorder import Recorder, is_stack
from kuai.core import tape
from kuai.core.base import wrap
from kuai.core.primitive import Meta, is_floating
from kuai.core.tape import Node, OutputEdge, edge_of, enable_grad, mode, set_grad_enabled
from kuai.tensor import Tensor

Tensors = list[Tensor]
cond: Any = control.cond
while_loop: Any = control.while_loop
stack_item: Any = control.stack_item


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
        with self.recorder.placed(self.operation):
            if self.operation.primitive is cond:
                return _gradients_of_branch(self, grad)
            return _gradients_of_loop(self, grad)


class Anchor(Node):
    """Where a replayed region's value enters: its gradient is taken here, and then passed on."""

    def gradients(self, grad: Any) -> Sequence[Any]:
        """The gradient as it is."""
        return (grad,)


class Entry(Node):
    """Where a loop's carried value enters a round: the tape of one round ends here."""

    recorder: Recorder

    def gradients(self, grad: Any) -> Sequence[Any]:
        """Refuse: what came before is another round."""
        self.recorder.refuse(
            "backward() in a loop, through what earlier rounds computed",
            "detach() what is carried from round to round, or call backward() after the loop",
        )


def _prepare(node: Any, primitive: Any, edges: Sequence[Any], payload: Any) -> Any:
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
    node = _prepare(ControlNode(), operation.primitive, edges, results[0]._payload)
    node.recorder, node.operation, node.sources = recorder, operation, sources
    node.flags = list(wanted)
    node.label = f"{operation.primitive.gradient_name}"
    node.outputs = len(operation.results)
    for i, (result, has_gradient) in enumerate(zip(results, wanted, strict=False)):
        if has_gradient:
            result._requires_grad = True
            result._node = OutputEdge(node, i, result._payload.shape, result._payload.dtype)
    recorder.tracked.add(operation)
    return node


# -- building --------------------------------------------------------------------------------------


def finish_branch(
    recorder: Recorder,
    predicate: Tensor,
    scopes: Sequence[Scope],
    sides: Sequence[Tensors],
) -> Tensors:
    """The operation of a branch whose two regions have been captured.

    Args:
        predicate: a bool.
        scopes: the two regions.
        sides: what each of them yields.
    """
    for scope, yielded in zip(scopes, sides, strict=True):
        with recorder.inside(scope):
            scope.region.results = [recorder.value(t) for t in yielded]
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
        node = _prepare(Entry(), while_loop, (), value)
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


def replay(recorder: Recorder, region: Region, known: dict[Value, Tensor]) -> Tensors:
    """Record a region's operations once more.

    Args:
        region: which.
        known: the tensors to compute with in the place of the region's parameters, and of
            values from outside.

    Returns:
        What it yields.
    """
    for operation in list(region.operations):
        with recorder.placed(operation), set_grad_enabled(operation in recorder.tracked):
            results = _again(recorder, operation, known)
        known.update(zip(operation.results, results, strict=True))
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
        for stack, order in recorder.orders.get(operation, {}).items():
            recorder.set_order(new, _found(known, stack)._payload, order)
        return results
    result = recorder.record(operation.primitive, inputs, operation.parameters)
    return result if isinstance(result, (tuple, list)) else (result,)


# -- differentiating -------------------------------------------------------------------------------


def zeros(meta: Meta) -> Tensor:
    """Zeros, as one constant that broadcasts."""
    zero = wrap(np.zeros((), meta.dtype.numpy))
    return ops.expand(zero, meta.shape) if meta.shape else zero


def _stand_in(value: Value, edge: Any) -> Tensor:
    """A fresh tensor to differentiate with respect to, connected where that is recorded."""
    inside: Tensor = wrap(value)
    inside._requires_grad = True
    if mode.grad:
        inside._node = _prepare(Anchor(), cond, (edge,), value)
        inside._node.saved = None
    return inside


def _pull(roots: Tensors, seeds: Sequence[Any], leaves: Tensors) -> list[Any]:
    """The gradients of `leaves`, given those of `roots`; `None` where none arrives."""
    pairs = [(r, s) for r, s in zip(roots, seeds, strict=True) if s is not None]
    pairs = [(r, s) for r, s in pairs if r._requires_grad]
    if not pairs or not leaves:
        return [None] * len(leaves)
    create = mode.grad
    return tape.backward(
        [r for r, _ in pairs], [s for _, s in pairs], create, create, leaves, accumulate=False
    )


def _gradients_of_branch(node: ControlNode, grads: list[Any]) -> Sequence[Any]:
    recorder, operation = node.recorder, node.operation
    if any(is_stack(v) for v, _ in node.sources):
        recorder.refuse(
            "a second derivative of a loop whose first one is taken under a condition",
            "take both derivatives under the same condition",
        )
    predicate: Tensor = wrap(operation.inputs[0])
    used: set[int] = set()

    def side(region: Region) -> Callable[[], Tensors]:
        def walk() -> Tensors:
            leaves = [_stand_in(v, e) for v, e in node.sources]
            known = {v: t for (v, _), t in zip(node.sources, leaves, strict=True)}
            with enable_grad():
                results = replay(recorder, region, known)
            found = _pull(results, grads, leaves)
            used.update(i for i, g in enumerate(found) if g is not None)
            return [
                zeros(v.meta) if g is None else g
                for (v, _), g in zip(node.sources, found, strict=True)
            ]

        return walk

    sides = [side(region) for region in operation.regions]
    results = branch_on(recorder, predicate, sides[0], sides[1])
    return [g if i in used else None for i, g in enumerate(results)]


def _pushed(recorder: Recorder, node: ControlNode, value: Value) -> Tensor:
    """The stack on which a loop keeps a value of its body, on the tape where that is recorded."""
    operation = node.operation
    count = len(operation.inputs)
    body = operation.regions[1]
    places = [k for k, v in enumerate(body.results[count:]) if v is value]
    if places:
        k = places[0]
    else:
        k = len(body.results) - count
        body.results.append(value)
        stack = Value(recorder.graph, StackMeta(value.shape, value.meta.dtype))
        stack.region = operation.results[0].region
        operation.results = (*operation.results, stack)
        node.outputs = len(operation.results)
    place = count + 1 + k
    result: Tensor = wrap(operation.results[place])
    parameters = body.parameters
    if mode.grad and value in parameters and node.flags[parameters.index(value)]:
        result._requires_grad = True
        result._node = OutputEdge(node, place, result._payload.shape, result._payload.dtype)
    return result


class _LoopGradient:
    """The backward loop of one loop."""

    def __init__(self, node: ControlNode, grads: list[Any]) -> None:
        self.node, self.recorder = node, node.recorder
        self.operation = operation = node.operation
        self.count = count = len(operation.inputs)
        self.body = operation.regions[1]
        self.rounds: Tensor = wrap(operation.results[count])
        self.differentiated = [i for i, flag in enumerate(node.flags) if flag]
        self.pushes: dict[int, StackGradient] = {
            k: g for k, g in enumerate(grads[count + 1 :]) if g is not None
        }
        self.grads = grads
        self.stacks = [_pushed(self.recorder, node, p) for p in self.body.parameters]
        self.orders: dict[Value, int] = {_value(stack): -1 for stack in self.stacks}
        read = self.recorder.orders.get(operation, {})
        self.orders.update({stack: -order for stack, order in read.items()})
        self.carried = list(range(len(node.sources)))  # the sources whose gradients add up

    def run(self) -> Sequence[Any]:
        """The gradients of the first carried values, and of the sources."""
        recorder, node = self.recorder, self.node
        with recorder.region("probe"):
            arrives = self._round([self.rounds, *self._start()])[2]
        self.carried = [i for i in arrives if not is_stack(node.sources[i][0])]
        stacked = [i for i in arrives if is_stack(node.sources[i][0])]

        def body(state: Tensors) -> Tensors:
            carried, pushed, _ = self._round(state)
            return [*carried, *(pushed[i] for i in stacked)]

        results, loop = loop_on(
            recorder, [self.rounds, *self._start()], lambda state: state[0] > 0, body
        )
        for stack, order in self.orders.items():
            recorder.set_order(loop, stack, order)
        found: list[Any] = [None] * (self.count + len(node.sources))
        n = len(self.differentiated)
        for i, g in zip(self.differentiated, results[1 : n + 1], strict=True):
            found[i] = g
        for i, g in zip(self.carried, results[n + 1 : n + 1 + len(self.carried)], strict=True):
            found[self.count + i] = g
        given = results[n + 2 + len(self.carried) :]
        for i, g in zip(stacked, given, strict=True):
            value = node.sources[i][0]
            # Round r of this loop undoes the last but r of the forward one.
            known = recorder.orders.get(self.operation, {})
            if value not in known:
                recorder.refuse(
                    "a second derivative of a loop whose first one is taken in another loop",
                    "take both derivatives in the same loop",
                )
            found[self.count + i] = stack_gradient(g, [], [(g, -known[value])])
        return found

    def _start(self) -> Tensors:
        operation = self.operation
        start = [
            zeros(operation.results[i].meta) if self.grads[i] is None else self.grads[i]
            for i in self.differentiated
        ]
        return start + [zeros(self.node.sources[i][0].meta) for i in self.carried]

    def _round(self, state: Tensors) -> tuple[Tensors, dict[int, Tensor], list[int]]:
        """One round: the next state, the gradients of stacks, and which sources have gradients."""
        node, recorder = self.node, self.recorder
        index = state[0] - 1
        n = len(self.differentiated)
        seeds = state[1 : n + 1]
        known: dict[Value, Tensor] = {}
        leaves: Tensors = []
        for i, (p, stack) in enumerate(zip(self.body.parameters, self.stacks, strict=True)):
            item = recorder.record(stack_item, (stack, index), {})
            if node.flags[i]:
                item = _stand_in(item._payload, edge_of(item))
                leaves.append(item)
            known[p] = item
        for value, edge in node.sources:
            inside = _stand_in(value, edge)
            leaves.append(inside)
            known[value] = inside
        with enable_grad():
            results = replay(recorder, self.body, known)
        roots = [results[i] for i in self.differentiated]
        seeds = [*seeds, *(self._item(g, index) for g in self.pushes.values())]
        roots += [results[self.count + k] for k in self.pushes]
        found = _pull(roots, seeds, leaves)
        following = [
            zeros(_value(p).meta) if g is None else g
            for p, g in zip(roots, found[:n], strict=False)
        ]
        sums = []
        for i, total in zip(self.carried, state[n + 1 :], strict=True):
            g = found[n + i]
            sums.append(total if g is None or isinstance(g, StackGradient) else total + g)
        pushed = {i: _sum(g.items) for i, g in enumerate(found[n:]) if isinstance(g, StackGradient)}
        arrives = [i for i, g in enumerate(found[n:]) if g is not None]
        return [index, *following, *sums], pushed, arrives

    def _item(self, gradient: StackGradient, index: Tensor) -> Tensor:
        """The gradient of what was pushed in the round `index`."""
        terms = list(gradient.items)
        for stack, order in gradient.stacks:
            place = index if order > 0 else self.rounds - index - 1
            terms.append(self.recorder.record(stack_item, (stack, place), {}))
            self.orders[_value(stack)] = -order
        return _sum(terms)


def _value(x: Any) -> Value:
    return x._payload


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _gradients_of_loop(node: ControlNode, grads: list[Any]) -> Sequence[Any]:
    return _LoopGradient(node, grads).run()
