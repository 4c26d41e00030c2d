"""The warning for blocks that are kept in a plain list, tuple or dict.

Such blocks are not registered: their parameters are in no state dict and no optimizer. Whether
that was meant cannot be told when the attribute is assigned (the list may still be empty, and its
blocks may be registered under other names a line later), so it is looked at when the block is
first called, or asked for its parts.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuai.nn.module import Module

PLAIN = (list, tuple, dict)
_ITEMS, _DEPTH = 256, 3  # how far a plain container is searched
_REMEDY = {list: "ModuleList", tuple: "ModuleList", dict: "ModuleDict"}


def may_hide_blocks(value: Any) -> bool:
    """Whether a list, tuple or dict holds blocks, or could do so later."""
    return not isinstance(value, tuple) or any(
        isinstance(item, PLAIN) or hasattr(item, "_modules") for item in islice(value, _ITEMS)
    )


def warn_of_hidden_blocks(block: Module) -> None:
    """Warn, once an attribute, of blocks in the plain containers among `block`'s attributes."""
    suspects: set[str] = block.__dict__["_plain_containers"]
    registered: set[int] | None = None
    for name in sorted(suspects):
        container = block.__dict__.get(name)
        if not isinstance(container, PLAIN):
            suspects.discard(name)
            continue
        hidden = list(_blocks_in(container, _DEPTH))
        if not hidden:
            continue
        suspects.discard(name)
        if registered is None:
            registered = set(map(id, _registered(block)))
        hidden = [b for b in hidden if id(b) not in registered]
        if hidden:
            _warn(block, name, container, hidden)


def _frames_within_kuai() -> int:
    """The `stacklevel` that makes `_warn` name the user's line, not one of kuai's."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "kuai":
        frame = frame.f_back
        level += 1
    return level


def _warn(block: Module, name: str, container: Any, hidden: list[Module]) -> None:
    kind = next(k for k in PLAIN if isinstance(container, k))
    count = "a block" if len(hidden) == 1 else f"{len(hidden)} blocks"
    their, them = ("its", "it") if len(hidden) == 1 else ("their", "them")
    warnings.warn(
        f"{block._get_name()}.{name} is a plain {kind.__name__} that holds {count} "
        f"({hidden[0]._get_name()}): {their} parameters are invisible to parameters(), "
        f"state_dict(), to(), train() and every optimizer. Keep {them} in an nn.{_REMEDY[kind]}: "
        f"self.{name} = nn.{_REMEDY[kind]}(...)",
        UserWarning,
        stacklevel=_frames_within_kuai(),
    )


def _registered(block: Module) -> Iterator[Module]:
    stack, seen = [block], set()
    while stack:
        top = stack.pop()
        if id(top) not in seen:
            seen.add(id(top))
            yield top
            stack.extend(m for m in top._modules.values() if m is not None)


def _blocks_in(container: Any, depth: int) -> Iterator[Module]:
    from kuai.nn.module import Module

    items = container.values() if isinstance(container, dict) else container
    for item in islice(items, _ITEMS):
        if isinstance(item, Module):
            yield item
        elif depth > 1 and isinstance(item, PLAIN):
            yield from _blocks_in(item, depth - 1)
