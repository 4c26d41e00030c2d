"""Layers that make sequences, images and volumes larger or smaller."""

from __future__ import annotations

from typing import Any

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor


class Upsample(Module):
    """Sequences, images or volumes of another size; the formulas are those of `F.interpolate`.

    Args:
        size: of the result, for all dimensions after C or for each of them.
        scale_factor: how many times as large it is; one of both is given.
        mode: `"nearest"`, `"linear"`, `"bilinear"`, `"bicubic"`, `"trilinear"`, `"area"` or
            `"nearest-exact"`.
        align_corners: whether the centres of the corner elements lie on each other.
        recompute_scale_factor: whether positions follow from the sizes, not from `scale_factor`.

    Shape:
        input `(N, C, L)`, `(N, C, H, W)` or `(N, C, D, H, W)`, output the same but for the sizes
        after C, which are `size`, or `⌊scale_factor · size of the input⌋`.

    Raises:
        ValueError: options that do not go together.
        NotImplementedError: the mode is not one for so many dimensions.
    """

    name: str
    size: Any
    scale_factor: Any
    mode: str
    align_corners: bool | None
    recompute_scale_factor: bool | None

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple([float(factor) for factor in scale_factor])
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """The input in its new size."""
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            recompute_scale_factor=self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        """The size or the factor, and the mode."""
        if self.scale_factor is not None:
            size = f"scale_factor={self.scale_factor!r}"
        else:
            size = f"size={self.size!r}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images of another size, each pixel the nearest of the input's.

    Args:
        size: of the result, height and width.
        scale_factor: how many times as large it is; one of both is given.

    Shape:
        input `(N, C, H, W)`, output `(N, C, H', W')`.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images of another size, interpolated linearly, the centres of the corners on each other.

    Args:
        size: of the result, height and width.
        scale_factor: how many times as large it is; one of both is given.

    Shape:
        input `(N, C, H, W)`, output `(N, C, H', W')`.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]
