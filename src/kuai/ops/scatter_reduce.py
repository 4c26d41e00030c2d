"""Values combined at positions that may repeat: `scatter_reduce` and `index_reduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.core.base import wrap
from kuai.core.primitive import Meta, primitive
from kuai.dtypes import int64
from kuai.errors import DtypeError, ShapeError
from kuai.ops import movement
from kuai.ops.creation import full
from kuai.ops.elementwise import clamp, eq, where
from kuai.ops.gather import (
    AlongIndex,
    check_range,
    gather_,
    index_vector,
    scatter_,
    scatter_add_,
    scattered,
)
from kuai.ops.masking import masked_fill
from kuai.ops.movement import normalize_dim
from kuai.ops.pointwise import cast, write_out
from kuai.ops.scattering import flat_positions

if TYPE_CHECKING:
    from kuai.tensor import Tensor

_COMBINE: dict[str, Any] = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "amax": np.maximum,
    "amin": np.minimum,
}


def _start(reduce: str, dtype: np.dtype) -> Any:
    """The value that leaves every other as it is, under a reduction."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.kind == "b":
        return reduce == "amin"
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return limits.min if reduce == "amax" else limits.max
    return -np.inf if reduce == "amax" else np.inf


class ScatterReduce(AlongIndex):
    """`x` with `src`, of the shape of `index`, combined in at `index` along `dim`."""

    def kernel(
        self,
        x: np.ndarray,
        index: np.ndarray,
        src: np.ndarray,
        dim: int,
        reduce: str,
        include_self: bool,
    ) -> np.ndarray:
        check_range(index, x.shape[dim], dim)
        result = x.copy()
        flat = result.reshape(-1)
        positions = flat_positions(index, dim, x.shape).reshape(-1)
        if not include_self:
            flat[positions] = _start(reduce, x.dtype)
        _COMBINE[reduce].at(flat, positions, src.reshape(-1))
        if reduce == "mean":
            count = np.bincount(positions, minlength=flat.size) + (1 if include_self else 0)
            count = np.maximum(count, 1).astype(x.dtype)
            divide = np.floor_divide if x.dtype.kind in "iu" else np.true_divide
            divide(flat, count, out=flat, casting="unsafe")
        return result

    def infer(
        self, x: Meta, index: Meta, src: Meta, dim: int, reduce: str, include_self: bool
    ) -> Meta:
        return x

    def gradient(self, grad, result, x, index, src, dim, reduce, include_self):
        if reduce == "sum":
            of_x, of_src = grad, gather_(grad, index, dim=dim)
        elif reduce == "mean":
            of_x, of_src = _of_mean(grad, index, src, dim, include_self)
        elif reduce == "prod":
            of_x, of_src = _of_product(grad, result, x, index, src, dim, include_self)
        else:
            of_x, of_src = _of_extremum(grad, result, x, index, src, dim)
        if not include_self:
            of_x = scatter_(of_x, index, _constant(0, index, grad), dim=dim)
        return of_x, None, of_src


@primitive
class scatter_combine(ScatterReduce):
    """What is there already counts, and no mean is taken: the part that has a native form."""

    gradient_name = "ScatterReduceBackward0"

    def meet(self, emit, old, new, dim, reduce, include_self):
        combine = {"sum": emit.add, "prod": emit.mul, "amax": emit.max, "amin": emit.min}
        return combine[reduce](old, new)


@primitive
class scatter_reduce_(ScatterReduce):
    """`x` with `src`, of the shape of `index`, combined in at `index` along `dim`."""

    def decompose(
        self, x: Tensor, index: Tensor, src: Tensor, dim: int, reduce: str, include_self: bool
    ) -> Tensor:
        start = x
        if not include_self:
            neutral = _constant(_start(reduce, x.dtype.numpy), index, x)
            start = scatter_(x, index, neutral, dim=dim)
        how = "sum" if reduce == "mean" else reduce
        total = scatter_combine(start, index, src, dim=dim, reduce=how, include_self=True)
        if reduce != "mean":
            return total
        ones = movement.expand_to(wrap(np.ones((), np.int64)), index._payload.shape)
        count = full(x._payload.shape, int(include_self), dtype=int64)
        count = clamp(scatter_add_(count, index, ones, dim=dim), min=1)
        if x.is_floating_point():
            return total / cast(count, dtype=x.dtype)
        return total // cast(count, dtype=x.dtype)


def _constant(value: float, index: Tensor, like: Tensor) -> Tensor:
    """One value in the shape of `index` and the type of `like`."""
    return movement.expand_to(wrap(np.asarray(value, like._payload.dtype)), index._payload.shape)


def _of_mean(
    grad: Tensor, index: Tensor, src: Tensor, dim: int, include_self: bool
) -> tuple[Tensor, Tensor]:
    count = wrap(np.full(grad._payload.shape, int(include_self), grad._payload.dtype))
    count = scatter_add_(count, index, _constant(1, index, grad), dim=dim)
    share = grad / masked_fill(count, eq(count, 0), 1)
    return share, gather_(share, index, dim=dim)


def _of_product(
    grad: Tensor,
    result: Tensor,
    x: Tensor,
    index: Tensor,
    src: Tensor,
    dim: int,
    include_self: bool,
) -> tuple[Tensor, Tensor]:
    def product(of: Tensor, with_: Tensor) -> Tensor:
        return scatter_reduce_(of, index, with_, dim=dim, reduce="prod", include_self=include_self)

    # Dividing the product by a factor is not possible where the factor is 0: there, the product
    # is taken again with 1 in its place, which is right where it is the only 0.
    nonzero_x = masked_fill(x, eq(x, 0), 1)
    of_x = grad * product(nonzero_x, src) / nonzero_x
    zero = eq(src, 0)
    zeros = scatter_add_(
        wrap(np.zeros(x._payload.shape, grad._payload.dtype)),
        index,
        cast(zero, dtype=grad.dtype),
        dim=dim,
    )
    alone = zero & eq(gather_(zeros, index, dim=dim), 1)
    without = product(x, masked_fill(src, alone, 1))
    of_src = where(
        alone,
        gather_(grad * without, index, dim=dim),
        gather_(grad * result, index, dim=dim) / masked_fill(src, zero, 1),
    )
    return of_x, of_src


def _of_extremum(
    grad: Tensor, result: Tensor, x: Tensor, index: Tensor, src: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    x_is = cast(eq(x, result), dtype=grad.dtype)
    src_is = cast(eq(src, gather_(result, index, dim=dim)), dtype=grad.dtype)
    share = grad / scatter_add_(x_is, index, src_is, dim=dim)
    return where(eq(x_is, 0), 0.0, share), src_is * gather_(share, index, dim=dim)


def scatter_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """`input` with the elements of `src` combined in at `index` along `dim`.

    Args:
        input: the tensor.
        dim: the dimension that the index counts along.
        index: integers, of as many dimensions as `input`.
        src: a tensor at least as large as `index`.
        reduce: `"sum"`, `"prod"`, `"mean"`, `"amax"` or `"amin"`.
        include_self: whether what is there already counts.
        out: where to store the result.

    Raises:
        RuntimeError: types or shapes do not fit, an index is out of bounds, or another `reduce`.
    """
    if reduce not in _COMBINE:
        raise RuntimeError(
            "reduce argument must be either sum, prod, mean, amax or amin, got " + str(reduce)
        )
    result = scattered(
        scatter_reduce_,
        "scatter",
        input,
        dim,
        index,
        src,
        reduce=reduce,
        include_self=include_self,
    )
    return result if out is None else write_out(out, result)


def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """`input` with the slices of `source` combined in at `index` along `dim`.

    Args:
        input: the tensor.
        dim: the dimension.
        index: a vector, with a position for each slice of `source`.
        source: the slices.
        reduce: `"prod"`, `"mean"`, `"amax"` or `"amin"`.
        include_self: whether what is there already counts.
        out: where to store the result.

    Raises:
        RuntimeError: types or shapes do not fit, an index is out of bounds, or another `reduce`.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either prod, mean, amax or amin, got {reduce}."
        )
    if source.dtype is not input.dtype:
        raise DtypeError("index_reduce_(): self and source must have the same scalar type")
    shape, have = input._payload.shape, source._payload.shape
    dim = normalize_dim(dim, len(shape))
    index = index_vector("index_reduce_", index)
    count = index._payload.shape[0]
    if (have or (1,))[dim] != count:
        raise ShapeError(
            f"index_reduce_(): Number of indices ({count}) should be equal to source.size(dim) "
            f"({(have or (1,))[dim]}), for dim: {dim}"
        )
    along = [1] * max(len(have), 1)
    along[dim] = count
    wide = movement.expand(movement.reshape(index, along), have or (1,))
    source = movement.reshape(source, have or (1,))
    x = movement.reshape(input, shape or (1,))
    result = scattered(
        scatter_reduce_,
        "index_reduce",
        x,
        dim,
        wide,
        source,
        reduce=reduce,
        include_self=include_self,
    )
    if not shape:
        result = movement.reshape(result, shape)
    return result if out is None else write_out(out, result)


__all__ = ["index_reduce", "scatter_reduce"]
