"""Recurrent cells, computed by eager mode in one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from kuai import ops
from kuai.core.fused import Fused
from kuai.core.primitive import Meta, primitive

Array = np.ndarray


def _sigmoid(x: Array) -> Array:
    result = np.negative(x)
    np.exp(result, out=result)
    result += 1
    return np.reciprocal(result, out=result)


@primitive
class fused_lstm(Fused):
    """The next h and c of an LSTM, one after the other in the last dimension, from its gates."""

    inputs = ("gates", "c")

    def kernel(self, gates: Array, c: Array) -> Array:
        n = c.shape[-1]
        (i, f, o), g = self._activated(gates, n)
        result = np.empty((*c.shape[:-1], 2 * n), c.dtype)
        h, c_next = result[..., :n], result[..., n:]
        np.multiply(f, c, out=c_next)
        c_next += i * g
        np.tanh(c_next, out=h)
        h *= o
        return result

    def infer(self, gates: Meta, c: Meta) -> Meta:
        return Meta((*c.shape[:-1], 2 * c.shape[-1]), c.dtype)

    def backward(self, grad: Array, gates: Array, c: Array) -> tuple[Array, Array]:
        n = c.shape[-1]
        (i, f, o), g = self._activated(gates, n)
        of_h, of_c = grad[..., :n], grad[..., n:]
        t = np.tanh(f * c + i * g)
        through = of_h * o
        through *= 1 - t * t
        through += of_c
        result = np.empty_like(gates)
        result[..., :n] = through * g * i * (1 - i)
        result[..., n : 2 * n] = through * c * f * (1 - f)
        result[..., 2 * n : 3 * n] = through * i * (1 - g * g)
        result[..., 3 * n :] = of_h * t * o * (1 - o)
        through *= f
        return result, through

    def decompose(self, gates: Any, c: Any) -> Any:
        i, f, g, o = ops.chunk(gates, 4, -1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.cat([ops.sigmoid(o) * ops.tanh(c), c], -1)

    def _activated(self, gates: Array, n: int) -> tuple[tuple[Array, Array, Array], Array]:
        s = _sigmoid(gates)
        g = np.tanh(gates[..., 2 * n : 3 * n])
        return (s[..., :n], s[..., n : 2 * n], s[..., 3 * n :]), g


@primitive
class fused_gru(Fused):
    """The next h of a GRU, from what its gates get of the input and of h."""

    inputs = ("x_gates", "h_gates", "h")

    def kernel(self, x_gates: Array, h_gates: Array, h: Array) -> Array:
        _, z, new = self._activated(x_gates, h_gates, h.shape[-1])
        result = h - new
        result *= z
        result += new
        return result

    def infer(self, x_gates: Meta, h_gates: Meta, h: Meta) -> Meta:
        return h

    def backward(
        self, grad: Array, x_gates: Array, h_gates: Array, h: Array
    ) -> tuple[Array, Array, Array]:
        n = h.shape[-1]
        r, z, new = self._activated(x_gates, h_gates, n)
        of_x = np.empty_like(x_gates)
        of_new = grad * (1 - z) * (1 - new * new)
        of_x[..., :n] = of_new * h_gates[..., 2 * n :] * r * (1 - r)
        of_x[..., n : 2 * n] = grad * (h - new) * z * (1 - z)
        of_x[..., 2 * n :] = of_new
        of_h_gates = of_x.copy()
        of_h_gates[..., 2 * n :] *= r
        return of_x, of_h_gates, grad * z

    def decompose(self, x_gates: Any, h_gates: Any, h: Any) -> Any:
        xr, xz, xn = ops.chunk(x_gates, 3, -1)
        hr, hz, hn = ops.chunk(h_gates, 3, -1)
        r, z = ops.sigmoid(xr + hr), ops.sigmoid(xz + hz)
        new = ops.tanh(xn + r * hn)
        return (h - new) * z + new

    def _activated(self, x_gates: Array, h_gates: Array, n: int) -> tuple[Array, Array, Array]:
        s = _sigmoid(x_gates[..., : 2 * n] + h_gates[..., : 2 * n])
        r, z = s[..., :n], s[..., n:]
        return r, z, np.tanh(x_gates[..., 2 * n :] + r * h_gates[..., 2 * n :])


__all__ = ["fused_gru", "fused_lstm"]
