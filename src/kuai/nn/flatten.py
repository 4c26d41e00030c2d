"""Blocks that change the shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai import ops
from kuai.nn.module import Module
from kuai.tensor import Tensor


class Flatten(Module):
    """A run of dimensions made one.

    Args:
        start_dim: the first of them.
        end_dim: the last of them.

    Shape:
        input `(*, Sstart, ..., Send, *)`, output `(*, Sstart ... Send, *)`.
    """

    start_dim: int
    end_dim: int

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The input with these dimensions as one."""
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension divided into several.

    Args:
        dim: the dimension.
        unflattened_size: the sizes that it is divided into; one of them may be -1.

    Shape:
        input `(*, S, *)`, output `(*, *unflattened_size, *)`.

    Raises:
        TypeError: the sizes are not a tuple or list of ints.
    """

    dim: int
    unflattened_size: Sequence[int]

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self._check(dim, unflattened_size)
        self.dim = dim
        self.unflattened_size = unflattened_size

    @staticmethod
    def _check(dim: Any, sizes: Any) -> None:
        if isinstance(dim, str):
            raise TypeError("kuai has no named dimensions: dim must be an int")
        if not isinstance(dim, int):
            raise TypeError(f"Unflatten: dim must be an int, but found {type(dim).__name__}")
        if not isinstance(sizes, (tuple, list)):
            raise TypeError(
                f"unflattened_size must be a tuple of ints, but found type {type(sizes).__name__}"
            )
        for place, size in enumerate(sizes):
            if not isinstance(size, int):
                raise TypeError(
                    "unflattened_size must be tuple of ints, but found element of type "
                    f"{type(size).__name__} at pos {place}"
                )

    def forward(self, input: Tensor) -> Tensor:
        """The input with the dimension divided."""
        return ops.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The dimension and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


__all__ = ["Flatten", "Unflatten"]
