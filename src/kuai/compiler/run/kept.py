"""The memory in which a forward program leaves what its backward program needs.

All of it lies in one block, since each array of its own costs a call of a small program more than
its elements do. The stacks of loops, whose size no one knows before, are memory of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kuai.compiler.graph import StackMeta, Value
from kuai.compiler.native.interface import Form

_ALIGNMENT = 64


class Kept:
    """Where the values that a forward program saves lie.

    Attributes:
        offsets: for each of the values, where it begins in the block, in bytes; `None` for the
            stack of a loop.
        size: the bytes of the block.
        stacks: for each stack, the bytes of one of its rounds.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.offsets: list[int | None] = []
        self.stacks: list[int] = []
        self.size = 0
        for value in values:
            item = np.dtype(value.dtype).itemsize
            if isinstance(value.meta, StackMeta):
                self.offsets.append(None)
                self.stacks.append(max(value.size, 1) * item)
            else:
                self.offsets.append(self.size)
                self.size += -(-value.size * item // _ALIGNMENT) * _ALIGNMENT

    @property
    def form(self) -> Form:
        """The form of the block."""
        return Form(np.dtype(np.uint8), (self.size,))
