"""Ordering and search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, checked_when_run, data_dependent, primitive
from kuai.core.tape import called
from kuai.ops import elementwise as e
from kuai.ops import movement, return_types
from kuai.ops.indexing import index_
from kuai.ops.movement import normalize_dim
from kuai.ops.out import takes_out
from kuai.ops.pointwise import to_dtype
from kuai.ops.reduce import all as all_
from kuai.ops.reduce import any_, pick, sum
from kuai.ops.rounding import isnan

if TYPE_CHECKING:
    from kuai.tensor import Tensor

FEW_TESTS = 32  # more are sorted, and searched


def _comparable(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype.kind == "V" else x


@primitive
class argsort_(Primitive):
    """The order that sorts the values along `dim`; stable, NaN as the greatest."""

    differentiable = False

    def kernel(self, x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
        if x.ndim == 0:
            return np.zeros((), np.int64)
        x = _comparable(x)
        if not descending:
            return np.argsort(x, dim, kind="stable")
        reversed_ = np.flip(np.argsort(np.flip(x, dim), dim, kind="stable"), dim)
        return x.shape[dim] - 1 - reversed_

    def before(self, emit, x, y, dim, descending):
        sooner, last = (emit.gt(x, y), x) if descending else (emit.lt(x, y), y)
        other = y if descending else x
        nan = emit.logical_and(emit.isnan(last), emit.logical_not(emit.isnan(other)))
        return emit.logical_or(sooner, nan)

    def infer(self, x: Meta, dim: int, descending: bool) -> Meta:
        return Meta(x.shape, dtypes.int64)


@takes_out
def argsort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Tensor:
    """The indices that sort the values along `dim`; always stable."""
    return argsort_(input, dim=normalize_dim(dim, input._payload.ndim), descending=descending)


@takes_out
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> return_types.Named:
    """The values in order along `dim`, and where they stood; always stable."""
    d = normalize_dim(dim, input._payload.ndim)
    index = argsort_(input, dim=d, descending=descending)
    return return_types.sort((called(pick(input, d, index, True), "SortBackward0"), index))


@takes_out
def msort(input: Tensor) -> Tensor:
    """The values in order along the first dimension."""
    return sort(input, 0).values


@takes_out
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> return_types.Named:
    """The `k` greatest (or least) values along `dim`, in order, and where they stand.

    Raises:
        RuntimeError: there are not so many.
    """
    d = normalize_dim(dim, input._payload.ndim)
    size = input._payload.shape[d] if input._payload.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError(f"selected index k out of range: k is {k}, dimension {d} has {size}")
    order = argsort_(input, dim=d, descending=largest)
    index = ops.narrow(order, d, 0, k).contiguous() if input._payload.ndim else order
    return return_types.topk((called(pick(input, d, index, True), "TopkBackward0"), index))


@takes_out
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> return_types.Named:
    """The `k`-th least value along `dim`, counted from 1, and where it stands.

    Raises:
        RuntimeError: there are not so many.
    """
    d = normalize_dim(dim, input._payload.ndim)
    size = input._payload.shape[d] if input._payload.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {d}: k is {k}, size {size}"
        )
    order = argsort_(input, dim=d, descending=False)
    return return_types.kthvalue(_at(input, order, d, k - 1, keepdim))


def _at(input: Tensor, order: Tensor, dim: int, k: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    index = ops.narrow(order, dim, k, 1).contiguous() if input._payload.ndim else order
    values = pick(input, dim, index, keepdim)
    if not keepdim and input._payload.ndim:
        index = movement.squeeze(index, dim)
    return values, index


@takes_out
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower of two; NaN where there is one. With `dim`, also where it stands."""
    if dim is None:
        if input._payload.size == 0:
            return wrap(np.full((), np.nan, input._payload.dtype))
        return called(median(movement.reshape(input, -1), 0).values, "MedianBackward0")
    d = normalize_dim(dim, input._payload.ndim)
    size = input._payload.shape[d] if input._payload.ndim else 1
    if size == 0:
        raise IndexError(f"median(): Expected reduction dim {d} to have non-zero size.")
    order = argsort_(input, dim=d, descending=False)
    middle = _at(input, order, d, (size - 1) // 2, True)
    captured = type(input._payload) is not np.ndarray
    if input.is_floating_point() and (captured or np.isnan(_comparable(input._payload)).any()):
        nan_first = e.where(isnan(input.detach()), math.inf, -math.inf)
        first = argsort_(nan_first, dim=d, descending=True)
        nan = _at(input, first, d, 0, True)
        has_nan = isnan(nan[0].detach())
        index = e.where(has_nan, nan[1], middle[1])
    else:
        index = middle[1]
    values = pick(input, d, index, keepdim)
    if not keepdim and input._payload.ndim:
        index = movement.squeeze(index, d)
    return return_types.median((called(values, "MedianBackward1"), index))


@takes_out
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of what is not NaN, the lower of two. With `dim`, also where it stands."""
    if dim is None:
        if input._payload.size == 0:
            return wrap(np.full((), np.nan, input._payload.dtype))
        return nanmedian(movement.reshape(input, -1), 0).values
    d = normalize_dim(dim, input._payload.ndim)
    order = argsort_(input, dim=d, descending=False)
    present = sum(e.logical_not(isnan(input.detach())), d, True)
    which = e.clamp((present - 1) // 2, min=0)
    index = pick(order, d, which, True)
    values = pick(input, d, index, keepdim)
    if not keepdim and input._payload.ndim:
        index = movement.squeeze(index, d)
    return return_types.nanmedian((values, index))


@takes_out
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> return_types.Named:
    """The commonest value along `dim`, the least of several, and the last place it stands at."""
    d = normalize_dim(dim, input._payload.ndim)
    if input._payload.ndim == 0:
        return return_types.mode((input.clone(), wrap(np.zeros((), np.int64))))
    kept = mode_index(input, dim=d)
    index = kept if keepdim else movement.squeeze(kept, d)
    return return_types.mode((pick(input, d, kept, keepdim), index))


@primitive
class mode_index(Primitive):
    """The last place along `dim` of the commonest value, the least of several; `dim` stays."""

    differentiable = False

    def kernel(self, x: np.ndarray, dim: int) -> np.ndarray:
        rows = np.moveaxis(_comparable(x), dim, -1)
        index = np.empty(rows.shape[:-1], np.int64)
        for place in np.ndindex(index.shape):
            values, counts = np.unique(rows[place], return_counts=True)
            index[place] = np.flatnonzero(rows[place] == values[counts.argmax()])[-1]
        return np.expand_dims(index, dim)

    def infer(self, x: Meta, dim: int) -> Meta:
        return Meta((*x.shape[:dim], 1, *x.shape[dim + 1 :]), dtypes.int64)


@takes_out
def quantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The values below which the fractions `q` of the values along `dim` lie.

    Raises:
        ValueError: a fraction outside [0, 1], or an unknown interpolation.
    """
    return _quantile(input, q, dim, keepdim, interpolation, False)


@takes_out
def nanquantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """As `quantile`, of what is not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


def _quantile(
    input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool
) -> Tensor:
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    scalar = not isinstance(q, TensorBase)
    fractions = wrap(np.asarray(q, input._payload.dtype)) if scalar else q
    if fractions._payload.ndim > 1:
        raise RuntimeError("quantile() q must be a scalar or 1D tensor")
    if not scalar and type(fractions._payload) is not np.ndarray:
        checked_when_run(
            lambda: all_((fractions >= 0) & (fractions <= 1)),
            RuntimeError,
            "quantile() q values must be in the range [0, 1]",
        )
    elif ((fractions._payload < 0) | (fractions._payload > 1)).any():
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    ndim = input._payload.ndim
    if dim is None:
        x, where_to = movement.reshape(input, -1), None
    else:
        where_to = normalize_dim(dim, ndim)
        x = movement.movedim(input, where_to, -1) if ndim else movement.reshape(input, -1)
    ordered = sort(x, -1).values
    nan = isnan(ordered.detach())
    count = sum(e.logical_not(nan), -1, True) if skip else None
    last = (count - 1).to(x.dtype) if count is not None else float(x._payload.shape[-1] - 1)
    if fractions._payload.ndim == 0:
        fractions = movement.reshape(fractions, 1)
        single = True
    else:
        single = False
    rank = (
        e.clamp(fractions * last, min=0)
        if skip
        else movement.expand_to(
            movement.reshape(fractions * last, (1,) * (x._payload.ndim - 1) + (-1,)),
            (*x._payload.shape[:-1], fractions._payload.shape[0]),
        )
    )
    if not skip:
        bad = any_(nan, dim=(x._payload.ndim - 1,), keepdim=True)
        rank = e.where(bad, float(x._payload.shape[-1] - 1), rank)
    from kuai.ops.gather import gather
    from kuai.ops.rounding import ceil, floor, round

    if interpolation == "nearest":
        result = gather(ordered, -1, round(rank).long())
    else:
        below = floor(rank)
        low = gather(ordered, -1, below.long())
        if interpolation == "lower":
            result = low
        else:
            high = gather(ordered, -1, ceil(rank).long())
            if interpolation == "higher":
                result = high
            elif interpolation == "midpoint":
                result = e.lerp(low, high, 0.5)
            else:
                result = e.lerp(low, high, rank - below)
    if single:
        result = movement.squeeze(result, -1)
        if keepdim:
            shape = [1] * ndim if where_to is None else list(input._payload.shape)
            if where_to is not None and ndim:
                shape[where_to] = 1
            result = movement.reshape(result, tuple(shape))
        return result
    result = movement.movedim(result, -1, 0)
    if keepdim and ndim:
        if where_to is None:
            result = movement.reshape(result, (-1,) + (1,) * ndim)
        else:
            result = movement.unsqueeze(result, where_to + 1)
    return result


# -- sets ------------------------------------------------------------------------------------------


class Unlisted(Primitive):
    """A primitive whose result's shape depends on values."""

    differentiable = False

    def infer(self, *metas: Meta, **parameters: Any) -> Meta:
        raise data_dependent(self.name)


@primitive
class unique_(Unlisted):
    """The different values (or slices along `dim`) in order, where each stands, and how often."""

    def kernel(self, x: np.ndarray, dim: int | None) -> Any:
        values, inverse, counts = np.unique(
            _comparable(x), return_inverse=True, return_counts=True, axis=dim, equal_nan=False
        )
        shape = x.shape if dim is None else (x.shape[dim],)
        return values.astype(x.dtype), inverse.reshape(shape), counts


@primitive
class unique_consecutive_(Unlisted):
    """The runs of equal values (or slices along `dim`), where each stands, and their lengths."""

    def kernel(self, x: np.ndarray, dim: int | None) -> Any:
        rows = x.reshape(-1) if dim is None else np.moveaxis(x, dim, 0)
        n = len(rows)
        starts = np.ones(n, np.bool_)
        if n > 1:
            differs = rows[1:] != rows[:-1]
            starts[1:] = differs.reshape(n - 1, -1).any(1)
        values = rows[starts]
        inverse = np.cumsum(starts) - 1
        counts = np.diff(np.append(np.flatnonzero(starts), n))
        if dim is None:
            return values, inverse.reshape(x.shape), counts
        return np.moveaxis(values, 0, dim), inverse, counts


def _chosen(parts: Any, inverse: bool, counts: bool) -> Any:
    if not inverse and not counts:
        return parts[0]
    return (parts[0], *((parts[1],) if inverse else ()), *((parts[2],) if counts else ()))


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different values (or slices along `dim`), in order."""
    d = None if dim is None else normalize_dim(dim, input._payload.ndim)
    return _chosen(unique_(input, dim=d), return_inverse, return_counts)


def unique_consecutive(
    input: Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The values (or slices along `dim`) with each run of equal ones made one."""
    d = None if dim is None else normalize_dim(dim, input._payload.ndim)
    return _chosen(unique_consecutive_(input, dim=d), return_inverse, return_counts)


@primitive
class bincount_(Unlisted):
    """How often each non-negative integer occurs, or the sum of its weights."""

    inputs = ("x", "weights")

    def kernel(self, x: np.ndarray, weights: Any, minlength: int) -> np.ndarray:
        result = np.bincount(x, weights, minlength)
        if weights is not None and weights.dtype == np.float32:
            return result.astype(np.float32)
        return result


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs, or the sum of its weights.

    Raises:
        RuntimeError: not a vector of non-negative integers.
        NotImplementedError: the numbers are floats.
    """
    x = input._payload
    if input.is_floating_point():
        raise NotImplementedError(f'"bincount_cpu" not implemented for {input.dtype.name}')
    if x.ndim != 1 or (type(x) is np.ndarray and x.size and x.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    return bincount_(input, weights, minlength=minlength)


def _common(a: dtypes.dtype, b: dtypes.dtype) -> dtypes.dtype:
    """The type in which NumPy compares two."""
    return dtypes.from_numpy_dtype(np.result_type(a.numpy, b.numpy))


@primitive
class searchsorted_(Primitive):
    """Where in the sorted rows the values belong."""

    inputs = ("boundaries", "x")
    here = ("x",)
    differentiable = False

    def kernel(self, boundaries: np.ndarray, x: np.ndarray, right: bool) -> np.ndarray:
        side: Any = "right" if right else "left"
        common = np.result_type(boundaries, x)
        b, v = boundaries.astype(common), x.astype(common)
        if b.ndim == 1:
            return np.asarray(np.searchsorted(b, v, side), np.int64)
        result = np.empty(v.shape, np.int64)
        for place in np.ndindex(b.shape[:-1]):
            result[place] = np.searchsorted(b[place], v[place], side)
        return result

    def pull(self, emit, at, boundaries, x, right):
        common = _common(boundaries.dtype, x.dtype)
        value = emit.cast(x, common)
        n = boundaries.shape[-1]
        row = at[: len(boundaries.shape) - 1]
        low = emit.const(0, dtypes.int64)  # so many boundaries lie before, for sure
        step = 1 << n.bit_length()
        while step := step // 2:
            probe = emit.add(low, step - 1)
            inside = emit.lt(probe, n)
            place = emit.where(inside, probe, 0)
            bound = emit.cast(boundaries.at(*row, place, where=inside), common)
            lies_before = emit.le(bound, value) if right else emit.lt(bound, value)
            nan = emit.isnan(value)  # as the greatest value
            if not right:
                nan = emit.logical_and(nan, emit.logical_not(emit.isnan(bound)))
            lies_before = emit.logical_and(inside, emit.logical_or(lies_before, nan))
            low = emit.where(lies_before, emit.add(low, step), low)
        return low

    def infer(self, boundaries: Meta, x: Meta, right: bool) -> Meta:
        return Meta(x.shape, dtypes.int64)


@takes_out
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where in `sorted_sequence` (the last dimension) the values would be put in.

    Raises:
        RuntimeError: the leading dimensions differ, or `side` contradicts `right`.
    """
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    x = input if isinstance(input, TensorBase) else wrap(np.asarray(input))
    if sorter is not None:
        from kuai.ops.gather import gather

        sorted_sequence = gather(sorted_sequence, -1, sorter)
    b = sorted_sequence._payload
    if b.ndim > 1 and b.shape[:-1] != x._payload.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            f"dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(b.shape)} and input value tensor {list(x._payload.shape)}"
        )
    result = searchsorted_(sorted_sequence, x, right=right or side == "right")
    return result.to(dtypes.int32) if out_int32 else result


@takes_out
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the bucket between sorted `boundaries` that each value falls into."""
    if boundaries._payload.ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries._payload.ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@primitive
class isin_(Primitive):
    """Whether each value is one of the test values."""

    inputs = ("x", "tests")
    differentiable = False

    def kernel(self, x: np.ndarray, tests: np.ndarray, invert: bool) -> np.ndarray:
        return np.isin(_comparable(x), _comparable(tests), invert=invert)

    def decompose(self, x: Tensor, tests: Tensor, invert: bool) -> Tensor:
        common = _common(x.dtype, tests.dtype)
        x, row = to_dtype(x, common), movement.reshape(to_dtype(tests, common), -1)
        n = row._payload.shape[0]
        if n <= FEW_TESTS:
            equal = e.eq(movement.unsqueeze(x, -1), row)
            is_in = any_(equal, dim=(x._payload.ndim,), keepdim=False)
        else:
            row = sort(row).values
            place = e.clamp(searchsorted_(row, x, right=False), max=n - 1)
            is_in = e.eq(index_(row, place, positions=(0,)), x)
        return e.logical_not(is_in) if invert else is_in

    def infer(self, x: Meta, tests: Meta, invert: bool) -> Meta:
        return Meta(x.shape, dtypes.bool_)


@takes_out
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is one of the test elements."""
    x = elements if isinstance(elements, TensorBase) else wrap(np.asarray(elements))
    tests = (
        test_elements if isinstance(test_elements, TensorBase) else wrap(np.asarray(test_elements))
    )
    return isin_(x, tests, invert=invert)


@takes_out
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many values fall into each of `bins` equal intervals."""
    return histogram_counts(input.detach(), bins=bins, low=min, high=max)


@primitive
class histogram_counts(Primitive):
    """How many values fall into each of `bins` equal intervals from `low` to `high`; from the least
    to the greatest value where these are equal.
    """

    differentiable = False

    def kernel(self, x: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
        if low == high:
            low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
        if low == high:
            low, high = low - 1, high + 1
        return np.histogram(x, bins, (low, high))[0].astype(x.dtype)

    def infer(self, x: Meta, bins: int, low: float, high: float) -> Meta:
        return Meta((bins,), x.dtype)


__all__ = [
    "argsort",
    "bincount",
    "bucketize",
    "histc",
    "isin",
    "kthvalue",
    "median",
    "mode",
    "msort",
    "nanmedian",
    "nanquantile",
    "quantile",
    "searchsorted",
    "sort",
    "topk",
    "unique",
    "unique_consecutive",
]
