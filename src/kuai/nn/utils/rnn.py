"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kuai import ops
from kuai.core.base import wrap
from kuai.nn.packed import PackedSequence, invert_permutation, known_lengths
from kuai.tensor import Tensor


def pad_sequence(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences, each filled up to the length of the longest.

    Args:
        sequences: tensors of shapes `(length, *)`, in which only the lengths differ.
        batch_first: whether the result is `(batch, length, *)` and not `(length, batch, *)`.
        padding_value: what to fill up with.
        padding_side: `"right"` fills up at the end, `"left"` at the start.

    Raises:
        RuntimeError: `sequences` is not iterable, is empty, or the side is no side.
        ShapeError: the shapes differ in more than the length.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    rows = list(sequences)
    if not rows:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            "Expected padding_side to be one of left or right, but got " + padding_side + "."
        )
    longest = max(row.size(0) for row in rows)
    padded = []
    for row in rows:
        missing = longest - row.size(0)
        if missing:
            filler = row.new_full((missing, *row.shape[1:]), padding_value)
            row = ops.cat([row, filler] if padding_side == "right" else [filler, row])
        padded.append(row)
    return ops.stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences that `pad_sequence` stacked, each of its own length."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The rows of padded sequences, without the padding, position by position.

    Args:
        input: `(length, batch, *)`, or with `batch_first` `(batch, length, *)`.
        lengths: of each sequence, a list or a tensor.
        batch_first: whether the batch dimension comes first.
        enforce_sorted: whether the sequences stand longest first already; if not, they are sorted.

    Raises:
        RuntimeError: there are not as many lengths as sequences, one is not positive, or they are
            not sorted.
    """
    known = np.asarray(known_lengths(lengths), np.int64).reshape(-1)
    samples = input.shape[0 if batch_first else 1]
    if len(known) != samples:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(known)} "
            f"(batch_size={samples})"
        )
    if samples and known.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    order = None
    if not enforce_sorted:
        order = wrap(np.argsort(-known, kind="stable"))
        known = known[order._payload]
    elif (np.diff(known) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )
    rows = ops.transpose(input, 0, 1) if batch_first else input
    rows = rows if order is None else ops.index_select(rows, 1, order)
    there = np.arange(int(known[0]) if samples else 0)[:, None] < known
    flat = ops.reshape(rows, -1, *rows.shape[2:])
    data = ops.index_select(flat, 0, wrap(_places(there, samples)))
    return PackedSequence(data, wrap(there.sum(1)), order)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Packed sequences, padded again, and their lengths.

    Args:
        sequence: what `pack_padded_sequence` or a recurrent layer returned.
        batch_first: whether the batch dimension is to come first.
        padding_value: what to fill up with.
        total_length: the length to fill up to; by default that of the longest sequence.

    Raises:
        ValueError: `total_length` is less than the longest sequence.
    """
    data, batch_sizes, _, places = sequence
    sizes = np.asarray(known_lengths(batch_sizes), np.int64)
    longest, samples = len(sizes), int(sizes[0])
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {longest}"
        )
    there = np.arange(samples) < sizes[:, None]
    flat = data.new_full(((total_length or longest) * samples, *data.shape[1:]), padding_value)
    flat = ops.index_copy(flat, 0, wrap(_places(there, samples)), data)
    padded = ops.reshape(flat, -1, samples, *data.shape[1:])
    lengths = wrap(there.sum(0))
    if places is not None:
        padded = ops.index_select(padded, 1, places)
        lengths = ops.index_select(lengths, 0, places)
    return (ops.transpose(padded, 0, 1) if batch_first else padded), lengths


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of shapes `(length, *)`, packed; arguments as of `pack_padded_sequence`."""
    lengths = [sequence.size(0) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that `pack_sequence` packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def _places(there: np.ndarray, samples: int) -> np.ndarray:
    """Where, in rows of all positions, those stand that are there."""
    position, sample = np.nonzero(there)
    places: np.ndarray = position * samples + sample
    return places


__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]
