"""Softmax layers: scores to probabilities along one dimension."""

from __future__ import annotations

from kuai.errors import ShapeError
from kuai.nn import functional as F
from kuai.nn.module import Module
from kuai.tensor import Tensor


class _AlongOneDimension(Module):
    """What the softmax layers share."""

    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


class Softmax(_AlongOneDimension):
    """`exp(x)`, divided by its sum along `dim`.

    Args:
        dim: the dimension along which the results sum to 1.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The probabilities."""
        return F.softmax(input, self.dim, _stacklevel=5)


class Softmin(_AlongOneDimension):
    """`softmax(-x)`.

    Args:
        dim: the dimension along which the results sum to 1.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The probabilities."""
        return F.softmin(input, self.dim, _stacklevel=5)


class LogSoftmax(_AlongOneDimension):
    """`log(softmax(x))`, computed without loss of precision.

    Args:
        dim: the dimension of the classes.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The logarithms of the probabilities."""
        return F.log_softmax(input, self.dim, _stacklevel=5)


class Softmax2d(Module):
    """Softmax over the channels, at each place of an image.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same.

    Raises:
        ShapeError: the input has neither 3 nor 4 dimensions.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The probabilities."""
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3, _stacklevel=5)


__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]
