"""A compiled function: its programs, the native entry in front of them, the slow way behind it."""

from __future__ import annotations

import gc
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kuai.compiler.any_batch import AnyBatch
from kuai.compiler.capture import changed_floats
from kuai.compiler.capture.held import Held, NeedsHeldError, holding
from kuai.compiler.capture.sameness import Key
from kuai.compiler.capture.stepping import EagerFirstError, begun
from kuai.compiler.capture.trees import leaves as tree_leaves
from kuai.compiler.capture.trees import map_leaves, opened, parts, rebuild
from kuai.compiler.native import builtin, runtime
from kuai.compiler.native.locks import Lock
from kuai.compiler.run.arguments import Structure, flatten
from kuai.compiler.run.failures import shorten
from kuai.compiler.run.program import Call, Program, Recorded, Times
from kuai.compiler.run.record import record
from kuai.compiler.run.varying import Varying
from kuai.core import primitive as primitives
from kuai.core.tape import enable_grad, mode
from kuai.errors import CompileError

MOST_PROGRAMS = 256  # of one function; the one used longest ago is given up first
MOST_TRIED = 256  # by a native call, the ones used last


@contextmanager
def without_collections() -> Iterator[None]:
    """No garbage is looked for meanwhile: what a compilation makes is mostly needed to its end."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


_capturing = Lock()  # one capture at a time: whoever applies a primitive is asked who he is


class Compiled:
    """A function with its programs.

    Args:
        function: what is compiled.
        block: the block whose `forward` it is, if so; whichever it has at the time.
        fallback: whether what cannot be compiled runs eagerly.
        dynamic_batch: whether one program serves every size of the first dimension, without a
            hint that several sizes are in use.

    Attributes:
        programs: those used last come last.
        floats: the reads whose floats have been seen to change; they are inputs of programs.
        entry: the native way in; the same as `slow` where Python is not the one it knows.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        fallback: bool = False,
        block: Any = None,
        dynamic_batch: bool = False,
    ) -> None:
        self._function = function
        self._block = block
        self.fallback = fallback
        self.any_batch = AnyBatch(dynamic_batch)
        self.programs: OrderedDict[int, Program] = OrderedDict()
        self._others: list[tuple[builtin.FunctionMemory, Callable[[], bool]]] = []
        self.floats: set[Key] = set()
        self._varying = Varying()
        self._held: list[Held] = []  # the attributes that are read and set
        self._lock = Lock()
        self._eager: list[tuple[Structure, int]] = []  # calls that cannot be compiled
        self._memory: builtin.FunctionMemory | None = None
        if builtin.available():
            self._memory = builtin.FunctionMemory()
            self._memory.set_slow(self.slow)
            self.entry: Callable[..., Any] = builtin.builtin(self._memory)
        else:
            self.entry = self.slow

    @property
    def function(self) -> Callable[..., Any]:
        """What is compiled, as it is now."""
        return self._function if self._block is None else self._block.forward

    # -- calling ----------------------------------------------------------------------------

    def slow(self, *args: Any, **kwargs: Any) -> Any:
        """A call for which no program was found in native code."""
        if primitives.intercept is not None:  # part of another capture, or watched
            return self.function(*args, **kwargs)
        try:
            return self._run_slowly(args, kwargs)
        except BaseException as error:
            shorten(error)
            raise

    def _run_slowly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._lock:
            call = self._call(args, kwargs)
            program = self._find(call) or self._attempt(call)
            call = self._call(args, kwargs) if len(call.held) < len(self._held) else call
        if program is None or not program.bound.is_apart(call.leaves):
            return self.function(*args, **kwargs)
        if program.direct is not None:
            return program.direct(*args, **kwargs)  # which comes back to `_run_in_python`
        return program.bound.call(call.leaves)

    def _run_in_python(self, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            call = self._call(args, kwargs)
            program = self._find(call)
        if program is None:  # what was read has changed in this moment
            return self.function(*args, **kwargs)
        return program.bound.call(call.leaves)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        leaves, structure = flatten(args, kwargs, self._held)
        return Call(
            args, kwargs, leaves, structure, mode.grad + 2 * mode.inference, tuple(self._held)
        )

    def _find(self, call: Call) -> Program | None:
        for key in list(reversed(self.programs)):
            program = self.programs[key]
            if not program.accepts(call.leaves, call.structure, call.mode):
                continue
            stale = program.renew(call.leaves)
            if stale is None:
                continue
            if not stale:
                self.programs.move_to_end(key)
                self._chain()
                return program
            floats = changed_floats(stale)
            self.floats |= floats
            if len(floats) >= len(stale):  # the next program takes them as inputs
                self._drop(key)
        return None

    def _attempt(self, call: Call) -> Program | None:
        """A new program for a call; `None` where the call has to run eagerly."""
        if (call.structure, call.mode) in self._eager:
            return None
        try:
            with _capturing, without_collections():
                return self._make(call)
        except NeedsHeldError as needed:
            self._hold(needed.held)
            return self._attempt(self._call(call.args, call.kwargs))
        except EagerFirstError as error:
            if error.optimizer is not None:
                begun.add(error.optimizer)
            return None
        except CompileError as error:
            if not self.fallback:
                raise
            self._give_up(call, error)
            return None

    def _hold(self, held: Sequence[Held]) -> None:
        """From now on, what these attributes hold is an argument of every program."""
        self._held += held
        self.programs.clear()
        self._chain()

    def _give_up(self, call: Call, error: CompileError) -> None:
        if not self._eager:
            warnings.warn(
                f"{_name(self.function)} cannot be compiled and runs eagerly: {error}",
                stacklevel=5,
            )
        self._eager.append((call.structure, call.mode))

    def second_entry(
        self, slow: Callable[..., Any], is_open: Callable[[], bool]
    ) -> Callable[..., Any]:
        """Another way in, with a slow way of its own.

        Args:
            slow: what is called where no program fits.
            is_open: whether programs may be tried now. It is asked again after every change.
        """
        if not builtin.available():
            return slow
        memory = builtin.FunctionMemory()
        memory.set_slow(slow)
        self._others.append((memory, is_open))
        return builtin.builtin(memory)

    # -- programs ---------------------------------------------------------------------------

    def _make(self, call: Call) -> Program:
        times = Times()
        runtime.begin()
        program = None
        if not self._held and not self._varying.inputs(call.structure, call.leaves):
            program = self.any_batch.program(
                call,
                self._capture,
                lambda recorded, codes: Program(
                    call, recorded, self._eagerly(call, recorded), times, codes
                ),
            )
        if program is None:
            recorded = self._capture(call)
            times.mark("capture")
            program = Program(call, recorded, self._eagerly(call, recorded), times)
        self.programs[id(program)] = program
        program.enter_directly(self._run_in_python)
        self._chain()
        if self._memory is not None:
            builtin.improve()
        while len(self.programs) > MOST_PROGRAMS:
            self._drop(next(iter(self.programs)))
        return program

    def _capture(self, call: Call) -> Recorded:
        ints = self._varying.inputs(call.structure, call.leaves)
        if ints:
            try:
                return record(self.function, call, self.floats, call.held, ints)
            except (NeedsHeldError, EagerFirstError):
                raise
            except Exception:  # whatever the function does with an int that is none
                self._varying.give_up(call.structure)
        return record(self.function, call, self.floats, call.held)

    def _drop(self, key: int) -> None:
        """Give a program up; it must not go before native calls have ceased to try it."""
        program = self.programs.pop(key)
        self._chain()
        del program

    def _eagerly(self, call: Call, recorded: Recorded) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """The function on the tape, for gradients of gradients."""
        numbers = recorded.joint.outputs if recorded.joint is not None else []
        places = [recorded.result.places[i] for i in numbers]
        opens = recorded.result.opens
        kept = [h.now() for h in call.held]
        template = map_leaves(lambda _: None, ([*call.args], dict(call.kwargs), kept))
        attributes = [*call.held, *recorded.written]

        def again(leaves: Sequence[Any]) -> Sequence[Any]:
            given_args, given_kwargs, values = _refill(template, iter(leaves))
            with enable_grad(), holding(attributes, values):
                output = self.function(*given_args, **given_kwargs)
                if recorded.written:
                    output = output, tuple([h.now() for h in recorded.written])
                found = tree_leaves(opened(output, lambda x: type(x) in opens))
            return [found[i] for i in places]

        return again

    def _chain(self) -> None:
        """Let the native entry try the programs that were used last."""
        if self._memory is None:
            return
        native = [p for p in reversed(self.programs.values()) if p.bound.address]
        first = 0
        for program in reversed([p for p in native if not p.guards.needs_python][:MOST_TRIED]):
            program.bound.set(next=first)
            first = program.bound.address
        for program in native:  # only Python knows when these may run: see `Program.direct`
            if program.guards.needs_python:
                program.bound.set(next=0)
        self._memory.set_first(first)
        for memory, is_open in self._others:
            memory.set_first(first if is_open() else 0)


def _refill(x: Any, leaves: Any) -> Any:
    """A tree of the same structure, with other leaves."""
    found = parts(x)
    if found is None:
        return next(leaves)
    return rebuild(x, [_refill(item, leaves) for _, item in found[1]])


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__
