"""Layers that undo maximum pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor

Sizes = int | Sequence[int]


def _tuple(size: Any, n: int) -> tuple[int, ...]:
    return (size,) * n if isinstance(size, int) else tuple(size)


class _MaxUnpool(Module):
    n: ClassVar[int]

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        super().__init__()
        self.kernel_size = _tuple(kernel_size, self.n)
        self.stride = _tuple(kernel_size if stride is None else stride, self.n)
        self.padding = _tuple(padding, self.n)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """The maxima where they stood, zeros elsewhere."""
        function = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[self.n - 1]
        return function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The geometry."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Sequences with the maxima that `MaxPool1d` found where they stood, zeros elsewhere.

    Args:
        kernel_size: of the pooling.
        stride: of the pooling; by default the kernel size.
        padding: of the pooling.

    Shape:
        input and indices `(N, C, L)` or `(C, L)`; output `(N, C, L')` or `(C, L')` with
        `L' = (L - 1) stride - 2 padding + kernel_size`, or `output_size`.
    """

    n = 1


class MaxUnpool2d(_MaxUnpool):
    """As `MaxUnpool1d`, of images, `(N, C, H, W)` or `(C, H, W)`."""

    n = 2


class MaxUnpool3d(_MaxUnpool):
    """As `MaxUnpool1d`, of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`."""

    n = 3


__all__ = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]
