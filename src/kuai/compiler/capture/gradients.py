"""The operations that differentiate loops and branches.

The gradient of a branch is a branch on the same condition; that of a loop is a loop over its
rounds in reverse. Each runs the operations of the region once more on fresh tensors and walks
their tape back, so that it is itself made of operations and can be differentiated again. What a
round computed with is taken from stacks that the forward loop is made to push.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kuai import dtypes, ops
from kuai.compiler.capture import control, numbers
from kuai.compiler.capture.arrivals import (
    MaybeGradient,
    flag_of,
    maybe,
    negation,
    plain,
)
from kuai.compiler.capture.building import (
    ControlNode,
    Tensors,
    finish_branch,
    loop_on,
    prepare,
    replay,
)
from kuai.compiler.capture.control import StackGradient, stack_gradient
from kuai.compiler.capture.outer import is_stack
from kuai.compiler.capture.places import Scope
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.saving import Replayed, keep
from kuai.compiler.graph import Operation, StackMeta, Value
from kuai.core import tape
from kuai.core.base import wrap
from kuai.core.primitive import PRIMITIVES, Meta, meta_of
from kuai.core.tape import Node, OutputEdge, edge_of, enable_grad, mode, no_grad
from kuai.tensor import Tensor

cond: Any = control.cond
stack_item: Any = control.stack_item


class Anchor(Node):
    """Where a replayed region's value enters: its gradient is taken here, and then passed on."""

    def gradients(self, grad: Any) -> Sequence[Any]:
        """The gradient as it is."""
        return (grad,)


def zeros(meta: Meta) -> Tensor:
    """Zeros, as one constant that broadcasts."""
    zero = wrap(np.zeros((), meta.dtype.numpy))
    return ops.expand(zero, meta.shape) if meta.shape else zero


def _stand_in(value: Value, edge: Any) -> Tensor:
    """A fresh tensor to differentiate with respect to, connected where that is recorded."""
    inside: Tensor = wrap(value)
    inside._requires_grad = True
    if mode.grad:
        inside._node = prepare(Anchor(), cond, (edge,), value)
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


def of_branch(node: ControlNode, grads: list[Any]) -> Sequence[Any]:
    """The gradients of what the sides of a branch use, given those of its results."""
    recorder, operation = node.recorder, node.operation
    if any(is_stack(v) for v, _ in node.sources):
        recorder.refuse(
            "a second derivative of a loop whose first one is taken under a condition",
            "take both derivatives under the same condition",
        )
    predicate: Tensor = wrap(operation.inputs[0])
    scopes: list[Scope] = []
    found: list[list[Any]] = []
    for region in operation.regions:
        with recorder.region(region.name) as scope:
            leaves = [_stand_in(v, e) for v, e in node.sources]
            known = {v: t for (v, _), t in zip(node.sources, leaves, strict=True)}
            with enable_grad():
                results = replay(recorder, region, known)
            found.append(_pull(results, grads, leaves))
        scopes.append(scope)
    return _merged(recorder, predicate, scopes, found, [v.meta for v, _ in node.sources])


def _merged(
    recorder: Recorder,
    predicate: Tensor,
    scopes: Sequence[Scope],
    found: Sequence[list[Any]],
    metas: Sequence[Meta],
) -> list[Any]:
    """The gradients that the two sides of a branch found, each as one that may arrive."""
    pairs = list(zip(*found, strict=True))
    used = [i for i, pair in enumerate(pairs) if any(g is not None for g in pair)]
    known = {i: _known_arrival(predicate, *pairs[i]) for i in used}
    decided = [i for i in used if known[i] is _DECIDED]
    sides: list[Tensors] = []
    for scope, grads in zip(scopes, found, strict=True):
        with recorder.inside(scope):
            side = [zeros(metas[i]) if grads[i] is None else plain(grads[i]) for i in used]
            sides.append(side + [flag_of(grads[i]) for i in decided])
    results = finish_branch(recorder, predicate, scopes, sides)
    known.update(zip(decided, results[len(used) :], strict=True))
    merged: list[Any] = [None] * len(pairs)
    for i, grad in zip(used, results, strict=False):
        merged[i] = maybe(grad, known[i])
    return merged


_DECIDED: Any = object()


def _known_arrival(predicate: Tensor, one: Any, other: Any) -> Any:
    """When a gradient arrives that the sides of a branch give, if they need not say it."""
    if one is not None and other is not None:
        always = type(one) is not MaybeGradient and type(other) is not MaybeGradient
        return None if always else _DECIDED
    if type(one) is MaybeGradient or type(other) is MaybeGradient:
        return _DECIDED
    return predicate if other is None else negation(predicate)


def pushed(recorder: Recorder, node: ControlNode, value: Value) -> Tensor:
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
        self.tables = {id(g): _table(g) for g in self.pushes.values() if g.items}
        self.stacks = [pushed(self.recorder, node, p) for p in self.body.parameters]
        self.orders: dict[Value, int] = {_value(stack): -1 for stack in self.stacks}
        read = self.recorder.orders.get(operation, {})
        self.orders.update({stack: -order for stack, order in read.items()})
        self.carried = list(range(len(node.sources)))  # the sources whose gradients add up
        # The carried values whose gradient arrives in every round, and those gradients that may
        # or may not have arrived so far, as carried bools say.
        self.steady = {i for i in self.differentiated if _arrives_always(grads[i])}
        self.flagged: list[int] = [i for i in self.differentiated if i not in self.steady]
        self.doubtful: list[int] = []

    def run(self) -> Sequence[Any]:
        """The gradients of the first carried values, and of the sources."""
        recorder, node = self.recorder, self.node
        arrives = self._probe()
        self.carried = [i for i in arrives if not is_stack(node.sources[i][0])]
        stacked = [i for i in arrives if is_stack(node.sources[i][0])]

        def body(state: Tensors) -> Tensors:
            carried, pushed, found = self._round(state)
            flags = self._flags(state, found)
            return [*carried, *flags, *(pushed[i] for i in stacked)]

        start = [self.rounds, *self._start(), *self._first_flags()]
        results, loop = loop_on(recorder, start, lambda state: state[0] > 0, body)
        if self.operation in recorder.surely:
            recorder.surely.add(loop)
        if not mode.grad:  # else the operations are on the tape as they are
            self._keep(loop)
        for stack, order in self.orders.items():
            recorder.set_order(loop, stack, order)
        found: list[Any] = [None] * (self.count + len(node.sources))
        n, k = len(self.differentiated), len(self.carried)
        m = len(self.flagged) + len(self.doubtful)
        flags = results[n + k + 1 : n + k + 1 + m]
        of_carried = dict(zip(self.flagged, flags, strict=False))
        of_sources = dict(zip(self.doubtful, flags[len(self.flagged) :], strict=True))
        surely = self.operation in recorder.surely
        for i, g in zip(self.differentiated, results[1 : n + 1], strict=True):
            found[i] = g if surely and i in self.reached else maybe(g, of_carried.get(i))
        ran = None if surely or not set(self.carried) - of_sources.keys() else self._ran()
        for i, g in zip(self.carried, results[n + 1 : n + 1 + k], strict=True):
            found[self.count + i] = maybe(g, of_sources.get(i, ran))
        given = results[n + 2 + k + m :]
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

    def _ran(self) -> Tensor:
        """Whether there was a round."""
        with no_grad():
            return ops.gt(self.rounds, 0)

    def _probe(self) -> list[int]:
        """Find out which gradients a round gives, and which of them in every round."""
        while True:
            with self.recorder.region("probe"):
                state = [self.rounds, *self._start(), *self._first_flags()]
                found = self._round(state)[2]
            n = len(self.differentiated)
            always = {
                i for i, g in zip(self.differentiated, found[:n], strict=True) if _arrives_always(g)
            }
            doubtful = [i for i, g in enumerate(found[n:]) if type(g) is MaybeGradient]
            if self.steady <= always and doubtful == self.doubtful:
                self.reached = always
                return [i for i, g in enumerate(found[n:]) if g is not None]
            self.steady &= always
            self.flagged = [i for i in self.differentiated if i not in self.steady]
            self.doubtful = doubtful

    def _first_flags(self) -> Tensors:
        nothing = numbers.as_tensor(False, dtypes.bool_)
        return [flag_of(self.grads[i]) for i in self.flagged] + [nothing for _ in self.doubtful]

    def _flags(self, state: Tensors, found: list[Any]) -> Tensors:
        """The carried bools after a round that found these gradients."""
        n = len(self.differentiated)
        flags = [flag_of(found[self.differentiated.index(i)]) for i in self.flagged]
        first = n + len(self.carried) + 1 + len(self.flagged)
        before = state[first : first + len(self.doubtful)]
        with no_grad():
            for i, flag in zip(self.doubtful, before, strict=True):
                flags.append(ops.logical_or(flag, flag_of(found[n + i])))
        return flags

    def _keep(self, loop: Operation) -> None:
        """Have the forward loop push what the gradients use of its rounds."""
        recorder, index = self.recorder, _value(self.index)

        def item(value: Value) -> tuple[Operation, Value]:
            stack = _value(pushed(recorder, self.node, value))
            result = Value(recorder.graph, value.meta)
            result.region = loop.regions[1]
            self.orders[stack] = -1
            read = Operation(stack_item, (stack, index), {}, (result,), (), self.operation.origin)
            return read, result

        keep(self.replayed, item)

    def _start(self) -> Tensors:
        operation = self.operation
        start = [
            zeros(operation.results[i].meta) if self.grads[i] is None else plain(self.grads[i])
            for i in self.differentiated
        ]
        return start + [zeros(self.node.sources[i][0].meta) for i in self.carried]

    def _round(self, state: Tensors) -> tuple[Tensors, dict[int, Tensor], list[Any]]:
        """One round: the next state but for its flags, the gradients of stacks, and what it found.

        That are the gradients of the carried values, then those of the sources.
        """
        node, recorder = self.node, self.recorder
        index = state[0] - 1
        self.index, self.place = index, len(recorder.scopes[-1].region.operations)
        n = len(self.differentiated)
        flags = dict(zip(self.flagged, state[n + len(self.carried) + 1 :], strict=False))
        seeds = [
            maybe(seed, flags.get(i))
            for i, seed in zip(self.differentiated, state[1 : n + 1], strict=True)
        ]
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
        self.replayed = Replayed(recorder.scopes[-1].region, self.place)
        with enable_grad():
            results = replay(recorder, self.body, known)
        self.replayed.last = len(self.replayed.region.operations)
        self.replayed.values = {v: _value(t) for v, t in known.items()}
        roots = [results[i] for i in self.differentiated]
        seeds = [*seeds, *(self._item(g, index) for g in self.pushes.values())]
        roots += [results[self.count + k] for k in self.pushes]
        found = _pull(roots, seeds, leaves)
        following = [
            zeros(_value(p).meta) if g is None else plain(g)
            for p, g in zip(roots, found[:n], strict=False)
        ]
        sums = []
        for i, total in zip(self.carried, state[n + 1 :], strict=False):
            g = found[n + i]
            nothing = g is None or isinstance(g, StackGradient)
            sums.append(total if nothing else self._added(total, plain(g)))
        pushed = {
            i: _sum([t for _, t in g.items])
            for i, g in enumerate(found[n:])
            if isinstance(g, StackGradient)
        }
        return [index, *following, *sums], pushed, found

    def _added(self, total: Tensor, gradient: Any) -> Tensor:
        """A sum of gradients so far, and one more.

        That of an element or a row, which is zero elsewhere, is added in its place: in each of
        many rounds, nobody wants to add up all of a tensor.
        """
        if not mode.grad:
            value = _value(gradient)
            for operation in reversed(self.recorder.scopes[-1].region.operations):
                if value in operation.results:
                    break
            if operation.primitive is PRIMITIVES["index_embed"]:
                x, *indices = [wrap(v) for v in operation.inputs]
                positions = operation.parameters["positions"]
                put: Tensor = PRIMITIVES["index_put"](
                    total, x, *indices, positions=positions, accumulate=True
                )
                return put
        return total + gradient

    def _item(self, gradient: StackGradient, index: Tensor) -> Tensor:
        """The gradient of what was pushed in the round `index`."""
        terms = []
        if id(gradient) in self.tables:
            terms.append(self.tables[id(gradient)][index])
        for stack, order in gradient.stacks:
            place = index if order > 0 else self.rounds - index - 1
            terms.append(self.recorder.record(stack_item, (stack, place), {}))
            self.orders[_value(stack)] = -order
        return _sum(terms)


def _arrives_always(grad: Any) -> bool:
    return grad is not None and type(grad) is not MaybeGradient


def _value(x: Any) -> Value:
    return x._payload


def _table(gradient: StackGradient) -> Tensor:
    """The gradients of the single items of a stack as one tensor, a row for each."""
    rows: dict[int, Tensor] = {}
    for place, grad in gradient.items:
        assert place is not None
        rows[place] = rows[place] + grad if place in rows else grad
    blank = zeros(meta_of(gradient.items[0][1]))
    table: Tensor = ops.stack([rows.get(i, blank) for i in range(max(rows) + 1)])
    return table


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def of_loop(node: ControlNode, grads: list[Any]) -> Sequence[Any]:
    """The gradients of a loop's first carried values and of what its body uses."""
    return _LoopGradient(node, grads).run()
