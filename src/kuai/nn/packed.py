"""Sequences of different lengths in one tensor without padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kuai import dtypes, ops
from kuai.errors import DataDependentError
from kuai.tensor import Tensor


class UnknownLengthsError(DataDependentError):
    """The lengths of sequences, as a tensor of which a program has no values yet."""

    advice = "pack the sequences inside of the program, with their lengths as a list of ints"


class _Parts(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Parts):
    """The rows of a batch of sequences, position by position, without those that are padding.

    `pack_padded_sequence` and `pack_sequence` make them; recurrent layers take and return them.

    Attributes:
        data: the rows, `(rows, *)`.
        batch_sizes: how many rows each position has, int64.
        sorted_indices: which sequence stands at each place of the batch, longest first; `None` if
            they stood so already.
        unsorted_indices: at which place each sequence stands.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            raise TypeError("PackedSequence needs batch_sizes; pack_padded_sequence gives them")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def with_data(self, data: Tensor) -> PackedSequence:
        """Other rows in the same order."""
        return PackedSequence(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With rows of another type; the arguments are those of `Tensor.to`."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else self.with_data(data)

    def double(self) -> PackedSequence:
        """In float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """In float32."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """In float16."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """In int64."""
        return self.to(dtypes.int64)

    def int(self) -> PackedSequence:
        """In int32."""
        return self.to(dtypes.int32)

    def cpu(self) -> PackedSequence:
        """Itself: there is no other device."""
        return self

    def pin_memory(self) -> PackedSequence:
        """Itself: there is no other device."""
        return self

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def is_pinned(self) -> bool:
        """False."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another; of `None`, `None`."""
    if permutation is None:
        return None
    places = ops.arange(permutation.numel())
    return ops.scatter(ops.empty_like(permutation), 0, permutation, places)


def known_lengths(lengths: Any) -> Any:
    """Lengths as numbers.

    Raises:
        UnknownLengthsError: they are those of a program that does not run yet.
    """
    payload = lengths._payload if isinstance(lengths, Tensor) else lengths
    if isinstance(lengths, Tensor) and type(payload) is not np.ndarray:
        raise UnknownLengthsError("the lengths of sequences are known only when the program runs")
    return payload


def batch_sizes_of(sequence: PackedSequence) -> list[int]:
    """How many rows each position has."""
    sizes: list[int] = known_lengths(sequence.batch_sizes).tolist()
    return sizes


__all__ = [
    "UnknownLengthsError",
    "batch_sizes_of",
    "known_lengths",
    "PackedSequence",
    "invert_permutation",
]
