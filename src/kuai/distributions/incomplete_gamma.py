"""The regularised incomplete gamma function, and its derivative by the parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from kuai.autograd import Function
from kuai.core.base import wrap
from kuai.ops import special_kernels as special
from kuai.tensor import Tensor

# Above this the series takes thousands of terms, and the cube root of a gamma number is normal to
# within its precision.
_LARGE = 1e4


def _log_density(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        result: np.ndarray = np.where(
            (a == 1) & (x == 0), 0.0, (a - 1) * np.log(x) - x - special.lgamma(a)
        )
    return result


def lower(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`P(a, x)`, the probability that a gamma number of concentration `a` is at most `x`."""
    return _series(*np.broadcast_arrays(a, x))[0]


def density_and_slope(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The density at `x` of gamma numbers of concentration `a`, and `dP/da`."""
    a, x = np.broadcast_arrays(a, x)
    density = np.exp(_log_density(a, x))
    return density, np.where(a > _LARGE, -density * _normal_slope(a, x), _series(a, x)[1])


def _normal_slope(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`dx/da` at a fixed place, by the approximation of E. B. Wilson and M. M. Hilferty (1931)."""
    root = np.cbrt(x / a)
    n = (root - 1 + 1 / (9 * a)) * 3 * np.sqrt(a)
    slope: np.ndarray = root**3 + 3 * root**2 * (1 / (9 * a) - n / (6 * np.sqrt(a)))
    return slope


def _series(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`P` and `dP/da`, from `P = Σ x^(a+n) e^-x / Γ(a+n+1)` and its terms' derivatives."""
    total, slope = np.zeros(a.shape), np.zeros(a.shape)
    inside = (x > 0) & (a > 0) & np.isfinite(x) & (x < a + 60 + 40 * np.sqrt(a))
    if inside.any():
        total[inside], slope[inside] = _sum(a[inside], x[inside])
    total[(x > 0) & ~inside] = 1.0
    total[np.isnan(x) | np.isnan(a)] = np.nan
    return np.clip(total, 0, 1), slope


def _sum(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    term = np.exp(_log_density(a, x)) * x / a
    log_slope = np.log(x) - special.digamma(a + 1)
    total, slope = term.copy(), term * log_slope
    place = a + 1
    while True:
        term = term * (x / place)
        log_slope = log_slope - 1 / place
        total += term
        change = term * log_slope
        slope += change
        if ((place > x) & (np.abs(change) + term <= 1e-17 * (total + 1e-290))).all():
            return total, slope
        place = place + 1


class _GammaCdf(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(a, x)
        value = lower(a._payload.astype(np.float64), x._payload.astype(np.float64))
        return wrap(np.asarray(value).astype(x._payload.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        a, x = ctx.saved_tensors
        log_density = (a - 1) * x.log() - x - a.lgamma()
        _, slope = density_and_slope(a._payload.astype(np.float64), x._payload.astype(np.float64))
        return grad * wrap(slope.astype(x._payload.dtype)), grad * log_density.exp()


def gamma_cdf(a: Tensor, x: Tensor) -> Tensor:
    """`P(a, x)`, differentiable by both."""
    result: Tensor = _GammaCdf.apply(a, x)
    return result
