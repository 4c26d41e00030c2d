"""Tensors put together, and taken apart into views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index as as_int
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.core.base import PartView, TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import ShapeError
from kuai.ops import movement
from kuai.ops.movement import normalize_dim
from kuai.ops.pointwise import result_type, to_dtype, write_out
from kuai.ops.slicing import select_, slice_, slice_along

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Tensors = Sequence[Any]

_FULL = slice(None)


@primitive
class cat_(Primitive):
    """Tensors of one type one behind the other along `dim`."""

    inputs = ("x",)
    variadic = True

    def kernel(self, *x: np.ndarray, dim: int) -> np.ndarray:
        return np.concatenate(x, dim)

    def pieces(self, result: np.ndarray, *x: np.ndarray, dim: int) -> list[Any]:
        found = []
        start = 0
        for i, part in enumerate(x):
            stop = start + part.shape[dim]
            found.append((result[(_FULL,) * dim + (slice(start, stop),)], i, part))
            start = stop
        return found

    def infer(self, *x: Meta, dim: int) -> Meta:
        first = x[0].shape
        total = 0
        for i, meta in enumerate(x):
            _check_joinable(first, meta.shape, dim, i)
            total += meta.shape[dim]
        return Meta((*first[:dim], total, *first[dim + 1 :]), x[0].dtype)

    def gradient(self, grad, x_shapes, dim):
        gradients = []
        start = 0
        for shape in x_shapes:
            stop = start + shape[dim]
            gradients.append(lambda a=start, b=stop: slice_along(grad, dim, a, b))
            start = stop
        return gradients


def _check_joinable(first: tuple[int, ...], shape: tuple[int, ...], dim: int, number: int) -> None:
    if len(first) != len(shape):
        raise ShapeError(
            f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}"
        )
    for d, (n, m) in enumerate(zip(first, shape, strict=True)):
        if n != m and d != dim:
            raise ShapeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected size {n} but "
                f"got size {m} for tensor number {number} in the list."
            )


def _of_one_type(tensors: Tensors, name: str) -> list[Tensor]:
    """The tensors as a list, in their common type.

    Raises:
        TypeError: they are no sequence of tensors.
    """
    if isinstance(tensors, TensorBase) or not isinstance(tensors, (tuple, list)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
            f"{type(tensors).__name__}"
        )
    common: Any = None
    mixed = False
    for i, x in enumerate(tensors):
        if not isinstance(x, TensorBase):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
        numpy_dtype = x._payload.dtype
        if common is None:
            common = numpy_dtype
        elif numpy_dtype is not common and numpy_dtype != common:
            mixed = True
    if mixed:
        dtype = result_type(*tensors)
        return [to_dtype(x, dtype) for x in tensors]
    return list(tensors)


def cat(
    tensors: Tensors, dim: int = 0, *, axis: int | None = None, out: Tensor | None = None
) -> Tensor:
    """The tensors one behind the other along the dimension `dim`.

    Args:
        tensors: tensors that agree in all other sizes. Empty vectors are left out.
        dim: the dimension.
        axis: another name of `dim`.
        out: where to store the result.

    Raises:
        ShapeError: sizes differ.
        ValueError: there are no tensors.
    """
    parts = _of_one_type(tensors, "cat")
    if not parts:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    ndim = 0
    for i, x in enumerate(parts):
        shape = x._payload.shape
        if not shape:
            raise ShapeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
        if shape != (0,):
            ndim = len(shape)
    if ndim > 1:
        parts = [x for x in parts if x._payload.shape != (0,)]
    dim = normalize_dim(dim if axis is None else axis, ndim or 1)
    result = cat_(*parts, dim=dim)
    return result if out is None else write_out(out, result)


concat = concatenate = cat


@primitive
class stack_(Primitive):
    """Tensors of one type and shape next to each other along a new dimension `dim`."""

    inputs = ("x",)
    variadic = True

    def kernel(self, *x: np.ndarray, dim: int) -> np.ndarray:
        key = (_FULL,) * dim + (None, ...)
        return np.concatenate([a[key] for a in x], dim)

    def pieces(self, result: np.ndarray, *x: np.ndarray, dim: int) -> list[Any]:
        return [(result[(_FULL,) * dim + (i, ...)], i, part) for i, part in enumerate(x)]

    def infer(self, *x: Meta, dim: int) -> Meta:
        first = x[0].shape
        for i, meta in enumerate(x):
            if meta.shape != first:
                raise ShapeError(
                    f"stack expects each tensor to be equal size, but got {list(first)} at entry "
                    f"0 and {list(meta.shape)} at entry {i}"
                )
        return Meta((*first[:dim], len(x), *first[dim:]), x[0].dtype)

    def gradient(self, grad, x_shapes, dim):
        full = tuple([(0, n, 1) for n in grad._payload.shape[:dim]])
        return [lambda i=i: select_(grad, key=(*full, i)) for i in range(len(x_shapes))]


def stack(
    tensors: Tensors, dim: int = 0, *, axis: int | None = None, out: Tensor | None = None
) -> Tensor:
    """The tensors next to each other along a new dimension at `dim`.

    Args:
        tensors: tensors of one shape.
        dim: where the new dimension comes.
        axis: another name of `dim`.
        out: where to store the result.

    Raises:
        ShapeError: shapes differ.
    """
    parts = _of_one_type(tensors, "stack")
    if not parts:
        raise RuntimeError("stack expects a non-empty TensorList")
    dim = normalize_dim(dim if axis is None else axis, parts[0]._payload.ndim + 1)
    result = stack_(*parts, dim=dim)
    return result if out is None else write_out(out, result)


def hstack(tensors: Tensors, *, out: Tensor | None = None) -> Tensor:
    """The tensors side by side: along dimension 1, vectors along their only one."""
    parts = _widened(tensors, "hstack", movement.atleast_1d)
    return cat(parts, 0 if parts[0]._payload.ndim == 1 else 1, out=out)


def vstack(tensors: Tensors, *, out: Tensor | None = None) -> Tensor:
    """The tensors one below the other, vectors as rows."""
    return cat(_widened(tensors, "vstack", movement.atleast_2d), 0, out=out)


def dstack(tensors: Tensors, *, out: Tensor | None = None) -> Tensor:
    """The tensors one behind the other along dimension 2."""
    return cat(_widened(tensors, "dstack", movement.atleast_3d), 2, out=out)


def column_stack(tensors: Tensors, *, out: Tensor | None = None) -> Tensor:
    """The tensors side by side, vectors as columns."""

    def column(x: Tensor) -> Tensor:
        return movement.reshape(x, -1, 1) if x._payload.ndim < 2 else x

    return cat(_widened(tensors, "column_stack", column), 1, out=out)


row_stack = vstack


def _widened(tensors: Tensors, name: str, widen: Any) -> list[Tensor]:
    if not isinstance(tensors, TensorBase) and not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return [widen(x) for x in _of_one_type(tensors, name)]


class _ManyViews(Primitive):
    """A primitive whose results are all views of its input; each knows itself as a slice.

    `keys(shape, **parameters)` tells for each result which primitive and key take it alone.
    """

    keys: Callable[..., list[tuple[Any, Any]]]

    def alias(self, x: np.ndarray, **parameters: Any) -> Any:
        return self.kernel(x, **parameters)

    def _finish_all(
        self, payloads: tuple[Any, ...], inputs: Sequence[Any], parameters: dict[str, Any]
    ) -> tuple[Tensor, ...]:
        results = super()._finish_all(payloads, inputs, parameters)
        source = inputs[0]
        counter = source._counter
        keys = self.keys(source._payload.shape, **parameters)
        for i, (result, (view, key)) in enumerate(zip(results, keys, strict=True)):
            result._counter = counter
            part = result._view = PartView(source, view, {"key": key}, counter[1])
            part.name = f"Output {i} of {self.name.capitalize()}"
        return results


def _zeros_where_missing(grads: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    dtype = next(g._payload.dtype for g in grads if g is not None)
    return [
        wrap(np.zeros(shape, dtype)) if g is None else g
        for g, shape in zip(grads, shapes, strict=True)
    ]


@primitive
class split_(_ManyViews):
    """Pieces of the given sizes along `dim`."""

    def kernel(self, x: np.ndarray, sizes: tuple[int, ...], dim: int) -> Any:
        front = (_FULL,) * dim
        pieces = []
        start = 0
        for n in sizes:
            pieces.append(x[(*front, slice(start, start + n))])
            start += n
        return tuple(pieces)

    def infer(self, x: Meta, sizes: tuple[int, ...], dim: int) -> Any:
        return tuple(Meta(s, x.dtype) for s in self._shapes(x.shape, sizes, dim))

    @staticmethod
    def _shapes(shape: tuple[int, ...], sizes: tuple[int, ...], dim: int) -> list[tuple[int, ...]]:
        return [(*shape[:dim], n, *shape[dim + 1 :]) for n in sizes]

    def keys(self, shape: tuple[int, ...], *, sizes: Any, dim: int) -> list[tuple[Any, Any]]:
        front = tuple([(0, n, 1) for n in shape[:dim]])
        starts = np.cumsum((0, *sizes)).tolist()
        return [(slice_, (*front, (a, a + n, 1))) for a, n in zip(starts, sizes, strict=False)]

    def gradient(self, grad, x_shape, sizes, dim):
        return cat_(*_zeros_where_missing(grad, self._shapes(x_shape, sizes, dim)), dim=dim)


@primitive
class unbind_(_ManyViews):
    """The slices along `dim`, without it."""

    def kernel(self, x: np.ndarray, dim: int) -> Any:
        front = (_FULL,) * dim
        keys: list[Any] = [(*front, i, ...) for i in range(x.shape[dim])]
        return tuple([x[key] for key in keys])

    def infer(self, x: Meta, dim: int) -> Any:
        shape = (*x.shape[:dim], *x.shape[dim + 1 :])
        return (Meta(shape, x.dtype),) * x.shape[dim]

    def keys(self, shape: tuple[int, ...], *, dim: int) -> list[tuple[Any, Any]]:
        front = tuple([(0, n, 1) for n in shape[:dim]])
        return [(select_, (*front, i)) for i in range(shape[dim])]

    def gradient(self, grad, x_shape, dim):
        shape = (*x_shape[:dim], *x_shape[dim + 1 :])
        return stack_(*_zeros_where_missing(grad, [shape] * x_shape[dim]), dim=dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of all slices along `dim`, without that dimension.

    Raises:
        IndexError: the tensor has no such dimension.
    """
    shape = input._payload.shape
    if not shape:
        raise IndexError(
            "Dimension specified as 0 but tensor has no dimensions"
            if dim in (0, -1)
            else f"Dimension out of range (expected to be in range of [-1, 0], but got {dim})"
        )
    dim = normalize_dim(dim, len(shape))
    if shape[dim] == 0:
        return ()
    return unbind_(input, dim=dim)


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> Any:
    """Views of pieces of the given sizes along `dim`.

    Raises:
        RuntimeError: the sizes do not sum to the size of the dimension, or one is negative.
    """
    shape = input._payload.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = normalize_dim(dim, len(shape))
    sizes = tuple([int(n) for n in split_sizes])
    if any(n < 0 for n in sizes):
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(sizes)}"
        )
    if sum(sizes) != shape[dim]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {shape[dim]} (input tensor's "
            f"size at dimension {dim}), but got split_sizes={list(sizes)}"
        )
    return split_(input, sizes=sizes, dim=dim) if sizes else ()


def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int] = 1, dim: int = 0, **names: Any
) -> Any:
    """Views of pieces along `dim`: of one size (the last may be smaller), or of the sizes listed.

    Raises:
        RuntimeError: the sizes do not fit.
    """
    split_size_or_sections = names.pop("split_size", split_size_or_sections)
    if not isinstance(split_size_or_sections, (int, np.integer)):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    size = int(split_size_or_sections)
    shape = tensor._payload.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    dim = normalize_dim(dim, len(shape))
    n = shape[dim]
    if size == 0 and n:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
        )
    sizes = [min(size, n - start) for start in range(0, n, size)] if n else [0]
    return split_(tensor, sizes=tuple(sizes), dim=dim)


def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> Any:
    """As `split_with_sizes`, but each piece is a tensor of its own, no view."""
    return tuple(movement.clone(x) for x in split_with_sizes(input, split_sizes, dim))


def unsafe_split(input: Tensor, split_size: int, dim: int = 0) -> Any:
    """As `split`, but each piece is a tensor of its own, no view."""
    return tuple(movement.clone(x) for x in split(input, split_size, dim))


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """As `chunk`, but each piece is a tensor of its own, no view."""
    return tuple(movement.clone(x) for x in chunk(input, chunks, dim))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """Views of at most `chunks` pieces of equal size along `dim`; the last may be smaller.

    Raises:
        RuntimeError: `chunks` is not positive.
    """
    shape = input._payload.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = normalize_dim(dim, len(shape))
    if shape[dim] == 0:
        return split_(input, sizes=(0,) * chunks, dim=dim)
    return split(input, -(-shape[dim] // chunks), dim)


def tensor_split(
    input: Tensor, indices_or_sections: Any, dim: int = 0, **names: Any
) -> tuple[Tensor, ...]:
    """Views of pieces along `dim`: a number of nearly equal ones, or cut at the given indices.

    Raises:
        RuntimeError: the tensor has no dimension, or the number is not positive.
    """
    shape = input._payload.shape
    cuts = names.pop("indices", names.pop("sections", indices_or_sections))
    if not shape:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    dim = normalize_dim(dim, len(shape))
    n = shape[dim]
    if isinstance(cuts, TensorBase):
        cuts = cuts.tolist()
    if isinstance(cuts, (int, np.integer)):
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        size, larger = divmod(n, int(cuts))
        cuts = [i * size + min(i, larger) for i in range(1, int(cuts))]
    edges = [0, *[as_int(i) for i in cuts]]
    ends = [*edges[1:], n]
    return tuple([slice_along(input, dim, a, b) for a, b in zip(edges, ends, strict=True)])


def _split_along(input: Tensor, cuts: Any, dim: int, name: str, least: int) -> Any:
    shape = input._payload.shape
    if len(shape) < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension"
            f"{'s' if least > 1 else ''}, but got a tensor with {len(shape)} dimensions!"
        )
    if isinstance(cuts, int) and (cuts <= 0 or shape[dim] % cuts):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the "
            f"dimension {shape[dim]} is not divisible by the split_size {cuts}!"
        )
    return tensor_split(input, cuts, dim)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Views of pieces along dimension 1 (0 for a vector): a number of them, or cut at indices."""
    dim = 0 if input._payload.ndim == 1 else 1
    return _split_along(input, indices_or_sections, dim, "hsplit", 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Views of pieces along dimension 0: a number of them, or cut at indices."""
    return _split_along(input, indices_or_sections, 0, "vsplit", 2)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Views of pieces along dimension 2: a number of them, or cut at indices."""
    return _split_along(input, indices_or_sections, 2, "dsplit", 3)


__all__ = [
    "cat",
    "chunk",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "row_stack",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "unbind",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
    "vsplit",
    "vstack",
]
