"""Steps of optimizers while they are captured: their options, their gradients, their state.

An optimizer is plain Python on tensors. What is special is what it reads (options, which may be
inputs; gradients, which may be None) and what it makes: the state of each parameter, at the first
step that finds a gradient. Where a condition of the program decides whether there is one, a step
is rewritten as the user's code is, so that its `if grad is None` is a branch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from kuai.compiler.capture.undecided import Maybe
from kuai.compiler.rewrite.functions import is_own
from kuai.core.base import TensorBase
from kuai.errors import CompileError
from kuai.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

begun: WeakSet[Optimizer] = WeakSet()
"""The optimizers that have been given a call of their own, run eagerly, to make their state in."""

_PLAIN = ("kuai.optim.updates", "kuai.optim.optimizer", "kuai.optim.lbfgs")


class EagerFirstError(CompileError):
    """The call has to run eagerly once, because it makes what lasts: an optimizer's state, or the
    parameters of a lazy block.
    """

    optimizer: Optimizer | None = None


class Born:
    """An entry of an optimizer's state that a call makes.

    Attributes:
        optimizer, parameter, name: whose it is.
        value: the captured tensor.
        defined: the captured bool that says whether the call has made it; `None` for always.
    """

    def __init__(self, optimizer: Optimizer, parameter: Any, name: str, entry: Any) -> None:
        self.optimizer, self.parameter, self.name = optimizer, parameter, name
        is_maybe = isinstance(entry, Maybe)
        self.value: Any = entry.value if is_maybe else entry
        self.defined: Any = entry.defined if is_maybe and entry.defined is not True else None


_CHANGING = {
    "add_param_group",
    "load_state_dict",
    "register_step_pre_hook",
    "register_step_post_hook",
}


class Stepping:
    """The optimizers of one capture.

    Args:
        session: the capture.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.finished: set[int] = set()  # the optimizers whose schedulers have made a step
        self._under_way: set[int] = set()
        self._before: list[tuple[Optimizer, dict[Any, dict[str, Any]]]] = []
        self._states: dict[int, Any] = {}
        self._as_source = False

    def is_under_way(self, optimizer: Optimizer) -> bool:
        """Whether a method of this optimizer is being captured."""
        return id(optimizer) in self._under_way

    def is_state(self, x: Any) -> bool:
        """Whether `x` is the state that an optimizer keeps of a parameter, or of all of them."""
        return id(x) in self._states

    def rewrites(self, function: FunctionType) -> bool:
        """Whether a function of kuai's is captured as source now."""
        if not self._as_source or not is_own(function):
            return False
        module = str(function.__globals__["__name__"])
        return module.startswith("kuai.optim.") and module not in _PLAIN

    # -- calls ------------------------------------------------------------------------------

    def call(
        self,
        optimizer: Optimizer,
        function: FunctionType,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A method of an optimizer."""
        session = self.session
        if function.__name__ in _CHANGING:
            session.recorder.refuse(
                f"{function.__name__}() of an optimizer in a compiled function: it would happen "
                "once, when the function is compiled",
                "call it where the compiled function is called",
            )
        if id(optimizer) in self.finished:
            session.recorder.refuse(
                "an optimizer that is used after a step of its scheduler, in a compiled function",
                "let the scheduler's step be the last, or make it outside",
            )
        set_to_none = kwargs.get("set_to_none", args[0] if args else True)
        overwritten = function.__name__ == "zero_grad" and bool(set_to_none)
        self._remember(optimizer)
        with self._options(optimizer, overwritten):
            if id(optimizer) in self._under_way:
                return session._call_function(function, (optimizer, *args), kwargs)
            self._under_way.add(id(optimizer))
            optimizer.__dict__["_update_group"] = lambda group: self._update(optimizer, group)
            try:
                result = session._call_function(function, (optimizer, *args), kwargs)
            except Exception as error:
                self._refuse_first(optimizer, error)
                raise
            finally:
                del optimizer.__dict__["_update_group"]
                self._under_way.discard(id(optimizer))
        self._refuse_first(optimizer, None)
        return result

    @contextmanager
    def _options(self, optimizer: Optimizer, overwritten: bool) -> Iterator[None]:
        """Note what is read of an optimizer; numbers that are inputs stand in its groups."""
        reads = self.session.reads
        replaced: list[tuple[dict[str, Any], str, Any]] = []
        reads.item(optimizer.__dict__, "param_groups", optimizer.param_groups, "param_groups")
        reads.walked(optimizer.param_groups)
        for place, group in enumerate(optimizer.param_groups):
            reads.item(group, "params", group["params"], "params")
            reads.walked(group["params"])
            for p in group["params"]:
                self.session.touch_gradient(p, overwritten)
                self._read_state(optimizer, p)
            for option, value in list(group.items()):
                if option in ("params", "param_names") or overwritten:
                    continue
                if option == "lr" and type(value) is float:
                    reads.floats.add(("item", id(group), "lr"))
                name = f"param_groups[{place}][{option!r}]"
                seen = reads.option(group, option, value, name)
                if seen is not value:
                    replaced.append((group, option, value))
                    group[option] = seen
        for hooks in optimizer.step_hooks():
            reads.walked(reads.outside(hooks))
        try:
            yield
        finally:
            for group, option, value in replaced:
                group[option] = value

    def _update(self, optimizer: Optimizer, group: dict[str, Any]) -> None:
        """The update of a group: as source, where a condition decides what it finds."""
        method: Any = type(optimizer)._update_group
        before = self._as_source
        self._as_source = before or self._is_decided(optimizer, group)
        try:
            if self._as_source or not is_own(method):
                self.session.function(method)(optimizer, group)
            else:
                method(optimizer, group)
        finally:
            self._as_source = before

    def _is_decided(self, optimizer: Optimizer, group: dict[str, Any]) -> bool:
        """Whether gradients or state may be missing, or state is made by the program."""
        if any(p._grad is not None and p._grad._arrives is not None for p in group["params"]):
            return True
        states = [optimizer.state.get(p) for p in group["params"]]
        if any(isinstance(x, Maybe) for state in states if state for x in state.values()):
            return True
        within = len(self.session.recorder.scopes) > 1
        return (within or optimizer in begun) and not all(states)

    # -- state ------------------------------------------------------------------------------

    def _remember(self, optimizer: Optimizer) -> None:
        """Note the state as it is before the capture."""
        if optimizer.captured_fields:
            with self.session.recorder.outside():
                optimizer.prepare_capture()
            for name in optimizer.captured_fields:
                fields = vars(optimizer)
                self.session.reads.item(fields, name, fields[name], name)
            return
        if not any(known is optimizer for known, _ in self._before):
            before = {p: dict(state) for p, state in optimizer.state.items()}
            self._before.append((optimizer, before))
        self._states[id(optimizer.state)] = optimizer.state
        for group in optimizer.param_groups:
            for p in group["params"]:
                state = optimizer.state[p]
                self._states[id(state)] = state

    def _read_state(self, optimizer: Optimizer, p: Any) -> None:
        reads = self.session.reads
        if optimizer.captured_fields:
            return
        before = next(before for known, before in self._before if known is optimizer)
        if p not in before:
            reads.missing(optimizer.state, p)
            return
        state = optimizer.state[p]
        reads.item(optimizer.state, p, state, "state")
        for name, value in before[p].items():
            reads.item(state, name, value, f"state[{name!r}]")

    def _grown(self) -> list[Born]:
        return [
            Born(optimizer, p, name, entry)
            for optimizer, before in self._before
            for p, state in optimizer.state.items()
            for name, entry in state.items()
            if name not in before.get(p, {}) or before[p][name] is not entry
        ]

    def _refuse_first(self, optimizer: Optimizer, cause: Exception | None) -> None:
        """Let the first call that makes state run eagerly: what comes after needs no other."""
        if optimizer in begun or isinstance(cause, EagerFirstError):
            return
        if any(born.optimizer is optimizer for born in self._grown()):
            error = EagerFirstError(
                "the state of an optimizer, which its first step makes",
                "let the first step run eagerly",
            )
            error.optimizer = optimizer
            self.session.recorder.failure = error
            raise error from cause

    def born(self) -> list[Born]:
        """What the call adds to the state of optimizers."""
        found = self._grown()
        for entry in found:
            if not isinstance(entry.value, TensorBase):
                self.session.recorder.refuse(
                    f"the entry {entry.name!r} of an optimizer's state, which is no tensor and "
                    "changes in the compiled function",
                    "keep it in a tensor",
                )
        return found

    def restore(self) -> None:
        """Put the state of all optimizers back as it was."""
        for optimizer, before in self._before:
            for p, state in list(optimizer.state.items()):
                known = before.get(p)
                if known is None:
                    del optimizer.state[p]
                else:
                    state.clear()
                    state.update(known)
