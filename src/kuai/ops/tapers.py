"""The windows of signal processing, which taper off towards both ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.ops.creation import finish

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _window(
    length: int,
    periodic: bool,
    shape: Callable[[np.ndarray], np.ndarray],
    dtype: dtypes.dtype | None,
    requires_grad: bool,
    options: dict[str, Any],
) -> Tensor:
    """`shape` of evenly spaced numbers from -1 to 1, without the last one where periodic."""
    d = dtype or dtypes.get_default_dtype()
    if length < 0:
        raise RuntimeError(f"the window_length must be non-negative, got {length}")
    if not d.is_floating_point:
        raise RuntimeError(f"windows are of floating point types, got {d.name}")
    if length <= 1:
        values = np.ones(length)
    else:
        values = shape(np.linspace(-1, 1, length + periodic))[:length]
    return finish(values.astype(d.numpy), requires_grad, options)


def hann_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """A raised cosine: `0.5 + 0.5 cos(πt)`, t from -1 to 1."""
    return hamming_window(
        window_length, periodic, 0.5, 0.5, dtype=dtype, requires_grad=requires_grad, **options
    )


def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """`alpha + beta cos(πt)`, t from -1 to 1."""
    return _window(
        window_length,
        periodic,
        lambda t: alpha + beta * np.cos(math.pi * t),
        dtype,
        requires_grad,
        options,
    )


def blackman_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """`0.42 + 0.5 cos(πt) + 0.08 cos(2πt)`, t from -1 to 1."""
    return _window(
        window_length,
        periodic,
        lambda t: 0.42 + 0.5 * np.cos(math.pi * t) + 0.08 * np.cos(2 * math.pi * t),
        dtype,
        requires_grad,
        options,
    )


def bartlett_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """A triangle: `1 - |t|`, t from -1 to 1."""
    return _window(window_length, periodic, lambda t: 1 - np.abs(t), dtype, requires_grad, options)


def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """`i0(beta sqrt(1 - t²)) / i0(beta)`, t from -1 to 1; i0 is Bessel's modified function."""
    return _window(
        window_length,
        periodic,
        lambda t: np.i0(beta * np.sqrt(np.maximum(1 - t * t, 0))) / np.i0(beta),
        dtype,
        requires_grad,
        options,
    )


__all__ = [
    "bartlett_window",
    "blackman_window",
    "hamming_window",
    "hann_window",
    "kaiser_window",
]
