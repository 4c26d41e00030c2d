"""The memory of a loop's stack, which a program hands over to Python."""

from __future__ import annotations

import numpy as np

from kuai.compiler.native.runtime import free_memory

_free = free_memory  # still there when modules are being taken down


class StackMemory:
    """What a loop kept of its rounds: memory that a program handed over, freed with this object.

    Attributes:
        address: of the memory; 0 where there is none.
        rounds: of the loop.
    """

    __slots__ = ("address", "rounds")

    def __init__(self, address: int, rounds: int) -> None:
        self.address = address
        self.rounds = rounds

    def array(self, size: int) -> np.ndarray:
        """Its bytes as an array that keeps it alive, given those of a round."""
        if not self.address:
            return np.empty(0, np.uint8)
        return np.asarray(_Bytes(self, size * self.rounds))

    def __del__(self) -> None:
        _free(self.address)


class _Bytes:
    """Memory as NumPy asks for it."""

    def __init__(self, memory: StackMemory, size: int) -> None:
        self._memory = memory
        self.__array_interface__ = {
            "data": (memory.address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }
