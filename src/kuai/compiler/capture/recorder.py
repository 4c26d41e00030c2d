"""What a function does to tensors, recorded as operations of a graph while it runs.

Every primitive that the function applies is handed here by `kuai.core.primitive.intercept`. The
tape works on captured tensors as on any others, so that `backward()` inside the function adds the
backward computation to the graph.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from kuai.compiler.capture import control
from kuai.compiler.capture.aliases import CHANGE_A_CLONE, Aliases
from kuai.compiler.capture.arrivals import maybe, when_any
from kuai.compiler.capture.outer import Outer, _is_own, lies_as, user_line, user_place
from kuai.compiler.capture.places import Gradient, Memory
from kuai.compiler.capture.regions import Regions
from kuai.compiler.graph import Operation, Origin, Region, Value
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import detach, view_scatter
from kuai.core.primitive import Meta, Primitive, meta_of
from kuai.core.tape import Node, OutputEdge, mode, refresh
from kuai.errors import CompileError, DataDependentError
from kuai.nn.block_path import BlockCall, abbreviated, block_call, copy_notes

if TYPE_CHECKING:
    from kuai.compiler.capture.captured import Argument

check_: Any = control.check
check_each_: Any = control.check_each
detach_: Any = detach
view_scatter_: Any = view_scatter


class Recorder(Regions):
    """A capture under way: the graph, the regions that are open, and the outer world's tensors.

    Attributes:
        tracked: the operations that the tape recorded.
        edges: where the gradients of their results enter the tape.
        surely: the loops of which one round runs in any case.
        orders: for each loop that reads stacks, whether its rounds take the items of each in
            order (1) or in reverse (-1).
        calls: the calls of blocks that are under way, outermost first.
        path: the path of the innermost of them.
        arguments: by the id of what stands for it, each tensor among the arguments.
    """

    def __init__(self, names: dict[int, str] | None = None) -> None:
        super().__init__()
        self.names = names or {}
        self.tracked: set[Operation] = set()
        self.edges: dict[Value, Any] = {}
        self.surely: set[Operation] = set()
        self.orders: dict[Operation, dict[Value, int]] = {}
        self.calls: tuple[BlockCall, ...] = ()
        self.arguments: dict[int, Argument] = {}
        self.path = ""
        self._values: dict[int, tuple[Any, Value]] = {}
        self._owners: dict[int, list[int]] = {}
        self._gradient_of: Origin | None = None

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
        if any(issubclass(error, kinds()) for kinds in self.tries):
            self.refuse(
                f"a check of values ({error.__name__}: {message}) inside a `try` whose handlers "
                "would have to run in the compiled program",
                "move the check out of the `try`, or choose with kuai.where",
            )
        if value is None:
            self.check_limit(condition, error, message)
        else:
            parameters = {"error": error, "message": message}
            given = [self.value(condition), self.value(value)]
            self.emit(check_each_, given, parameters, [self.new(given[0].meta)])

    def check_limit(self, condition: Any, error: type[Exception], message: str) -> None:
        """As `check`, for what only a compiled program may fail in: no handler is for that."""
        parameters = {"error": error, "message": message}
        self.emit(check_, [self.value(condition)], parameters, ())

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
        reason = self.aliases.reads(x)
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
        leaf = x._node
        if isinstance(leaf, TensorBase):  # of which `x` is a snapshot
            return wrap(payload) if self.is_born(leaf) else leaf
        return wrap(payload) if self.is_born(x) else x

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

    # -- refusing ---------------------------------------------------------------------------

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

    def let_go(self) -> None:
        """Keep nothing alive that belongs to the caller."""
        self.arguments.clear()
        self.aliases = Aliases()


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
