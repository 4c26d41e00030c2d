"""Dropout layers: in training they set random elements, or channels, to zero."""

from __future__ import annotations

from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor


class _Dropout(Module):
    """What the dropout layers share.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Raises:
        ValueError: `p` is not a probability.
    """

    p: float
    inplace: bool

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The probability, and whether in place."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, each element is 0 with probability `p`, and scaled by `1 / (1 - p)` else.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input, some elements dropped."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """`Dropout` of whole channels of sequences.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(N, C, L)` or `(C, L)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input, some channels dropped."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of images.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(N, C, H, W)` or `(N, C, L)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input, some channels dropped."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """`Dropout` of whole channels of volumes.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input, some channels dropped."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1, for networks of `SELU`.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Klambauer et al. (2017), Self-Normalizing Neural Networks.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input, some elements at SELU's lower limit."""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels.

    Args:
        p: the probability of being dropped.
        inplace: whether to change the input itself.

    Shape:
        input `(N, C, *)`, output the same.

    Source: Klambauer et al. (2017), Self-Normalizing Neural Networks.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input, some channels at SELU's lower limit."""
        return F.feature_alpha_dropout(input, self.p, self.training)


__all__ = [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
]
