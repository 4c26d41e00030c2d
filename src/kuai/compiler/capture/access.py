"""Attributes and items as captured code reads them: what comes from outside is noted."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from kuai.compiler.capture import trees
from kuai.compiler.capture.arrivals import as_variable
from kuai.compiler.capture.hooks import Range
from kuai.compiler.capture.impure import refuse_impure
from kuai.compiler.capture.numbers import Number
from kuai.compiler.capture.observing import CONTAINERS, TRUSTED, Observing
from kuai.compiler.capture.records import MISSING
from kuai.compiler.capture.undecided import Maybe
from kuai.compiler.capture.whole import look_through
from kuai.compiler.rewrite.functions import is_library, is_own
from kuai.core.base import TensorBase, wrap
from kuai.nn.module import Module
from kuai.tensor import Tensor

_MISSING: Any = object()
_QUIET = {str, int, float, bool, type(None), bytes, tuple, Range, super}


class Access(Observing):
    """Reads attributes and items for captured code."""

    def attribute(self, owner: Any, name: str, default: Any = _MISSING) -> Any:
        """`owner.name`, noted as read where it came from outside."""
        if isinstance(owner, TensorBase):
            return self._tensor_attribute(owner, name)
        self.readable(owner)
        if isinstance(owner, (Module, FunctionType)) or self.reads.is_outside(owner):
            found = self.held.find(owner, name)
            if found is not MISSING:
                return found
        if default is _MISSING:
            value = self._attribute(owner, name)
        else:
            value = getattr(owner, name, _MISSING)
            if value is _MISSING:
                if not isinstance(owner, (Module, type(None))):
                    self.reads.attribute(owner, name, MISSING)
                return default
        if isinstance(owner, Module):
            return self._block_attribute(owner, name, value)
        if isinstance(owner, ModuleType):
            root = owner.__name__.split(".")[0]
            if root == "kuai" or root in TRUSTED or name not in owner.__dict__:
                return value
            return self.reads.item(owner.__dict__, name, value, f"{owner.__name__}.{name}")
        if isinstance(owner, type):
            return self._class_attribute(owner, name, value)
        if type(owner) in _QUIET or isinstance(owner, CONTAINERS):
            return value
        fields = getattr(owner, "__dict__", None)
        if isinstance(fields, dict) and name in fields:
            if self.reads.is_outside(owner) or isinstance(owner, FunctionType):
                return self.reads.item(fields, name, value, f"{type(owner).__name__}.{name}")
            return value
        if hasattr(type(owner), name):
            self.reads.kind_of(owner)
            if isinstance(fields, dict) and self.reads.is_outside(owner):
                self.reads.missing(fields, name)
            if not isinstance(value, BuiltinFunctionType):
                self._class_attribute(type(owner), name, getattr(type(owner), name))
            if self.reads.is_outside(owner) and not callable(value):
                return self.reads.attribute(owner, name, value)
        return value

    def _attribute(self, owner: Any, name: str) -> Any:
        """`getattr`, with the user's properties captured."""
        found = getattr(type(owner), name, None)
        getter = found.fget if type(found) is property else None
        if isinstance(getter, FunctionType) and not is_own(getter) and not is_library(getter):
            return self.function(getter)(owner)
        fallback = None
        if not isinstance(owner, (type, ModuleType)):
            fallback = self.method_of(owner, "__getattr__")
        if fallback is not None:
            try:
                return object.__getattribute__(owner, name)
            except AttributeError:
                self.reads.attribute(type(owner), "__getattr__", type(owner).__getattr__)
                return fallback(name)
        return getattr(owner, name)

    def _block_attribute(self, block: Module, name: str, value: Any) -> Any:
        self.reads.block(block)
        if name in block.__dict__:
            return self.reads.block_item(block, name, value)
        self._class_attribute(type(block), name, getattr(type(block), name, None))
        return value

    def _class_attribute(self, cls: type, name: str, value: Any) -> Any:
        if cls.__module__.split(".")[0] in ("kuai", *TRUSTED):
            return value
        if name.startswith("__"):
            return value
        return self.reads.attribute(cls, name, value)

    def _tensor_attribute(self, x: Any, name: str) -> Any:
        if name in ("grad", "requires_grad", "is_leaf", "grad_fn"):
            self.recorder.touch(x)
            if name == "grad":
                self.touch_gradient(x)
                return as_variable(x._grad)
        return getattr(x, name)

    def touch_gradient(self, p: Any, overwritten: bool = False) -> None:
        """Note a leaf whose `grad` is about to be read, or written without being read."""
        # Where a condition decides whether it is written, what it was may stay.
        overwritten = overwritten and len(self.recorder.scopes) == 1
        argument = self.recorder.arguments.get(id(p))
        if argument is not None:
            argument.reads_gradient(overwritten)
        if not isinstance(p._payload, (TensorBase, type(None))):
            known = id(p) in self.recorder.outer
            self.recorder.touch(p)
            outer = self.recorder.outer.get(id(p))
            if outer is not None and not (overwritten and not known):
                outer.reads_grad = outer.reads_grad or not outer.overwritten
            elif outer is not None:
                outer.overwritten = True

    def item(self, owner: Any, index: Any) -> Any:
        """`owner[index]`, noted as read where it came from outside."""
        if isinstance(owner, Tensor):
            found = owner[self.index(index)]
            if self.is_position(index) and found._view is None:
                self.stands_for_view(found, owner)
            return found
        if self.stepping.is_state(owner):
            return self._state_item(owner, index)
        if self.method_of(owner, "__getitem__") is None and self.recorder.is_captured(index):
            from kuai.compiler.capture.choosing import chosen

            return chosen(self, owner, index)
        self.looks_at(owner)
        value = self._user_item(owner, index)
        if isinstance(owner, dict):
            if self.reads.is_outside(owner) and index in owner:
                return self.reads.item(owner, index, value, f"[{index!r}]")
        elif isinstance(owner, (list, tuple, deque)):
            self.walked(owner)
        elif not isinstance(owner, (str, bytes, Module)):
            look_through(self, owner)
        return value

    def stands_for_view(self, found: Any, owner: Any) -> None:
        """Note that a tensor, here of its own, would eagerly be a view of another one."""
        self.recorder.aliases.add(found, _root(owner), is_part=True)

    def _state_item(self, owner: Any, index: Any) -> Any:
        """An item of an optimizer's state, which a condition may have made."""
        value = owner[index]
        if not isinstance(value, Maybe):
            return value
        if isinstance(value.defined, TensorBase):
            self.recorder.check(wrap(value.defined._payload), KeyError, str(index))
        return value.value

    def _user_item(self, owner: Any, index: Any) -> Any:
        if isinstance(owner, defaultdict) and index not in owner:
            self.changes_container(owner, "a new key")
        if type(owner).__module__ == "os":
            refuse_impure(self, type(owner).__getitem__, (owner,))
        method = self.method_of(owner, "__getitem__")
        return owner[index] if method is None else method(index)

    def is_position(self, index: Any) -> bool:
        """Whether an index is made of numbers and slices, and some number is captured."""
        items = index if type(index) is tuple else (index,)
        numbers = [i for i in items if self.recorder.is_captured(i)]
        return bool(numbers) and all(
            i is None or i is Ellipsis or isinstance(i, (int, slice)) or not i._payload.shape
            for i in items
            if not isinstance(i, (list, tuple, range))
        )

    def index(self, index: Any) -> Any:
        """An index in which captured numbers are tensors."""
        if isinstance(index, Number):
            return wrap(index._payload)
        if type(index) is tuple:
            return tuple([self.index(i) for i in index])
        look_through(self, index, objects=False)
        return index

    # -- texts ----------------------------------------------------------------------------------

    def spelled(self, x: Any) -> None:
        """Refuse to spell out the values of a tensor; note what else is spelled out."""
        look_through(self, x)
        if not self._describing and any(self.recorder.is_captured(v) for v in trees.leaves(x)):
            self.recorder.refuse(
                "the values of a tensor as text: they are known only when the program runs",
                "use its shape or type, or kuai.debug.print, which prints in each call",
            )

    @contextmanager
    def describing(self) -> Iterator[None]:
        """While a message for an error is made, captured tensors stand in it as such."""
        before, self._describing = self._describing, True
        try:
            yield
        finally:
            self._describing = before


def _root(x: Any) -> Any:
    while x._view is not None:
        x = x._view.source
    return x
