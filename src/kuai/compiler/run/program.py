"""One program of a compiled function: for arguments of one form, in one mode, in one world.

The world is what was read while capturing; its guards tell whether it is still the same.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kuai.compiler.capture.held import Held
from kuai.compiler.capture.records import Read
from kuai.compiler.graph import Graph, Value
from kuai.compiler.layout import Layout, of_array
from kuai.compiler.native import builtin
from kuai.compiler.native import descriptor as d
from kuai.compiler.native.bound import Bound, computed
from kuai.compiler.native.interface import Source, Step, tensor_of
from kuai.compiler.run.arguments import Argument, Objects, Structure, repeated, same_leaf
from kuai.compiler.run.backward import Backward
from kuai.compiler.run.bind import Binding, Input, Loose, Machine
from kuai.compiler.run.code import Code
from kuai.compiler.run.guards import Guards
from kuai.compiler.run.kept import Kept
from kuai.compiler.run.results import Result
from kuai.compiler.struct import Struct, field
from kuai.core.base import TensorBase
from kuai.nn.registry import epoch

if TYPE_CHECKING:
    from kuai.compiler.partition import Halves

Layouts = dict[Value, Layout]
Finish = Callable[[Any, Sequence[Any]], Any]
MakeCode = Callable[[Graph, Layouts, int], Code]
"""Makes the code of a graph: of a program's forward half, 0, or of its backward half, 1."""


class Joint(Struct):
    """The backward half of a joint graph.

    Attributes:
        outputs: for each output that has a gradient, its number among the result's outputs.
        grads: the graph's inputs for their gradients, its last ones.
        leaves: the tensors that gradients flow to.
        gradients: what flows to each.
        arrivals: for each, the bool that says whether it does; `None` for always.
    """

    outputs: list[int]
    grads: list[Value]
    leaves: list[Source]
    gradients: list[Value | None]
    arrivals: list[Value | None]


class Recorded(Struct):
    """A function as it was captured.

    Attributes:
        graph: what it does.
        inputs: what each of the graph's inputs stands for (without those for gradients).
        result: what it returned.
        guards: what it read.
        joint: its backward half, where its outputs have gradients.
        owners: by the address of the array of a tensor's `grad`, that tensor.
        written: the attributes that it sets; the result is then a pair of what it returned and
            what these hold.
        unread: the leaves, of attributes that it may set, that it did not look at.
        arrivals: for each of the graph's `gradients` that may not arrive, the number of the
            output that says whether it does.
        effects: what is done when each call is over.
    """

    graph: Graph
    inputs: list[Input | Loose]
    result: Result
    guards: Guards
    joint: Joint | None = None
    owners: dict[int, Any] = field(factory=dict)
    written: Sequence[Held] = ()
    unread: Collection[int] = ()
    arrivals: dict[int, int] = field(factory=dict)
    effects: Sequence[Callable[[], object]] = ()


class Call(NamedTuple):
    """The call that a program is made for.

    Attributes:
        args, kwargs: its arguments.
        leaves, structure: these, then what `held` hold, taken apart.
        mode: whether operations are recorded, and inference mode.
        held: the attributes that the function reads and sets.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    leaves: list[Any]
    structure: Structure
    mode: int
    held: Sequence[Held] = ()


class Times(Struct):
    """Seconds that the stages of making a program took."""

    stages: dict[str, float] = field(factory=dict)
    _start: float = field(factory=time.perf_counter)

    def mark(self, stage: str) -> None:
        """A stage has ended now."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._start
        self._start = now


class Graphs(Struct):
    """What a capture is compiled as.

    Attributes:
        graphs: the forward graph, and the backward one where there is one.
        layouts: how arrays lie that are not in order.
        halves: how the two belong together.
        changed: the values that the forward graph changes in place, also among its outputs.
    """

    graphs: list[Graph]
    layouts: Layouts
    halves: Halves | None = None
    changed: Sequence[Value] = ()


def graphs_of(recorded: Recorded, leaves: Sequence[Any]) -> Graphs:
    """Take a capture, which is used up, apart into the graphs that it is compiled as."""
    layouts = _layouts(recorded.graph, recorded.inputs, leaves)
    joint = recorded.joint
    if joint is None:
        return Graphs([recorded.graph], layouts)
    from kuai.compiler.partition import partition

    given = zip(recorded.graph.inputs, recorded.inputs, strict=False)
    loose = {value for value, x in given if isinstance(x, Loose)}
    halves = partition(recorded.graph, joint.grads, [*joint.gradients, *joint.arrivals], loose)
    # What is changed in place is kept as it was, for those who compute everything again.
    changed = [old for old, _ in halves.forward.updates]
    halves.forward.outputs += changed
    return Graphs([halves.forward, halves.backward], layouts, halves, changed)


class Program:
    """A program that can be asked whether it fits a call, and called.

    Attributes:
        bound: the program of the call itself.
        code: its machine code, and its stages.
        backward: those of its backward half, where it has one.
        taken_over: how many values the backward half takes over from the forward half, and the
            numbers of the inputs that it reads besides.
        arguments: the leaves of the call, of which nothing is kept alive that was not part of
            the program.
        times: how long making it took.
        direct: the native way into this program, for calls that Python has looked at.
    """

    direct: Callable[..., Any] | None = None
    taken_over: tuple[int, list[int]] = (0, [])

    def __init__(
        self,
        call: Call,
        recorded: Recorded,
        again: Callable[[Sequence[Any]], Sequence[Any]],
        times: Times,
        make: MakeCode | None = None,
    ) -> None:
        make = make or (lambda graph, layouts, _: Code(graph, layouts))
        self.structure = call.structure
        self.mode = call.mode
        self.guards = recorded.guards
        self.recorded = recorded
        self.times = times
        self.backward: Code | None = None
        self.arguments = [Argument(x) for x in call.leaves]
        self._baked, self._repeated = _baked(call.leaves, recorded)
        found = graphs_of(recorded, call.leaves)
        self.code = make(found.graphs[0], found.layouts, 0)
        if found.halves is None or recorded.joint is None:
            times.mark("code")
            self.bound = self._bind(call, None)
        else:
            halves, joint = found.halves, recorded.joint
            self.backward = make(halves.backward, found.layouts, 1)
            self.taken_over = len(halves.saved), halves.arguments
            times.mark("code")
            maker = self._node_maker(halves, joint, again, found.changed)
            self.bound = self._bind(call, maker)
        times.mark("binding")

    def _bind(self, call: Call, backward: _NodeMaker | None) -> Bound:
        recorded, result = self.recorded, self.recorded.result
        inputs = {i.leaf for i in recorded.inputs if isinstance(i, Loose)}
        objects = Objects(call.args, call.kwargs, call.held, inputs, recorded.unread)
        if any(
            i != n and isinstance(call.leaves[i], TensorBase) for n, i in enumerate(self._repeated)
        ):
            objects.rows = None  # that two arguments are one tensor, only Python looks at
        binding = Binding(
            Machine(self.code), call.mode, objects.places, objects.rows, len(call.args)
        )
        binding.interface.kept.append(objects.kept)
        binding.interface.keywords = tuple(map(sys.intern, call.kwargs))
        binding.interface.guards = recorded.guards.bind([t for _, t in binding.code.captured])
        binding.inputs(recorded.inputs)
        binding.captured(recorded.owners)
        binding.changes(recorded.arrivals)
        binding.outputs(result.numbers, None if backward is None else backward.kept)
        if backward is not None:
            backward.count = len(result.outputs)
            backward.static.changed = [binding.source(v) for v in backward.changed]
            kept = binding.kept(len(result.outputs))
            if backward.is_native:
                node = backward.static.steps(kept, len(call.leaves))
                return binding.finish([*node, *result.steps(backward.computed)], self._leave())
            return binding.finish(result.flat(kept), self._leave(backward.finish))
        if result.is_native:
            return binding.finish(result.steps(), self._leave())
        return binding.finish(result.flat(), self._leave(result.build))

    def _leave(self, build: Finish | None = None) -> Finish | None:
        """What happens to a result last: attributes are set to what comes with it."""
        written, effects = self.recorded.written, self.recorded.effects
        if not written and not effects:
            return build

        def finish(made: Any, leaves: Sequence[Any]) -> Any:
            result = made if build is None else build(made, leaves)
            if written:
                result, values = result
                before = epoch[0]
                for held, value in zip(written, values, strict=True):
                    held.set(value)
                self.guards.keep_up(before)
                self.bound.keep_up(before)
            for effect in effects:
                effect()
            return result

        return finish

    def _node_maker(
        self,
        halves: Halves,
        joint: Joint,
        again: Callable[[Sequence[Any]], Sequence[Any]],
        changed: Sequence[Value],
    ) -> _NodeMaker:
        assert self.backward is not None
        forms = [self.recorded.result.outputs[i] for i in joint.outputs]
        reads = _reads(self.backward, halves, self.recorded.inputs)
        kept = Kept(halves.saved)
        static = Backward(
            _bind_backward(self.backward, halves, reads, kept),
            [source for source, _ in reads],
            joint.leaves,
            halves.leaves[: len(joint.leaves)],
            halves.leaves[len(joint.leaves) :],
            [(v.shape, v.dtype) for v in forms],
            again,
            stacks=kept.stacks,
        )
        return _NodeMaker(self.recorded.result, joint.outputs, static, kept, changed)

    def enter_directly(self, otherwise: Callable[..., Any]) -> None:
        """Make the native way into this program; what does not fit goes to `otherwise`."""
        if self.bound.address and builtin.available():
            memory = builtin.FunctionMemory()
            memory.set_slow(otherwise)
            memory.set_first(self.bound.address)
            self.direct = builtin.builtin(memory)

    # -- fitting ----------------------------------------------------------------------------

    def accepts(self, leaves: list[Any], structure: Structure, mode: int) -> bool:
        """Whether it was made for arguments like these."""
        return (
            self.mode == mode
            and self.structure == structure
            and all(same_leaf(leaves[i], x) for i, x in self._baked)
            and repeated(leaves) == self._repeated
            and self.bound.fits(leaves)
        )

    def renew(self, leaves: Sequence[Any]) -> list[Read] | None:
        """What is not as it was any more; `None` where tensors from outside have come too close.

        If all is well, native calls do not ask for this program until the next change.
        """
        now = epoch[0]
        stale = self.guards.stale()
        if not stale:
            if not self.bound.rebind(leaves):
                return None
            self.bound.guard(self.guards.rows())
            self.bound.set(epoch=now)
        return stale


class _NodeMaker:
    """What happens after a forward program: the node on the tape, and the user's result."""

    count = 0

    def __init__(
        self,
        result: Result,
        outputs: list[int],
        static: Backward,
        kept: Kept,
        changed: Sequence[Value],
    ) -> None:
        self.changed = changed
        self.result = result
        self.static = static
        self.kept = kept
        self.is_native = result.is_native and static.is_native
        self.computed = dict(zip(outputs, static.results, strict=True))

    def finish(self, made: tuple[Any, ...], leaves: Sequence[Any]) -> Any:
        """The result of a call, of what its program made."""
        first = self.count + 1 + len(self.kept.stacks)
        saved, before = made[self.count : first], made[first:]
        node = self.static.node(self.static.kept(saved, before, leaves))
        for i, which in self.computed.items():
            computed(made[i], node, which)
        return self.result.build(made, leaves)


def _baked(leaves: list[Any], recorded: Recorded) -> tuple[list[tuple[int, Any]], list[int]]:
    """The leaves that have become part of the program, and which are one object."""
    numbers = {i.leaf for i in recorded.inputs if isinstance(i, Loose)}.union(recorded.unread)
    baked = [
        (i, x) for i, x in enumerate(leaves) if not isinstance(x, TensorBase) and i not in numbers
    ]
    return baked, repeated(leaves)


def _layouts(graph: Graph, inputs: Sequence[Input | Loose], leaves: Sequence[Any]) -> Layouts:
    """How the arrays lie that are not contiguous."""
    pairs: list[tuple[Value, Any]] = [(v, t._payload) for v, t in graph.captured]
    for value, given in zip(graph.inputs, inputs, strict=False):
        if isinstance(given, Input):
            pairs.append((value, tensor_of(given.source, leaves)._payload))
    return {v: of_array(a) for v, a in pairs if not a.flags.c_contiguous}


def _reads(
    code: Code, halves: Halves, inputs: Sequence[Input | Loose]
) -> list[tuple[Source, Input | TensorBase]]:
    """The tensors that the backward reads beside what was saved: arguments, and from outside."""
    found: list[tuple[Source, Input | TensorBase]] = []
    for i in halves.arguments:
        given = inputs[i]
        assert isinstance(given, Input)
        found.append((given.source, given))
    found += [(tensor, tensor) for _, tensor in code.captured]
    return found


def _bind_backward(
    code: Code, halves: Halves, reads: Sequence[Any], kept: Kept
) -> Callable[..., Any]:
    """The backward program as a function of what was saved, what it reads, and the gradients."""
    saved, arguments = len(halves.saved), len(halves.arguments)
    inside = saved - len(kept.stacks)
    count = 1 + len(code.inputs) - inside + len(code.captured)
    rows: Any = [{"kind": d.ARGUMENT, "item": i, "type": _tensor_type()} for i in range(count)]
    if count > d.MOST_OBJECTS:
        rows = None  # Python takes the arguments apart
    binding = Binding(Machine(code), 0, list(range(count)), rows, count)
    inputs: list[Input | None] = []
    following = itertools.count(1)
    for offset in kept.offsets:
        inputs.append(Input(next(following), None) if offset is None else None)
    inputs += [given.at(next(following)) for _, given in reads[:arguments]]
    outer = next(following)
    grads = enumerate(code.inputs[saved + arguments :], outer + len(code.captured))
    inputs += [Input.contiguous(place, value) for place, value in grads]
    binding.block(kept)
    binding.inputs(inputs)
    binding.captured_as_arguments(outer)
    binding.outputs([])
    steps = [Step(d.PUSH_TENSOR, i) for i in range(len(code.outputs))]
    bound = binding.finish([*steps, Step(d.MAKE_TUPLE, len(steps))], always=True)
    return callable_of(bound)


def callable_of(bound: Bound) -> Callable[..., Any]:
    """A bound program as a function of its leaves."""

    def slow(*leaves: Any) -> Any:
        return bound.call(leaves)

    if not bound.is_native or not builtin.available():
        return slow
    memory = builtin.FunctionMemory()
    memory.set_slow(slow)
    memory.set_first(bound.address)
    return builtin.builtin(memory)


def _tensor_type() -> int:
    from kuai.tensor import Tensor

    return id(Tensor)
