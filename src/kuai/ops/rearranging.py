"""Elements in another order, repeated, or combined with each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, data_dependent, primitive
from kuai.core.tape import called
from kuai.ops import movement
from kuai.ops.gather import index_select
from kuai.ops.joining import stack
from kuai.ops.movement import as_shape, normalize_dim, reshape_
from kuai.ops.pointwise import result_type, to_dtype
from kuai.ops.slicing import embed, slice_

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Dims = int | Sequence[int]


# -- another order -----------------------------------------------------------------------------


@primitive
class flip_(Primitive):
    """The elements along `dims` in reverse order."""

    def kernel(self, x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        return np.flip(x, dims).copy()

    def alias(self, x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        return np.flip(x, dims)

    def infer(self, x: Meta, dims: tuple[int, ...]) -> Meta:
        return x

    def gradient(self, grad, dims):
        return flip_(grad, dims=dims)


def flip(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """A copy with the elements in reverse order along the given dimensions.

    Raises:
        RuntimeError: a dimension appears twice.
    """
    ndim = input._payload.ndim
    given = as_shape(order if dims is None else (dims,))
    normal = tuple(normalize_dim(d, ndim) for d in given)
    if len(set(normal)) != len(normal):
        raise RuntimeError("dim appears multiple times in the list of dims")
    return flip_(input, dims=normal if ndim else ())


def fliplr(input: Tensor) -> Tensor:
    """A copy with the columns in reverse order.

    Raises:
        RuntimeError: fewer than two dimensions.
    """
    if input._payload.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """A copy with the rows in reverse order.

    Raises:
        RuntimeError: no dimension.
    """
    if input._payload.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@primitive
class roll_(Primitive):
    """The elements moved on by `shifts` along `dims`, those at the end coming in front."""

    def kernel(self, x: np.ndarray, shifts: tuple[int, ...], dims: tuple[int, ...]) -> np.ndarray:
        return np.roll(x, shifts, dims)

    def pieces(
        self, result: np.ndarray, x: np.ndarray, shifts: tuple[int, ...], dims: tuple[int, ...]
    ) -> list[tuple[np.ndarray, int, np.ndarray]]:
        found = [(result, x)]
        moved = dict.fromkeys(dims, 0)
        for shift, dim in zip(shifts, dims, strict=True):
            moved[dim] += shift
        for dim, shift in moved.items():
            by = shift % max(x.shape[dim], 1)
            front = (slice(None),) * dim
            back, ahead = (*front, slice(None, by)), (*front, slice(by, None))
            end = (*front, slice(x.shape[dim] - by, None))
            start = (*front, slice(None, x.shape[dim] - by))
            found = [
                pair
                for to, part in found
                for pair in ((to[back], part[end]), (to[ahead], part[start]))
            ]
        return [(to, 0, part) for to, part in found]

    def infer(self, x: Meta, shifts: tuple[int, ...], dims: tuple[int, ...]) -> Meta:
        return x

    def gradient(self, grad, shifts, dims):
        return roll_(grad, shifts=tuple([-s for s in shifts]), dims=dims)


def roll(input: Tensor, shifts: Dims, dims: Dims = ()) -> Tensor:
    """A copy with the elements moved on along `dims`; what leaves at the end enters in front.

    Args:
        input: the tensor.
        shifts: how far, for each of `dims`.
        dims: the dimensions; without them, the elements move as one row.

    Raises:
        RuntimeError: the numbers of shifts and dimensions differ.
    """
    steps, along = as_shape((shifts,)), as_shape((dims,))
    shape = input._payload.shape
    if not steps:
        raise RuntimeError("`shifts` required")
    if not along and len(steps) == 1:
        flat = movement.reshape(input, -1)
        rolled = movement.reshape(roll_(flat, shifts=steps, dims=(0,)), shape)
        return called(rolled, "RollBackward0")
    if len(steps) != len(along):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(along)}"
        )
    if not shape:
        raise IndexError(f"Dimension specified as {along[0]} but tensor has no dimensions")
    normal = tuple(normalize_dim(d, len(shape)) for d in along)
    return roll_(input, shifts=steps, dims=normal)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy turned by `k` right angles in the plane of two dimensions, the first to the second.

    Raises:
        RuntimeError: not two different dimensions.
    """
    ndim = input._payload.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    a, b = (normalize_dim(d, ndim) for d in dims)
    if a == b:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    turns = k % 4
    if turns == 1:
        return movement.transpose(flip_(input, dims=(b,)), a, b)
    if turns == 2:
        return flip_(input, dims=(a, b))
    if turns == 3:
        return movement.transpose(flip_(input, dims=(a,)), a, b)
    return movement.clone(input)


# -- repetition --------------------------------------------------------------------------------


def repeat(input: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """A copy with the whole tensor repeated along each dimension.

    Args:
        input: the tensor.
        sizes: how often, dimension by dimension; more numbers than dimensions add new ones in
            front.
        repeats: the same, by keyword.

    Raises:
        RuntimeError: fewer numbers than dimensions.
    """
    times = as_shape(sizes if repeats is None else (repeats,))
    extra = len(times) - input._payload.ndim
    if extra < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    if any(n < 0 for n in times):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(times)}")
    shape = (1,) * extra + input._payload.shape
    split = movement.reshape(input, [m for n in shape for m in (1, n)])
    wide = movement.expand(split, [m for t, n in zip(times, shape, strict=True) for m in (t, n)])
    result = reshape_(wide, shape=tuple(t * n for t, n in zip(times, shape, strict=True)))
    return called(result, "RepeatBackward0")


def tile(input: Tensor, *sizes: Any, dims: Any = None) -> Tensor:
    """A copy with the whole tensor repeated along each dimension; missing numbers are 1."""
    times = as_shape(sizes if dims is None else (dims,))
    return repeat(input, (1,) * (input._payload.ndim - len(times)) + times)


@primitive
class repeated_positions(Primitive):
    """Each position of the vector `x` as often as its element says."""

    def kernel(self, x: np.ndarray) -> np.ndarray:
        if x.size and x.min() < 0:
            raise RuntimeError("repeats can not be negative")
        return np.repeat(np.arange(x.size), x)

    def infer(self, x: Meta) -> Meta:
        raise data_dependent("repeat_interleave")


def repeat_interleave(
    input: Tensor,
    repeats: int | Tensor | None = None,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """A copy with each element repeated, next to itself.

    Args:
        input: the tensor; without `repeats`, the numbers themselves, whose positions are repeated.
        repeats: how often, one number or one for each position along `dim`.
        dim: the dimension; without it, the elements count as one row.
        output_size: the size of the result along `dim`, checked.

    Raises:
        RuntimeError: `repeats` is negative or not of the dimension's size.
    """
    if repeats is None:
        if input._payload.ndim != 1 or input.dtype not in (dtypes.int64, dtypes.int32):
            raise RuntimeError("repeat_interleave only accepts 1D vectors of int64 or int32")
        return repeated_positions(input)
    if dim is None:
        input, dim = movement.reshape(input, -1), 0
    if input._payload.ndim == 0:
        input = movement.reshape(input, 1)
    shape = input._payload.shape
    dim = normalize_dim(dim, len(shape))
    if isinstance(repeats, TensorBase):
        if repeats._payload.size == 1 and shape[dim] != 1:
            repeats = movement.expand(movement.reshape(repeats, 1), shape[dim])
        if repeats._payload.ndim > 1:
            raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
        repeats = movement.reshape(repeats, -1)
        if repeats._payload.shape[0] != shape[dim]:
            raise RuntimeError("repeats must have the same size as input along dim")
        result = index_select(input, dim, repeated_positions(repeats))
    else:
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        wide = movement.unsqueeze(input, dim + 1)
        wide = movement.expand(wide, (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
        target = (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :])
        result = reshape_(wide, shape=target)
    if output_size is not None and result._payload.shape[dim] != output_size:
        raise RuntimeError(
            f"repeat_interleave: output_size is {output_size}, but the result has size "
            f"{result._payload.shape[dim]}"
        )
    return result


# -- combination -------------------------------------------------------------------------------


def _listed(tensors: tuple[Any, ...]) -> list[Tensor]:
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        return list(tensors[0])
    return list(tensors)


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """For each vector, a grid that varies with it along one dimension: coordinates of all points.

    Args:
        tensors: vectors or numbers.
        indexing: `"ij"`, the i-th vector along dimension i, or `"xy"`, the first two exchanged.

    Raises:
        RuntimeError: the tensors are no vectors, differ in type, or `indexing` is another word.
    """
    vectors = _listed(tensors)
    if not vectors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            'torch.meshgrid: indexing must be one of "xy" or "ij", but received: ' + str(indexing)
        )
    if any(x.dtype is not vectors[0].dtype for x in vectors):
        raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    for x in vectors:
        if x._payload.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                f"{x._payload.ndim}D"
            )
    exchange = indexing == "xy" and len(vectors) >= 2
    if exchange:
        vectors[:2] = vectors[1::-1]
    shape = tuple(x._payload.size for x in vectors)
    grids = []
    for i, x in enumerate(vectors):
        along = [1] * len(vectors)
        along[i] = shape[i]
        grids.append(movement.expand(movement.reshape(x, along), shape))
    if exchange:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of an element of each vector, a row for each.

    Raises:
        RuntimeError: a tensor is no vector.
    """
    vectors = _listed(tensors)
    for x in vectors:
        if x._payload.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x._payload.shape)}")
    if len(vectors) == 1:
        return vectors[0]
    grids = meshgrid(vectors, indexing="ij")
    return stack([movement.reshape(g, -1) for g in grids], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements of a vector, in order, a row for each.

    Raises:
        RuntimeError: no vector, or `r` is negative.
    """
    if input._payload.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._payload.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return wrap(np.zeros(0, input._payload.dtype))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    chosen = np.array(list(choose(range(input._payload.shape[0]), r)), np.int64).reshape(-1, r)
    picked = index_select(input, 0, wrap(chosen.reshape(-1)))
    return movement.reshape(picked, chosen.shape)


def block_diag(*tensors: Any) -> Tensor:
    """A matrix of zeros with the given matrices along its diagonal; vectors count as rows.

    Raises:
        RuntimeError: more than two dimensions.
    """
    dtype = result_type(*tensors) if tensors else dtypes.get_default_dtype()
    blocks = []
    for i, x in enumerate(tensors):
        if x._payload.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                f"{x._payload.ndim} dimensions"
            )
        blocks.append(to_dtype(movement.atleast_2d(x), dtype))
    rows = sum(x._payload.shape[0] for x in blocks)
    columns = sum(x._payload.shape[1] for x in blocks)
    result = wrap(np.zeros((rows, columns) if blocks else (1, 0), dtype.numpy))
    top = left = 0
    for x in blocks:
        n, m = x._payload.shape
        key = ((top, top + n, 1), (left, left + m, 1))
        result = result + embed(x, shape=(rows, columns), view=slice_, parameters={"key": key})
        top, left = top + n, left + m
    return result


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The positions, along each dimension of `shape`, of flat positions.

    Raises:
        ValueError: a size is negative.
        TypeError: `indices` are no integers.
    """
    if not isinstance(indices, TensorBase) or indices._payload.dtype.kind not in "iu":
        raise TypeError("expected 'indices' to be integer dtype")
    shape = as_shape((shape,))
    if any(n < 0 for n in shape):
        raise ValueError("'shape' cannot have negative values, but got " + str(shape))
    found = []
    rest = to_dtype(indices, dtypes.int64)
    for n in reversed(shape):
        found.append(rest % n)
        rest = rest // n
    return tuple(reversed(found))


__all__ = [
    "block_diag",
    "cartesian_prod",
    "combinations",
    "flip",
    "fliplr",
    "flipud",
    "meshgrid",
    "repeat",
    "repeat_interleave",
    "roll",
    "rot90",
    "tile",
    "unravel_index",
]
