"""Layers that bring activations to a common scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai import dtypes, ops
from kuai.nn import functional as F
from kuai.nn import init
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter
from kuai.tensor import Tensor


def _as_shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, int):
        return (normalized_shape,)
    return tuple(normalized_shape)


class _Affine(Module):
    """A normalisation that may be followed by `y * weight + bias`."""

    weight: Tensor | None
    bias: Tensor | None

    def _make_parameters(
        self,
        shape: int | tuple[int, ...],
        weight: bool,
        bias: bool,
        device: Any,
        dtype: dtypes.dtype | None,
    ) -> None:
        for name, wanted in (("weight", weight), ("bias", bias)):
            values = ops.empty(shape, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(_Affine):
    """`(x - mean) / √(variance + eps) * weight + bias` over the last dimensions.

    Args:
        normalized_shape: the sizes of the last dimensions, over which to normalise.
        eps: what keeps the denominator from 0.
        elementwise_affine: whether there are weight and bias.
        bias: whether there is a bias, where there is a weight.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(*, *normalized_shape)`, output the same.

    Source: Ba et al. (2016), Layer Normalization.
    """

    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        bias = bias and elementwise_affine
        self._make_parameters(self.normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The sizes and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(_Affine):
    """`x / √(mean(x²) + eps) * weight` over the last dimensions.

    Args:
        normalized_shape: the sizes of the last dimensions, over which to normalise.
        eps: what keeps the denominator from 0; by default the input type's machine epsilon.
        elementwise_affine: whether there is a weight.
        device: of the weight.
        dtype: of the weight.

    Shape:
        input `(*, *normalized_shape)`, output the same.

    Source: Zhang and Sennrich (2019), Root Mean Square Layer Normalization.
    """

    normalized_shape: tuple[int, ...]
    eps: float | None
    elementwise_affine: bool
    bias = None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            values = ops.empty(self.normalized_shape, device=device, dtype=dtype)
            self.weight = Parameter(values)
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The sizes and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(_Affine):
    """Each sample's groups of channels brought to mean 0 and variance 1.

    Args:
        num_groups: a divisor of the number of channels.
        num_channels: the number of channels.
        eps: what keeps the denominator from 0.
        affine: whether there are weight and bias, one of each a channel.
        device: of the parameters.
        dtype: of the parameters.
        bias: whether there is a bias, where there is a weight.

    Shape:
        input `(N, num_channels, *)`, output the same.

    Raises:
        ValueError: the channels cannot be divided.

    Source: Wu and He (2018), Group Normalization.
    """

    num_groups: int
    num_channels: int
    eps: float
    affine: bool

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make_parameters(num_channels, affine, affine and bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The sizes and options."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """`x / (k + alpha * mean of x² over neighbouring channels) ** beta`.

    Args:
        size: the number of neighbouring channels.
        alpha: see the formula.
        beta: see the formula.
        k: see the formula.

    Shape:
        input `(N, C, *)`, output the same.

    Source: Krizhevsky et al. (2012), ImageNet Classification with Deep Convolutional Networks.
    """

    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The size and the constants."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


__all__ = ["GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]
