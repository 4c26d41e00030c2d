"""Other shapes of the same elements: reshaping, reordering dimensions, broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_int
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as _as_strided

from kuai import dtypes
from kuai.core.base import layout_of
from kuai.core.primitive import Meta, Primitive, ViewPrimitive, primitive
from kuai.core.tape import called
from kuai.errors import ShapeError
from kuai.ops.pointwise import broadcast_shapes, cast, sum_to

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def normalize_dim(dim: int, ndim: int) -> int:
    """`dim` as a non-negative number.

    Raises:
        IndexError: it is out of range. A zero-dimensional tensor admits 0 and -1.
    """
    limit = ndim or 1
    if not -limit <= dim < limit:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], "
            f"but got {dim})"
        )
    return dim + limit if dim < 0 else dim


def as_shape(sizes: Sequence[Any]) -> tuple[int, ...]:
    """Sizes given one by one, or as one sequence, as a tuple of ints."""
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        first = sizes[0]
        sizes = first if isinstance(first, Sequence) else sizes
    return tuple([as_int(s) for s in sizes])


@primitive
class view_as_shape(ViewPrimitive):
    """The same memory in another shape."""

    gradient_name = "ViewBackward0"

    def kernel(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x.reshape(shape, copy=False)

    def infer(self, x: Meta, shape: tuple[int, ...]) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, x_shape):
        return reshape(grad, x_shape)


@primitive
class reshape_(Primitive):
    """The same elements in another shape, in new memory."""

    gradient_name = "ViewBackward0"

    def kernel(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x.reshape(shape, copy=True)

    def alias(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x.reshape(shape, copy=False)

    def pieces(self, result: np.ndarray, x: np.ndarray, shape: tuple[int, ...]) -> list[Any]:
        return [(result.reshape(x.shape, copy=False), 0, x)]

    def infer(self, x: Meta, shape: tuple[int, ...]) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, x_shape):
        return reshape(grad, x_shape)


def resolve_shape(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """`shape` with its -1, if it has one, worked out.

    Raises:
        ShapeError: it does not hold `numel` elements.
    """
    known = 1
    unknown = -1
    for i, n in enumerate(shape):
        if n == -1:
            if unknown >= 0:
                raise ShapeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise ShapeError(f"invalid shape dimension {n}")
        else:
            known *= n
    if unknown >= 0:
        if known == 0:
            raise ShapeError(
                f"cannot reshape tensor of {numel} elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if numel % known == 0:
            return (*shape[:unknown], numel // known, *shape[unknown + 1 :])
    elif known == numel:
        return shape
    raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {numel}")


def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements in another shape: a view where the memory allows, else a copy.

    Args:
        input: the tensor.
        sizes: the shape, as one sequence or size by size; one size may be -1 and is worked out.
        shape: the same, by keyword.

    Raises:
        ShapeError: the number of elements differs.
    """
    payload = input._payload
    target = resolve_shape(as_shape(sizes if shape is None else (shape,)), payload.size)
    try:
        if type(payload) is not np.ndarray:
            layout_of(input).reshape(target, copy=False)
        return view_as_shape(input, shape=target)
    except (ValueError, ShapeError):
        return reshape_(input, shape=target)


def view(input: Tensor, *sizes: Any, size: Any = None, dtype: Any = None) -> Tensor:
    """The same memory in another shape, or read as another data type.

    Args:
        input: the tensor.
        sizes: the shape, as one sequence or size by size, or one data type.
        size: the shape, by keyword.
        dtype: the data type, by keyword.

    Raises:
        ShapeError: the number of elements differs, or the memory does not allow it.
    """
    if size is not None:
        sizes = (size,)
    elif len(sizes) == 1 and isinstance(sizes[0], dtypes.dtype):
        dtype = sizes[0]
    if dtype is not None:
        return input if dtype is input.dtype else view_as_dtype(input, dtype=dtype)
    target = resolve_shape(as_shape(sizes), input._payload.size)
    try:
        if type(input._payload) is not np.ndarray:
            layout_of(input).reshape(target, copy=False)
        return view_as_shape(input, shape=target)
    except (ValueError, ShapeError):
        raise ShapeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        ) from None


@primitive
class view_as_dtype(ViewPrimitive):
    """The same bytes read as another data type."""

    def kernel(self, x: np.ndarray, dtype: dtypes.dtype) -> np.ndarray:
        return x.view(dtype.numpy)

    def infer(self, x: Meta, dtype: dtypes.dtype) -> Meta:
        size, wanted = x.dtype.itemsize, dtype.itemsize
        if size == wanted:
            return Meta(x.shape, dtype)
        if not x.shape:
            raise ShapeError(
                f"self.dim() cannot be 0 to view {x.dtype} as {dtype} (different element sizes)"
            )
        if x.shape[-1] * size % wanted:
            raise ShapeError(
                f"self.size(-1) must be divisible by {wanted // size} to view {x.dtype} as {dtype} "
                f"(different element sizes), but got {x.shape[-1]}"
            )
        return Meta((*x.shape[:-1], x.shape[-1] * size // wanted), dtype)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of `other`."""
    return view(input, other._payload.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` in the shape of `other`."""
    return reshape(input, other._payload.shape)


def ravel(input: Tensor) -> Tensor:
    """One dimension with all elements."""
    return reshape(input, -1)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from `start_dim` to `end_dim`, inclusive, made one.

    Raises:
        RuntimeError: `start_dim` lies behind `end_dim`.
    """
    shape = input._payload.shape
    start, end = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end and shape:
        return input
    size = 1
    for n in shape[start : end + 1]:
        size *= n
    return reshape(input, (*shape[:start], size, *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """A view with dimension `dim` split into `sizes`, one of which may be -1.

    Raises:
        RuntimeError: `sizes` is empty or does not multiply to the size of `dim`.
    """
    shape = input._payload.shape
    dim = normalize_dim(dim, len(shape))
    sizes = as_shape((sizes,))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        sizes = resolve_shape(sizes, shape[dim])
    except ShapeError:
        raise ShapeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({shape[dim]}) in the input tensor"
        ) from None
    return view(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


@primitive
class squeeze_(ViewPrimitive):
    """Without the dimensions `dims`, which are of size 1."""

    gradient_name = "SqueezeBackward1"

    def kernel(self, x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        return x.squeeze(dims)

    def infer(self, x: Meta, dims: tuple[int, ...]) -> Meta:
        return Meta([n for i, n in enumerate(x.shape) if i not in dims], x.dtype)

    def gradient(self, grad, x_shape):
        return reshape(grad, x_shape)


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """A view without the dimensions of size 1: all of them, or those among `dim`."""
    shape = input._payload.shape
    if dim is None:
        dims = tuple([i for i, n in enumerate(shape) if n == 1])
        return called(squeeze_(input, dims=dims), "SqueezeBackward0")
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    normal = [normalize_dim(d, len(shape)) for d in given]
    if len(set(normal)) != len(normal):
        raise RuntimeError("dim appears multiple times in the list of dims")
    return squeeze_(input, dims=tuple([d for d in normal if shape and shape[d] == 1]))


@primitive
class unsqueeze_(ViewPrimitive):
    """With a new dimension of size 1 at `dim`."""

    gradient_name = "UnsqueezeBackward0"

    def kernel(self, x: np.ndarray, dim: int) -> np.ndarray:
        return x[(*(slice(None),) * dim, None, ...)]

    def infer(self, x: Meta, dim: int) -> Meta:
        return Meta((*x.shape[:dim], 1, *x.shape[dim:]), x.dtype)

    def gradient(self, grad, dim):
        return squeeze_(grad, dims=(dim,))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new dimension of size 1 at `dim`."""
    return unsqueeze_(input, dim=normalize_dim(dim, input._payload.ndim + 1))


def atleast_1d(*tensors: Any) -> Any:
    """Each tensor with at least one dimension; a tuple for several tensors."""
    return _each(tensors, lambda x: reshape(x, 1) if x.ndim == 0 else x)


def atleast_2d(*tensors: Any) -> Any:
    """Each tensor with at least two dimensions, new ones in front; a tuple for several."""
    return _each(
        tensors,
        lambda x: reshape(x, 1, 1) if x.ndim == 0 else unsqueeze(x, 0) if x.ndim == 1 else x,
    )


def atleast_3d(*tensors: Any) -> Any:
    """Each tensor with at least three dimensions; a tuple for several tensors."""

    def deepen(x: Tensor) -> Tensor:
        if x.ndim == 0:
            return reshape(x, 1, 1, 1)
        if x.ndim == 1:
            return unsqueeze(unsqueeze(x, 0), -1)
        return unsqueeze(x, -1) if x.ndim == 2 else x

    return _each(tensors, deepen)


def _each(tensors: tuple[Any, ...], function: Any) -> Any:
    if len(tensors) == 1:
        if not isinstance(tensors[0], (tuple, list)):
            return function(tensors[0])
        tensors = tuple(tensors[0])
    return tuple(function(x) for x in tensors)


@primitive
class permute_(ViewPrimitive):
    """Dimensions in another order: dimension `i` of the result is `dims[i]` of the input."""

    def kernel(self, x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        return x.transpose(dims)

    def infer(self, x: Meta, dims: tuple[int, ...]) -> Meta:
        return Meta([x.shape[d] for d in dims], x.dtype)

    def gradient(self, grad, dims):
        inverse = [0] * len(dims)
        for i, d in enumerate(dims):
            inverse[d] = i
        return permute_(grad, dims=tuple(inverse))


def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """A view with the dimensions in another order.

    Args:
        input: the tensor.
        order: the dimensions of `input` in their new order, as one sequence or one by one.
        dims: the same, by keyword.

    Raises:
        RuntimeError: a dimension is missing, or appears twice.
    """
    order = as_shape(order if dims is None else (dims,))
    ndim = input._payload.ndim
    if len(order) != ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal "
            f"to len(dims) = {len(order)}"
        )
    normal = tuple(normalize_dim(d, ndim) for d in order)
    if len(set(normal)) != len(normal):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return permute_(input, dims=normal)


_SWAPS: dict[int, tuple[int, ...]] = {n: (*range(n - 2), n - 1, n - 2) for n in range(2, 12)}


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    ndim = input._payload.ndim
    a, b = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[a], order[b] = b, a
    return called(permute_(input, dims=tuple(order)), "TransposeBackward0")


def matrix_transpose(input: Tensor) -> Tensor:
    """A view with the last two dimensions exchanged (`mT`)."""
    ndim = input._payload.ndim
    if ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor."
        )
    return called(permute_(input, dims=_SWAPS[ndim]), "TransposeBackward0")


swapaxes = swapdims = transpose


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and numbers stay as they are.

    Raises:
        RuntimeError: more than two dimensions.
    """
    ndim = input._payload.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    dims = (1, 0) if ndim == 2 else tuple(range(ndim))
    return called(permute_(input, dims=dims), "TBackward0")


def adjoint(input: Tensor) -> Tensor:
    """A view with the last two dimensions exchanged.

    Raises:
        RuntimeError: just one dimension.
    """
    if input._payload.ndim == 0:
        return t(input)
    if input._payload.ndim == 1:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    return matrix_transpose(input)


def reverse_dims(input: Tensor) -> Tensor:
    """A view with the dimensions in reverse order (`T`)."""
    return permute_(input, dims=tuple(range(input._payload.ndim))[::-1])


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """A view with the dimensions `source` at the places `destination`, the others in order.

    Raises:
        RuntimeError: the two differ in number, or repeat a dimension.
    """
    ndim = input._payload.ndim
    sources = (source,) if isinstance(source, int) else tuple(source)
    targets = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(sources)} dims) should contain the same number of dims as destination "
            f"({list(targets)} dims)"
        )
    from_ = [normalize_dim(d, ndim) for d in sources]
    to = [normalize_dim(d, ndim) for d in targets]
    for name, given, normal in (("source", sources, from_), ("destination", targets, to)):
        if len(set(normal)) != len(normal):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(given)})")
    if ndim == 0:
        return permute_(input, dims=())
    rest = iter([d for d in range(ndim) if d not in from_])
    placed = dict(zip(to, from_, strict=True))
    return permute_(
        input, dims=tuple(placed[i] if i in placed else next(rest) for i in range(ndim))
    )


moveaxis = movedim


def expanded(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view of the array broadcast to a shape."""
    strides = [0] * (len(shape) - x.ndim) + [
        0 if n == 1 and m != 1 else s
        for n, m, s in zip(x.shape, shape[len(shape) - x.ndim :], x.strides, strict=True)
    ]
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, 0, strides)  # quicker than as_strided
    return _as_strided(x, shape, strides)


@primitive
class expand_(ViewPrimitive):
    """Dimensions of size 1 repeated, without memory."""

    gradient_name = "ExpandBackward0"

    def kernel(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return expanded(x, shape)

    def infer(self, x: Meta, shape: tuple[int, ...]) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, x_shape):
        return sum_to(grad, x_shape)


def expand_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`input` broadcast to `shape`, which it fits."""
    return input if input._payload.shape == shape else expand_(input, shape=shape)


def expand(input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """A view with dimensions of size 1 repeated to the given sizes.

    Args:
        input: the tensor.
        sizes: the new shape, as one sequence or size by size; -1 keeps a size. New dimensions
            come in front.
        size: the same, by keyword.
        implicit: without meaning here.

    Raises:
        ShapeError: a dimension to be repeated is not of size 1.
    """
    shape = input._payload.shape
    target = list(as_shape(sizes if size is None else (size,)))
    extra = len(target) - len(shape)
    if extra < 0:
        raise ShapeError(
            f"expand({list(shape)}, size={target}): the number of sizes provided ({len(target)}) "
            f"must be greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    for i, n in enumerate(target):
        have = shape[i - extra] if i >= extra else None
        if n == -1 and have is not None:
            target[i] = have
        elif n < 0:
            raise ShapeError(
                f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing "
                f"dimension {i}"
            )
        elif have is not None and have not in (1, n):
            raise ShapeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {i}.  Target sizes: {target}.  Tensor sizes: "
                f"{list(shape)}"
            )
    return expand_(input, shape=tuple(target))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other._payload.shape)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """`input` expanded to the shape `size`."""
    return expand(input, size)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape.

    Raises:
        ShapeError: they have none.
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*[x._payload.shape for x in tensors])
    return tuple([expand_to(x, shape) for x in tensors])


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """The sum over the dimensions that broadcasting from `size` to the input's shape repeats.

    Raises:
        ShapeError: `size` does not broadcast to the input's shape.
    """
    shape, target = input._payload.shape, as_shape(size)
    extra = len(shape) - len(target)
    if extra < 0 or any(n not in (1, m) for n, m in zip(target, shape[extra:], strict=True)):
        raise ShapeError(f"size {list(target)} is not expandable to size {list(shape)}.")
    if not input.is_floating_point() and (shape != target or not shape):
        input = cast(input, dtype=dtypes.int64)  # as `sum` does
    return sum_to(input, target)


@primitive
class clone_(Primitive):
    """A copy in new memory."""

    gradient_name = "CloneBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        return x.copy("K")

    def alias(self, x: np.ndarray) -> np.ndarray:
        return x

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad):
        return grad


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in new memory, through which gradients flow."""
    return clone_(input)


__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_tensors",
    "broadcast_to",
    "clone",
    "expand",
    "expand_as",
    "flatten",
    "moveaxis",
    "movedim",
    "permute",
    "ravel",
    "reshape",
    "reshape_as",
    "squeeze",
    "sum_to_size",
    "swapaxes",
    "swapdims",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
]


@primitive
class contiguous_copy(Primitive):
    """A copy whose elements lie in memory in order."""

    gradient_name = "CloneBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        return x.copy("C")

    def alias(self, x: np.ndarray) -> np.ndarray:
        return x

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad):
        return grad
