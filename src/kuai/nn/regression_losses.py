"""Losses between numbers and numbers, and between distributions."""

from __future__ import annotations

from kuai.nn import functional as F
from kuai.nn.loss import _Loss
from kuai.tensor import Tensor


class MSELoss(_Loss):
    """Squared error, `(x - y)²`.

    Args:
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Absolute error, `|x - y|`.

    Args:
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """Absolute error, but a parabola where it is less than `beta`.

    Args:
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
        beta: where the parabola ends; 0 gives `L1Loss`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.

    Source: Girshick (2015), Fast R-CNN.
    """

    beta: float

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """Half the squared error up to `delta`, and from there a straight line.

    Args:
        reduction: `"mean"`, `"sum"` or `"none"`.
        delta: where the parabola ends, positive.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.

    Source: Huber (1964), Robust Estimation of a Location Parameter.
    """

    delta: float

    def __init__(
        self,
        reduction: str = "mean",
        delta: float = 1.0,
    ) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence, `y (log y - x)`, of log probabilities x.

    Args:
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"batchmean"` (the mathematical definition), `"sum"` or `"none"`.
        log_target: whether the target is given by logarithms.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    log_target: bool

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    """Negative log likelihood of counts under a Poisson distribution.

    Args:
        log_input: whether the input is given by logarithms.
        full: whether to add Stirling's approximation of `log(y!)`.
        size_average: deprecated (see `reduction`).
        eps: what keeps the argument of the logarithm from 0.
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same; output `()`, or with `"none"` the input's.
    """

    log_input: bool
    full: bool
    eps: float

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.poisson_nll_loss(
            input,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


class GaussianNLLLoss(_Loss):
    """Negative log likelihood under normal distributions of given variances.

    Args:
        full: whether to add the constant `log(2π) / 2`.
        eps: the least variance.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Shape:
        input `(*)`, target the same, var the same or with the last dimension missing or 1;
        output `()`, or with `"none"` the input's.

    Raises:
        ValueError: a variance is negative, or `var` does not fit the input.
    """

    full: bool
    eps: float

    def __init__(
        self,
        *,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """The loss."""
        return F.gaussian_nll_loss(
            input, target, var, full=self.full, eps=self.eps, reduction=self.reduction
        )


__all__ = [
    "GaussianNLLLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
]
