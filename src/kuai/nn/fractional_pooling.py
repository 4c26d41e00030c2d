"""Layers that pool over windows which start at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor


def _tuple(size: Any, n: int) -> tuple[Any, ...]:
    return (size,) * n if isinstance(size, (int, float)) else tuple(size)


class _FractionalMaxPool(Module):
    n: ClassVar[int]

    kernel_size: tuple[int, ...]
    output_size: tuple[int, ...] | None
    output_ratio: tuple[float, ...] | None
    return_indices: bool

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        output_size: int | Sequence[int] | None = None,
        output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = _tuple(kernel_size, self.n)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else _tuple(output_size, self.n)
        self.output_ratio = None if output_ratio is None else _tuple(output_ratio, self.n)
        name = type(self).__name__
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < part < 1 for part in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        """The greatest element of each window; with `return_indices`, and where it stands."""
        function = F.fractional_max_pool2d if self.n == 2 else F.fractional_max_pool3d
        return function(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            _random_samples=self._random_samples,
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The greatest element of each of so many windows, which start at random distances.

    Args:
        kernel_size: height and width of a window.
        output_size: how many windows there are in each dimension.
        output_ratio: their number as a part of the input's size; one of both is given.
        return_indices: whether the positions of the greatest are returned, too.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same but for H and W.

    Source: Graham (2014), Fractional Max-Pooling.
    """

    n = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """As `FractionalMaxPool2d`, of volumes, `(N, C, D, H, W)` or `(C, D, H, W)`."""

    n = 3


__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d"]
