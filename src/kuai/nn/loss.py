"""What the losses share: a reduction, and for some, weights."""

from __future__ import annotations

from kuai.nn.functional.reduction import legacy
from kuai.nn.module import Module
from kuai.tensor import Tensor


class _Loss(Module):
    """A loss, with its reduction: `"mean"`, `"sum"` or `"none"`."""

    reduction: str

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = legacy(size_average, reduce)
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with weights: of its elements, or of its classes."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


__all__ = [
    "_Loss",
    "_WeightedLoss",
]
