"""Attributes that captured code sets, of blocks and of other objects from outside.

What a call leaves in such an attribute is a result of its program. What it finds there is an
argument, if the code looks before it sets it; that is known only when it is set, so that the
capture begins again (`NeedsHeldError`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from kuai.compiler.capture.places import Place
from kuai.compiler.capture.records import MISSING, FromItem
from kuai.compiler.capture.sameness import Key
from kuai.compiler.capture.undecided import UNDEFINED, Maybe
from kuai.core.base import TensorBase
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter

if TYPE_CHECKING:
    from kuai.compiler.capture.reads import Reads
    from kuai.compiler.capture.recorder import Recorder


class Held:
    """An attribute that lives as long as its owner, from one call to the next."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.fields: dict[str, Any] = owner.__dict__
        self.key: Key = (FromItem.kind, id(self.fields), name)

    def now(self) -> Any:
        """What it holds; `MISSING` for nothing."""
        return self.fields.get(self.name, MISSING)

    def put(self, value: Any) -> None:
        """Let it hold something for a while, unnoticed by whoever watches the owner."""
        if value is MISSING:
            self.fields.pop(self.name, None)
        else:
            self.fields[self.name] = value

    def set(self, value: Any) -> None:
        """Let it hold something from now on."""
        if isinstance(value, bool) and self.now() is value:
            return
        kind = Module if isinstance(self.owner, Module) else object
        kind.__setattr__(self.owner, self.name, value)


@contextmanager
def holding(held: Sequence[Held], values: Sequence[Any]) -> Iterator[None]:
    """Let attributes hold other values for a while, whatever happens to them then."""
    before = [h.now() for h in held]
    try:
        for h, value in zip(held, values, strict=False):
            h.put(value)
        yield
    finally:
        for h, value in zip(held, before, strict=True):
            h.put(value)


class NeedsHeldError(BaseException):
    """Attributes were read before they were set: they have to be arguments of the program.

    No `Exception`, so that no handler of the captured code catches it.
    """

    def __init__(self, held: Sequence[Held]) -> None:
        self.held = held


class HeldAttributes:
    """The attributes that one capture meets.

    Args:
        recorder, reads: those of the capture.
        given: those that are arguments.

    Attributes:
        given, written: by key.
    """

    def __init__(self, recorder: Recorder, reads: Reads, given: Sequence[Held]) -> None:
        self.given = {h.key: h for h in given}
        self.written: dict[Key, Held] = {}
        self._recorder, self._reads = recorder, reads
        self._before: list[tuple[Held, Any]] = []
        self._needed: set[Key] = set()

    def begin(self, values: Sequence[Any]) -> None:
        """Let those that are given hold what stands for their values."""
        for held, value in zip(self.given.values(), values, strict=True):
            self._put(held, value)

    def restore(self) -> None:
        """Put everything back as it was."""
        for held, value in reversed(self._before):
            held.put(value)
        self._before.clear()

    def is_used(self, held: Held) -> bool:
        """Whether the code has looked at what an attribute held, or may leave it as it is."""
        return held.key in self._needed or held.name == "training"  # at which all blocks look

    def find(self, owner: Any, name: str) -> Any:
        """What an attribute holds that is no part of the world outside; `MISSING` for others."""
        fields = getattr(owner, "__dict__", None)
        if type(fields) is not dict:
            return MISSING
        key = (FromItem.kind, id(fields), name)
        if key in self.written:
            return fields.get(name, MISSING)
        self._needed.add(key)
        return fields.get(name, MISSING) if key in self.given else MISSING

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of an object from outside.

        Raises:
            CompileError: it is more than an entry in the object's `__dict__`.
            NeedsHeldError: it has been read before, or may be left as it is.
        """
        if not _is_plain(owner, name, value):
            self.refuse(owner, name)
        held = Held(owner, name)
        if held.key not in self.written:
            if self._recorder.is_nested or held.key in self._reads.records:
                self._needed.add(held.key)
            if held.key in self._needed and held.key not in self.given:
                raise NeedsHeldError([held])
        self._write(held, value)

    def set_modes(self, blocks: Sequence[Module], training: bool) -> None:
        """Set blocks from outside to training or evaluation mode.

        Raises:
            NeedsHeldError: their modes are no arguments yet.
        """
        found = [Held(block, "training") for block in blocks]
        missing = [h for h in found if h.key not in self.given]
        if missing:
            raise NeedsHeldError(missing)
        for held in found:
            self._write(held, training)

    def _write(self, held: Held, value: Any) -> None:
        self.written[held.key] = held
        self._recorder.note(held.key, lambda: _Field(held))
        self._put(held, value)

    def _put(self, held: Held, value: Any) -> None:
        self._before.append((held, held.now()))
        held.put(value)

    def results(self) -> list[Any]:
        """What those that were written hold in the end.

        Raises:
            CompileError: that is something only in some cases.
        """
        values = [h.now() for h in self.written.values()]
        for held, value in zip(self.written.values(), values, strict=True):
            missing = value.otherwise is UNDEFINED if isinstance(value, Maybe) else False
            if missing or value is UNDEFINED or value is MISSING:
                self._recorder.refuse(
                    f"an attribute, `{held.name}`, that is set or not as the value of a tensor "
                    "decides, and does not exist before",
                    "set it in __init__",
                )
        return values

    def refuse(self, owner: Any, name: str) -> NoReturn:
        """Refuse a change that does not fit in here."""
        self._recorder.refuse(
            f"a change of the attribute `{name}` of a {type(owner).__name__} that lives outside of "
            "the compiled function",
            "return the value instead, or keep it in a plain attribute of a block, or in a buffer "
            "(register_buffer)",
        )


def _is_plain(owner: Any, name: str, value: Any) -> bool:
    """Whether setting the attribute is no more than an entry in the `__dict__` of its owner."""
    cls = type(owner)
    if isinstance(owner, (type, ModuleType, TensorBase)) or isinstance(value, (Module, Parameter)):
        return False
    if type(getattr(owner, "__dict__", None)) is not dict:
        return False
    if hasattr(getattr(cls, name, None), "__set__"):  # a property, or another descriptor
        return False
    if not isinstance(owner, Module):
        return True
    own = cls.__module__.split(".")[0] == "kuai" or name == "training"
    known = (n for kind in ("_parameters", "_buffers", "_modules") for n in owner.__dict__[kind])
    return not own and name not in known


class _Field(Place):
    """An attribute from outside as a place that branches and loops change."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.key = held.key
        self.name = f"{type(held.owner).__name__}.{held.name}"
        self.before = self.read()

    def read(self) -> Any:
        value = self.held.now()
        return UNDEFINED if value is MISSING else value

    def write(self, value: Any) -> None:
        self.held.put(MISSING if value is UNDEFINED else value)

    begin = write

    def restore(self) -> None:
        self.write(self.before)
