"""Dropout: in training, random elements or channels are set to zero.

Source: Srivastava et al. (2014), Dropout: A Simple Way to Prevent Neural Networks from Overfitting.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import inplace as in_place
from kuai.errors import ShapeError
from kuai.ops.random import happens

if TYPE_CHECKING:
    from kuai.tensor import Tensor

# What a SELU network's activations saturate at: -scale * alpha.
ALPHA_PRIME = 1.7580993408473766


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, set each element to 0 with probability `p`, and scale the others by `1/(1-p)`.

    Raises:
        ValueError: `p` is not a probability.
    """
    _check(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    return in_place(input, _dropped, p) if inplace else _dropped(input, p)


def _dropped(x: Tensor, p: float, per_channel: bool = False) -> Tensor:
    if p == 1.0:
        return x * 0.0
    return x * _kept(x, p, per_channel, 1 / (1 - p))


def _kept(x: Tensor, p: float, per_channel: bool, value: float = 1.0) -> Tensor:
    """`value` with probability `1 - p`, else 0: for each element, or each channel of a sample."""
    shape = tuple(x.shape)
    if per_channel:
        if len(shape) < 2:
            raise ShapeError("Feature dropout requires at least 2 dimensions in the input")
        shape = shape[:2] + (1,) * (len(shape) - 2)
    kept = happens(1 - p, shape)
    if isinstance(kept, TensorBase):
        return kept.to(x.dtype) * value
    return wrap(np.multiply(kept, value, dtype=np.float32).astype(x._payload.dtype, copy=False))


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean and variance of a SELU network's activations.

    Raises:
        ValueError: `p` is not a probability.

    Source: Klambauer et al. (2017), Self-Normalizing Neural Networks.
    """
    return _alpha_dropout(input, p, training, inplace, per_channel=False)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels.

    Shape:
        input `(N, C, *)`; the result the same.
    """
    return _alpha_dropout(input, p, training, inplace, per_channel=True)


def _alpha_dropout(
    input: Tensor, p: float, training: bool, inplace: bool, per_channel: bool
) -> Tensor:
    _check(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if inplace:
        return in_place(input, _saturated, p, per_channel)
    return _saturated(input, p, per_channel)


def _saturated(x: Tensor, p: float, per_channel: bool) -> Tensor:
    if p == 1.0:
        return x * 0.0
    kept = _kept(x, p, per_channel)
    a = ((ALPHA_PRIME**2 * p + 1) * (1 - p)) ** -0.5
    return x * (kept * a) + ((kept - 1) * (ALPHA_PRIME * a) + ALPHA_PRIME * a * p)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels.

    Shape:
        input `(N, C, L)` or `(C, L)`; the result the same.
    """
    _check(p)
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input: "
            "a channel dimension, one spatial dimension, and an optional batch dimension"
        )
    return _feature_dropout(input, p, training, inplace, batched=input.ndim == 3)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels.

    Shape:
        input `(N, C, H, W)` or `(N, C, L)`; the result the same.
    """
    _check(p)
    if input.ndim not in (3, 4):
        _warn_of_dimensions("dropout2d", input.ndim, "3D or 4D")
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input, which is read as (N, C, L), not as (C, H, W). "
            "To keep that, use dropout1d.",
            stacklevel=2,
        )
    return _feature_dropout(input, p, training, inplace, batched=True)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`; the result the same.
    """
    _check(p)
    if input.ndim not in (4, 5):
        _warn_of_dimensions("dropout3d", input.ndim, "4D or 5D")
    return _feature_dropout(input, p, training, inplace, batched=input.ndim == 5)


def _warn_of_dimensions(name: str, ndim: int, expected: str) -> None:
    warnings.warn(
        f"{name}: Received a {ndim}-D input, which is deprecated and will be an error in a "
        f"future release: {expected} inputs are expected. To keep the behavior, use dropout.",
        stacklevel=3,
    )


def _feature_dropout(
    input: Tensor, p: float, training: bool, inplace: bool, batched: bool
) -> Tensor:
    if not training or p == 0.0 or input.numel() == 0:
        return input
    function = _dropped_channels if batched else _dropped_channels_of_one
    return in_place(input, function, p) if inplace else function(input, p)


def _dropped_channels(x: Tensor, p: float) -> Tensor:
    return _dropped(x, p, per_channel=True)


def _dropped_channels_of_one(x: Tensor, p: float) -> Tensor:
    return _dropped(x.unsqueeze(0), p, per_channel=True).squeeze(0)
