"""Reductions over dimensions, and running totals along one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.fused import compute
from kuai.core.primitive import SILENT, Meta, Primitive, primitive, silence, unsilence
from kuai.core.tape import called
from kuai.ops import elementwise as e
from kuai.ops import movement, return_types
from kuai.ops.fused_reductions import (
    count,
    fused_logsumexp,
    fused_std,
    fused_var,
    log_softmax_,
    mean_,
    reduced_shape,
    spread,
    total,
)
from kuai.ops.out import takes_out, write_out
from kuai.ops.pointwise import Number, sum_to, to_dtype
from kuai.ops.rounding import isnan

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Dim = int | Sequence[int] | None


_ALL = [tuple(range(n)) for n in range(65)]


def normalize_dims(dim: Dim, ndim: int) -> tuple[int, ...]:
    """The dimensions as a tuple of non-negative ints; all of them for `None` or `()`.

    Raises:
        IndexError: a dimension is out of range.
        RuntimeError: one appears twice.
    """
    if dim is None:
        return _ALL[ndim]
    if isinstance(dim, (int, np.integer)):
        d = movement.normalize_dim(dim, ndim)
        return (d,) if ndim else ()
    dims = tuple([movement.normalize_dim(d, ndim) for d in dim])
    if not dims:
        return tuple(range(ndim))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dims[0]} appears multiple times in the list of dims")
    return dims if ndim else ()


def restore(x: Tensor, shape: Sequence[int], dim: Sequence[int], keepdim: bool) -> Tensor:
    """Give a reduced tensor its reduced dimensions back, with size 1."""
    if keepdim or not dim:
        return x
    return movement.reshape(x, reduced_shape(shape, dim, True))


class Reduction(Primitive):
    """A primitive that reduces over `dim`, a tuple of non-negative dimensions."""

    def infer(self, x: Meta, dim: tuple[int, ...], keepdim: bool) -> Meta:
        return Meta(reduced_shape(x.shape, dim, keepdim), x.dtype)


def _own_type(x: np.ndarray) -> np.dtype | None:
    """What NumPy is told to compute in, which takes a wider type for small integers by itself."""
    return None if x.dtype.kind == "f" else x.dtype


_FEW = 256
# The product with ones sums a few values in half of the time that NumPy's reduction takes.
_ONES = {
    ones.dtype: [ones[:n] for n in range(_FEW + 1)]
    for ones in (np.ones(_FEW, np.float32), np.ones(_FEW, np.float64))
}


@primitive
class sum_(Reduction):
    """Sum."""

    gradient_name = "SumBackward0"

    def kernel(self, x: np.ndarray, dim: tuple[int, ...], keepdim: bool) -> Any:
        if x.dtype.itemsize == 2 and x.dtype.kind in "fV":  # summed in float32
            total: Any = np.add.reduce(x, dim, np.float32, None, keepdim)  # type: ignore[call-overload]
            return total.astype(x.dtype)
        if x.size <= _FEW and not keepdim and x.dtype in _ONES:
            if len(dim) == x.ndim:
                return x.ravel().dot(_ONES[x.dtype][x.size])
            if x.ndim == 2 and dim == (0,):
                return _ONES[x.dtype][len(x)].dot(x)
        return np.add.reduce(x, dim, _own_type(x), None, keepdim)  # type: ignore[call-overload]

    def to_shape(self, grad: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The gradient of a broadcast input: summed over what broadcasting added."""
        return sum_to(grad, shape)

    def gradient(self, grad, x_shape, dim, keepdim):
        return movement.expand_to(restore(grad, x_shape, dim, keepdim), x_shape)

    def backward(self, grad, x_shape, dim, keepdim):
        return movement.expanded(spread(grad, x_shape, dim, keepdim), x_shape)

    def identity(self, dtype):
        return 0

    def combine(self, emit, x, y):
        return emit.add(x, y)


def _as_summand(input: Tensor, dtype: dtypes.dtype | None) -> Tensor:
    if dtype is not None:
        return to_dtype(input, dtype)
    if input._payload.dtype.kind in "iub":
        return to_dtype(input, dtypes.int64)
    return input


_TOTAL = [{"dim": dims, "keepdim": False} for dims in _ALL]


def sum(
    input: Tensor,
    dim: Dim = None,
    keepdim: bool = False,
    *,
    axis: Dim = None,
    dtype: dtypes.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Sum over `dim` (one or several dimensions; all by default). Integers sum in int64."""
    if not isinstance(input, TensorBase):
        raise TypeError(f"sum(): argument 'input' must be Tensor, not {type(input).__name__}")
    x = input
    if (
        dim is None
        and axis is None
        and dtype is None
        and out is None
        and primitives.intercept is None
    ):
        array = x._payload
        ones = _ONES.get(array.dtype)
        if ones is not None and not keepdim and array.size <= _FEW:
            token = silence(SILENT)
            try:
                payload = array.ravel().dot(ones[array.size])
            finally:
                unsilence(token)
            return sum_.finish_one(payload, x, _TOTAL[array.ndim])  # type: ignore[call-arg]
    if dtype is not None or x._payload.dtype.kind in "iub":
        x = _as_summand(input, dtype)
    along = axis if dim is None else dim
    result = sum_(x, dim=normalize_dims(along, x._payload.ndim), keepdim=keepdim)
    if along is not None:
        called(result, "SumBackward1")
    return result if out is None else write_out(out, result)


def _need_float(name: str, input: Tensor) -> None:
    if not isinstance(input, TensorBase):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")
    if not input.is_floating_point():
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point "
            f"or complex dtype. Got: {input.dtype.name}"
        )


def mean(
    input: Tensor,
    dim: Dim = None,
    keepdim: bool = False,
    *,
    axis: Dim = None,
    dtype: dtypes.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Mean over `dim` (one or several dimensions; all by default).

    Raises:
        RuntimeError: the input is not floating.
    """
    x = input if dtype is None else to_dtype(input, dtype)
    _need_float("mean", x)
    along = axis if dim is None else dim
    result = compute(mean_, x, dim=normalize_dims(along, x._payload.ndim), keepdim=keepdim)
    called(result, "MeanBackward0" if along is None else "MeanBackward1")
    return result if out is None else write_out(out, result)


@takes_out
def nansum(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Sum over `dim`, with NaN counted as zero."""
    x = _as_summand(input, dtype)
    return sum(e.where(isnan(x), 0, x), dim, keepdim)


@takes_out
def nanmean(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Mean over `dim` of what is not NaN."""
    _need_float("nanmean", input)
    count = sum(e.logical_not(isnan(input.detach())), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """The number of values that are not zero."""
    return sum(e.ne(input, 0), dim)


# -- products ------------------------------------------------------------------------------------


@primitive
class prod_(Reduction):
    """Product."""

    gradient_name = "ProdBackward0"

    def kernel(self, x: np.ndarray, dim: tuple[int, ...], keepdim: bool) -> Any:
        if x.dtype.kind == "b":
            return np.logical_and.reduce(x, dim, None, None, keepdim)  # type: ignore[call-overload]
        return np.multiply.reduce(x, dim, _own_type(x), None, keepdim)  # type: ignore[call-overload]

    def gradient(self, grad, x, result, dim, keepdim):
        shape = x._payload.shape
        grad = movement.expand_to(restore(grad, shape, dim, keepdim), shape)
        if type(x._payload) is np.ndarray and not (x._payload == 0).any():
            return grad * (restore(result, shape, dim, keepdim) / x)
        return grad * _product_of_others(x, dim)

    def identity(self, dtype):
        return 1

    def combine(self, emit, x, y):
        return emit.mul(x, y)


def _product_of_others(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """For each value, the product of the others along `dim`, without dividing by it."""
    ndim = x._payload.ndim
    kept = [d for d in range(ndim) if d not in dim]
    order = (*kept, *dim)
    moved = movement.permute(x, order)
    shape = moved._payload.shape
    flat = movement.reshape(moved, (*shape[: len(kept)], -1))
    n = flat._payload.shape[-1]
    before = cumprod(_shift(flat, n), -1)
    after = ops.flip(cumprod(_shift(ops.flip(flat, (-1,)), n), -1), (-1,))
    inverse = [order.index(d) for d in range(ndim)]
    return movement.permute(movement.reshape(before * after, shape), inverse)


def _shift(x: Tensor, n: int) -> Tensor:
    """The values moved on by one along the last dimension, with a one in front."""
    from kuai.ops.joining import cat

    first = ops.narrow(x, -1, 0, 1) if n else x
    one = wrap(np.ones(first._payload.shape, first._payload.dtype))
    return cat([one, ops.narrow(x, -1, 0, n - 1)], -1) if n else x


@takes_out
def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Product over `dim` (one dimension; all by default). Integers multiply in int64."""
    x = _as_summand(input, dtype)
    result = prod_(x, dim=normalize_dims(dim, x._payload.ndim), keepdim=keepdim)
    return result if dim is None else called(result, "ProdBackward1")


# -- extremes ------------------------------------------------------------------------------------


def _need_values(name: str, x: np.ndarray | Meta, dim: Sequence[int]) -> None:
    for d in dim:
        if x.shape[d] == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim {d} to have non-zero size; "
                f"the shape is {list(x.shape)}"
            )


def _limit(dtype: dtypes.dtype, greatest: bool) -> Number:
    """The greatest or the least value of a type."""
    if dtype.category == dtypes.BOOL:
        return greatest
    if dtype.category == dtypes.FLOATING:
        return math.inf if greatest else -math.inf
    info = dtypes.iinfo(dtype)
    return info.max if greatest else info.min


class Extreme(Reduction):
    """The least or greatest; equal ones share the gradient."""

    ufunc: Any

    def kernel(self, x: np.ndarray, dim: tuple[int, ...], keepdim: bool) -> Any:
        if x.size == 0:
            _need_values(self.name, x, dim)
        return type(self).ufunc.reduce(x, dim, None, None, keepdim)

    def infer(self, x: Meta, dim: tuple[int, ...], keepdim: bool) -> Meta:
        _need_values(self.name, x, dim)
        return super().infer(x, dim, keepdim)

    def gradient(self, grad, x, result, dim, keepdim):
        shape = x._payload.shape
        result = restore(result.detach(), shape, dim, keepdim)
        chosen = e.eq(x, result)
        if x.is_floating_point():
            chosen = e.logical_or(chosen, e.logical_and(isnan(x), isnan(result)))
        share = to_dtype(chosen, x.dtype)
        grad = restore(grad, shape, dim, keepdim)
        return share * (grad / sum_(share, dim=dim, keepdim=True))


@primitive
class amax_(Extreme):
    """The greatest."""

    gradient_name = "AmaxBackward0"
    ufunc = np.maximum

    def identity(self, dtype):
        return _limit(dtype, greatest=False)

    def combine(self, emit, x, y):
        return emit.max(x, y)


@primitive
class amin_(Extreme):
    """The least."""

    gradient_name = "AminBackward0"
    ufunc = np.minimum

    def identity(self, dtype):
        return _limit(dtype, greatest=True)

    def combine(self, emit, x, y):
        return emit.min(x, y)


@takes_out
def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The greatest value over `dim` (one or several); equal ones share the gradient."""
    if dim is None or dim == ():
        _need_any("amax", input)
    return amax_(input, dim=normalize_dims(dim, input._payload.ndim), keepdim=keepdim)


@takes_out
def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The least value over `dim` (one or several); equal ones share the gradient."""
    if dim is None or dim == ():
        _need_any("amin", input)
    return amin_(input, dim=normalize_dims(dim, input._payload.ndim), keepdim=keepdim)


@takes_out
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> return_types.Named:
    """The least and the greatest value over `dim`."""
    return return_types.aminmax((amin(input, dim, keepdim), amax(input, dim, keepdim)))


class Arg(Primitive):
    """Where along `dim` (all values in a row for `None`) the extreme stands."""

    differentiable = False
    running = False
    function: Any
    greatest = True

    def kernel(self, x: np.ndarray, dim: int | None, keepdim: bool) -> Any:
        if x.dtype.kind == "V":
            x = x.astype(np.float32)
        if x.ndim == 0:
            return np.zeros((), np.int64)
        if x.size == 0:
            _need_values(self.name, x, range(x.ndim) if dim is None else (dim,))
        return np.asarray(type(self).function(x, axis=dim, keepdims=keepdim), np.int64)

    def fold_start(self, dtype: dtypes.dtype, counter: dtypes.dtype) -> Any:
        return (_limit(dtype, greatest=not self.greatest), dtype), (0, counter)

    def fold(self, emit, state, x, place):
        best, index = state
        better = self.better(emit, x, best)
        return emit.where(better, x, best), emit.where(better, place, index)

    def better(self, emit: Any, x: Any, best: Any) -> Any:
        beyond = (emit.gt if self.greatest else emit.lt)(x, best)
        nan = emit.logical_and(emit.isnan(x), emit.logical_not(emit.isnan(best)))
        return emit.logical_or(beyond, nan)

    def merge(self, emit, first, second):
        (x, i), (y, j) = first, second
        worse, better = self.better(emit, x, y), self.better(emit, y, x)
        sooner = emit.logical_and(emit.lt(j, i), emit.logical_not(worse))
        takes = emit.logical_or(better, sooner)
        return emit.where(takes, y, x), emit.where(takes, j, i)

    def folded(self, emit, state):
        return state[1]

    def infer(self, x: Meta, dim: int | None, keepdim: bool) -> Meta:
        dims = (tuple(range(x.ndim)) if dim is None else (dim,)) if x.ndim else ()
        _need_values(self.name, x, dims)
        return Meta(reduced_shape(x.shape, dims, keepdim), dtypes.int64)


@primitive
class argmax_(Arg):
    """The index of the greatest value."""

    function = np.argmax


@primitive
class argmin_(Arg):
    """The index of the least value."""

    function = np.argmin
    greatest = False


@takes_out
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the greatest value along `dim`, or in the flattened tensor."""
    if dim is not None:
        dim = movement.normalize_dim(dim, input._payload.ndim)
    return argmax_(input, dim=dim, keepdim=keepdim)


@takes_out
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the least value along `dim`, or in the flattened tensor."""
    if dim is not None:
        dim = movement.normalize_dim(dim, input._payload.ndim)
    return argmin_(input, dim=dim, keepdim=keepdim)


def pick(x: Tensor, dim: int, index: Tensor, keepdim: bool) -> Tensor:
    """The values of `x` at `index` (which kept its dimension) along `dim`."""
    from kuai.ops.gather import gather

    if x._payload.ndim == 0:
        return x.clone()
    values = gather(x, dim, index)
    return values if keepdim else movement.squeeze(values, dim)


def _extreme_along(arg: Any, input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    d = movement.normalize_dim(dim, input._payload.ndim)
    index = arg(input, dim=d, keepdim=True)
    values = pick(input, d, index, keepdim)
    if not keepdim and input._payload.ndim:
        index = movement.squeeze(index, d)
    return values, index


@takes_out
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The greatest value of all; or values and indices along `dim`; or of two tensors, each."""
    if isinstance(dim, TensorBase) or other is not None:
        return e.maximum(input, dim if other is None else other)
    if dim is None:
        _need_any("max", input)
        return called(amax(input), "MaxBackward1")
    values, indices = _extreme_along(argmax_, input, dim, keepdim)
    return return_types.max((called(values, "MaxBackward0"), indices))


@takes_out
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The least value of all; or values and indices along `dim`; or of two tensors, each."""
    if isinstance(dim, TensorBase) or other is not None:
        return e.minimum(input, dim if other is None else other)
    if dim is None:
        _need_any("min", input)
        return called(amin(input), "MinBackward1")
    values, indices = _extreme_along(argmin_, input, dim, keepdim)
    return return_types.min((called(values, "MinBackward0"), indices))


def _need_any(name: str, input: Tensor) -> None:
    if input._payload.size == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )


# -- truth ---------------------------------------------------------------------------------------


class Truth(Reduction):
    """A bool from many; uint8 stays uint8, as in PyTorch."""

    differentiable = False
    ufunc: Any

    def kernel(self, x: np.ndarray, dim: tuple[int, ...], keepdim: bool) -> Any:
        result = type(self).ufunc.reduce(x != 0, dim, None, None, keepdim)
        return result.astype(np.uint8) if x.dtype == np.uint8 else result

    def infer(self, x: Meta, dim: tuple[int, ...], keepdim: bool) -> Meta:
        kept = dtypes.uint8 if x.dtype is dtypes.uint8 else dtypes.bool_
        return Meta(reduced_shape(x.shape, dim, keepdim), kept)


@primitive
class all_(Truth):
    """Whether all are true."""

    ufunc = np.logical_and

    def identity(self, dtype):
        return True

    def combine(self, emit, x, y):
        return emit.cast(emit.logical_and(x, y), x.dtype)


@primitive
class any_(Truth):
    """Whether one or more are true."""

    ufunc = np.logical_or

    def identity(self, dtype):
        return False

    def combine(self, emit, x, y):
        return emit.cast(emit.logical_or(x, y), x.dtype)


@takes_out
def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether all values over `dim` are true (not zero)."""
    return all_(input, dim=_truth_dims(dim, input), keepdim=keepdim)


@takes_out
def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether one value or more over `dim` is true (not zero)."""
    return any_(input, dim=_truth_dims(dim, input), keepdim=keepdim)


def _truth_dims(dim: Dim, input: Tensor) -> tuple[int, ...]:
    if isinstance(dim, (tuple, list)) and not dim:
        return ()
    return normalize_dims(dim, input._payload.ndim)


# -- variance ------------------------------------------------------------------------------------


def _variance_parameters(
    input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool
) -> dict[str, Any]:
    _need_float("var", input)
    if isinstance(dim, bool):  # var(input, unbiased)
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    dims = normalize_dims(dim, input._payload.ndim)
    freedom = count(input._payload.shape, dims) - correction
    return {"dim": dims, "keepdim": keepdim, "freedom": float(freedom if freedom > 0 else 0)}


@takes_out
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """Variance over `dim`, divided by the count less `correction` (1 by default)."""
    parameters = _variance_parameters(input, dim, unbiased, correction, keepdim)
    return compute(fused_var, input, **parameters)


@takes_out
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """Standard deviation over `dim`: the root of `var`; its gradient where that is 0 is 0."""
    parameters = _variance_parameters(input, dim, unbiased, correction, keepdim)
    return compute(fused_std, input, **parameters)


def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> tuple[Tensor, Tensor]:
    """Variance and mean over `dim`."""
    return (
        var(input, dim, unbiased, keepdim, correction=correction),
        mean(input, None if isinstance(dim, bool) else dim, keepdim),
    )


def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean over `dim`."""
    return (
        std(input, dim, unbiased, keepdim, correction=correction),
        mean(input, None if isinstance(dim, bool) else dim, keepdim),
    )


# -- exponentials ----------------------------------------------------------------------------------


@takes_out
def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """`log(sum(exp(input)))` over `dim`, without overflow."""
    x = input if input.is_floating_point() else to_dtype(input, dtypes.get_default_dtype())
    dims = normalize_dims(dim, x._payload.ndim)
    if x._payload.size == 0:
        return e.log(sum_(e.exp(x), dim=dims, keepdim=keepdim))
    return compute(fused_logsumexp, x, dim=dims, keepdim=keepdim)


@primitive
class softmax_(Primitive):
    """`exp(x)` divided by its sum along `dim`, without overflow."""

    gradient_name = "SoftmaxBackward0"

    def kernel(self, x: np.ndarray, dim: tuple[int, ...]) -> np.ndarray:
        if not x.size:
            return x.copy()
        result = np.exp(x - np.maximum.reduce(x, dim, None, None, True))  # type: ignore[call-overload]
        result /= total(result, dim)
        return result

    def infer(self, x: Meta, dim: tuple[int, ...]) -> Meta:
        return x

    def gradient(self, grad, result, dim):
        # The composed form would subtract numbers that are rounded apart.
        return result * (grad - sum_(grad * result, dim=dim, keepdim=True))

    def backward(self, grad, result, dim):
        share = grad - total(grad * result, dim)
        share *= result
        return share

    def decompose(self, x: Tensor, dim: tuple[int, ...]) -> Tensor:
        raised = e.exp(x - amax_(x.detach(), dim=dim, keepdim=True) if x._payload.size else x)
        return raised / sum_(raised, dim=dim, keepdim=True)


def softmax(
    input: Tensor, dim: int, dtype: dtypes.dtype | None = None, *, out: Tensor | None = None
) -> Tensor:
    """`exp(input)` divided by its sum along `dim`, without overflow."""
    x = input if dtype is None else to_dtype(input, dtype)
    _need_softmax_float("softmax", x)
    dims = normalize_dims(dim, x._payload.ndim)
    wide = to_dtype(x, dtypes.float32) if x._payload.dtype.itemsize == 2 else x
    result = called(to_dtype(softmax_(wide, dim=dims), x.dtype), "SoftmaxBackward0")
    return result if out is None else write_out(out, result)


def log_softmax(
    input: Tensor, dim: int, dtype: dtypes.dtype | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The logarithm of `softmax`, without overflow."""
    x = input if dtype is None else to_dtype(input, dtype)
    _need_softmax_float("log_softmax", x)
    dims = normalize_dims(dim, x._payload.ndim)
    if x._payload.dtype.itemsize == 2:
        result = to_dtype(log_softmax_(to_dtype(x, dtypes.float32), dim=dims), x.dtype)
        result = called(result, "LogSoftmaxBackward0")
    else:
        result = log_softmax_(x, dim=dims)
    return result if out is None else write_out(out, result)


def _need_softmax_float(name: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise NotImplementedError(
            f'"{name}_lastdim_kernel_impl" not implemented for {x.dtype.name}'
        )


# -- running totals ------------------------------------------------------------------------------


def _accumulated_in(dtype: dtypes.dtype) -> dtypes.dtype:
    return dtypes.float32 if dtype.is_floating_point and dtype.itemsize == 2 else dtype


def _accumulated(ufunc: Any, x: np.ndarray, dim: int) -> np.ndarray:
    """The running results; those of 16-bit floats are rounded, but not what is carried on."""
    if not x.ndim:
        return x.copy()
    wide = _accumulated_in(dtypes.from_numpy_dtype(x.dtype)).numpy
    result: np.ndarray = ufunc.accumulate(x, dim, wide)
    return result.astype(x.dtype, copy=False)


@primitive
class cumsum_(Primitive):
    """The sum up to each value along `dim`."""

    gradient_name = "CumsumBackward0"

    def kernel(self, x: np.ndarray, dim: int) -> np.ndarray:
        return _accumulated(np.add, x, dim)

    def fold_start(self, dtype: dtypes.dtype, counter: dtypes.dtype) -> Any:
        return ((-0.0 if dtype.is_floating_point else 0, _accumulated_in(dtype)),)

    def fold(self, emit, state, x, place):
        return (emit.add(state[0], emit.cast(x, state[0].dtype)),)

    def folded(self, emit, state):
        return state[0]

    def infer(self, x: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, dim):
        return _reverse(cumsum_(_reverse(grad, dim), dim=dim), dim)


def _reverse(x: Tensor, dim: int) -> Tensor:
    return ops.flip(x, (dim,)) if x._payload.ndim else x


@takes_out
def cumsum(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """The sum up to each value along `dim`."""
    x = _as_summand(input, dtype)
    return cumsum_(x, dim=movement.normalize_dim(dim, x._payload.ndim))


@primitive
class cumprod_(Primitive):
    """The product up to each value along `dim`."""

    gradient_name = "CumprodBackward0"

    def kernel(self, x: np.ndarray, dim: int) -> np.ndarray:
        return _accumulated(np.multiply, x, dim)

    def fold_start(self, dtype: dtypes.dtype, counter: dtypes.dtype) -> Any:
        return ((1, _accumulated_in(dtype)),)

    def fold(self, emit, state, x, place):
        return (emit.mul(state[0], emit.cast(x, state[0].dtype)),)

    def folded(self, emit, state):
        return state[0]

    def infer(self, x: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, x, result, dim):
        if type(x._payload) is np.ndarray and not (x._payload == 0).any():
            return _reverse(cumsum(_reverse(grad * result, dim), dim), dim) / x
        return _cumprod_gradient(grad, x, dim)


def _cumprod_gradient(grad: Tensor, x: Tensor, dim: int) -> Tensor:
    """Without dividing by a value: d result[j] / d x[i] is the product of all up to j but i."""
    if x._payload.ndim == 0:
        return grad
    rows, last = movement.movedim(x, dim, -1), movement.movedim(grad, dim, -1)
    n = rows._payload.shape[-1]
    place = np.arange(n)
    without_one = e.where(wrap(place[:, None] == place), 1.0, ops.unsqueeze(rows, -2))
    reached = e.where(wrap(place[:, None] <= place), cumprod(without_one, -1), 0.0)
    return movement.movedim(sum(reached * ops.unsqueeze(last, -2), -1), -1, dim)


@takes_out
def cumprod(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """The product up to each value along `dim`."""
    x = _as_summand(input, dtype)
    return cumprod_(x, dim=movement.normalize_dim(dim, x._payload.ndim))


class RunningExtreme(Primitive):
    """Where the latest extreme up to each value along `dim` stands."""

    differentiable = False
    better: Any
    greatest = True

    def kernel(self, x: np.ndarray, dim: int) -> np.ndarray:
        if x.ndim == 0:
            return np.zeros((), np.int64)
        wide = x.astype(np.float32) if x.dtype.kind == "V" else x
        best = np.moveaxis(type(self).better.accumulate(wide, dim), dim, 0)
        rows = np.moveaxis(wide, dim, 0)
        here = (rows == best) | (rows != rows)
        positions = np.arange(len(rows)).reshape((-1,) + (1,) * (x.ndim - 1))
        index = np.maximum.accumulate(np.where(here, positions, 0), 0)
        return np.ascontiguousarray(np.moveaxis(index, 0, dim))

    def fold_start(self, dtype: dtypes.dtype, counter: dtypes.dtype) -> Any:
        return (_limit(dtype, greatest=not self.greatest), dtype), (0, counter)

    def fold(self, emit, state, x, place):
        best, index = state
        best = (emit.max if self.greatest else emit.min)(best, x)
        here = emit.logical_or(emit.eq(x, best), emit.isnan(x))
        return best, emit.where(here, place, index)

    def folded(self, emit, state):
        return state[1]

    def infer(self, x: Meta, dim: int) -> Meta:
        return Meta(x.shape, dtypes.int64)


@primitive
class cummax_index(RunningExtreme):
    """Where the greatest value so far stands."""

    better = np.maximum


@primitive
class cummin_index(RunningExtreme):
    """Where the least value so far stands."""

    better = np.minimum
    greatest = False


@takes_out
def cummax(input: Tensor, dim: int) -> return_types.Named:
    """The greatest value so far along `dim`, and where it stands."""
    d = movement.normalize_dim(dim, input._payload.ndim)
    index = cummax_index(input, dim=d)
    return return_types.cummax((pick(input, d, index, True), index))


@takes_out
def cummin(input: Tensor, dim: int) -> return_types.Named:
    """The least value so far along `dim`, and where it stands."""
    d = movement.normalize_dim(dim, input._payload.ndim)
    index = cummin_index(input, dim=d)
    return return_types.cummin((pick(input, d, index, True), index))


@primitive
class logcumsumexp_(Primitive):
    """`log(cumsum(exp(x)))` along `dim`, without overflow."""

    gradient_name = "LogcumsumexpBackward0"

    def kernel(self, x: np.ndarray, dim: int) -> np.ndarray:
        if x.ndim == 0:
            return x.copy()
        return np.logaddexp.accumulate(x.astype(np.float64), dim).astype(x.dtype)

    def fold_start(self, dtype: dtypes.dtype, counter: dtypes.dtype) -> Any:
        return ((-math.inf, dtypes.float64),)

    def fold(self, emit, state, x, place):
        return (emit.logaddexp(state[0], emit.cast(x, dtypes.float64)),)

    def folded(self, emit, state):
        return state[0]

    def infer(self, x: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, x, result, dim):
        # sum over later j of grad[j] * exp(x[i] - result[j]), the signs apart to stay in logs;
        # the least positive number stands for 0, whose logarithm has no derivative
        least = float(2.0**-24 if grad.dtype is dtypes.float16 else dtypes.finfo(grad.dtype).tiny)

        def part(g: Any) -> Any:
            logs = e.log(e.clamp(g, min=least))
            total = _reverse(logcumsumexp_(_reverse(logs - result, dim), dim=dim), dim)
            return e.exp(total + x)

        return part(grad) - part(-grad)


@takes_out
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """`log(cumsum(exp(input)))` along `dim`, without overflow."""
    _need_float("logcumsumexp", input)
    return logcumsumexp_(input, dim=movement.normalize_dim(dim, input._payload.ndim))


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input._payload.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.dim()}")
    return sum(ops.diagonal(input))


__all__ = [
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "log_softmax",
    "logcumsumexp",
    "logsumexp",
    "max",
    "mean",
    "min",
    "nanmean",
    "nansum",
    "prod",
    "softmax",
    "std",
    "std_mean",
    "sum",
    "trace",
    "var",
    "var_mean",
]
