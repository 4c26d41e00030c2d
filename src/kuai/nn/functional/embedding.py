"""Rows of a table, looked up by index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.primitive import Meta, Primitive, checked_when_run, data_dependent, primitive
from kuai.core.tape import no_grad
from kuai.errors import DtypeError, ShapeError
from kuai.ops.scattering import add_rows

if TYPE_CHECKING:
    from kuai.tensor import Tensor


@primitive
class embedding_rows(Primitive):
    """The rows of `weight` at `indices`; `padding_idx` gets no gradient (-1: there is none)."""

    inputs = ("weight", "indices")
    gradient_name = "EmbeddingBackward0"
    may_fail = True

    def kernel(
        self, weight: np.ndarray, indices: np.ndarray, padding_idx: int, by_frequency: bool
    ) -> np.ndarray:
        if indices.size:
            low, high = np.minimum.reduce(indices, None), np.maximum.reduce(indices, None)
            if low < 0 or high >= len(weight):
                wrong = indices[(indices < 0) | (indices >= len(weight))][0]
                raise IndexError(_no_such_row(len(weight)).format(wrong))
        return weight.take(indices, axis=0)

    def pull(self, emit, at, weight, indices, padding_idx, by_frequency):  # type: ignore[no-untyped-def]
        count, message = len(indices.shape), _no_such_row(weight.shape[0])
        row = weight.checked(indices.at(*at[:count]), 0, IndexError, message)
        return weight.at(row, *at[count:])

    def bounds(self, weight: Meta, indices: Meta, padding_idx: int, by_frequency: bool) -> Any:
        return ((1, weight.shape[0]),)

    def infer(self, weight: Meta, indices: Meta, padding_idx: int, by_frequency: bool) -> Meta:
        return Meta((*indices.shape, *weight.shape[1:]), weight.dtype)

    def gradient(self, grad, weight_shape, indices, padding_idx, by_frequency):  # type: ignore[no-untyped-def]
        flat = ops.reshape(indices, -1)
        rows = ops.reshape(grad, -1, weight_shape[1])
        if padding_idx >= 0:
            rows = ops.where((flat == padding_idx).unsqueeze(1), 0.0, rows)
        if by_frequency:
            rows = rows / frequencies(flat, weight_shape[0], grad.dtype).unsqueeze(1)
        zeros = ops.zeros(weight_shape, dtype=grad.dtype)
        return ops.index_add(zeros, 0, flat, rows), None

    def backward(  # type: ignore[no-untyped-def]
        self, grad, weight_shape, indices, padding_idx, by_frequency
    ):
        flat = indices.reshape(-1)
        rows = grad.reshape(-1, weight_shape[1])
        if padding_idx >= 0:
            rows = np.where((flat == padding_idx)[:, None], rows.dtype.type(0), rows)
        if by_frequency:
            rows = rows / np.bincount(flat).astype(rows.dtype)[flat][:, None]
        result = np.zeros(weight_shape, grad.dtype)
        add_rows(result, flat, rows)
        return result, None


def _no_such_row(n: int) -> str:
    return f"embedding: index out of range in self: {{}} is not among the {n} rows (0 to {n - 1})"


def frequencies(indices: Tensor, count: int, dtype: dtypes.dtype) -> Tensor:
    """How often each of these indices, all below `count`, is among them."""
    ones = ops.ones(indices.shape, dtype=dtype)
    counts = ops.index_add(ops.zeros(count, dtype=dtype), 0, indices, ones)
    return ops.index_select(counts, 0, indices)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` at the indices in `input`.

    Args:
        input: int64 or int32 indices, of any shape.
        weight: the table, one row an index.
        padding_idx: the index of a row that gets no gradient.
        max_norm: rows used that are longer than this are shortened to it, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide each row's gradient by how often the row was used.
        sparse: accepted, and without effect: gradients are dense.

    Shape:
        input `(*)`, weight `(rows, size)`; the result `(*, size)`.

    Raises:
        IndexError: an index is negative, or not less than the number of rows.
        DtypeError: the indices are not int64 or int32.
        ShapeError: `weight` is not a matrix.
    """
    if padding_idx is None:
        padding_idx = -1
    else:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= rows
    if weight._payload.ndim != 2:
        raise ShapeError(f"embedding: 'weight' must be 2-D, got shape {list(weight.shape)}")
    _check_indices(input, "embedding")
    if max_norm is not None:
        _shorten_rows(weight, input, max_norm, norm_type)
    return embedding_rows(weight, input, padding_idx=padding_idx, by_frequency=scale_grad_by_freq)


def _check_indices(input: Tensor, name: str) -> None:
    dtype = input.dtype
    if dtype is not dtypes.int64 and dtype is not dtypes.int32:
        raise DtypeError(
            f"{name}: Expected tensor for argument #1 'indices' to have one of the following "
            f"scalar types: Long, Int; but got {dtype.name} instead; the input's values are "
            "row numbers, which input.long() makes"
        )


def _shorten_rows(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    with no_grad():
        used = input.detach().reshape(-1)
        if not hasattr(used._payload, "graph"):  # in a capture, rows that repeat become alike
            used = ops.unique(used)
        rows = ops.index_select(weight.detach(), 0, used)
        norms = ops.norm(rows, norm_type, 1, keepdim=True)
        shorter = ops.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
        weight.detach().index_copy_(0, used, shorter)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """One int64 per class: 1 for the class that the input names, else 0.

    Args:
        tensor: int64 class numbers, of any shape.
        num_classes: their number; by default one more than the greatest in the input.

    Shape:
        tensor `(*)`; the result `(*, num_classes)`.

    Raises:
        DtypeError: the input is not int64.
        RuntimeError: a number is negative, or not less than `num_classes`.
    """
    if tensor.dtype is not dtypes.int64:
        raise DtypeError("one_hot is only applicable to index tensor of type LongTensor.")
    values = tensor._payload
    negative = "Class values must be non-negative; one is {}."
    too_great = f"Class values must be smaller than num_classes, {num_classes}; one is {{}}."
    if hasattr(values, "graph"):  # captured: there are no values yet
        if num_classes == -1:
            raise data_dependent("one_hot without num_classes")
        checked_when_run(lambda: tensor >= 0, RuntimeError, negative, tensor)
        checked_when_run(lambda: tensor < num_classes, RuntimeError, too_great, tensor)
    else:
        if values.size == 0:
            if num_classes <= 0:
                raise RuntimeError("Can not infer total number of classes from empty tensor.")
        elif values.min() < 0:
            raise RuntimeError(negative.format(values[values < 0][0]))
        elif num_classes == -1:
            num_classes = int(values.max()) + 1
        elif values.max() >= num_classes:
            raise RuntimeError(too_great.format(values[values >= num_classes][0]))
    classes = ops.arange(num_classes)
    return (tensor.unsqueeze(-1) == classes).to(dtypes.int64)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of the rows that each bag of indices names.

    Args:
        input: the indices: one row a bag, or all bags one after the other.
        weight: the table, one row an index.
        offsets: where in a one-dimensional `input` each bag begins.
        max_norm: as in `embedding`.
        norm_type: as in `embedding`.
        scale_grad_by_freq: as in `embedding`; not with `"max"`.
        mode: `"sum"`, `"mean"` or `"max"`.
        sparse: accepted, and without effect: gradients are dense.
        per_sample_weights: what to multiply each row with before it is summed; with `"sum"` only.
        include_last_offset: whether `offsets` ends with the length of `input`.
        padding_idx: an index that counts for nothing.

    Shape:
        input `(bags, n)` or `(indices,)`; the result `(bags, size)`.

    Raises:
        ValueError: the arguments do not fit together.
        IndexError: an index is negative, or not less than the number of rows.
    """
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, "
            f"then it must have the same shape as the input ({input.shape})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}')."
        )
    bag, bags = _bag_numbers(input, offsets, include_last_offset)
    flat = input.reshape(-1)
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    if padding_idx is not None:
        counted = flat != padding_idx % weight.shape[0]
        bag = ops.where(counted, bag, bags)  # one bag more, for what is not counted
        return ops.narrow(_reduce_bags(rows, bag, bags + 1, mode), 0, 0, bags)
    return _reduce_bags(rows, bag, bags, mode)


def _bag_numbers(
    input: Tensor, offsets: Tensor | None, include_last_offset: bool
) -> tuple[Tensor, int]:
    """The number of the bag of each index, and how many bags there are."""
    _check_indices(input, "embedding_bag")
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                f"of fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        bags, size = input.shape
        return ops.reshape(ops.arange(bags).unsqueeze(1).expand(bags, size), -1), bags
    if input.ndim != 1:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}"
        )
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if not hasattr(offsets._payload, "graph") and offsets.numel() and offsets[0] != 0:
        raise RuntimeError(
            f"offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start "
            f"from position 0. However, got {offsets[0].item()}"
        )
    if include_last_offset:
        offsets = offsets[:-1]
    places = ops.arange(input.shape[0])
    starts = offsets.to(dtypes.int64)
    return ops.searchsorted(starts, places, right=True) - 1, offsets.shape[0]


def _reduce_bags(rows: Tensor, bag: Tensor, bags: int, mode: str) -> Tensor:
    result: Any = ops.zeros(bags, rows.shape[1], dtype=rows.dtype)
    if mode == "max":
        index = bag.unsqueeze(1).expand(-1, rows.shape[1])
        return ops.scatter_reduce(result, 0, index, rows, "amax", include_self=False)
    result = ops.index_add(result, 0, bag, rows)
    if mode == "sum":
        return result
    ones = ops.ones(bag.shape, dtype=rows.dtype)
    counts = ops.index_add(ops.zeros(bags, dtype=rows.dtype), 0, bag, ones)
    return result / ops.clamp(counts, 1).unsqueeze(1)
