"""Layers that take images apart into windows, and put them together."""

from __future__ import annotations

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor

Size = int | tuple[int, int]


class Unfold(Module):
    """The windows of images, each as a column.

    Args:
        kernel_size: height and width of a window.
        dilation: from one element of a window to the next.
        padding: how many zeros to add on each side.
        stride: from one window to the next.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output `(N, C · height · width, windows)` or without N.
    """

    kernel_size: Size
    dilation: Size
    padding: Size
    stride: Size

    def __init__(
        self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """The columns."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The geometry."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Module):
    """Images as sums of windows, which are columns: the transpose of `Unfold`.

    Args:
        output_size: height and width of the images.
        kernel_size: height and width of a window.
        dilation: from one element of a window to the next.
        padding: how many rows and columns of each side are left out.
        stride: from one window to the next.

    Shape:
        input `(N, C · height · width, windows)` or without N, output `(N, C, H, W)` or `(C, H, W)`.
    """

    output_size: Size
    kernel_size: Size
    dilation: Size
    padding: Size
    stride: Size

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Size = 0,
        stride: Size = 1,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """The images."""
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        """The geometry."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )


__all__ = ["Fold", "Unfold"]
