"""The tape of a compiled program: one node, whose gradients are a compiled program too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from kuai.compiler.native import descriptor as d
from kuai.compiler.native.interface import GradOf, Source, Step, tensor_of
from kuai.compiler.struct import Struct
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import _changed
from kuai.core.tape import FREED, Node, _sequence, edge_of, mode

_new = object.__new__


class Backward(Struct):
    """What the nodes of one program have in common.

    Attributes:
        call: the compiled backward program: takes what the forward saved (the block, and the
            stacks of loops), the tensors that it reads besides, and the gradients of the outputs;
            gives the gradients of the leaves.
        reads: the tensors that it reads besides.
        leaves: the tensors that gradients may flow to.
        numbers: for each of the leaves, the number of its gradient among the results; `None`
            where none arrives.
        arrivals: for each of them, the number of the bool that says whether its gradient
            arrives; `None` for always.
        forms: shape and type of each output that has a gradient.
        again: the function itself, for gradients that shall have gradients: takes the leaves of
            the arguments, and gives the outputs that have a gradient.
        changed: the tensors that the forward program changes in place.
        stacks: for each stack that a loop leaves, the bytes of one of its rounds.
    """

    call: Callable[..., Any]
    reads: Sequence[Source]
    leaves: Sequence[Source]
    numbers: Sequence[int | None]
    arrivals: Sequence[int | None]
    forms: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
    again: Callable[[Sequence[Any]], Sequence[Any]]
    changed: Sequence[Source] = ()
    stacks: Sequence[int] = ()
    label: str = "CompiledBackward"

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self._edges = [s if _is_leaf(s) else None for s in self.leaves]
        self.flags = [(i, flag) for i, flag in enumerate(self.arrivals) if flag is not None]
        self._others = [(i, s) for i, s in enumerate(self.leaves) if not _is_leaf(s)]

    @cached_property
    def _parts(self) -> list[slice]:
        sizes = [1 + len(self.stacks), len(self.reads), len(self.reads)]
        ends = [0, *itertools.accumulate([*sizes, len(self._others), len(self.changed)]), None]
        return [slice(i, j) for i, j in itertools.pairwise(ends)]

    @property
    def results(self) -> list[tuple[Any, ...] | None]:
        """For each output, which one of several it is; `None` for the only one."""
        if len(self.forms) == 1:
            return [None]
        return [(i, *form) for i, form in enumerate(self.forms)]

    @property
    def is_native(self) -> bool:
        """Whether native code can make the node."""
        return not any(isinstance(source, GradOf) for source in (*self.reads, *self.leaves))

    def steps(self, saved: Sequence[Step], arguments: int) -> list[Step]:
        """The steps that make the node of a call.

        Args:
            saved: the steps that push what the forward program saved, and what `changed` held.
            arguments: how many leaves the arguments have.
        """
        first = 1 + len(self.stacks)
        steps = [*saved[:first]]
        for kind in (d.PUSH_PAYLOAD, d.PUSH_VERSION):
            steps += [_step_of(kind, source) for source in self.reads]
        steps += [_step_of(d.PUSH_EDGE, source) for _, source in self._others]
        steps += saved[first:]
        steps += [Step(d.PUSH_ARGUMENT, i) for i in range(arguments)]
        return [*steps, Step(d.MAKE_TUPLE, len(steps)), Step(d.MAKE_NODE, 1, self)]

    def kept(
        self, saved: Sequence[Any], before: Sequence[np.ndarray], arguments: Sequence[Any]
    ) -> tuple[Any, ...]:
        """What the node of a call keeps, as these steps push it.

        Args:
            saved: what the forward program saved: the block, and the stacks of loops.
            before: what `changed` held before.
            arguments: the leaves of the arguments.
        """
        reads = self.reads_of(arguments)
        edges = [edge_of(tensor_of(source, arguments)) for _, source in self._others]
        payloads, versions = [x._payload for x in reads], [x._counter[0] for x in reads]
        return (*saved, *payloads, *versions, *edges, *before, *arguments)

    def node(self, kept: tuple[Any, ...]) -> CompiledNode:
        """The node of a call."""
        node = _new(CompiledNode)
        node.backward, node.kept, node.sequence = self, kept, _sequence()
        return node

    def parts(self, kept: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """What was saved, arrays and versions of what is read, edges, `before`, and arguments."""
        return [kept[part] for part in self._parts]

    def released(self, kept: tuple[Any, ...]) -> tuple[Any, ...]:
        """What is left when backward has been through: the edges."""
        edges = self._parts[3]
        return (None,) * edges.start + kept[edges]

    def edges(self, kept: tuple[Any, ...]) -> list[Any]:
        """Where the gradients go."""
        edges = self._edges.copy()
        for (i, _), edge in zip(self._others, kept[self._parts[3]], strict=True):
            edges[i] = edge
        return edges

    def reads_of(self, arguments: Sequence[Any]) -> list[Any]:
        """The tensors that the backward program of a call reads beside what was saved."""
        return [tensor_of(source, arguments) for source in self.reads]


def _step_of(kind: int, source: Any) -> Step:
    """A step for an argument, or for a tensor from outside."""
    return Step(kind, source) if isinstance(source, int) else Step(kind, 0, source)


def _is_leaf(source: Source) -> bool:
    """Whether a source is a tensor from outside that gradients end at."""
    return (
        isinstance(source, TensorBase)
        and source._requires_grad
        and source._node is None
        and source._view is None
    )


class SpentNode(Node):
    """The node of a result whose backward was part of the program: it has been walked already."""

    def __init__(self, like: Any) -> None:
        self.saved = FREED
        self.edges = ()
        self.sequence = _sequence()
        self.shape, self.numpy_dtype = like.shape, like.dtype
        self.label = "CompiledBackward"


class CompiledNode(Node):
    """The node that a call of a compiled program leaves on the tape.

    Attributes:
        backward: what it has in common with the nodes of other calls.
        kept: what it has not (`Backward.parts`), in one tuple, since native code makes it.
    """

    __slots__ = ("backward", "kept", "sequence")

    backward: Backward
    kept: tuple[Any, ...]

    def name(self) -> str:
        """The name that is printed."""
        return self.label or self.backward.label

    @property
    def edges(self) -> Any:  # type: ignore[override]
        """Where the gradients go."""
        return self.backward.edges(self.kept)

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """How many outputs have a gradient."""
        return len(self.backward.forms)

    @property
    def shape(self) -> Any:  # type: ignore[override]
        """The shape of the first output."""
        return self.backward.forms[0][0]

    @property
    def numpy_dtype(self) -> Any:
        """The type of the first output."""
        return self.backward.forms[0][1]

    @property
    def saved(self) -> Any:
        """What backward needs, and the versions of what it reads."""
        if self.kept[0] is None:
            return FREED
        saved, payloads, versions, _, _, arguments = self.backward.parts(self.kept)
        return saved, self.backward.reads_of(arguments), payloads, versions

    def release(self) -> None:
        """Let go of the saved values."""
        self.kept = self.backward.released(self.kept)

    def gradients(self, grad: Any) -> Sequence[Any]:
        """The gradients of the leaves, given those of the outputs."""
        static = self.backward
        grads = list(grad) if self.outputs > 1 else [grad]
        saved, reads, payloads, versions = self.saved
        for x, payload, version in zip(reads, payloads, versions, strict=True):
            if x._payload is payload and x._counter[0] != version:
                raise _changed(payload, x._counter[0], version, self)
        if mode.grad:
            return self._again(grads)
        given = [_plain(g, form) for g, form in zip(grads, static.forms, strict=True)]
        read = [
            x if x._payload is payload else wrap(payload)
            for x, payload in zip(reads, payloads, strict=True)
        ]
        block, *stacks = saved
        rounds = [s.array(size) for s, size in zip(stacks, static.stacks, strict=True)]
        results = static.call(*map(wrap, [block, *rounds]), *read, *given)
        found = [
            None if number is None or edge is None else results[number]
            for number, edge in zip(static.numbers, self.edges, strict=True)
        ]
        for i, flag in static.flags:
            if not results[flag]._payload:
                found[i] = None
        return found

    def _again(self, grads: Sequence[Any]) -> Sequence[Any]:
        """The gradients by way of the tape, so that they have gradients themselves."""
        from kuai.core.tape import backward as walk

        _, _, _, _, before, arguments = self.backward.parts(self.kept)
        edges = self.edges
        changed = [tensor_of(s, arguments) for s in self.backward.changed]
        with as_before(changed, before):
            outputs = self.backward.again(arguments)
        leaves = [tensor_of(s, arguments) for s in self.backward.leaves]
        chosen = [x for x, edge in zip(leaves, edges, strict=True) if edge is not None]
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None]
        roots = [o for o, _ in pairs]
        found = walk(roots, [g for _, g in pairs], True, True, chosen, accumulate=False)
        rest = iter(found)
        return [None if edge is None else next(rest) for edge in edges]


@contextmanager
def as_before(tensors: Sequence[Any], values: Sequence[Any]) -> Iterator[None]:
    """Let tensors hold other values for a while: whatever happens to them then is undone."""
    now = [(x._payload, x._payload.copy(), list(list.__iter__(x._counter))) for x in tensors]
    for x, value in zip(tensors, values, strict=True):
        np.copyto(x._payload, value)
    try:
        yield
    finally:
        for x, (payload, kept, counts) in zip(tensors, now, strict=True):
            np.copyto(payload, kept)
            x._payload = payload
            x._counter[:] = counts


def _plain(grad: Any, form: tuple[tuple[int, ...], np.dtype[Any]]) -> TensorBase:
    """A gradient as the backward program takes it: contiguous, of the output's type."""
    if grad is None:
        return wrap(np.zeros(*form))
    array = np.asarray(grad._payload)
    if array.dtype == form[1] and array.flags.c_contiguous:
        return grad if grad._view is None else wrap(array)
    return wrap(np.ascontiguousarray(array, dtype=form[1]).reshape(form[0]))
