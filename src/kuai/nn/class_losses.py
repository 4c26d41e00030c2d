"""Losses of classifiers that give scores, probabilities or their logarithms."""

from __future__ import annotations

from typing import Any

from kuai import dtypes
from kuai.nn import functional as F
from kuai.nn.linear import Linear
from kuai.nn.loss import _Loss, _WeightedLoss
from kuai.tensor import Tensor


class NLLLoss(_WeightedLoss):
    """Negative log likelihood: minus the input at the target's class.

    Args:
        weight: of each class, `(C,)`.
        size_average: deprecated (see `reduction`).
        ignore_index: a class number that counts for nothing.
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(C,)`, `(N, C)` or `(N, C, d1, ...)`; target `()`, `(N,)` or `(N, d1, ...)`;
        output `()`, or with `"none"` the target's.

    Raises:
        IndexError: there is no class of that number.
    """

    ignore_index: int

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class NLLLoss2d(NLLLoss):
    """Deprecated name of `NLLLoss`."""


class CrossEntropyLoss(_WeightedLoss):
    """Cross entropy of the target under `softmax(input)`.

    Args:
        weight: of each class, `(C,)`.
        size_average: deprecated (see `reduction`).
        ignore_index: a class number that counts for nothing.
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
        label_smoothing: how much of the probability is spread evenly, 0 to 1.

    Shape:
        input `(C,)`, `(N, C)` or `(N, C, d1, ...)`; target `()`, `(N,)` or `(N, d1, ...)` (class
        numbers), or the input's (probabilities); output `()`, or with `"none"` `()`, `(N,)` or
        `(N, d1, ...)`.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the target's type does not fit its shape.
        IndexError: there is no class of that number.
    """

    ignore_index: int
    label_smoothing: float

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class LinearCrossEntropyLoss(_WeightedLoss):
    """A linear layer and the cross entropy of its scores.

    Args:
        in_features: size of the last dimension of the input.
        num_classes: the number of classes, C.
        out_features: further dimensions of the scores.
        bias: whether the linear layer has a bias.
        device: of the parameters.
        dtype: of the parameters.
        reduction: `"mean"`, `"sum"` or `"none"`.
        weight: of each class, `(C,)`.
        ignore_index: a class number that counts for nothing.
        label_smoothing: how much of the probability is spread evenly, 0 to 1.
        options: accepted, and without effect.

    Shape:
        input `(N, in_features)`, target `(N, *out_features)` or `(N, C, *out_features)`;
        output `()`, or with `"none"` `(N, *out_features)`.
    """

    num_classes: int
    out_features: tuple[int, ...]

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: object = None,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        rows = num_classes
        for size in self.out_features:
            rows *= size
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        shape = (self.num_classes, *self.out_features)
        weight, bias = self.linear.weight, self.linear.bias
        return F.linear_cross_entropy(
            input,
            weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """The sizes and options."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class BCELoss(_WeightedLoss):
    """Cross entropy of yes-or-no targets, given probabilities.

    Args:
        weight: of each element; broadcasts.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.

    Raises:
        RuntimeError: an input is not a probability.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Cross entropy of yes-or-no targets, given scores.

    Args:
        weight: of each element; broadcasts.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
        pos_weight: of the targets that are yes; broadcasts.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class SoftMarginLoss(_Loss):
    """`log(1 + exp(-y x))`, for targets of 1 and -1.

    Args:
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """The mean over the classes of their yes-or-no cross entropies.

    Args:
        weight: of each class.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(N, C)`, target the same; output `()`, or with `"none"` `(N,)`.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.multilabel_soft_margin_loss(
            input, target, weight=self.weight, reduction=self.reduction
        )


class CTCLoss(_Loss):
    """Connectionist temporal classification: labels of a sequence without their places.

    Args:
        blank: the class that is no label.
        reduction: `"mean"` (of the losses divided by the numbers of labels), `"sum"` or `"none"`.
        zero_infinity: whether labels that have no place count 0, and not infinity.

    Shape:
        log_probs `(T, N, C)` or `(T, C)`, targets `(N, S)` or `(sum of target_lengths,)`,
        input_lengths and target_lengths `(N,)`; output `()`, or with `"none"` `(N,)`.

    Raises:
        RuntimeError: shapes, lengths or types do not fit.

    Source: Graves et al. (2006), Connectionist Temporal Classification.
    """

    blank: int
    zero_infinity: bool

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        """The loss."""
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )


__all__ = [
    "CTCLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "MultiLabelSoftMarginLoss",
    "NLLLoss",
    "NLLLoss2d",
    "SoftMarginLoss",
]
