"""Changes that captured code makes: of containers, attributes and items.

Those of objects that the code made itself, or of memory, happen; those of what lives outside are
refused, or become part of what the program does at its end (`held.py`).
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from kuai import ops
from kuai.compiler.capture.access import Access
from kuai.compiler.capture.arrivals import as_grad
from kuai.compiler.capture.observing import CONTAINERS
from kuai.compiler.capture.places import Attribute, Item
from kuai.compiler.rewrite.functions import is_library, is_own, is_rewritten
from kuai.core.base import TensorBase
from kuai.core.inplace import assign
from kuai.core.tape import no_grad
from kuai.nn.module import Module

_MISSING: Any = object()


class Changes(Access):
    """Changes objects for captured code."""

    def _is_shared(self, owner: Any) -> bool:
        """Whether an object lives on when the call is over."""
        if isinstance(owner, FunctionType) and not is_rewritten(owner):
            return True
        return isinstance(owner, (Module, type, ModuleType)) or self.reads.is_outside(owner)

    def changes_object(self, owner: Any, name: str) -> None:
        """Refuse a change of an object from outside."""
        if self._is_shared(owner):
            self.held.refuse(owner, name)

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """`owner.name = value`."""
        if isinstance(owner, TensorBase):
            self._set_on_tensor(owner, name, value)
            return
        if isinstance(owner, Module):
            self.reads.block(owner)
            have = owner.__dict__.get("_buffers", {}).get(name)
            if isinstance(have, TensorBase) and isinstance(value, TensorBase):
                self._set_buffer(owner, name, have, value)
                return
        method = self._setter(owner, name)
        if method is not None:
            method(value)
            return
        self.set_plainly(owner, name, value)

    def set_plainly(self, owner: Any, name: str, value: Any) -> None:
        """As `object.__setattr__`."""
        if self._is_shared(owner):
            have = getattr(owner, name, _MISSING)
            if have is value or (type(have) is type(value) and _equal(have, value)):
                if not isinstance(owner, (Module, type)):
                    self.attribute(owner, name)  # it must still be so
                return
            self.held.set(owner, name, value)
            return
        self.readable(owner)
        self.spoils(owner)
        if not self._is_local(owner):
            key = ("attribute", id(owner), name)
            self.recorder.note(key, lambda: Attribute(owner, name))
        object.__setattr__(owner, name, value)

    def _setter(self, owner: Any, name: str) -> Callable[[Any], object] | None:
        """What sets an attribute, where that is the user's."""
        own = self.method_of(owner, "__setattr__")
        if own is not None:
            return functools.partial(own, name)
        found = getattr(type(owner), name, None)
        setter = found.fset if type(found) is property else None
        if not isinstance(setter, FunctionType) or is_own(setter) or is_library(setter):
            return None
        return functools.partial(self.function(setter), owner)

    def _set_on_tensor(self, x: Any, name: str, value: Any) -> None:
        if name == "grad":
            self.touch_gradient(x, overwritten=True)
            value = as_grad(value)
        elif name == "data":
            same = isinstance(value, TensorBase) and value.dtype is x.dtype
            if not same or value._payload.shape != x._payload.shape:
                self.recorder.refuse(
                    "an assignment to `data` that changes the shape or the type of a tensor",
                    "make a new tensor",
                )
            with no_grad():
                assign(x, value)
            return
        elif name == "requires_grad":
            self.recorder.touch(x)
        setattr(x, name, value)

    def _set_buffer(self, block: Module, name: str, have: Any, value: Any) -> None:
        if have is value:
            return
        if have._payload.shape != value._payload.shape or have.dtype is not value.dtype:
            self.recorder.refuse(
                f"an assignment to the buffer `{name}` of a {block._get_name()} that changes its "
                f"shape or type from {have.dtype.name}{list(have._payload.shape)} to "
                f"{value.dtype.name}{list(value._payload.shape)}",
                "give the buffer that shape and type when it is registered",
            )
        assign(have, ops.clone(value))

    def set_item(self, owner: Any, index: Any, value: Any) -> None:
        """`owner[index] = value`."""
        if isinstance(owner, TensorBase):
            owner[self.index(index)] = value
            return
        if self.stepping.is_state(owner):
            self.recorder.note(("item", id(owner), index), lambda: Item(owner, index))
            owner[index] = value
            return
        if isinstance(owner, CONTAINERS) and self.reads.is_outside(owner):
            if _has_item(owner, index, value):
                return  # `tensors[i] -= x` has changed the tensor, not the list
            self.changes_container(owner, "an assignment to an item")
        if isinstance(owner, list) and self.recorder.is_captured(index):
            from kuai.compiler.capture.choosing import assign_at

            self.changes_container(owner, "an assignment to an item")
            assign_at(self, owner, index, value)
            return
        if self.recorder.is_captured(index):
            self.recorder.refuse(
                f"an assignment to an item of a {type(owner).__name__} that the value of a tensor "
                "chooses",
                "keep the items in one tensor",
            )
        method = self.method_of(owner, "__setitem__")
        if method is not None:
            method(index, value)
            return
        if isinstance(owner, (list, dict, deque)):
            self.readable(owner)
            self.spoils(owner)
        if isinstance(owner, (list, dict, deque)) and not self._is_local(owner):
            new = isinstance(owner, dict) and index not in owner
            self._notes_contents(owner, "a new key" if new else "an assignment to an item")
        owner[index] = value


def _has_item(owner: Any, index: Any, value: Any) -> bool:
    """Whether an item is this very tensor already."""
    if not isinstance(value, TensorBase) or isinstance(index, TensorBase):
        return False
    try:
        return owner[index] is value
    except (LookupError, TypeError):
        return False


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, TensorBase):
        return False
    try:
        return bool(a == b)
    except Exception:
        return False
