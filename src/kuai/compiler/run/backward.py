"""The tape of a compiled program: one node, whose gradients are a compiled program too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from kuai.compiler.native import descriptor as d
from kuai.compiler.native.bound import GradOf, Source, Step, tensor_of
from kuai.compiler.native.runtime import free_memory
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import _changed
from kuai.core.tape import FREED, Node, OutputEdge, _sequence, edge_of, mode

_new = object.__new__
_free = free_memory  # still there when modules are being taken down


class StackMemory:
    """What a loop kept of its rounds: memory that a program handed over, freed with this object."""

    def __init__(self, address: int, size: int) -> None:
        self._address = address
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        _free(self._address)


def stack_array(address: int, size: int) -> np.ndarray:
    """The bytes of a loop's stack as an array that owns them."""
    if not address:
        return np.empty(0, np.uint8)
    return np.asarray(StackMemory(address, size))


@dataclass
class Backward:
    """What the nodes of one program have in common.

    Attributes:
        call: the compiled backward program: takes what the forward saved, the tensors that it
            reads besides, and the gradients of the outputs; gives the gradients of the leaves.
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
    """

    call: Callable[..., Any]
    reads: Sequence[Source]
    leaves: Sequence[Source]
    numbers: Sequence[int | None]
    arrivals: Sequence[int | None]
    forms: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
    again: Callable[[Sequence[Any]], Sequence[Any]]
    changed: Sequence[Source] = ()
    label: str = "CompiledBackward"

    def __post_init__(self) -> None:
        # Every call passes through `record`: what is the same for all of them is found once.
        self._edges = [s if _is_leaf(s) else None for s in self.leaves]
        self.flags = [(i, flag) for i, flag in enumerate(self.arrivals) if flag is not None]
        self._others = [(i, s) for i, s in enumerate(self.leaves) if not _is_leaf(s)]
        self._reads: list[Any] = [s if isinstance(s, TensorBase) else None for s in self.reads]
        self._given = [(i, s) for i, s in enumerate(self.reads) if not isinstance(s, TensorBase)]

    @property
    def is_plain(self) -> bool:
        """Whether all nodes have the same edges, and nothing has to be kept as it was."""
        return (
            len(self.forms) == 1
            and not self._others
            and not self.changed
            and not any(isinstance(source, GradOf) for source in self.reads)
        )

    def steps(self, saved: Sequence[Step], arguments: int) -> list[Step]:
        """The steps that put a node on the tape for a tensor that was pushed.

        Args:
            saved: the steps that push what the forward program saved.
            arguments: how many leaves the arguments have.
        """
        steps = [*saved, Step(d.MAKE_TUPLE, len(saved))]
        for kind in (d.PUSH_PAYLOAD, d.PUSH_VERSION):
            for source in self.reads:
                given = isinstance(source, int)
                steps.append(Step(kind, source, None) if given else Step(kind, 0, source))  # type: ignore[arg-type]
            steps.append(Step(d.MAKE_TUPLE, len(self.reads)))
        steps += [Step(d.PUSH_ARGUMENT, i) for i in range(arguments)]
        return [*steps, Step(d.MAKE_TUPLE, arguments), Step(d.MAKE_NODE, 5, self)]

    def put_on_tape(self, x: Any, values: Any, payloads: Any, versions: Any, arguments: Any) -> Any:
        """What the last of these steps does: the node of a call, for the tensor `x`."""
        node = _new(PlainNode)
        node.backward, node.values, node.payloads = self, values, payloads
        node.versions, node.arguments, node.sequence = versions, arguments, _sequence()
        x._node, x._requires_grad = node, True
        return x

    def reads_of(self, arguments: Sequence[Any]) -> list[Any]:
        """The tensors that the backward program of a call reads beside what was saved."""
        return [tensor_of(source, arguments) for source in self.reads]

    def record(
        self,
        outputs: Sequence[Any],
        saved: Sequence[Any],
        before: Sequence[Any],
        arguments: Sequence[Any],
    ) -> None:
        """Put the node of a call on the tape.

        Args:
            outputs: the results that have a gradient, fresh tensors.
            saved: what the forward program saved.
            before: what `changed` held before.
            arguments: the leaves of the arguments.
        """
        node = _new(CompiledNode)
        node.backward = self
        node.arguments = arguments
        node.before = before
        edges = node.edges = self._edges.copy()
        for i, source in self._others:
            edges[i] = edge_of(tensor_of(source, arguments))
        reads = self._reads
        if self._given:
            reads = reads.copy()
            for i, source in self._given:
                reads[i] = tensor_of(source, arguments)
        versions = [x._counter[0] for x in reads]
        node.saved = (saved, reads, [x._payload for x in reads], versions)
        node.sequence = _sequence()
        node.shape, node.numpy_dtype = self.forms[0]
        if len(outputs) == 1:
            x = outputs[0]
            x._requires_grad = True
            x._node = node
            return
        node.outputs = len(outputs)
        for i, x in enumerate(outputs):
            x._requires_grad = True
            x._node = OutputEdge(node, i, *self.forms[i])


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
    """The node that a call of a compiled program leaves on the tape."""

    backward: Backward
    arguments: Any
    before: Any

    def name(self) -> str:
        """The name that is printed."""
        return self.label or self.backward.label

    def release(self) -> None:
        """Let go of the saved values."""
        self.saved = FREED
        self.arguments = self.before = None

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
        results = static.call(*saved, *read, *given)
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

        changed = [tensor_of(s, self.arguments) for s in self.backward.changed]
        with as_before(changed, self.before):
            outputs = self.backward.again(self.arguments)
        leaves = [tensor_of(s, self.arguments) for s in self.backward.leaves]
        chosen = [x for x, edge in zip(leaves, self.edges, strict=True) if edge is not None]
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None]
        roots = [o for o, _ in pairs]
        found = walk(roots, [g for _, g in pairs], True, True, chosen, accumulate=False)
        rest = iter(found)
        return [None if edge is None else next(rest) for edge in self.edges]


class PlainNode(CompiledNode):
    """The node of a program with one output and the same edges in every call.

    Native code makes it: what it does not hold is found when backward asks for it.
    """

    __slots__ = ("arguments", "backward", "payloads", "sequence", "values", "versions")

    values: Any
    payloads: Any
    versions: Any
    before = ()

    @property
    def edges(self) -> Any:  # type: ignore[override]
        """Where the gradients go."""
        return self.backward._edges

    @property
    def shape(self) -> Any:  # type: ignore[override]
        """The shape of the output."""
        return self.backward.forms[0][0]

    @property
    def numpy_dtype(self) -> Any:
        """The type of the output."""
        return self.backward.forms[0][1]

    @property
    def saved(self) -> Any:
        """What backward needs, and the versions of what it reads."""
        if self.values is None:
            return FREED
        reads = self.backward.reads_of(self.arguments)
        return self.values, reads, self.payloads, self.versions

    def release(self) -> None:
        """Let go of the saved values."""
        self.values = self.arguments = self.payloads = None


@contextmanager
def as_before(tensors: Sequence[Any], values: Sequence[Any]) -> Iterator[None]:
    """Let tensors hold other values for a while: whatever happens to them then is undone."""
    now = [(x._payload, x._payload.copy(), list(list.__iter__(x._counter))) for x in tensors]
    for x, value in zip(tensors, values, strict=True):
        np.copyto(x._payload, value._payload)
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
