"""Where in a model an error arose: notes (PEP 678) with the path of each enclosing block.

While an exception leaves one block after the other, nobody knows yet which of them is the
outermost. So each block, as the exception passes, writes the notes anew from its own point of
view; the last one to do so is the root, and names the whole path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuai.nn.module import Module

BlockCall = tuple["Module", tuple[Any, ...]]
"""A call of a block: the block, and those of the arguments that are blocks or their classes."""


class _Path:
    """The blocks that an exception has left, innermost first, and the notes that say so.

    Attributes:
        ahead: a block whose call the exception has still to leave, though it is noted already.
    """

    def __init__(self) -> None:
        self.blocks: list[Module] = []
        self.names: list[str] = []  # of each block within the next one
        self.notes: list[str] = []
        self.ahead: Module | None = None


def annotate(error: Exception, block: Module, arguments: Sequence[Any]) -> None:
    """Note on `error` that it is leaving `block`, which was called with `arguments`."""
    if isinstance(error, RecursionError):
        return  # thousands of blocks deep, and each would look through all of its parts
    path: _Path | None = getattr(error, "_kuai_path", None)
    if path is None:
        path = _Path()
        try:
            error._kuai_path = path  # type: ignore[attr-defined]
        except AttributeError:
            return
        _note_blocks_as_arguments(error, arguments)
    else:
        ahead, path.ahead = path.ahead, None
        if ahead is not None and _is_same(ahead, block):
            return
        path.names.append(name_within(block, path.blocks[-1]))
    path.blocks.append(block)
    notes = [note for note in getattr(error, "__notes__", ()) if note not in path.notes]
    path.notes = _describe(path)
    error.__notes__ = notes + path.notes


def annotate_calls(error: Exception, calls: Sequence[BlockCall]) -> None:
    """Note on `error` that it arose within these calls, outermost first.

    The error may go on to leave the outermost one, which is not noted again.
    """
    for block, arguments in reversed(calls):
        annotate(error, block, arguments)
    path: _Path | None = getattr(error, "_kuai_path", None)
    if calls and path is not None:
        path.ahead = calls[0][0]


def copy_notes(error: BaseException, to: BaseException) -> None:
    """Let an error that stands for another have its notes."""
    for name in ("_kuai_path", "__notes__"):
        if hasattr(error, name):
            setattr(to, name, getattr(error, name))


def block_call(block: Module, arguments: Sequence[Any]) -> BlockCall:
    """A call of a block, to be noted if something fails there."""
    return block, tuple([x for x in arguments if _is_block(x) or _is_class_of_blocks(x)])


def _describe(path: _Path) -> list[str]:
    root = path.blocks[-1]
    if len(path.blocks) == 1:
        return [f"in {abbreviated(root)}"]
    prefix = root._get_name()
    lines = [f"in {prefix}"]
    for name, block in zip(reversed(path.names), path.blocks[-2::-1], strict=True):
        prefix = f"{prefix}.{name}"
        lines.append(f"in {prefix}: {abbreviated(block)}")
    return lines[::-1]


def abbreviated(block: Module) -> str:
    """The block's repr, or its class's name where that would be a whole tree."""
    name = block._get_name()
    if block.__dict__.get("_modules"):
        return name
    try:
        text = repr(block)
    except Exception:
        return name
    return name if "\n" in text else text


def name_within(outer: Module, inner: Module) -> str:
    """The path from `outer` to `inner`, which may lie in containers that are never called."""
    pending, seen = [("", outer)], {id(outer)}
    for path, block in pending:
        for name, child in block.__dict__.get("_modules", {}).items():
            if child is not None and _is_same(child, inner):
                return f"{path}{name}"
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                pending.append((f"{path}{name}.", child))
    return f"({inner._get_name()})"  # called, but not registered


def _is_same(one: Module, other: Module) -> bool:
    """Whether two are one block; one of them may be its compiled form."""
    return one.__dict__ is other.__dict__


def _is_block(x: Any) -> bool:
    from kuai.nn.module import Module

    return isinstance(x, Module)


def _is_class_of_blocks(x: Any) -> bool:
    from kuai.nn.module import Module

    return isinstance(x, type) and issubclass(x, Module)


def _note_blocks_as_arguments(error: Exception, arguments: Sequence[Any]) -> None:
    for x in arguments:
        if _is_class_of_blocks(x):
            error.add_note(
                f"the input is the class {x.__name__}, not a tensor; "
                f"{x.__name__}() makes a block, which can be called with a tensor"
            )
        elif _is_block(x):
            name = x._get_name()
            error.add_note(
                f"the input is a block, {name}, not a tensor; calling the class {name}(x) makes "
                f"a block, while {name}()(x) makes one and calls it"
            )
