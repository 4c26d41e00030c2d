"""Padding of the last dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai import ops
from kuai.errors import ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Add elements at both ends of the last dimensions, or with negative numbers, remove them.

    Args:
        input: any shape; for the modes other than `"constant"`, 2 to 5 dimensions.
        pad: how many before and after, for the last dimension, then for the one before it, ...
        mode: what to add: `"constant"`, `"reflect"` (mirrored at the edge element),
            `"replicate"` (the edge element), `"circular"` (from the other end).
        value: of the constant; 0 by default.

    Raises:
        ShapeError: the numbers do not fit the input's shape.
        NotImplementedError: there is no such mode for this number of dimensions.
    """
    if len(pad) % 2:
        raise ShapeError("Padding length must be divisible by 2")
    if len(pad) > 2 * input.ndim:
        raise ShapeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(pad)} and input of dimension {input.ndim}"
        )
    if mode == "constant":
        return _pad_constant(input, pad, 0.0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in _INDICES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    padded = len(pad) // 2
    if not (1 <= padded <= 3 and padded + 1 <= input.ndim <= padded + 2):
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {input.ndim}D input tensor with mode "
            f"{mode}: 2 numbers need 2 or 3 dimensions, 4 need 3 or 4, and 6 need 4 or 5"
        )
    for i in range(padded):
        input = _pad_by_index(input, input.ndim - 1 - i, pad[2 * i], pad[2 * i + 1], mode)
    return input


def _pad_constant(input: Tensor, pad: Sequence[int], value: float) -> Tensor:
    shape = list(input.shape)
    source: list[slice] = [slice(None)] * len(shape)
    target: list[slice] = [slice(None)] * len(shape)
    for i in range(len(pad) // 2):
        axis, (before, after) = len(shape) - 1 - i, pad[2 * i : 2 * i + 2]
        size = shape[axis] + before + after
        if size < 0:
            raise ShapeError(
                f"The input size {shape[axis]}, plus negative padding {before} and {after}, "
                "resulted in a negative output size, which is invalid. Check dimension "
                f"{axis} of your input."
            )
        source[axis] = slice(max(-before, 0), max(shape[axis] + min(after, 0), 0))
        target[axis] = slice(max(before, 0), max(size - max(after, 0), 0))
        shape[axis] = size
    result = ops.full(shape, value, dtype=input.dtype)
    result[tuple(target)] = input[tuple(source)]
    return result


def _pad_by_index(input: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    if before == 0 and after == 0:
        return input
    size = input.shape[axis]
    places = _INDICES[mode](size, before, after, input.shape)
    return ops.index_select(input, axis, ops.tensor(places))


def _reflected(size: int, before: int, after: int, shape: Sequence[int]) -> list[int]:
    if max(before, after) >= size:
        raise ShapeError(
            "Padding size should be less than the corresponding input dimension, but got: padding "
            f"({before}, {after}) at a dimension of size {size} of input {list(shape)}"
        )
    last = size - 1
    return [last - abs(last - abs(i)) for i in range(-before, size + after)]


def _replicated(size: int, before: int, after: int, shape: Sequence[int]) -> list[int]:
    if size == 0 or size + before + after < 1:
        raise ShapeError(
            f"padding ({before}, {after}) leaves nothing of input {list(shape)}, which has "
            f"{size} elements along that dimension"
        )
    return [min(max(i, 0), size - 1) for i in range(-before, size + after)]


def _wrapped(size: int, before: int, after: int, shape: Sequence[int]) -> list[int]:
    if max(before, after) > size:
        raise ShapeError(
            "Padding value causes wrapping around more than once: padding "
            f"({before}, {after}) at a dimension of size {size} of input {list(shape)}"
        )
    if size + before + after < 0:
        raise ShapeError("Negative padding value is resulting in an empty dimension")
    first = max(-before, 0)
    kept = size - first - max(-after, 0)
    return [first + i % kept for i in range(-max(before, 0), kept + max(after, 0))]


_INDICES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}
