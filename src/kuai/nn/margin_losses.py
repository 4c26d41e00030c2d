"""Losses that ask for a margin: between scores, and between distances."""

from __future__ import annotations

from collections.abc import Callable

from kuai.nn import functional as F
from kuai.nn.distance import PairwiseDistance
from kuai.nn.loss import _Loss, _WeightedLoss
from kuai.tensor import Tensor


class MultiLabelMarginLoss(_Loss):
    """`max(0, 1 - (x[y] - x[i])) / C`, summed over target classes y and others i.

    Args:
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(N, C)` or `(C,)`, target the same, ended by -1; output `()`, or with `"none"`
        `(N,)` or `()`.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """`max(0, margin - x[y] + x[i])ᵖ / C`, summed over all classes i but y.

    Args:
        p: 1 or 2.
        margin: by how much the target's score should be above the others.
        weight: of each class, `(C,)`.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(N, C)` or `(C,)`, target `(N,)` or `()`; output `()`, or with `"none"` the
        target's.

    Raises:
        ValueError: `p` is neither 1 nor 2, or the weight not one-dimensional.
    """

    p: int
    margin: float

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.ndim != 1:
            raise ValueError(
                f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.ndim}D"
            )
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.multi_margin_loss(
            input,
            target,
            p=self.p,
            margin=self.margin,
            weight=self.weight,
            reduction=self.reduction,
        )


class HingeEmbeddingLoss(_Loss):
    """A distance `x` for a target of 1, and `max(0, margin - x)` for -1.

    Args:
        margin: how far apart different ones should be.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    margin: float

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """`1 - cos(x1, x2)` for a target of 1, `max(0, cos(x1, x2) - margin)` for -1.

    Args:
        margin: the greatest cosine that different ones should have.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        inputs `(N, D)` or `(D,)`, target `(N,)` or `()`; output `()`, or with `"none"` the
        target's.
    """

    margin: float

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.cosine_embedding_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class MarginRankingLoss(_Loss):
    """`max(0, -y (x1 - x2) + margin)`: for a target of 1, x1 should be greater.

    Args:
        margin: by how much.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        inputs `(N,)` or `()`, target the same; output `()`, or with `"none"` the same.
    """

    margin: float

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.margin_ranking_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class TripletMarginLoss(_Loss):
    """`max(0, d(anchor, positive) - d(anchor, negative) + margin)`.

    Args:
        margin: by how much, positive.
        p: of the norm that measures the distance.
        eps: added to the differences.
        swap: use d(positive, negative) where that is the smaller distance.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        anchor `(N, D)` or `(D,)`, positive and negative the same; output `()`, or with `"none"`
        `(N,)` or `()`.

    Raises:
        ValueError: the margin is not positive.

    Source: Balntas et al. (2016), Learning Shallow Convolutional Feature Descriptors.
    """

    margin: float
    p: float
    eps: float
    swap: bool

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(
                f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss."""
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with a distance of one's own.

    Args:
        distance_function: of two tensors; a `PairwiseDistance` by default.
        margin: by how much, positive.
        swap: use d(positive, negative) where that is the smaller distance.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        what the distance takes; output `()`, or with `"none"` the distance's.

    Raises:
        ValueError: the margin is not positive.
    """

    margin: float
    swap: bool

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(
                "TripletMarginWithDistanceLoss: expected margin to be greater than 0, "
                f"got {margin} instead"
            )
        self.distance_function = distance_function or PairwiseDistance()
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss."""
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


__all__ = [
    "CosineEmbeddingLoss",
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]
