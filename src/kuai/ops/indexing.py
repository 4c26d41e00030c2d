"""Indexing and assignment, and the functions that take one index for all: `x[...]` in all forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import _overlaps, assign, check_writable, inplace
from kuai.core.primitive import Meta, Primitive, data_dependent, meta_of, primitive
from kuai.core.tape import mode, refresh
from kuai.errors import DataDependentError, ShapeError
from kuai.ops import movement
from kuai.ops.pointwise import as_operand, broadcast_shapes, cast, sum_to
from kuai.ops.scattering import add_at
from kuai.ops.slicing import select_, slice_

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Index = Any  # what stands between the brackets
_FULL = slice(None)


# -- the primitives ----------------------------------------------------------------------------


def _numpy_key(positions: tuple[int, ...], indices: Sequence[np.ndarray]) -> tuple[Any, ...]:
    key: list[Any] = [_FULL] * (positions[-1] + 1)
    for p, index in zip(positions, indices, strict=True):
        key[p] = index
    return tuple(key)


def indexed_shape(
    shape: tuple[int, ...], indices: list[tuple[int, ...]], positions: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape of a tensor of `shape` indexed with tensors of the shapes `indices`.

    What the indices broadcast to stands in the place of the indexed dimensions where these are
    neighbours, and in front otherwise.

    Raises:
        IndexError: the indices do not broadcast.
    """
    try:
        common = broadcast_shapes(*indices)
    except ShapeError:
        raise IndexError(_mismatch(indices)) from None
    first, last = positions[0], positions[-1]
    rest = [n for d, n in enumerate(shape) if d not in positions]
    if last - first + 1 != len(positions):
        return (*common, *rest)
    return (*rest[:first], *common, *rest[first:])


def _indexed_place(
    target: Any, indices: Sequence[Any], at: Sequence[Any], positions: tuple[int, ...]
) -> list[Any]:
    """The position in `target` that index tensors name for the position `at` of the result."""
    count = max(len(i.shape) for i in indices)
    neighbours = positions[-1] - positions[0] + 1 == len(positions)
    start = positions[0] if neighbours else 0  # where what the indices broadcast to stands
    common = at[start : start + count]
    place = [*at[:start], *at[start + count :]]
    for p, index in zip(positions, indices, strict=True):
        n = target.shape[p]
        found = index.at(*common[count - len(index.shape) :])
        message = f"index {{}} is out of bounds for dimension {p} with size {n}"
        place.insert(p, target.checked(found, p, IndexError, message, wraps=True))
    return place


def _mismatch(shapes: list[tuple[int, ...]]) -> str:
    listed = ", ".join(str(list(s)) for s in shapes)
    return f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}"


def _index_error(error: IndexError, indices: tuple[np.ndarray, ...]) -> IndexError:
    text = str(error)
    if text.startswith("shape mismatch"):
        return IndexError(_mismatch([i.shape for i in indices]))
    return IndexError(text.replace(" axis ", " dimension "))


@primitive
class index_(Primitive):
    """`x` at the positions that integer tensors say, one for each dimension in `positions`."""

    inputs = ("x", "*indices")
    may_fail = True

    def kernel(self, x: np.ndarray, *indices: np.ndarray, positions: tuple[int, ...]) -> Any:
        try:
            return x[_numpy_key(positions, indices)]
        except IndexError as error:
            raise _index_error(error, indices) from None

    def pull(self, emit, at, x, *indices, positions):
        return x.at(*_indexed_place(x, indices, at, positions))

    def item(self, x: Meta, *indices: Meta, positions: tuple[int, ...]) -> bool:
        return positions == (0,) and not indices[0].shape

    def infer(self, x: Meta, *indices: Meta, positions: tuple[int, ...]) -> Meta:
        return Meta(indexed_shape(x.shape, [i.shape for i in indices], positions), x.dtype)

    def gradient(self, grad, x_shape, indices, positions):
        return (
            lambda: index_embed(grad, *indices, shape=x_shape, positions=positions),
            *(None,) * len(indices),
        )

    def backward(self, grad, x_shape, indices, positions):
        def of_x() -> np.ndarray:
            result = np.zeros(x_shape, grad.dtype)
            add_at(result, _numpy_key(positions, [i._payload for i in indices]), grad)
            return result

        return of_x, *(None,) * len(indices)


@primitive
class index_embed(Primitive):
    """Zeros of `shape`, with `x` added at the positions that integer tensors say."""

    inputs = ("x", "*indices")
    gradient_name = "IndexPutBackward0"
    may_fail = True

    def kernel(
        self,
        x: np.ndarray,
        *indices: np.ndarray,
        shape: tuple[int, ...],
        positions: tuple[int, ...],
    ) -> np.ndarray:
        result = np.zeros(shape, x.dtype)
        add_at(result, _numpy_key(positions, indices), x)
        return result

    def push_domain(
        self, x: Meta, *indices: Meta, shape: tuple[int, ...], positions: tuple[int, ...]
    ) -> tuple[int, ...]:
        return indexed_shape(shape, [i.shape for i in indices], positions)

    def push(self, emit, at, target, x, *indices, shape, positions):
        place = _indexed_place(target, indices, at, positions)
        return place, x.at(*at[len(at) - len(x.shape) :])

    def meet(self, emit, old, new, **parameters):
        return emit.add(old, new)

    def infer(
        self, x: Meta, *indices: Meta, shape: tuple[int, ...], positions: tuple[int, ...]
    ) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, indices, positions):
        return index_(grad, *indices, positions=positions), *(None,) * len(indices)


@primitive
class index_put_(Primitive):
    """`x` with `values` at the positions that integer tensors say: stored, or added."""

    inputs = ("x", "values", "*indices")
    onto = "x"
    may_fail = True

    def kernel(
        self,
        x: np.ndarray,
        values: np.ndarray,
        *indices: np.ndarray,
        positions: tuple[int, ...],
        accumulate: bool,
    ) -> np.ndarray:
        result = x.copy()
        put(result, values, indices, positions, accumulate)
        return result

    def push_domain(
        self,
        x: Meta,
        values: Meta,
        *indices: Meta,
        positions: tuple[int, ...],
        accumulate: bool,
    ) -> tuple[int, ...]:
        return indexed_shape(x.shape, [i.shape for i in indices], positions)

    def push(self, emit, at, target, x, values, *indices, positions, accumulate):
        place = _indexed_place(target, indices, at, positions)
        return place, values.at(*at[len(at) - len(values.shape) :])

    def meet(self, emit, old, new, positions, accumulate):
        return emit.add(old, new) if accumulate else new

    def infer(
        self,
        x: Meta,
        values: Meta,
        *indices: Meta,
        positions: tuple[int, ...],
        accumulate: bool,
    ) -> Meta:
        target = indexed_shape(x.shape, [i.shape for i in indices], positions)
        _check_fits(values.shape, target)
        return x

    def gradient(self, grad, values_shape, indices, positions, accumulate):
        def of_x() -> Any:
            if accumulate:
                return grad
            zero = wrap(np.zeros((), grad._payload.dtype))
            return index_put_(grad, zero, *indices, positions=positions, accumulate=False)

        def of_values() -> Any:
            return sum_to(index_(grad, *indices, positions=positions), values_shape)

        return of_x, of_values, *(None,) * len(indices)


def _check_fits(values: tuple[int, ...], target: tuple[int, ...]) -> None:
    extra = len(target) - len(values)
    if extra < 0 or any(n not in (1, m) for n, m in zip(values, target[extra:], strict=True)):
        raise ShapeError(
            f"shape mismatch: value tensor of shape {list(values)} cannot be broadcast to indexing "
            f"result of shape {list(target)}"
        )


def put(
    target: np.ndarray,
    values: np.ndarray,
    indices: tuple[np.ndarray, ...],
    positions: tuple[int, ...],
    accumulate: bool,
) -> None:
    """Store `values` in the array, or add them, at the positions that the indices say."""
    key = _numpy_key(positions, indices)
    try:
        if accumulate:
            add_at(target, key, values)
        else:
            target[key] = values
    except IndexError as error:
        raise _index_error(error, indices) from None


@primitive
class nonzero_(Primitive):
    """The indices of the elements that are not zero, an array for each dimension."""

    differentiable = False

    def kernel(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return x.nonzero()

    def infer(self, x: Meta) -> Meta:
        raise data_dependent("nonzero, or an index that is a mask")


# -- what an index means -----------------------------------------------------------------------


class Parsed:
    """An index in two steps: a view by `key`, then index tensors at `positions` of that view."""

    __slots__ = ("key", "positions", "primitive", "tensors")

    def __init__(self) -> None:
        self.key: list[int | tuple[int, int, int] | None] = []
        self.primitive: Any = slice_
        self.positions: list[int] = []
        self.tensors: list[Tensor] = []

    def is_whole(self, shape: tuple[int, ...]) -> bool:
        """Whether the view is all of a tensor of this shape, as it is."""
        key = self.key
        return len(key) <= len(shape) and all(
            k == (0, n, 1) for k, n in zip(key, shape, strict=False)
        )


def parse(x: Tensor, index: Index) -> Parsed:
    """Resolve an index for `x`.

    Raises:
        IndexError: it is out of range, of too many dimensions, or no index at all.
        ValueError: a step that is not positive.
    """
    shape = x._payload.shape
    items: list[Any] = [
        i if type(i) in _PLAIN else _as_index(i)
        for i in (index if type(index) is tuple else (index,))
    ]
    wanted = 0
    for item in items:
        if type(item) in (int, slice):
            wanted += 1
        elif isinstance(item, TensorBase):
            wanted += item._payload.ndim if _is_mask(item) else 1
    if wanted > len(shape):
        if not shape and wanted and not any(isinstance(i, TensorBase) for i in items):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
                "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    parsed = Parsed()
    key = parsed.key
    dim = 0  # of x
    place = 0  # the same, in the view
    for item in items:
        kind = type(item)
        if kind is int:
            n = shape[dim]
            if not -n <= item < n:
                raise IndexError(f"index {item} is out of bounds for dimension {dim} with size {n}")
            key.append(item + n if item < 0 else item)
            parsed.primitive = select_
            dim += 1
        elif kind is slice:
            resolved = resolve_slice(item, shape[dim])
            key.append(resolved)
            if resolved != (0, shape[dim], 1):
                parsed.primitive = slice_
            dim += 1
            place += 1
        elif item is None:
            key.append(None)
            parsed.primitive = slice_
            place += 1
        elif item is Ellipsis:
            skipped = len(shape) - wanted
            key.extend([(0, n, 1) for n in shape[dim : dim + skipped]])
            dim += skipped
            place += skipped
            wanted = len(shape)
        elif kind is bool:
            key.append(None)
            _add(parsed, place, wrap(np.zeros(1 if item else 0, np.int64)))
            place += 1
        elif _is_mask(item):
            mask = item._payload
            if mask.ndim == 0:
                key.append(None)
                _add(parsed, place, nonzero_(movement.reshape(item, 1))[0])
                place += 1
                continue
            covered = shape[dim : dim + mask.ndim]
            if mask.shape != covered:
                view = [*parsed.primitive.infer(meta_of(x), tuple(key)).shape]
                wrong = next(d for d, n in enumerate(mask.shape) if n != covered[d])
                raise _mask_error(mask.shape, view, wrong, place + wrong)
            for n, found in zip(covered, nonzero_(item), strict=True):
                key.append((0, n, 1))
                _add(parsed, place, found)
                place += 1
            dim += mask.ndim
        else:
            key.append((0, shape[dim], 1))
            _add(parsed, place, item)
            dim += 1
            place += 1
    _check_captured_numbers(parsed)
    return parsed


def _mask_error(mask: Sequence[int], shape: Sequence[int], dim: int, place: int) -> IndexError:
    return IndexError(
        f"The shape of the mask {list(mask)} at index {dim} does not match the shape of the "
        f"indexed tensor {list(shape)} at index {place}"
    )


_PLAIN = {int, slice, type(None), type(Ellipsis), bool}


def _add(parsed: Parsed, place: int, index: Tensor) -> None:
    parsed.positions.append(place)
    parsed.tensors.append(index)


def _is_mask(item: Any) -> bool:
    return (isinstance(item, TensorBase) and item._payload.dtype.kind in "b") or (
        isinstance(item, TensorBase) and item.dtype is dtypes.uint8
    )


def _as_index(item: Any) -> Any:
    """An index of another kind as a number, or as a tensor of integers or a mask."""
    if isinstance(item, TensorBase):
        payload = item._payload
        if payload.ndim == 0 and payload.dtype.kind in "iu" and item.dtype is not dtypes.uint8:
            captured = getattr(primitives.intercept, "is_captured", None)
            return item if captured is not None and captured(item) else int(payload)
        if item.dtype in (dtypes.int64, dtypes.int32, dtypes.bool_, dtypes.uint8):
            return item
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if isinstance(item, np.bool_):
        return bool(item)
    if isinstance(item, (list, tuple, range, np.ndarray)):
        from kuai.ops.creation import tensor

        found = tensor(item if isinstance(item, np.ndarray) else list(item))
        if not found._payload.size and not isinstance(item, np.ndarray):
            found = cast(found, dtype=dtypes.int64)
        return _as_index(found)
    if isinstance(item, str):
        raise TypeError("an index must be a number, a slice or a tensor, not a str")
    try:
        return item.__index__()
    except AttributeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        ) from None


def _check_captured_numbers(parsed: Parsed) -> None:
    """A captured number among index tensors would, as such, move the result's dimensions."""
    ndims = [t._payload.ndim for t in parsed.tensors]
    positions = parsed.positions
    if 0 in ndims and any(ndims) and positions[-1] - positions[0] + 1 != len(positions):
        raise DataDependentError(
            "an index that mixes a number computed by the network, a slice and an index tensor "
            "cannot be captured; index in two steps"
        )


def resolve_slice(item: slice, n: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice over a dimension of size `n`.

    Raises:
        ValueError: the step is not positive.
    """
    step = 1 if item.step is None else item.step.__index__()
    if step <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, _ = item.indices(n)
    return start, max(start, stop), step


def _as_tuple(index: Index) -> Index:
    """A list that holds more than numbers stands for a tuple, as in old NumPy."""
    if type(index) is list and len(index) < 32:
        for item in index:
            if (
                item is None
                or item is Ellipsis
                or isinstance(item, (slice, list, tuple, TensorBase, np.ndarray))
            ):
                return tuple(index)
    return index


def getitem(x: Tensor, index: Index) -> Tensor:
    """`x[index]`: a view for numbers, slices, `None` and `...`; a copy where tensors index.

    Raises:
        IndexError: the index is out of range, or no index.
    """
    kind = type(index)
    shape = x._payload.shape
    if kind is int and shape:
        n = shape[0]
        if -n <= index < n:
            return select_(x, key=(index + n if index < 0 else index,))
    elif kind is slice and shape:
        return slice_(x, key=(resolve_slice(index, shape[0]),))
    elif index is None:
        return movement.unsqueeze_(x, dim=0)
    elif (
        isinstance(index, TensorBase)
        and index.dtype is dtypes.int64
        and index._payload.ndim
        and shape
    ):
        return index_(x, index, positions=(0,))
    parsed = parse(x, _as_tuple(index))
    if not parsed.tensors:
        return parsed.primitive(x, key=tuple(parsed.key))
    if not parsed.is_whole(shape):
        x = parsed.primitive(x, key=tuple(parsed.key))
    return index_(x, *parsed.tensors, positions=tuple(parsed.positions))


# -- assignment --------------------------------------------------------------------------------


def setitem(x: Tensor, index: Index, value: Any) -> None:
    """`x[index] = value`, in place; `value` is a tensor that broadcasts, or a number.

    Raises:
        IndexError: the index is out of range, or no index.
        TypeError: `value` is neither a tensor nor a number.
        GradientError: `x` is a leaf that requires grad.
        ShapeError: `value` does not fit.
    """
    index = _as_tuple(index)
    if isinstance(index, TensorBase) and _is_mask(index) and _is_single(value):
        _fill_masked(x, index, value)
        return
    parsed = parse(x, index)
    values = _as_values(x, value, bool(parsed.tensors))
    check_writable(x)
    if x._view is not None:
        refresh(x)
    if (
        type(x._payload) is np.ndarray
        and type(values._payload) is np.ndarray
        and not (mode.grad and (x._requires_grad or values._requires_grad))
        and primitives.intercept is None
    ):
        _store(x, parsed, values._payload)
        return
    part = parsed.primitive(x, key=tuple(parsed.key)) if parsed.key else slice_(x, key=())
    if parsed.tensors:
        inplace(
            x if parsed.is_whole(x._payload.shape) else part,
            index_put_,
            values,
            *parsed.tensors,
            positions=tuple(parsed.positions),
            accumulate=False,
        )
    else:
        assign(part, movement.expand(_without_leading_ones(values, part), part._payload.shape))


def _is_single(value: Any) -> bool:
    return not isinstance(value, TensorBase) or math.prod(value._payload.shape) == 1


def _fill_masked(x: Tensor, mask: Any, value: Any) -> None:
    """`x[mask] = value` for one value: no shape depends on the mask."""
    from kuai.ops.masking import masked_fill

    shape, covered = x._payload.shape, mask._payload.shape
    if covered != shape[: len(covered)]:
        if len(covered) > len(shape):
            raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
        wrong = next(d for d, n in enumerate(covered) if n != shape[d])
        raise _mask_error(covered, shape, wrong, wrong)
    value = movement.reshape(_as_values(x, value, False), ())
    if mask.dtype is dtypes.uint8:
        mask = cast(mask, dtype=dtypes.bool_)
    mask = movement.reshape(mask, (*covered, *(1,) * (len(shape) - len(covered))))
    inplace(x, masked_fill, mask, value)


def _as_values(x: Tensor, value: Any, same_dtype: bool) -> Tensor:
    dtype = x.dtype
    if isinstance(value, TensorBase):
        if value.dtype is dtype:
            return value  # type: ignore[return-value]
        if same_dtype:
            raise RuntimeError(
                "Index put requires the source and destination dtypes match, got "
                f"{dtype.name} for the destination and {value.dtype.name} for the source."
            )
        return cast(value, dtype=dtype)
    if not isinstance(value, (bool, int, float, np.generic)):
        raise TypeError(f"can't assign a {type(value).__name__} to a {dtype} tensor")
    return as_operand(value, dtype)


def _without_leading_ones(values: Tensor, part: Tensor) -> Tensor:
    shape, limit = values._payload.shape, part._payload.ndim
    extra = len(shape) - limit
    if extra > 0 and all(n == 1 for n in shape[:extra]):
        return movement.reshape(values, shape[extra:])
    return values


def _store(x: Tensor, parsed: Parsed, values: np.ndarray) -> None:
    """Write into the memory, where nothing records it."""
    target = x._payload
    if 0 in target.strides and _overlaps(target):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )
    part = parsed.primitive.kernel(target, key=tuple(parsed.key))
    try:
        if parsed.tensors:
            indices = tuple([t._payload for t in parsed.tensors])
            put(part, values, indices, tuple(parsed.positions), False)
        else:
            part[...] = values
    except ValueError:
        if parsed.tensors:
            _check_fits(
                values.shape,
                indexed_shape(part.shape, [i.shape for i in indices], tuple(parsed.positions)),
            )
        movement.expand(wrap(values), part.shape)
        raise
    x._counter[0] += 1


# -- functions ---------------------------------------------------------------------------------


def nonzero(input: Tensor, *, as_tuple: bool = False, out: Tensor | None = None) -> Any:
    """The indices of all elements that are not zero, in order.

    Args:
        input: the tensor.
        as_tuple: give one vector for each dimension instead of one matrix with a row for each
            element.
        out: where to store the matrix.
    """
    from kuai.ops.joining import stack
    from kuai.ops.pointwise import write_out

    if as_tuple:
        return nonzero_(movement.atleast_1d(input))
    found: Any = nonzero_(input) if input._payload.ndim else ()
    if found:
        result = stack(found, 1)
    else:
        count = int(nonzero_(movement.reshape(input, 1))[0]._payload.shape[0])
        result = wrap(np.zeros((count, 0), np.int64))
    return result if out is None else write_out(out, result)


def argwhere(input: Tensor) -> Tensor:
    """The indices of all elements that are not zero, a row for each."""
    return nonzero(input)


def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with `values` at the positions that the tensors in `indices` say.

    Args:
        input: the tensor.
        indices: a tuple of index tensors or masks, one for each of the first dimensions;
            `None` takes all of a dimension.
        values: a tensor that broadcasts to `input[indices]`.
        accumulate: add instead of storing; positions that repeat add up.

    Raises:
        RuntimeError: the types differ, or `values` does not fit.
    """
    values = _as_values(input, values, True)
    key = tuple(_FULL if i is None else i for i in indices)
    if primitives.intercept is not None and not accumulate and any(map(_is_mask, indices)):
        changed = input.clone()  # how many positions a captured mask has, nobody knows
        changed[key] = values
        return changed
    parsed = parse(input, key)
    if not parsed.tensors or not parsed.is_whole(input._payload.shape):
        tensors: list[Any] = [i if i is None else _as_index(i) for i in indices]
        parsed.positions = [d for d, i in enumerate(tensors) if i is not None]
        parsed.tensors = [
            i if isinstance(i, TensorBase) else wrap(np.asarray(i))  # type: ignore[misc]
            for i in tensors
            if i is not None
        ]
    return index_put_(
        input,
        values,
        *parsed.tensors,
        positions=tuple(parsed.positions),
        accumulate=accumulate,
    )


__all__ = ["argwhere", "index_put", "nonzero"]
