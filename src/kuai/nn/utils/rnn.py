"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kuai import ops
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


__all__ = ["pad_sequence", "unpad_sequence"]
