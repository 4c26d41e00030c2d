"""Views, and other rearrangements of elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as _as_strided


from kuai.core.primitive import Meta, Primitive, ViewPrimitive, primitive
from kuai.errors import ShapeError
from kuai.ops.pointwise import sum_to

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
    return tuple([int(s) for s in sizes])


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


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape: a view where the memory allows, else a copy.

    Raises:
        ShapeError: the number of elements differs.
    """
    payload = input._payload
    target = resolve_shape(as_shape(shape), payload.size)
    if target == payload.shape:
        return view_as_shape(input, shape=target)
    try:
        return view_as_shape(input, shape=target)
    except (ValueError, ShapeError):
        return reshape_(input, shape=target)


@primitive
class permute_(ViewPrimitive):
    """Dimensions in another order: dimension `i` of the result is `dims[i]` of the input."""

    gradient_name = "PermuteBackward0"

    def kernel(self, x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        return x.transpose(dims)

    def infer(self, x: Meta, dims: tuple[int, ...]) -> Meta:
        return Meta([x.shape[d] for d in dims], x.dtype)

    def gradient(self, grad, dims):
        inverse = [0] * len(dims)
        for i, d in enumerate(dims):
            inverse[d] = i
        return permute_(grad, dims=tuple(inverse))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view with the dimensions in another order."""
    order = as_shape(dims)
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


_SWAPS: dict[int, tuple[int, ...]] = {
    n: (*range(n - 2), n - 1, n - 2) for n in range(2, 12)
}


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    ndim = input._payload.ndim
    a, b = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[a], order[b] = b, a
    return permute_(input, dims=tuple(order))


def matrix_transpose(input: Tensor) -> Tensor:
    """A view with the last two dimensions exchanged (`mT`)."""
    ndim = input._payload.ndim
    if ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor."
        )
    return permute_(input, dims=_SWAPS[ndim])


@primitive
class expand_(ViewPrimitive):
    """Dimensions of size 1 repeated, without memory."""

    gradient_name = "ExpandBackward0"

    def kernel(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        strides = [0] * (len(shape) - x.ndim) + [
            0 if n == 1 and m != 1 else s
            for n, m, s in zip(
                x.shape, shape[len(shape) - x.ndim :], x.strides, strict=True
            )
        ]
        return _as_strided(x, shape, strides)

    def infer(self, x: Meta, shape: tuple[int, ...]) -> Meta:
        return Meta(shape, x.dtype)

    def gradient(self, grad, x_shape):
        return sum_to(grad, x_shape)


def expand_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`input` broadcast to `shape`, which it fits."""
    return input if input._payload.shape == shape else expand_(input, shape=shape)


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """A view with dimensions of size 1 repeated to the given sizes; -1 keeps a size.

    Raises:
        ShapeError: a dimension to be repeated is not of size 1.
    """
    shape = input._payload.shape
    target = list(as_shape(sizes))
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


@primitive
class clone_(Primitive):
    """A copy in new memory."""

    gradient_name = "CloneBackward0"

    def kernel(self, x: np.ndarray) -> np.ndarray:
        return x.copy("K")

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad):
        return grad


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in new memory, through which gradients flow."""
    return clone_(input)



