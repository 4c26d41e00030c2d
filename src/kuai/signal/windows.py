"""Windows of signal processing, as in `torch.signal.windows`.

All take `M`, the number of elements, and `sym`: whether the window is symmetric, or one period of
a periodic one; `dtype` is float32 or float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai import dtypes, ops
from kuai.tensor import Tensor


def _window(
    name: str, M: int, shape: Callable[[np.ndarray], np.ndarray], options: dict[str, Any]
) -> Tensor:
    """`shape` of the numbers from 0 to M - 1.

    Raises:
        ValueError: a negative length, or a type that is not float32 or float64.
    """
    d = dtypes.named(options.pop("dtype", None)) or dtypes.get_default_dtype()
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if d not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {d}")
    requires_grad = options.pop("requires_grad", False)
    values = shape(np.arange(M)) if M else np.zeros(0)
    return ops.creation.finish(values.astype(d.numpy), requires_grad, options)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, **options: Any
) -> Tensor:
    """`exp(-|n - center| / tau)`.

    Raises:
        ValueError: `tau` is not positive, or a symmetric window has a `center` of its own.
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = (M if not sym and M > 1 else M - 1) / 2.0 if center is None else center
    return _window("exponential", M, lambda n: np.exp(-np.abs(n - middle) / tau), options)


def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Half a wave: `sin(π (n + 1/2) / M)`."""
    wide = M + 1 if not sym and M > 1 else M
    return _window("cosine", M, lambda n: np.sin((n + 0.5) * math.pi / wide), options)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """`exp(-(n / std)² / 2)`, n counted from the middle.

    Raises:
        ValueError: `std` is not positive.
    """
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    middle = (M if not sym and M > 1 else M - 1) / 2.0
    return _window("gaussian", M, lambda n: np.exp(-(((n - middle) / std) ** 2) / 2), options)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """`i0(beta sqrt(1 - t²)) / i0(beta)`, t from -1 to 1; i0 is Bessel's modified function.

    Raises:
        ValueError: `beta` is negative.
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def shape(n: np.ndarray) -> np.ndarray:
        t = _from_edge_to_edge(n, M, sym)
        return np.asarray(np.i0(beta * np.sqrt(np.maximum(1 - t * t, 0))) / np.i0(beta))

    return _window("kaiser", M, shape, options)


def bartlett(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """A triangle: `1 - |t|`, t from -1 to 1."""
    return _window("bartlett", M, lambda n: 1 - np.abs(_from_edge_to_edge(n, M, sym)), options)


def _from_edge_to_edge(n: np.ndarray, M: int, sym: bool) -> np.ndarray:
    """Numbers from -1 to 1, 0 where there is only one."""
    return n * 0.0 if M == 1 else n * (2 / ((M - 1) if sym else M)) - 1


def general_cosine(M: int, *, a: Sequence[float], sym: bool = True, **options: Any) -> Tensor:
    """A sum of cosines, `sum of (-1)ⁱ aᵢ cos(2 π i n / (M - 1))`.

    Raises:
        TypeError: the coefficients are no list.
        ValueError: there are none.
    """
    if not isinstance(a, Sequence):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")

    def shape(n: np.ndarray) -> np.ndarray:
        if M == 1:
            return np.ones(1)
        t = n * (2 * math.pi / ((M - 1) if sym else M))
        total = np.zeros(len(n))
        for i, weight in enumerate(a):
            total += (-1) ** i * weight * np.cos(i * t)
        return total

    return _window("general_cosine", M, shape, options)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """`alpha - (1 - alpha) cos(2 π n / (M - 1))`."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """`0.54 - 0.46 cos(2 π n / (M - 1))`."""
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """`0.5 - 0.5 cos(2 π n / (M - 1))`."""
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """`0.42 - 0.5 cos(t) + 0.08 cos(2 t)`, t from 0 to 2 π."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Nuttall's sum of four cosines, with little at the side (Heinzel et al., 2002)."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)


__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]
