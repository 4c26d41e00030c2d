"""What a function does to tensors, recorded as operations of a graph while it runs.

Every primitive that the function applies is handed here by `kuai.core.primitive.intercept`. The
tape works on captured tensors as on any others, so that `backward()` inside the function adds the
backward computation to the graph.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import numpy as np

import kuai
from kuai.compiler.capture import control, trees
from kuai.compiler.capture.arrivals import maybe, when_any
from kuai.compiler.capture.places import Gradient, Memory, Place, Scope
from kuai.compiler.graph import Graph, Operation, Origin, Region, StackMeta, Value
from kuai.compiler.rewrite.functions import is_library_file
from kuai.core import base
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import detach, view_scatter
from kuai.core.primitive import Meta, Primitive, meta_of
from kuai.core.tape import Node, OutputEdge, mode, refresh
from kuai.errors import CompileError, DataDependentError
from kuai.nn.block_path import BlockCall, abbreviated, block_call, copy_notes
from kuai.ops.windows import blank_like

check_: Any = control.check
check_each_: Any = control.check_each
detach_: Any = detach
view_scatter_: Any = view_scatter
CHANGE_A_CLONE = "change a clone(), or write y = y + 1 in the place of y += 1"
_OWN = os.path.dirname(kuai.__file__)


class Recorder:
    """A capture under way: the graph, the regions that are open, and the outer world's tensors.

    Attributes:
        graph: what has been recorded.
        scopes: the open regions, outermost first; the graph itself is the first.
        outer: for each tensor from outside, what it was and the value that stands for it.
        tracked: the operations that the tape recorded.
        edges: where the gradients of their results enter the tape.
        surely: the loops of which one round runs in any case.
        orders: for each loop that reads stacks, whether its rounds take the items of each in
            order (1) or in reverse (-1).
        made: by their ids, the objects that the captured code has made, each with the number of
            regions that were open then.
        calls: the calls of blocks that are under way, outermost first.
        path: the path of the innermost of them.
        failure: the refusal that ends the capture, even if the user's code swallowed it.
    """

    def __init__(self, names: dict[int, str] | None = None) -> None:
        self.graph = Graph()
        self.thread = threading.get_ident()
        self.names = names or {}
        self.scopes = [Scope(self.graph)]
        self.outer: dict[int, Outer] = {}
        self.tracked: set[Operation] = set()
        self.edges: dict[Value, Any] = {}
        self.surely: set[Operation] = set()
        self.orders: dict[Operation, dict[Value, int]] = {}
        self.made: dict[int, tuple[Any, int]] = {}
        self.calls: tuple[BlockCall, ...] = ()
        self.path = ""
        self.failure: CompileError | None = None
        self.tries = 0
        self._values: dict[int, tuple[Any, Value]] = {}
        self._owners: dict[int, list[int]] = {}
        self._born: dict[int, tuple[list[int], int]] = {}
        self._moved: list[tuple[Any, Any, Any, Any]] = []
        self._leaves: dict[int, Any] = {}
        self._entangled: dict[int, list[list[int]]] = {}
        self._poisoned: dict[int, str] = {}
        self._facts: dict[Any, bool] = {}
        self._negations: dict[Value, Value] = {}
        self._changes = 0
        self._gradient_of: Origin | None = None

    # -- being active -----------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hear of the memory that this thread makes."""
        base.births[self.thread] = self._birth
        base.inferring.add(0)
        try:
            yield
        finally:
            del base.births[self.thread]
            if not base.births:
                base.inferring.discard(0)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Make tensors that count as ones from outside."""
        del base.births[self.thread]
        try:
            with primitives.plainly():
                yield
        finally:
            base.births[self.thread] = self._birth

    def _birth(self, counter: list[int]) -> None:
        self._born[id(counter)] = (counter, len(self.scopes) - 1)

    def adopt(self, x: TensorBase) -> None:
        """Let a tensor count as one from outside."""
        self._born.pop(id(x._counter), None)

    def is_born(self, x: TensorBase) -> bool:
        """Whether a tensor's memory was made during the capture."""
        return id(x._counter) in self._born

    def is_local(self, x: TensorBase) -> bool:
        """Whether a tensor's memory was made in the innermost open region."""
        return self._born.get(id(x._counter), (None, -1))[1] >= len(self.scopes) - 1

    def is_captured(self, x: object) -> bool:
        """Whether `x` is a tensor whose values are known only when the program runs."""
        if not isinstance(x, TensorBase) or threading.get_ident() != self.thread:
            return False
        return isinstance(x._payload, Value) or not self.is_born(x)

    def asked(self, x: Any) -> None:
        """Refuse to tell the elements of a tensor from outside: later calls may find others."""
        if self.is_captured(x):
            raise DataDependentError(
                f"this needs the values of a tensor ({meta_of(x)!r}), which are known only when "
                "the program runs"
            )

    # -- operations -------------------------------------------------------------------------

    def __call__(
        self, primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]
    ) -> Any:
        """Record one application of a primitive."""
        if threading.get_ident() != self.thread:
            return primitive.run(inputs, parameters)
        if primitive.decompose is not None:
            return primitive.decompose(*inputs, **parameters)
        return self.record(primitive, inputs, parameters)

    def record(self, primitive: Any, inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
        """Record one application of a primitive as it is."""
        values = [self.value(x) if isinstance(x, TensorBase) else x for x in inputs]
        if primitive is detach_ and not inputs[0]._requires_grad:
            return primitive.run(inputs, parameters, values[0])
        if primitive is view_scatter_ and parameters["view"] is detach_:
            return primitive.run(inputs, parameters, values[1])
        typed = next((v for v in values if isinstance(v, Value)), None)
        scalar = typed.meta.dtype if typed is not None else None
        metas = [
            v.meta if isinstance(v, Value) else Meta((), scalar)  # type: ignore[arg-type]
            for v in values
        ]
        inferred = primitive.infer(*metas, **parameters)
        several = isinstance(inferred, tuple)
        results = tuple([self.new(m) for m in (inferred if several else (inferred,))])
        operation = self.emit(primitive, values, parameters, results)
        result = primitive.run(inputs, parameters, results if several else results[0])
        for x in result if several else (result,):
            if x._requires_grad:
                self.tracked.add(operation)
                self.edges[x._payload] = x._node
                self._give_place(x._node, operation)
        return result

    def _give_place(self, node: Any, operation: Operation) -> None:
        """Let the gradients that a node will compute have the place of its operation."""
        if type(node) is OutputEdge:
            node = node.node
        if type(node) is Node:
            node.__class__ = PlacedNode
            placed: Any = node
            placed.recorder, placed.operation = self, operation

    def emit(
        self,
        primitive: Primitive,
        inputs: Sequence[Any],
        parameters: dict[str, Any],
        results: Sequence[Value],
        regions: Sequence[Region] = (),
    ) -> Operation:
        """Add an operation to the innermost open region."""
        of = self._gradient_of
        if of is None:
            origin = Origin(self.path, user_line(), self.calls)
        else:
            origin = Origin(of.path, of.line, self.calls, True)
        operation = Operation(primitive, inputs, parameters, results, regions, origin)
        self.scopes[-1].region.operations.append(operation)
        return operation

    @contextmanager
    def within(self, block: Any, path: str, arguments: Sequence[Any]) -> Iterator[None]:
        """Let what is recorded now belong to a call of a block."""
        before = self.calls, self.path
        self.calls = (*self.calls, block_call(block, arguments))
        self.path = f"{path}: {abbreviated(block)}"
        try:
            yield
        finally:
            self.calls, self.path = before

    @contextmanager
    def differentiating(self, operation: Operation) -> Iterator[None]:
        """Let what is recorded now count as the gradient of an operation."""
        before, self._gradient_of = self._gradient_of, operation.origin
        try:
            yield
        finally:
            self._gradient_of = before

    def new(self, meta: Meta, name: str = "") -> Value:
        """A new value in the innermost open region."""
        value = Value(self.graph, meta, name)
        value.region = self.scopes[-1].region
        return value

    def check(
        self, condition: Any, error: type[Exception], message: str, value: Any = None
    ) -> None:
        """Raise when the program runs, unless the condition holds.

        Args:
            condition: a bool; with a `value`, one for each of its elements.
            error, message: what is raised; `{}` is the first element that is refused.
            value: integers.
        """
        if self.tries:
            self.refuse(
                f"a check of values ({error.__name__}: {message}) inside a `try` whose handlers "
                "would have to run in the compiled program",
                "move the check out of the `try`, or choose with kuai.where",
            )
        parameters = {"error": error, "message": message}
        if value is None:
            self.emit(check_, [self.value(condition)], parameters, ())
        else:
            given = [self.value(condition), self.value(value)]
            self.emit(check_each_, given, parameters, [self.new(given[0].meta)])

    # -- values -----------------------------------------------------------------------------

    def value(self, x: Any) -> Value:
        """The value that stands for a tensor, or for the one that it has become."""
        if x._view is not None:
            refresh(x)
        payload = x._payload
        if not isinstance(payload, Value):
            payload = self._outer_value(x, payload)
        elif all(payload.region is not scope.region for scope in self.scopes):
            raise AssertionError(f"{payload!r} belongs to a region that is closed")
        reason = self.unreadable(x)
        if reason:
            self.refuse(reason, CHANGE_A_CLONE)
        if x._requires_grad and mode.grad:
            edge = x if x._node is None else x._node
            if edge is x:
                self._leaves.setdefault(id(x), x)
            # What was made within a region as the end of its tape is nothing outside of it.
            made = self._born.get(id(getattr(edge, "_counter", None)), (None, -1))[1]
            for scope in reversed(self.scopes[made + 1 :]):
                if payload.region is scope.region:
                    break
                scope.uses.setdefault(payload, edge)
        return payload

    def _outer_value(self, x: Any, payload: Any) -> Value:
        if not isinstance(payload, np.ndarray):
            payload.shape  # an uninitialised parameter says so  # noqa: B018
        if id(x) in self.outer:
            return self.outer[id(x)].value
        kept = self._values.get(id(payload))
        if kept is None:
            name = self.names.get(id(payload), "")
            value = Value(self.graph, meta_of(x), name)
            value.region = self.graph
            if not self.is_born(x):
                lies_as(value, payload)
            self._values[id(payload)] = (payload, value)
            if self.is_born(x) and payload.size <= 1 and not name:
                self.graph.constants.append((value, payload.copy()))
            else:
                self.graph.captured.append((value, self._source(x, payload)))
        else:
            value = kept[1]
            if self._owners[id(payload)] is x._counter:
                return value  # a snapshot of a tensor that is known
        self._owners[id(payload)] = x._counter
        if not self.is_born(x):
            self.outer[id(x)] = Outer(x, value)
            if x._node is not None and x._requires_grad:
                x._node = None  # what it was computed from is not part of this program
        return value

    def _source(self, x: Any, payload: Any) -> Any:
        if self.is_born(x) or isinstance(x._node, TensorBase):
            found = wrap(payload)
            if isinstance(x._node, TensorBase):
                return x._node  # a snapshot of a leaf
            return found
        return x

    def touch(self, x: Any) -> None:
        """Note a tensor from outside before anything can happen to its `grad`."""
        if threading.get_ident() != self.thread:
            return
        if isinstance(x._payload, np.ndarray) and not self.is_born(x):
            self._outer_value(x, x._payload)
        if x._requires_grad and x._node is None:
            self._leaves.setdefault(id(x), x)

    def set_order(self, loop: Operation, stack: Any, order: int) -> None:
        """Note in which order a loop reads a stack."""
        self.orders.setdefault(loop, {})[stack] = order

    # -- changes ----------------------------------------------------------------------------

    def changing(self, x: Any) -> None:
        """Note a tensor, and what it is a view of, before it is changed in place."""
        while True:
            if isinstance(x._payload, np.ndarray):
                self.value(x)
            if x._view is None:
                break
            x = x._view.source
        self._check_entangled(x)
        self._changes += 1
        if not self.is_local(x):
            self.scopes[-1].note(("memory", id(x)), lambda: Memory(x))

    def retaking(self, x: Any) -> None:
        """Note a view before it is taken anew, in the region that is open."""
        if threading.get_ident() != self.thread:
            return
        if isinstance(x._payload, np.ndarray):
            self._moved.append((x, x._payload, x._node, x._requires_grad))
        self.scopes[-1].retaken.append(x)

    def reshaping(self, x: Any) -> None:
        """Note a tensor before it becomes a view of another shape."""
        if threading.get_ident() != self.thread:
            return
        if isinstance(x._payload, np.ndarray):
            self.value(x)
        if len(self.scopes) > 1 and not self.is_local(x):
            self.refuse(
                "a tensor that changes its shape in place under a condition or in a loop",
                "assign the result of the out-of-place method to a new variable",
            )

    @property
    def is_nested(self) -> bool:
        """Whether a region of a branch or a loop is being captured."""
        return len(self.scopes) > 1

    def note_made(self, x: Any) -> None:
        """Note an object that the captured code has made, and in how many open regions."""
        if not self.has_made(x):
            self.made[id(x)] = (x, len(self.scopes))

    def has_made(self, x: Any) -> bool:
        """Whether the captured code has made an object itself."""
        return self.made.get(id(x), (None, 0))[0] is x

    def opened(self, x: Any) -> Any:
        """An object that the captured code has made, taken apart if it has tensors in it."""
        return trees.as_fields(x) if self.has_made(x) else x

    def rebuilt(self, like: Any, items: list[Any]) -> Any:
        """A container or an object like another, of other parts."""
        new = trees.rebuild(like, items)
        if isinstance(like, trees.Fields):
            self.note_made(new)
        return new

    def note(self, key: tuple[Any, ...], make: Callable[[], Place]) -> None:
        """Note a place before it changes."""
        self._changes += 1
        if len(self.scopes) > 1:
            self.scopes[-1].note(key, make)

    def entangle(self, x: TensorBase, other: TensorBase) -> None:
        """Note that two tensors may or may not be the same memory when the program runs."""
        a, b = x._counter, other._counter
        if a is not b:
            self._entangled.setdefault(id(a), []).append(b)
            self._entangled.setdefault(id(b), []).append(a)

    def unreadable(self, x: Any) -> str:
        """Why a tensor's memory must not be read any more; nothing where it may be."""
        return self._poisoned.get(id(x._counter), "")

    def _check_entangled(self, x: Any) -> None:
        for other in self._entangled.get(id(x._counter), ()):
            message = (
                "a change in place of a tensor that may or may not be the same as another one, "
                "as a condition or a number of rounds decides"
            )
            if id(other) not in self._born:
                self.refuse(message, CHANGE_A_CLONE)
            self._poisoned[id(other)] = message

    def comes_from_round(self, x: Any) -> bool:
        """Whether a number is computed of nothing but what the innermost region is given."""
        region = self.scopes[-1].region
        makers = {value: op for op in region.operations for value in op.results}
        pending = [x._payload]
        while pending:
            value = pending.pop()
            if value in makers:
                pending += makers[value].used
            elif value not in region.parameters and value not in dict(self.graph.constants):
                return False
        return True

    def mark(self) -> tuple[int, int, int]:
        """Where the innermost region and the count of changes stand."""
        scope = self.scopes[-1]
        return len(scope.region.operations), len(scope.retaken), self._changes

    def rewind(self, mark: tuple[int, int, int]) -> bool:
        """Forget the operations since `mark`, whose results nobody has; false if they changed
        something.
        """
        if self._changes != mark[2]:
            return False
        self._forget(self.scopes[-1], mark)
        return True

    def _forget(self, scope: Scope, mark: tuple[int, int, int]) -> None:
        gone = scope.forget(*mark[:2])
        pairs = self._negations.items()
        self._negations = {k: v for k, v in pairs if k not in gone and v not in gone}

    @contextmanager
    def trial(self) -> Iterator[None]:
        """A part that may fail, after which everything is as before it."""
        scope, mark = self.scopes[-1], self.mark()
        poisoned, failure, tries = self.poisoned, self.failure, self.tries
        try:
            yield
        except BaseException:
            self._forget(scope, mark)
            self.poisoned, self.failure, self.tries = poisoned, failure, tries
            raise

    # -- regions ----------------------------------------------------------------------------

    @contextmanager
    def region(self, name: str) -> Iterator[Scope]:
        """Capture into a region of its own."""
        scope = Scope(Region(name))
        with self.inside(scope):
            yield scope

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Capture into an open or reopened region."""
        before = {key: leaf._grad for key, leaf in self._leaves.items()}
        known = mode.grad
        self.scopes.append(scope)
        try:
            yield
        finally:
            for key, leaf in list(self._leaves.items()):
                old = before.get(key, self.outer[key].grad if key in self.outer else None)
                if leaf._grad is not old and not self.is_local(leaf):
                    # Not what it was when a region within this one began.
                    scope.places["grad", key] = Gradient(leaf, old)
            self.scopes.pop()
            scope.forget(len(scope.region.operations), 0)  # views are taken anew outside
            mode.grad = known

    @property
    def poisoned(self) -> dict[int, str]:
        """A copy of the notes on memory that must not be read, to return to."""
        return dict(self._poisoned)

    @poisoned.setter
    def poisoned(self, notes: dict[int, str]) -> None:
        self._poisoned = dict(notes)

    # -- refusing ---------------------------------------------------------------------------

    def known(self, condition: Any) -> bool | None:
        """What a bool is in the regions that are open; `None` where only the program knows."""
        if not isinstance(condition, TensorBase):
            return bool(condition)
        value = condition._payload
        return self._facts.get(value) if isinstance(value, Value) else None

    def negated(self, condition: Any) -> Any:
        """The opposite of a captured bool: of that of another one, the other one."""
        value = self.value(condition)
        known = self._negations.get(value)
        if known is not None and any(known.region is scope.region for scope in self.scopes):
            return wrap(known)
        result = kuai.logical_not(condition)
        self._negations[value] = result._payload
        self._negations[result._payload] = value
        return result

    @contextmanager
    def given(self, condition: Any, holds: bool) -> Iterator[None]:
        """In a side of a branch: it is known which one."""
        before = self._facts
        value = self.value(condition)
        self._facts = {**before, value: holds}
        if value in self._negations:
            self._facts[self._negations[value]] = not holds
        try:
            yield
        finally:
            self._facts = before

    def refuse(self, reason: str, advice: str = "", at: tuple[str, int] | None = None) -> NoReturn:
        """Give up, with the user's line: the current one, unless `at` is another.

        Raises:
            CompileError: always.
        """
        import linecache

        file, line = at or user_place()
        error = CompileError(reason, advice, file, line, linecache.getline(file, line))
        self.failure = self.failure or error
        raise error from None

    def failed(self, error: CompileError) -> CompileError:
        """Note the refusal that ends the capture; returns it."""
        self.failure = self.failure or error
        return error

    def explained(self, error: DataDependentError) -> CompileError:
        """A refusal for an error that arose where the values of a tensor were asked for."""
        import linecache
        import traceback

        file, line = "", 0
        for frame, number in traceback.walk_tb(error.__traceback__):
            if not _is_own(frame.f_code.co_filename):
                file, line = frame.f_code.co_filename, number
        source = linecache.getline(file, line)
        if self.failure is None:
            self.failure = CompileError(str(error), error.advice, file, line, source)
            copy_notes(error, self.failure)
            self.failure.__traceback__ = error.__traceback__
        return self.failure

    def check_overlaps(self, updated: set[Value]) -> None:
        """Refuse changes of memory that the program also knows as another tensor."""
        arrays = [(o.value, o.payload) for o in self.outer.values()]
        for value, array in arrays:
            if value not in updated:
                continue
            for other, memory in arrays:
                if (
                    other is not value
                    and memory is not array
                    and np.may_share_memory(array, memory)
                    and not self._is_view(other)
                ):
                    self.refuse(
                        "a change in place of a tensor from outside whose memory another tensor "
                        "from outside, used here too, has a part in",
                        "use one of the two throughout, or clone() one outside",
                    )

    def _is_view(self, value: Value) -> bool:
        return any(o.value is value and o.tensor._view is not None for o in self.outer.values())

    def restore(self) -> None:
        """Put the outer tensors back as they were."""
        for scope in reversed(self.scopes):
            for place in reversed(list(scope.places.values())):
                if not isinstance(place, (Memory, Gradient)):
                    place.restore()
        for x, payload, node, requires_grad in self._moved:
            x._payload, x._node, x._requires_grad = payload, node, requires_grad
        for outer in self.outer.values():
            outer.restore()


class PlacedNode(Node):
    """A node of the tape whose gradients belong to the block and the line of its operation."""

    recorder: Recorder
    operation: Operation

    def gradients(self, grad: Any) -> Sequence[Any]:
        """The gradients of the inputs, given that of the result."""
        with self.recorder.differentiating(self.operation):
            found = super().gradients(grad)
            arrives = when_any(grad if isinstance(grad, (list, tuple)) else [grad])
            return found if arrives is None else [maybe(g, arrives) for g in found]


class Outer:
    """A tensor from outside, as it was before the capture."""

    def __init__(self, x: Any, value: Value) -> None:
        self.tensor = x
        self.value = value
        self.payload = x._payload
        self.node = x._node
        self.requires_grad = x._requires_grad
        self.grad = x._grad
        self.counter = tuple(list.__iter__(x._counter))
        self.reads_grad = False
        self.overwritten = False  # its grad was written before anything read it

    @property
    def changed(self) -> bool:
        """Whether the capture has given it another value."""
        return self.tensor._payload is not self.payload

    def restore(self) -> None:
        """Put it back as it was."""
        x = self.tensor
        if x._payload is not self.payload or x._counter[1] != self.counter[1]:
            x._payload = self.payload
            x._counter[1] = self.counter[1]
            x._counter[0] = self.counter[0]
        if x._view is not None:
            x._view.generation = x._counter[1]
        x._node, x._requires_grad = self.node, self.requires_grad
        x._grad = self.grad


def _is_own(file: str) -> bool:
    return file.startswith((_OWN, "<")) or is_library_file(file)


def user_place() -> tuple[str, int]:
    """File and line of the innermost frame that is not kuai's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not _is_own(code.co_filename):
            return code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "", 0


def user_line() -> str:
    """The user's line, as `file:line`."""
    file, line = user_place()
    return f"{file}:{line}" if file else ""


def lies_as(value: Value, array: np.ndarray) -> None:
    """Note how a tensor from outside lies in memory, where that is not plain."""
    if array.base is not None or not array.flags.c_contiguous:
        value.lies_as = blank_like(array)


def is_stack(value: Value) -> bool:
    """Whether a value is a loop's stack."""
    return isinstance(value.meta, StackMeta)
