"""Layers that pool with a power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor

Sizes = int | Sequence[int]


class _LPPool(Module):
    n: ClassVar[int]

    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None
    ceil_mode: bool

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """The norm of each window."""
        function = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.n - 1]
        return function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """`(sum x ** p) ** (1 / p)` over each window of a sequence.

    Args:
        norm_type: p.
        kernel_size: how many elements a window has.
        stride: from one window to the next; by default windows stand side by side.
        ceil_mode: whether there is a last window that the input does not fill.

    Shape:
        input `(N, C, L)` or `(C, L)`, output the same but for L.
    """

    n = 1


class LPPool2d(_LPPool):
    """As `LPPool1d`, of images, `(N, C, H, W)` or `(C, H, W)`."""

    n = 2


class LPPool3d(_LPPool):
    """As `LPPool1d`, of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`."""

    n = 3


__all__ = ["LPPool1d", "LPPool2d", "LPPool3d"]
