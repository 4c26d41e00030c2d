"""Compiled blocks: the same block, entered natively.

A compiled block is of a class derived from the block's own, which it shares all its state with,
dictionary and all: attributes, parameters, modes and hooks of one are those of the other.
"""

from __future__ import annotations

import copy
from typing import Any

from kuai.compiler.run.compiled import Compiled
from kuai.compiler.run.failures import shorten
from kuai.nn.hooks import global_hooks_in_use
from kuai.nn.module import Module


def compiled_block(block: Module, options: dict[str, Any]) -> Any:
    """The block, compiled."""
    if isinstance(block, CompiledBlock):
        return block
    kind = type(block)
    compiled = Compiled(block.forward, options["fallback"], block, options["dynamic_batch"])
    entry = _Entry(compiled, block)
    fields = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__call__": entry.call,
        "forward": compiled.entry,
        "_orig_mod": property(lambda self: block),
        "_compiled_from": lambda self: block,
        "_compiled": compiled,
        "_options": options,
    }
    metaclass: Any = type(kind)
    cls = metaclass(kind.__name__, (CompiledBlock, kind), fields)
    result = object.__new__(cls)
    object.__setattr__(result, "__dict__", block.__dict__)
    entry.block = result
    return result


class CompiledBlock:
    """What a compiled block has beside what its block has.

    Attributes:
        _orig_mod: the block itself, which runs eagerly.
    """

    _orig_mod: Any
    _compiled: Compiled
    _options: dict[str, Any]

    def explain(self, stage: str = "") -> Any:
        """What became of the block: see `kuai.compiler.run.explain`."""
        from kuai.compiler.run.explain import explain

        return explain(self._compiled, stage)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return compiled_block(copy.deepcopy(self._orig_mod, memo), self._options)

    def __copy__(self) -> Any:
        return compiled_block(copy.copy(self._orig_mod), self._options)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return compiled_block, (self._orig_mod, self._options)


class _Entry:
    """The native way into a block.

    While there are hooks, every call goes by `Module.__call__`, which runs them around the
    compiled `forward`.
    """

    block: Any

    def __init__(self, compiled: Compiled, block: Module) -> None:
        self._block = block
        self._block_call = type(block).__call__
        self._fields = block.__dict__
        self.call = compiled.second_entry(self._slow, self._is_direct)

    @property
    def function(self) -> Module:
        """The block, eager."""
        return self._block

    def _is_direct(self) -> bool:
        return bool(self._fields.get("_direct")) and not global_hooks_in_use

    def _slow(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._block_call(self.block, *args, **kwargs)
        except BaseException as error:
            shorten(error)
            raise
