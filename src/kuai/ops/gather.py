"""Elements picked along a dimension, and put back: gather, scatter, and the `index_*` functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import DtypeError, ShapeError
from kuai.ops import movement
from kuai.ops.movement import normalize_dim
from kuai.ops.pointwise import Number, as_operand, write_out
from kuai.ops.scattering import add_rows, flat_positions
from kuai.ops.slicing import slice_

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _check_range(index: np.ndarray, n: int, dim: int, error: type[Exception] = RuntimeError) -> None:
    if index.size and (index.min() < 0 or index.max() >= n):
        wrong = int(index[(index < 0) | (index >= n)].flat[0])
        raise error(f"index {wrong} is out of bounds for dimension {dim} with size {n}")


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return wrap(np.zeros(shape, like._payload.dtype))


# -- gather and scatter ------------------------------------------------------------------------


@primitive
class gather_(Primitive):
    """`x` at `index` along `dim`, and at the position itself along the other dimensions."""

    inputs = ("x", "index")

    def kernel(self, x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
        _check_range(index, x.shape[dim], dim)
        if x.flags.c_contiguous:
            return x.reshape(-1)[flat_positions(index, dim, x.shape)]
        part = tuple([slice(n if d != dim else None) for d, n in enumerate(index.shape)])
        return np.take_along_axis(x[part], index, dim)

    def infer(self, x: Meta, index: Meta, dim: int) -> Meta:
        return Meta(index.shape, x.dtype)

    def gradient(self, grad, x_shape, index, dim):
        return lambda: scatter_add_(_zeros(x_shape, grad), index, grad, dim=dim), None


@primitive
class scatter_(Primitive):
    """`x` with `src`, of the shape of `index`, stored at `index` along `dim`."""

    inputs = ("x", "index", "src")

    def kernel(
        self, x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int
    ) -> np.ndarray:
        _check_range(index, x.shape[dim], dim)
        result = x.copy()
        result.reshape(-1)[flat_positions(index, dim, x.shape)] = src
        return result

    def infer(self, x: Meta, index: Meta, src: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, index, dim):
        zero = wrap(np.zeros((), grad._payload.dtype))
        return (
            lambda: scatter_(
                grad, index, movement.expand_to(zero, index._payload.shape), dim=dim
            ),
            None,
            lambda: gather_(grad, index, dim=dim),
        )


@primitive
class scatter_add_(Primitive):
    """`x` with `src`, of the shape of `index`, added at `index` along `dim`."""

    inputs = ("x", "index", "src")

    def kernel(
        self, x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int
    ) -> np.ndarray:
        _check_range(index, x.shape[dim], dim)
        result = np.array(x, order="C")
        np.add.at(
            result.reshape(-1), flat_positions(index, dim, x.shape).reshape(-1), src.reshape(-1)
        )
        return result

    def infer(self, x: Meta, index: Meta, src: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, index, dim):
        return grad, None, lambda: gather_(grad, index, dim=dim)
