"""Capturing a call of a function: its graph, what it returned, its gradients, what it read.

The function runs once, rewritten, on tensors without values. What it does to them becomes a graph;
what it reads from Python is noted; what cannot be captured is refused, and then nothing outside
has changed.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import CellType, FunctionType, GeneratorType, MethodType
from typing import Any

from kuai import dtypes
from kuai.compiler.capture import trees
from kuai.compiler.capture.aliases import nodes
from kuai.compiler.capture.arrivals import as_grad
from kuai.compiler.capture.branches import described
from kuai.compiler.capture.captured import Argument, Captured, NumberInput
from kuai.compiler.capture.derivatives import differentiate_results
from kuai.compiler.capture.held import Held
from kuai.compiler.capture.leaving import Leaving
from kuai.compiler.capture.numbers import Number, number, signed
from kuai.compiler.capture.outer import lies_as
from kuai.compiler.capture.reads import Reads
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.records import MISSING, Fetch, OfModes
from kuai.compiler.capture.sameness import AnyNumber, Key
from kuai.compiler.capture.session import Session
from kuai.compiler.capture.stepping import EagerFirstError
from kuai.compiler.capture.undecided import Maybe, Undecided
from kuai.compiler.graph import Graph, Value
from kuai.core.base import TensorBase, grad_readers, wrap
from kuai.core.primitive import Meta, intercepted, meta_of
from kuai.core.tape import mode
from kuai.errors import CompileError, DataDependentError, GradientError
from kuai.nn import registry
from kuai.nn.hooks import captured_calls
from kuai.nn.module import Module
from kuai.ops.random import default_generator
from kuai.tensor import Tensor

ONE_KIND_OF_RESULT = "return a tensor in any case, and a bool or a number that tells which it is"


def _place_of(function: Any) -> tuple[str, int] | None:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return None if code is None else (code.co_filename, code.co_firstlineno)


class _Capturing:
    """One capture, step by step."""

    def __init__(
        self,
        function: Any,
        floats: set[Key],
        held: Sequence[Held] = (),
        ints: Collection[int] = (),
    ) -> None:
        self._ints = ints
        self.function = function
        names: dict[int, str] = {}
        block = function if isinstance(function, Module) else getattr(function, "__self__", None)
        if isinstance(block, Module):
            names = {id(p._payload): name for name, p in block.named_parameters()}
            names |= {id(b._payload): name for name, b in block.named_buffers()}
        self.recorder = Recorder(names)
        self.reads = Reads(floats, self._number)
        self.session = Session(self.recorder, self.reads, held)
        self.held = held
        self.captured = Captured(self.recorder.graph, self.reads)
        self._numbers: dict[Key, Any] = {}
        self._optional: dict[int, Any] = {}  # by a `Maybe`, the result that it becomes
        self._held_leaves: dict[Key, list[int]] = {}
        self._grads: dict[int, Argument] = {}  # by what stands for a tensor, its `grad`
        self._apart = False  # the same tensor twice among the arguments is two inputs

    # -- inputs -----------------------------------------------------------------------------

    def leaf(self, place: int, x: Any, number_inputs: bool) -> Any:
        """What stands for a leaf of the arguments while capturing."""
        if isinstance(x, TensorBase):
            return self._tensor(place, x)
        if (type(x) is float and number_inputs) or place in self._ints:
            return self._number_input(place, x)
        if isinstance(x, Module):
            return x
        return self.reads.outside(x)

    def _held_leaf(self, place: int, x: Any, number_inputs: bool) -> Any:
        """What stands for a leaf of an attribute from outside."""
        if type(x) is int and number_inputs:
            return self._number_input(place, x)
        return x if x is MISSING else self.leaf(place, x, number_inputs)

    def _input(self, meta: Meta, name: str) -> Value:
        value = Value(self.recorder.graph, meta, name)
        value.region = self.recorder.graph
        self.recorder.graph.inputs.append(value)
        return value

    def _tensor(self, place: int, x: Any) -> Any:
        for known in self.captured.arguments:
            if known.given is x and not self._apart:
                return known.stand_in
        value = self._input(meta_of(x), f"x{place}")
        lies_as(value, x._payload)
        stand_in = wrap(value)
        stand_in._requires_grad = x._requires_grad
        self.recorder.adopt(stand_in)
        argument = Argument(place, value, x, stand_in)
        self.captured.arguments.append(argument)
        self.captured._stand_ins[id(stand_in)] = place
        self.recorder.arguments[id(stand_in)] = argument
        if isinstance(x._grad, TensorBase):
            self._grad_of(argument)
        if x._requires_grad:
            self.recorder.touch(stand_in)
        return stand_in

    def _grad_of(self, owner: Argument) -> None:
        """The `grad` that a tensor among the arguments has is an input, too."""
        given = owner.given._grad
        value = self._input(meta_of(given), f"g{owner.leaf}")
        lies_as(value, given._payload)
        stand_in = owner.stand_in._grad = wrap(value)
        self.recorder.adopt(stand_in)
        grad = Argument(owner.leaf, value, given, stand_in, is_grad=True)
        self.captured.arguments.append(grad)
        self._grads[id(owner.stand_in)] = grad

    def _number_input(self, place: int, x: float) -> Any:
        dtype = dtypes.float64 if type(x) is float else dtypes.int64
        value = self._input(Meta((), dtype), f"x{place}")
        stand_in = number(wrap(value))
        self.captured.arguments.append(Argument(place, value, x, stand_in))
        return stand_in

    def _number(self, key: Key, fetch: Fetch, any_number: AnyNumber) -> Any:
        if key not in self._numbers:
            dtype = dtypes.float64 if any_number.kind is float else dtypes.int64
            value = self._input(Meta((), dtype), f"n{len(self._numbers)}")
            self.captured.numbers.append(NumberInput(value, fetch, key, any_number))
            self._numbers[key] = value
        found = number(wrap(self._numbers[key]))
        return signed(found, any_number.sign) if any_number.sign else found

    # -- running ----------------------------------------------------------------------------

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Hear of everything that happens; afterwards all is as it was."""
        before = mode.grad, mode.inference
        default_generator._state  # noqa: B018  # it lives outside, also where nobody has drawn yet
        with (
            self.recorder.recording(),
            intercepted(self.recorder),
            captured_calls(self.session),
            _told(grad_readers, self.session.touch_gradient),
            _told(registry.watchers, self.session),
        ):
            try:
                yield
            except DataDependentError as error:
                raise self.recorder.explained(error) from None
            except GradientError as error:
                if any(
                    isinstance(a.given, TensorBase) and a.given._node is not None
                    for a in self.captured.arguments
                ):
                    self.recorder.refuse(
                        f"{error} Here, an argument that was computed from what requires one",
                        "change a clone()",
                    )
                raise
            finally:
                mode.grad, mode.inference = before
                self.recorder.restore()
                self.recorder.let_go()
                self.session.held.restore()
                self.session.stepping.restore()
        if self.recorder.failure is not None:
            raise self.recorder.failure

    def run(
        self,
        args: Any,
        kwargs: Any,
        differentiate: bool,
        number_inputs: bool,
        every: bool = False,
    ) -> Captured:
        """Capture the call; with `every`, tensors that come from outside are outputs too."""
        captured, recorder = self.captured, self.recorder
        self._apart = every
        self.reads.add(OfModes())
        count = iter(range(1 << 30))
        with self.under_way():
            given = trees.map_leaves(
                lambda x: self.leaf(next(count), x, number_inputs), [list(args), dict(kwargs)]
            )
            self._keep_containers(given)
            self._begin_held(count, number_inputs)
            recorded = mode.grad
            returned = self._call(tuple(given[0]), given[1])
            if mode.grad is not recorded:  # `set_grad_enabled`, which nobody took back
                self.session.effects.append(functools.partial(setattr, mode, "grad", mode.grad))
            captured.written = list(self.session.held.written.values())
            captured.effects = self.session.effects
            if captured.written:
                returned = (returned, tuple(self.session.held.results()))
            for _, x in nodes(returned, recorder.opened):
                self.session.readable(x)
            returned = trees.with_whole(returned, self.reads.is_another)
            opened = trees.opened(returned, self.session.has_made)
            captured.output = trees.map_leaves(self._settled, opened)
            self._refuse_hidden(captured.output)
            for x in trees.leaves(captured.output):
                if isinstance(x, TensorBase):
                    recorder.touch(x)  # one from outside is returned as it is
            self._drop_unread()
            self._finish()
            if differentiate:
                differentiate_results(captured, recorder, self._input)
            recorder.graph.outputs = [
                self._result(x)
                for x in trees.leaves(captured.output)
                if isinstance(x, TensorBase) and (every or self._is_computed(x))
            ]
        return captured

    def _begin_held(self, count: Iterator[int], number_inputs: bool) -> None:
        values = []
        for held in self.held:
            places = self._held_leaves[held.key] = []

            def leaf(x: Any, places: list[int] = places) -> Any:
                places.append(next(count))
                return self._held_leaf(places[-1], x, number_inputs)

            values.append(trees.map_leaves(leaf, held.now()))
        self._keep_containers(values)
        self.session.held.begin(values)

    def _drop_unread(self) -> None:
        """Let go of the inputs for attributes that nothing looked at."""
        captured, graph = self.captured, self.recorder.graph
        unread = [h for h in self.held if not self.session.held.is_used(h)]
        if not unread:
            return
        used = {v for operation in graph.walk() for v in operation.used}
        places = {p for held in unread for p in self._held_leaves[held.key]}
        gone = {a.leaf for a in captured.arguments if a.leaf in places and a.value not in used}
        for argument in captured.arguments:
            if argument.leaf in gone:
                graph.inputs.remove(argument.value)
        captured.arguments = [a for a in captured.arguments if a.leaf not in gone]
        captured.unread = places - {a.leaf for a in captured.arguments}

    def _settled(self, x: Any) -> Any:
        """A result that may be `None`, as a tensor that may be; any other as what it has to be."""
        while isinstance(x, Maybe) and not isinstance(x.otherwise, Undecided):
            if (
                x.otherwise is None
                and isinstance(x.value, Tensor)
                and not isinstance(x.value, Number)
            ):
                return self._optional.setdefault(id(x), as_grad(x))
            message = (
                f"a result is {x.otherwise!r} here and {described(x.value)} elsewhere: "
                f"{ONE_KIND_OF_RESULT}"
            )
            if self._ints:  # with the ints as they are now, it may be one thing
                self.recorder.refuse(message)
            self.recorder.check(x.defined, CompileError, message)
            x = x.value
        return x

    def _refuse_hidden(self, output: Any) -> None:
        """Refuse results that have captured tensors where nobody can replace them."""
        for x in trees.leaves(output):
            if isinstance(x, Undecided):
                self.recorder.refuse(
                    f"a result that is {described(x)}, as the values of tensors decide",
                    ONE_KIND_OF_RESULT,
                    _place_of(self.function),
                )
            inside: list[Any] = []
            if isinstance(x, (set, frozenset, deque)):
                inside = list(x)
            elif isinstance(x, (FunctionType, MethodType)):
                inside = [c.cell_contents for c in x.__closure__ or () if c != CellType()]
            hidden = any(self.recorder.is_captured(leaf) for leaf in trees.leaves(inside))
            if hidden or isinstance(x, GeneratorType):
                self.recorder.refuse(
                    f"a {type(x).__name__} with tensors in it as the result of a compiled function",
                    "return a tuple, a list, a dict, a dataclass, or an object with attributes",
                )

    def _result(self, x: Any) -> Value:
        value = self.recorder.value(x)
        if x._payload is not value:
            self.captured._constants[id(x)] = value
        return value

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.reads.outside(self.function)
        block = getattr(self.function, "__self__", None)
        if isinstance(block, Module) and self.function.__name__ == "forward":
            return self._call_forward(block, args, kwargs)
        return self.session.call(self.function, args, kwargs)

    def _call_forward(self, block: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The `forward` of a block whose own call, with its hooks, goes on outside."""
        session, forward = self.session, self.function
        self.reads.block(block)
        if "forward" not in block.__dict__:
            self.reads.attribute(type(block), "forward", forward.__func__)
        with session.within(block, block._get_name(), args):
            return session.callable(forward)(*args, **kwargs)

    def _keep_containers(self, x: Any) -> None:
        """Containers among the arguments belong to the caller, and must not be changed."""
        found = trees.parts(x)
        if found is not None:
            for _, item in found[1]:
                if trees.parts(item) is not None:
                    self.reads.given(item)
                self._keep_containers(item)

    def _is_computed(self, x: Any) -> bool:
        return self.captured.source(x) is None

    def _finish(self) -> None:
        """Note updates and gradients, and the tensors from outside that were used."""
        if self.recorder.failure is not None:
            raise self.recorder.failure
        Leaving(self.captured, self.recorder, self._grads).note_everything()
        self.captured.born = self.session.stepping.born()
        for entry in self.captured.born:
            self._result(entry.value)


@contextmanager
def _told(everybody: list[Any], somebody: Any) -> Iterator[None]:
    everybody.append(somebody)
    try:
        yield
    finally:
        everybody.pop()


def capture(function: Any, *args: Any) -> Graph:
    """The graph of what `function` does to tensors, when called with `args`.

    Args:
        function: a function or a block; it runs once, on tensors without values.
        args: its arguments; tensors among them become the graph's inputs, anything else is
            baked in.

    Raises:
        CompileError: it does something that cannot be captured.
    """
    return _Capturing(function, set()).run(args, {}, False, False, every=True).graph


def capture_call(
    function: Any,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    differentiate: bool = False,
    number_inputs: bool = True,
    floats: set[Key] | None = None,
    held: Sequence[Held] = (),
    ints: Collection[int] = (),
) -> Captured:
    """Capture one call of a function or block.

    Args:
        function: a function, a method or a block.
        args, kwargs: its arguments; tensors and floats among their leaves become the graph's
            inputs, anything else is baked in.
        differentiate: whether the graph also computes gradients, given those of the results.
        number_inputs: whether floats among the arguments become inputs.
        floats: the keys of reads whose floats are to be inputs, because they change.
        held: attributes of objects from outside that are arguments too, after the others.
        ints: the leaves of the arguments whose ints are to be inputs.

    Raises:
        CompileError: it does something that cannot be captured. Nothing has changed then.
        NeedsHeldError: it sets an attribute that it has read, and that is not among `held`.
    """
    kwargs = kwargs or {}
    wanted = set(floats or ())
    try:
        capturing = _Capturing(function, wanted, held, ints)
        return capturing.run(args, kwargs, differentiate, number_inputs)
    except EagerFirstError:
        raise
    except Exception:  # code that is not captured as source may look into numbers
        if ints or (not wanted and not (number_inputs and _has_numbers(args, kwargs, held))):
            raise
    return _Capturing(function, set(), held).run(args, kwargs, differentiate, False)


def _has_numbers(args: Sequence[Any], kwargs: dict[str, Any], held: Sequence[Held]) -> bool:
    given = trees.leaves([list(args), dict(kwargs)])
    kept = trees.leaves([h.now() for h in held])
    return any(type(x) is float for x in given) or any(type(x) in (int, float) for x in kept)
