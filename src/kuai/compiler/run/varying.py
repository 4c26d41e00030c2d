"""Which ints among the arguments are inputs of programs, because they change from call to call.

An int is part of a program at first: it may be a size, a dimension, how often a loop goes round.
One that has been seen with several values becomes an input, if the function can be captured so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai.compiler.run.arguments import Structure

VALUES = 3  # with so many, an int counts as one that changes


class Varying:
    """The ints among the arguments of one function."""

    def __init__(self) -> None:
        self._seen: list[tuple[Structure, list[set[int]]]] = []
        self._fixed: list[Structure] = []

    def inputs(self, structure: Structure, leaves: Sequence[Any]) -> frozenset[int]:
        """The numbers of the leaves that are to be inputs of a program for this call."""
        if not any(type(x) is int for x in leaves) or structure in self._fixed:
            return frozenset()
        seen = next((values for known, values in self._seen if known == structure), None)
        if seen is None:
            seen = [set() for _ in leaves]
            self._seen.append((structure, seen))
        for values, x in zip(seen, leaves, strict=True):
            if type(x) is int and len(values) < VALUES:
                values.add(x)
        return frozenset(
            i for i, x in enumerate(leaves) if type(x) is int and len(seen[i]) >= VALUES
        )

    def give_up(self, structure: Structure) -> None:
        """Leave ints what they are in calls of this structure: the function needs their values."""
        self._fixed.append(structure)
