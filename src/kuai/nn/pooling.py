"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor

Sizes = int | Sequence[int]


class _MaxPool(Module):
    n: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """The greatest element of each window; with `return_indices`, and where it stands."""
        function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.n - 1]
        return function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The greatest element of each window of a sequence.

    Args:
        kernel_size: how many elements a window has.
        stride: from one window to the next; by default windows stand side by side.
        padding: how much to add at both ends, of what is never the greatest.
        dilation: from one element of a window to the next.
        return_indices: whether the positions of the greatest are returned, too.
        ceil_mode: whether there is a last window that the input does not fill.

    Shape:
        input `(N, C, L)` or `(C, L)`, output `(N, C, Lo)` or `(C, Lo)`, with
        `Lo = (L + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1`, rounded down (up with
        `ceil_mode`).

    Raises:
        ShapeError: the input does not fit.
    """

    n = 1


class MaxPool2d(_MaxPool):
    """The greatest element of each window of an image; arguments as of `MaxPool1d`.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output `(N, C, Ho, Wo)` or `(C, Ho, Wo)`; the indices
        count through an image row by row.

    Examples:
        >>> nn.MaxPool2d(2)(kuai.rand(4, 3, 28, 28)).shape
        kuai.Size([4, 3, 14, 14])
    """

    n = 2


class MaxPool3d(_MaxPool):
    """The greatest element of each window of a volume; arguments as of `MaxPool1d`.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output `(N, C, Do, Ho, Wo)` or
        `(C, Do, Ho, Wo)`; the indices count through the flattened volume.
    """

    n = 3


class AvgPool1d(Module):
    """The mean of each window of a sequence.

    Args:
        kernel_size: how many elements a window has.
        stride: from one window to the next; by default windows stand side by side.
        padding: how many zeros to add at both ends.
        ceil_mode: whether there is a last window that the input does not fill.
        count_include_pad: whether the padding's zeros count in the mean.

    Shape:
        input `(N, C, L)` or `(C, L)`, output `(N, C, Lo)` or `(C, Lo)`, with
        `Lo = (L + 2 padding - kernel_size) / stride + 1`, rounded down (up with `ceil_mode`).

    Raises:
        ShapeError: the input does not fit.
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _one(kernel_size)
        self.stride = self.kernel_size if stride is None else _one(stride)
        self.padding = _one(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self) -> str:
        """The sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _one(size: Sizes) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


class _AvgPool(Module):
    n: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        function = (F.avg_pool2d, F.avg_pool3d)[self.n - 2]
        return function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """The sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window of an image; arguments as of `AvgPool1d`, and `divisor_override`.

    Args:
        kernel_size: how many elements a window has, one number or two.
        stride: from one window to the next; by default windows stand side by side.
        padding: how many zeros to add at both ends.
        ceil_mode: whether there is a last window that the input does not fill.
        count_include_pad: whether the padding's zeros count in the mean.
        divisor_override: what to divide sums by, in place of the number of elements.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output `(N, C, Ho, Wo)` or `(C, Ho, Wo)`.
    """

    n = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume; arguments as of `AvgPool2d`.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output `(N, C, Do, Ho, Wo)` or
        `(C, Do, Ho, Wo)`.
    """

    n = 3


class _AdaptiveAvgPool(Module):
    n: ClassVar[int]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        function = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[self.n - 1]
        return function(input, self.output_size)

    def extra_repr(self) -> str:
        """The sizes of the result."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover a sequence evenly.

    Args:
        output_size: how many windows; window i runs from `⌊i L / size⌋` to `⌈(i + 1) L / size⌉`.

    Shape:
        input `(N, C, L)` or `(C, L)`, output `(N, C, output_size)` or `(C, output_size)`.
    """

    n = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that cover an image evenly.

    Args:
        output_size: how many windows, one number or two; `None` for as many as there are elements.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output with `output_size` for `(H, W)`.
    """

    n = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of windows that cover a volume evenly.

    Args:
        output_size: how many windows, one number or three; `None` for as many as there are
            elements.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output with `output_size` for `(D, H, W)`.
    """

    n = 3


class _AdaptiveMaxPool(Module):
    n: ClassVar[int]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """The greatest element of each window; with `return_indices`, and where it stands."""
        function = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[self.n - 1]
        return function(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The sizes of the result."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The greatest elements of `output_size` windows that cover a sequence evenly.

    Args:
        output_size: how many windows, as of `AdaptiveAvgPool1d`.
        return_indices: whether the positions of the greatest are returned, too.

    Shape:
        input `(N, C, L)` or `(C, L)`, output `(N, C, output_size)` or `(C, output_size)`.
    """

    n = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The greatest elements of windows that cover an image evenly.

    Args:
        output_size: how many windows, one number or two; `None` for as many as there are elements.
        return_indices: whether the positions of the greatest are returned, too.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output with `output_size` for `(H, W)`.
    """

    n = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The greatest elements of windows that cover a volume evenly.

    Args:
        output_size: how many windows, one number or three; `None` for as many as there are
            elements.
        return_indices: whether the positions of the greatest are returned, too.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output with `output_size` for `(D, H, W)`.
    """

    n = 3


__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]
