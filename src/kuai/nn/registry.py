"""The dictionaries in which a block keeps its parts and its hooks, and the count of their changes.

Anybody may write into `block._modules`, `block._parameters`, `block._buffers` and the dictionaries
of hooks, as PyTorch programs do. So the dictionaries themselves see to it that

* the parts can be read as plain attributes: they are written through to the block's `__dict__`,
  where Python finds them ten times faster than through `__getattr__`;
* a block with a new hook leaves the fast path of `Module.__call__`;
* every change moves `epoch` on, so that whoever has baked a block into a program can tell by one
  integer that nothing has changed.

Their reading methods are those of `dict`, at the speed of `dict`.
"""

from __future__ import annotations

import weakref
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuai.nn.module import Module

epoch = array("q", (0,))
"""How often any block of the process has changed. An array, for native code to read its memory."""

watchers: list[Any] = []
"""Who wants to know which blocks are made (`makes_block`), and before it happens, which ones change
(`changes_block`): the captures under way."""

_MISSING: Any = object()


@contextmanager
def unwatched() -> Iterator[None]:
    """While blocks change that will be as they were, before anybody looks."""
    kept = watchers[:]
    watchers.clear()
    try:
        yield
    finally:
        watchers[:] = kept


def changing(block: Module | None) -> None:
    """Tell that a block is about to change; `None` for one that is gone, or not there yet."""
    if watchers and block is not None:
        watchers[-1].changes_block(block)


def _changing(owner: weakref.ref[Module] | None) -> None:
    if watchers and owner is not None:
        changing(owner())


class Members(dict[str, Any]):
    """The parameters, the buffers or the child blocks of one block, by name.

    A value is written through to the `__dict__` of the block, unless the block's class has an
    attribute of the name (it would be hidden), or the block itself has one that came otherwise.
    """

    __slots__ = ("owner",)

    owner: weakref.ref[Module] | None

    def __init__(self, items: Any = ()) -> None:
        dict.__init__(self, items)
        self.owner = None

    def bind(self, owner: weakref.ref[Module]) -> None:
        """Belong to this block from now on."""
        self.owner = owner
        for name, value in self.items():
            self._show(name, value, known=True)

    def hide(self) -> None:
        """Take all names out of the owner's `__dict__` again, and belong to no block."""
        for name, value in self.items():
            self._unshow(name, value)
        self.owner = None

    def _show(self, name: str, value: Any, known: bool) -> None:
        block = self.owner() if self.owner is not None else None
        if block is None:
            return
        fields = block.__dict__
        if (known or name not in fields) and not hasattr(type(block), name):
            fields[name] = value

    def _unshow(self, name: str, value: Any) -> None:
        block = self.owner() if self.owner is not None else None
        if block is not None and block.__dict__.get(name, _MISSING) is value:
            del block.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        _changing(self.owner)
        known = name in self
        dict.__setitem__(self, name, value)
        epoch[0] += 1
        self._show(name, value, known)

    def __delitem__(self, name: str) -> None:
        value = self[name]
        _changing(self.owner)
        dict.__delitem__(self, name)
        epoch[0] += 1
        self._unshow(name, value)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Remove `name` and return what it stood for (`default`, where given, if nothing)."""
        if name not in self and default is not _MISSING:
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last pair of a name and what it stands for."""
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        """Remove everything."""
        for name in list(self):
            del self[name]

    def setdefault(self, name: str, default: Any = None) -> Any:
        """What `name` stands for; `default`, from now on, if it stood for nothing."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Any, **named: Any) -> None:
        """Take over the pairs of another dictionary."""
        for name, value in dict(*others, **named).items():
            self[name] = value

    def __ior__(self, other: Any) -> Members:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The copy belongs to no block until `Module.__setstate__` binds it.
        return Members, (), None, None, iter(self.items())


class HookDict(OrderedDict[int, Any]):
    """The hooks of one kind on one block, by number; a change ends the block's fast calls."""

    owner: weakref.ref[Module] | None = None

    def bind(self, owner: weakref.ref[Module]) -> None:
        """Belong to this block from now on."""
        self.owner = owner

    def _changed(self) -> None:
        epoch[0] += 1
        block = self.owner() if self.owner is not None else None
        if block is not None:
            block.__dict__["_direct"] = False

    def __setitem__(self, number: int, hook: Any) -> None:
        _changing(self.owner)
        OrderedDict.__setitem__(self, number, hook)
        self._changed()

    def __delitem__(self, number: int) -> None:
        _changing(self.owner)
        OrderedDict.__delitem__(self, number)
        self._changed()

    def move_to_end(self, number: int, last: bool = True) -> None:
        """Make a hook the last one, or the first."""
        OrderedDict.move_to_end(self, number, last)
        self._changed()

    def pop(self, number: int, *default: Any) -> Any:
        """Remove a hook and return it."""
        _changing(self.owner)
        hook = OrderedDict.pop(self, number, *default)
        self._changed()
        return hook

    def popitem(self, last: bool = True) -> tuple[int, Any]:
        """Remove and return the last (or first) pair."""
        _changing(self.owner)
        pair = OrderedDict.popitem(self, last)
        self._changed()
        return pair

    def clear(self) -> None:
        """Remove all hooks."""
        _changing(self.owner)
        OrderedDict.clear(self)
        self._changed()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return HookDict, (), None, None, iter(self.items())


def members(items: Iterable[Any], owner: weakref.ref[Module]) -> Members:
    """These members as a dictionary that belongs to `owner`: the same one where it can be."""
    if isinstance(items, Members) and _is_free(items, owner):
        result = items
    else:
        result = Members(items)
    result.bind(owner)
    return result


def hooks(items: Iterable[Any], owner: weakref.ref[Module]) -> HookDict:
    """These hooks as a dictionary that belongs to `owner`: the same one where it can be."""
    if isinstance(items, HookDict) and _is_free(items, owner):
        result = items
    else:
        result = HookDict(items)
    result.bind(owner)
    return result


def _is_free(items: Members | HookDict, owner: weakref.ref[Module]) -> bool:
    return items.owner is None or items.owner() in (None, owner())
