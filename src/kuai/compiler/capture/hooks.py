"""What rewritten code calls: Python's own behaviour on plain values, a capture's on tensors.

`Hooks` has a method for each thing that `kuai.compiler.rewrite` turns into a call. An
instance belongs to one function: it knows the function's globals.
"""

from __future__ import annotations

import builtins
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture.augmented import augment_item
from kuai.compiler.capture.loop_hooks import LoopHooks, Range
from kuai.compiler.capture.operators import OPERATORS, SIGNS, is_simple, operate, sign
from kuai.compiler.capture.places import Cell
from kuai.compiler.capture.undecided import UNDEFINED, is_open, lifted
from kuai.errors import CompileError, DataDependentError
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

_AUGMENTED: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "@": operator.imatmul,
    "&": operator.iand,
    "|": operator.ior,
    "^": operator.ixor,
    "<<": operator.ilshift,
    ">>": operator.irshift,
}


class Hooks(LoopHooks):
    """The hooks of one function.

    Args:
        session: what the function is captured into.
        function: the function as it was.
    """

    # -- variables and reads ----------------------------------------------------------------

    def state(self, *thunks: Callable[[], Any]) -> tuple[Any, ...]:
        """The values of variables, of which some may have none."""
        return tuple([_value_of(thunk) for thunk in thunks])

    def shares(self, *thunks: Any) -> None:
        """At the start of a function: variables of functions around it, which it assigns."""
        if not self.active or len(self.session.recorder.scopes) == 1:
            return
        for thunk in thunks:
            (name,) = thunk.__code__.co_freevars
            cell = thunk.__closure__[0]
            self.session.recorder.note(("cell", id(cell)), partial(Cell, cell, name))

    def global_(self, name: str) -> Any:
        """A global variable, or a name of Python's."""
        if name in self.globals:
            value = self.globals[name]
            if self.active:
                return self.session.reads.item(self.globals, name, value, f"global {name}")
            return value
        try:
            value = getattr(builtins, name)
        except AttributeError:
            raise NameError(f"name '{name}' is not defined", name=name) from None
        if self.active:
            self.session.reads.missing(self.globals, name)
        return value

    def cell(self, value: Any, name: str) -> Any:
        """A variable of a function around this one."""
        if not self.active:
            return value
        closure = self.function.__closure__ or ()
        free = self.function.__code__.co_freevars
        return self.session.reads.cell(closure[free.index(name)], value, name)

    def attribute(self, owner: Any, name: str) -> Any:
        """`owner.name`."""
        if not self.active:
            return getattr(owner, name)
        return lifted(owner, lambda x: self.session.attribute(x, name))

    def item(self, owner: Any, index: Any) -> Any:
        """`owner[index]`."""
        if not self.active:
            return owner[index]
        return lifted(owner, lambda x: lifted(index, lambda i: self.session.item(x, i)))

    def slice(self, start: Any, stop: Any, step: Any) -> Any:
        """`start:stop:step`."""
        if self.active:
            for bound in (start, stop, step):
                if self.session.recorder.is_captured(bound):
                    self.session.recorder.refuse(
                        "a slice whose bounds are the values of tensors: its size depends on them",
                        "index with kuai.arange(size) + start, or use a mask with kuai.where",
                    )
        return slice(start, stop, step)

    def mapping(self, x: Any) -> Any:
        """What `**` takes, noted as read if it came from outside."""
        return self.session.walked(x) if self.active else x

    def namespace(self, variables: Any) -> Any:
        """What `globals()` and its relatives give."""
        if self.active and variables is self.globals:
            self.session.reads.outside(variables)
        return variables

    def text(self, x: Any) -> Any:
        """What is to become part of a text."""
        if self.active:
            self.session.spelled(x)
        return x

    def made(self, x: Any) -> Any:
        """A list, set or dict that this code has just made."""
        if self.active:
            self.session.made(x)
        return x

    def operate(self, symbol: str, x: Any, y: Any) -> Any:
        """`x symbol y`."""
        if is_open(x) or is_open(y):
            return lifted(x, lambda a: lifted(y, lambda b: self.operate(symbol, a, b)))
        if not self.active or (is_simple(x) and is_simple(y)):
            return OPERATORS[symbol](x, y)
        return operate(self.session, symbol, x, y)

    def sign(self, symbol: str, x: Any) -> Any:
        """`-x`, `+x` or `~x`."""
        if not self.active or is_simple(x) or is_open(x):
            return SIGNS[symbol](x)
        return sign(self.session, symbol, x)

    # -- writes -----------------------------------------------------------------------------

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """`owner.name = value`."""
        if self.active:
            lifted(owner, lambda x: self.session.set_attribute(x, name, value))
        else:
            setattr(owner, name, value)

    def set_item(self, owner: Any, index: Any, value: Any) -> None:
        """`owner[index] = value`."""
        if self.active:
            lifted(owner, lambda x: lifted(index, lambda i: self.session.set_item(x, i, value)))
        else:
            owner[index] = value

    def delete_attribute(self, owner: Any, name: str) -> None:
        """`del owner.name`."""
        if self.active:
            self.session.changes_object(owner, name)
        delattr(owner, name)

    def delete_item(self, owner: Any, index: Any) -> None:
        """`del owner[index]`."""
        if self.active:
            self.session.changes_container(owner, "del")
            if isinstance(owner, list) and self.session.recorder.is_captured(index):
                self.session.on_list("pop", owner, index)
                return
        del owner[index]

    def augment(self, symbol: str, x: Any, value: Any) -> Any:
        """`x op= value`: what `x` becomes."""
        if is_open(x) or is_open(value):
            return lifted(x, lambda a: lifted(value, lambda b: self.augment(symbol, a, b)))
        function = _AUGMENTED[symbol]
        if self.active and isinstance(x, (list, set, dict)):
            self.session.changes_container(x, f"{symbol}=")
        method = None
        if self.active:
            method = self.session.method_of(x, f"__{function.__name__}__")
        return function(x, value) if method is None else method(value)

    def augment_attribute(self, symbol: str, owner: Any, name: str, value: Any) -> None:
        """`owner.name op= value`."""
        self.set_attribute(owner, name, self.augment(symbol, self.attribute(owner, name), value))

    def augment_item(self, symbol: str, owner: Any, index: Any, value: Any) -> None:
        """`owner[index] op= value`."""
        if self.active and isinstance(owner, Tensor) and not is_open(index):
            augment_item(self.session, _AUGMENTED[symbol], owner, index, value)
            return
        self.set_item(owner, index, self.augment(symbol, self.item(owner, index), value))

    def assigns_outside(self, name: str) -> None:
        """An assignment to a global variable, or one of a function around the compiled one."""
        if self.active:
            self.session.recorder.refuse(
                f"an assignment to `{name}`, which lives outside of the compiled function",
                "return the value, and assign it where the compiled function is called",
            )

    # -- calls and exceptions ---------------------------------------------------------------

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """`function(*args, **kwargs)`."""
        if not self.active:
            return function(*args, **kwargs)
        result = self.session.call(function, args, kwargs)
        for x in result if type(result) is tuple else (result,):
            if isinstance(x, Iterator):
                self.session.made(x)
        return result

    def assert_(self, test: Any, message: Callable[[], Any]) -> None:
        """`assert`."""
        found = self.condition(test)
        if isinstance(found, Tensor):
            with self.session.describing():
                text = message()
            self.session.recorder.check(found, AssertionError, "" if text is None else str(text))
        elif not found:
            text = message()
            raise AssertionError(*(() if text is None else (text,)))

    def context(self, manager: Any) -> Any:
        """What `with` enters and leaves: the user's own methods are captured."""
        if not self.active or self.session.method_of(manager, "__exit__") is None:
            return manager
        return _Context(self.session, manager)

    @contextmanager
    def trying(self, *kinds: Callable[[], Any]) -> Iterator[None]:
        """Around the body of a `try` with handlers; `kinds` gives what each of them takes."""
        if not self.active:
            yield
            return
        tries = self.session.recorder.tries
        tries.append(lambda: tuple([kind() for kind in kinds]))
        try:
            yield
        finally:
            tries.pop()

    def caught(self) -> None:
        """At the start of a handler: what ends a capture is not the user's to handle."""
        error = sys.exc_info()[1]
        if isinstance(error, (CompileError, DataDependentError)):
            raise error


class _Context:
    def __init__(self, session: Session, manager: Any) -> None:
        self.session = session
        self.manager = manager

    def __enter__(self) -> Any:
        method = self.session.method_of(self.manager, "__enter__")
        return self.manager.__enter__() if method is None else method()

    def __exit__(self, *error: Any) -> Any:
        method = self.session.method_of(self.manager, "__exit__")
        assert method is not None
        return method(*error)


def _value_of(thunk: Callable[[], Any]) -> Any:
    try:
        return thunk()
    except NameError:
        return UNDEFINED


__all__ = ["Hooks", "Range"]
