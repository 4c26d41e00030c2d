"""Elements picked along a dimension, and put back: gather, scatter, and the `index_*` functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import DtypeError, ShapeError
from kuai.ops import movement
from kuai.ops.indexing import index_, index_put_
from kuai.ops.masking import masked_fill
from kuai.ops.movement import normalize_dim
from kuai.ops.pointwise import Number, as_operand, broadcast_shapes, is_one, write_out
from kuai.ops.scattering import add_rows, flat_positions
from kuai.ops.slicing import slice_, slice_along

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def check_range(index: np.ndarray, n: int, dim: int, error: type[Exception] = RuntimeError) -> None:
    """Raise `error` where an index is negative or not below `n`."""
    unsigned = index.view(np.uint64) if index.dtype == np.int64 else index
    if not index.size or np.maximum.reduce(unsigned, None) < n:  # negative ones are huge
        return
    if index.min() < 0 or index.max() >= n:
        wrong = int(index[(index < 0) | (index >= n)].flat[0])
        raise error(f"index {wrong} is out of bounds for dimension {dim} with size {n}")


def _out_of_bounds(n: int, dim: int) -> str:
    return f"index is out of bounds for dimension {dim} with size {n}"


class AlongIndex(Primitive):
    """A primitive that puts `src`, of the shape of `index`, at `index` along `dim`."""

    inputs = ("x", "index", "src")
    onto = "x"
    may_fail = True

    def push_domain(self, x: Meta, index: Meta, src: Meta, **parameters: Any) -> tuple[int, ...]:
        return index.shape

    def push(self, emit, at, target, x, index, src, dim, **parameters):
        message = _out_of_bounds(target.shape[dim], dim)
        place = target.checked(index.at(*at), dim, RuntimeError, message)
        return (*at[:dim], place, *at[dim + 1 :]), src.at(*at)


class SlicesAtIndex(Primitive):
    """A primitive that puts the slices of `source` at `index`, a vector, along `dim`."""

    inputs = ("x", "index", "source")
    onto = "x"
    may_fail = True
    refusal: type[Exception] = RuntimeError

    def push_domain(self, x: Meta, index: Meta, source: Meta, dim: int) -> tuple[int, ...]:
        return source.shape

    def push(self, emit, at, target, x, index, source, dim):
        message = _out_of_bounds(target.shape[dim], dim)
        place = target.checked(index.at(at[dim]), dim, self.refusal, message)
        return (*at[:dim], place, *at[dim + 1 :]), source.at(*at)


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return wrap(np.zeros(shape, like._payload.dtype))


# -- gather and scatter ------------------------------------------------------------------------


@primitive
class gather_(Primitive):
    """`x` at `index` along `dim`, and at the position itself along the other dimensions."""

    inputs = ("x", "index")
    here = ("index",)
    may_fail = True

    def kernel(self, x: np.ndarray, index: np.ndarray, dim: int) -> Any:
        check_range(index, x.shape[dim], dim)
        if x.flags.c_contiguous:
            return x.reshape(-1)[flat_positions(index, dim, x.shape)]
        part = tuple([slice(n if d != dim else None) for d, n in enumerate(index.shape)])
        return np.take_along_axis(x[part], index, dim)

    def pull(self, emit, at, x, index, dim):
        place = x.checked(index, dim, RuntimeError, _out_of_bounds(x.shape[dim], dim))
        return x.at(*at[:dim], place, *at[dim + 1 :])

    def infer(self, x: Meta, index: Meta, dim: int) -> Meta:
        return Meta(index.shape, x.dtype)

    def gradient(self, grad, x_shape, index, dim):
        return lambda: scatter_add_(_zeros(x_shape, grad), index, grad, dim=dim), None


@primitive
class scatter_(AlongIndex):
    """`x` with `src`, of the shape of `index`, stored at `index` along `dim`."""

    def kernel(self, x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int) -> np.ndarray:
        check_range(index, x.shape[dim], dim)
        result = x.copy()
        result.reshape(-1)[flat_positions(index, dim, x.shape)] = src
        return result

    def meet(self, emit, old, new, **parameters):
        return new

    def infer(self, x: Meta, index: Meta, src: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, index, dim):
        zero = wrap(np.zeros((), grad._payload.dtype))
        return (
            lambda: scatter_(grad, index, movement.expand_to(zero, index._payload.shape), dim=dim),
            None,
            lambda: gather_(grad, index, dim=dim),
        )


@primitive
class scatter_add_(AlongIndex):
    """`x` with `src`, of the shape of `index`, added at `index` along `dim`."""

    def kernel(self, x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int) -> np.ndarray:
        check_range(index, x.shape[dim], dim)
        result = np.array(x, order="C")
        np.add.at(
            result.reshape(-1), flat_positions(index, dim, x.shape).reshape(-1), src.reshape(-1)
        )
        return result

    def meet(self, emit, old, new, **parameters):
        return emit.add(old, new)

    def infer(self, x: Meta, index: Meta, src: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, index, dim):
        return grad, None, lambda: gather_(grad, index, dim=dim)


def gather(
    input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None
) -> Tensor:
    """The elements of `input` at `index` along `dim`: `input[i][index[i][j]]` for `dim=1`.

    Args:
        input: the tensor.
        dim: the dimension that the index counts along.
        index: integers, of as many dimensions as `input`, and no larger than it except in `dim`.
        sparse_grad: without meaning here.
        out: where to store the result.

    Shape:
        that of `index`.

    Raises:
        RuntimeError: `index` is not of integers, not of a fitting shape, or out of bounds.
    """
    dim = normalize_dim(dim, input._payload.ndim)
    _check_index("gather", input, dim, index)
    shape = index._payload.shape
    if not index._payload.size:
        result = movement.reshape(slice_along(movement.reshape(input, -1), 0, 0, 0), shape)
    elif input._payload.ndim == 0 or index._payload.ndim == 0:
        result = gather_(movement.reshape(input, -1), movement.reshape(index, -1), dim=0)
        result = movement.reshape(result, shape)
    else:
        result = gather_(input, index, dim=dim)
    return result if out is None else write_out(out, result)


def _check_index(name: str, x: Tensor, dim: int, index: Tensor) -> None:
    have, shape = index._payload.shape, x._payload.shape
    if not index._payload.size:
        return
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise DtypeError(f"{name}(): Expected dtype int32/int64 for index")
    if max(len(have), 1) != max(len(shape), 1):
        raise ShapeError("Index tensor must have the same number of dimensions as input tensor")
    for d, (n, m) in enumerate(zip(have, shape, strict=False)):
        if n > m and d != dim:
            raise ShapeError(
                f"Size does not match at dimension {d} expected index {list(have)} to be no "
                f"larger than self {list(shape)} apart from dimension {dim}"
            )


def _source(name: str, x: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """What to scatter, in the shape of `index`."""
    _check_index(name, x, dim, index)
    target = index._payload.shape
    if not isinstance(src, TensorBase):
        return movement.expand_to(as_operand(src, x.dtype), target)
    if src.dtype is not x.dtype:
        raise DtypeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    have = src._payload.shape
    if have == target or not index._payload.size:
        return src  # type: ignore[return-value]
    if max(len(have), 1) != max(len(target), 1):
        raise ShapeError("Index tensor must have the same number of dimensions as src tensor")
    if any(n > m for n, m in zip(target, have, strict=False)):
        raise ShapeError(
            f"Expected index {list(target)} to be no larger than self {list(x.shape)} apart from "
            f"dimension {dim} and to be no larger size than src {list(have)}"
        )
    if len(have) != len(target):
        return movement.reshape(src, target)  # type: ignore[arg-type]
    return slice_(src, key=tuple([(0, n, 1) for n in target]))


def scattered(
    primitive: Any, name: str, x: Tensor, dim: int, index: Tensor, src: Any, **parameters: Any
) -> Tensor:
    shape = x._payload.shape
    dim = normalize_dim(dim, len(shape))
    src = _source(name, x, dim, index, src)
    if not index._payload.size:
        return movement.clone(x)
    if not shape or not index._payload.ndim:
        x, index, src = (movement.reshape(t, -1) for t in (x, index, src))
        return movement.reshape(primitive(x, index, src, dim=0, **parameters), shape)
    return primitive(x, index, src, dim=dim, **parameters)


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Number | None = None,
    reduce: str | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`input` with the elements of `src` stored at `index` along `dim`.

    Args:
        input: the tensor.
        dim: the dimension that the index counts along.
        index: integers, of as many dimensions as `input`.
        src: a tensor at least as large as `index`, or a number.
        value: the number, by keyword.
        reduce: `"add"` or `"multiply"` to combine with what is there.
        out: where to store the result.

    Raises:
        RuntimeError: types or shapes do not fit, or an index is out of bounds.
    """
    src = value if src is None else src
    if reduce is None:
        result = scattered(scatter_, "scatter", input, dim, index, src)
    elif reduce == "add":
        result = scattered(scatter_add_, "scatter", input, dim, index, src)
    elif reduce == "multiply":
        from kuai.ops.scatter_reduce import scatter_reduce_

        result = scattered(
            scatter_reduce_, "scatter", input, dim, index, src, reduce="prod", include_self=True
        )
    else:
        raise RuntimeError("reduce argument must be either add or multiply.")
    return result if out is None else write_out(out, result)


def scatter_add(
    input: Tensor, dim: int, index: Tensor, src: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """`input` with the elements of `src` added at `index` along `dim`.

    Raises:
        RuntimeError: types or shapes do not fit, or an index is out of bounds.
    """
    result = scattered(scatter_add_, "scatter_add", input, dim, index, src)
    return result if out is None else write_out(out, result)


# -- one index for whole slices ----------------------------------------------------------------


@primitive
class index_select_(Primitive):
    """The slices of `x` along `dim` that `index`, a vector, names."""

    inputs = ("x", "index")
    may_fail = True

    def kernel(self, x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
        if index.size and (index.min() < 0 or index.max() >= x.shape[dim]):
            raise IndexError("index out of range in self")
        return x.take(index, dim)

    def pull(self, emit, at, x, index, dim):
        place = x.checked(index.at(at[dim]), dim, IndexError, "index out of range in self")
        return x.at(*at[:dim], place, *at[dim + 1 :])

    def infer(self, x: Meta, index: Meta, dim: int) -> Meta:
        return Meta((*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]), x.dtype)

    def gradient(self, grad, x_shape, index, dim):
        return lambda: index_add_(_zeros(x_shape, grad), index, grad, dim=dim), None


@primitive
class index_add_(SlicesAtIndex):
    """`x` with the slices of `source` added at `index`, a vector, along `dim`."""

    def kernel(self, x: np.ndarray, index: np.ndarray, source: np.ndarray, dim: int) -> np.ndarray:
        check_range(index, x.shape[dim], dim)
        result = x.copy()
        add_rows(np.moveaxis(result, dim, 0), index, np.moveaxis(source, dim, 0))
        return result

    def meet(self, emit, old, new, dim):
        return emit.add(old, new)

    def infer(self, x: Meta, index: Meta, source: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, index, dim):
        return grad, None, lambda: index_select_(grad, index, dim=dim)


@primitive
class index_copy_(SlicesAtIndex):
    """`x` with the slices of `source` stored at `index`, a vector, along `dim`."""

    refusal = IndexError

    def kernel(self, x: np.ndarray, index: np.ndarray, source: np.ndarray, dim: int) -> np.ndarray:
        check_range(index, x.shape[dim], dim, IndexError)
        result = x.copy()
        np.moveaxis(result, dim, 0)[index] = np.moveaxis(source, dim, 0)
        return result

    def meet(self, emit, old, new, dim):
        return new

    def infer(self, x: Meta, index: Meta, source: Meta, dim: int) -> Meta:
        return x

    def gradient(self, grad, source_shape, index, dim):
        def of_x() -> Any:
            zero = wrap(np.zeros((), grad._payload.dtype))
            return index_copy_(grad, index, movement.expand_to(zero, source_shape), dim=dim)

        return of_x, None, lambda: index_select_(grad, index, dim=dim)


def index_vector(name: str, index: Tensor) -> Tensor:
    if index._payload.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise DtypeError(f"{name}(): Expected dtype int32 or int64 for index")
    return index if index._payload.ndim else movement.reshape(index, 1)


def _by_slices(
    primitive: Any, name: str, x: Tensor, dim: int, index: Tensor, source: Tensor
) -> Tensor:
    shape, have = x._payload.shape, source._payload.shape
    dim = normalize_dim(dim, len(shape))
    index = index_vector(name, index)
    if source.dtype is not x.dtype:
        raise DtypeError(
            f"{name}(): self ({x.dtype.name}) and source ({source.dtype.name}) must have the same "
            "scalar type"
        )
    inner, wanted = shape or (1,), have or (1,)
    if not have and shape:
        wanted = (1,) * len(shape)
    expected = (*inner[:dim], index._payload.shape[0], *inner[dim + 1 :])
    if wanted != expected:
        raise ShapeError(
            f"{name}(): the source has shape {list(have)}, but {index._payload.shape[0]} indices "
            f"along dimension {dim} of {list(shape)} need {list(expected)}"
        )
    if shape == inner and have == wanted:
        return primitive(x, index, source, dim=dim)
    x, source = movement.reshape(x, inner), movement.reshape(source, wanted)
    return movement.reshape(primitive(x, index, source, dim=dim), shape)


def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The slices along `dim` that the vector `index` names, in its order.

    Raises:
        IndexError: an index is out of range, or `index` is no vector.
    """
    index = index_vector("index_select", index)
    dim = normalize_dim(dim, input._payload.ndim)
    if input._payload.ndim == 0:
        result = index_select_(movement.reshape(input, 1), index, dim=0)
        result = movement.reshape(result, ())
    else:
        result = index_select_(input, index, dim=dim)
    return result if out is None else write_out(out, result)


def index_add(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    *,
    alpha: Number = 1,
    out: Tensor | None = None,
) -> Tensor:
    """`input` with `alpha` times the slices of `source` added at `index` along `dim`.

    Raises:
        RuntimeError: types or shapes do not fit, or an index is out of bounds.
    """
    if not is_one(alpha):
        source = source * as_operand(alpha, source.dtype)
    result = _by_slices(index_add_, "index_add", input, dim, index, source)
    return result if out is None else write_out(out, result)


def index_copy(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """`input` with the slices of `source` stored at `index` along `dim`.

    Raises:
        RuntimeError: types or shapes do not fit.
        IndexError: an index is out of bounds.
    """
    result = _by_slices(index_copy_, "index_copy", input, dim, index, source)
    return result if out is None else write_out(out, result)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Tensor | Number) -> Tensor:
    """`input` with `value` in the slices that `index` names along `dim`.

    Raises:
        IndexError: an index is out of range.
        RuntimeError: `value` has dimensions.
    """
    if isinstance(value, TensorBase) and value._payload.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value._payload.ndim} dimension(s)."
        )
    shape = input._payload.shape
    dim = normalize_dim(dim, len(shape))
    index = index_vector("index_fill_", index)
    n = shape[dim] if shape else 1
    index = index + n * (index < 0)
    true = wrap(np.ones(index._payload.shape, np.bool_))
    chosen = index_copy_(wrap(np.zeros(n, np.bool_)), index, true, dim=0)
    along = [1] * len(shape)
    if shape:
        along[dim] = n
    return masked_fill(input, movement.reshape(chosen, along), value)


def take(input: Tensor, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements at flat positions, in the shape of `index`.

    Raises:
        IndexError: a position is out of range.
        RuntimeError: `index` is not of int64.
    """
    _check_flat("take", index)
    flat = movement.reshape(input, -1)
    result = index_(flat, _wrapped(index, flat._payload.size), positions=(0,))
    return result if out is None else write_out(out, result)


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with the elements of `source` at flat positions, stored or added.

    Raises:
        IndexError: a position is out of range, or the numbers of elements differ.
        RuntimeError: the types do not fit.
    """
    _check_flat("put_", index)
    if source.dtype is not input.dtype:
        raise DtypeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{input.dtype.name} and source.dtype = {source.dtype.name}"
        )
    if source._payload.size != index._payload.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source._payload.size}, index.numel() = {index._payload.size}"
        )
    flat = movement.reshape(input, -1)
    result = index_put_(
        flat,
        movement.reshape(source, -1),
        movement.reshape(_wrapped(index, flat._payload.size), -1),
        positions=(0,),
        accumulate=accumulate,
    )
    return movement.reshape(result, input._payload.shape)


def _check_flat(name: str, index: Tensor) -> None:
    if index.dtype is not dtypes.int64:
        raise DtypeError(f"{name}(): Expected a long tensor for index, but got {index.dtype.name}")


def _wrapped(index: Tensor, n: int) -> Tensor:
    """`index` with negative positions counted from the end, checked where there are values."""
    payload = index._payload
    if type(payload) is not np.ndarray:
        return index + n * (index < 0)
    if payload.size and (payload.min() < -n or payload.max() >= n):
        wrong = int(payload[(payload < -n) | (payload >= n)].flat[0])
        raise IndexError(
            f"out of range: tried to access index {wrong} on a tensor of {n} elements."
        )
    return index


def take_along_dim(
    input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The elements of `input` at `indices` along `dim`; the other dimensions broadcast.

    Args:
        input: the tensor.
        indices: integers.
        dim: the dimension; without it, both count as one row.
        out: where to store the result.

    Raises:
        RuntimeError: `indices` are no integers, or differ in number of dimensions.
    """
    if indices.dtype is not dtypes.int64:
        raise DtypeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.name}"
        )
    if dim is None:
        result = take(movement.reshape(input, -1), movement.reshape(indices, -1))
        return result if out is None else write_out(out, result)
    if input._payload.ndim != indices._payload.ndim:
        raise ShapeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input._payload.ndim} dimensions for input, and {indices._payload.ndim} "
            "dimensions for indices"
        )
    dim = normalize_dim(dim, input._payload.ndim)
    shape, have = list(input._payload.shape), list(indices._payload.shape)
    n, m = shape[dim], have[dim]
    shape[dim] = have[dim] = 1
    common = list(broadcast_shapes(shape, have))
    input = movement.expand(input, [*common[:dim], n, *common[dim + 1 :]])
    indices = movement.expand(indices, [*common[:dim], m, *common[dim + 1 :]])
    if type(indices._payload) is not np.ndarray or (indices._payload < 0).any():
        indices = indices + n * (indices < 0)
    return gather(input, dim, indices, out=out)


__all__ = [
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_select",
    "put",
    "scatter",
    "scatter_add",
    "take",
    "take_along_dim",
]
