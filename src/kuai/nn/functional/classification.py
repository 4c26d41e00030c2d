"""Losses of classifiers that give scores, probabilities or their logarithms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kuai import dtypes, ops
from kuai.core.fused import fits
from kuai.core.primitive import checked_when_run, primitive
from kuai.core.tape import called
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.activation import logsigmoid
from kuai.nn.functional.fused_losses import (
    fused_bce_with_logits,
    fused_cross_entropy,
    fused_nll,
)
from kuai.nn.functional.precision import narrow, require_floating
from kuai.nn.functional.reduction import reduced, resolve
from kuai.ops.elementwise import Binary
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of the target under `softmax(input)`.

    Args:
        input: scores of the C classes: `(C,)`, `(N, C)` or `(N, C, d1, ...)`.
        target: int64 class numbers, `()`, `(N,)` or `(N, d1, ...)`, or probabilities of all
            classes, in the input's shape.
        weight: of each class, `(C,)`.
        size_average: deprecated (see `reduction`).
        ignore_index: a class number that counts for nothing.
        reduce: deprecated (see `reduction`).
        reduction: `"mean"` (for class numbers: weighted, over those not ignored), `"sum"` or
            `"none"`.
        label_smoothing: how much of the probability is spread evenly over all classes, 0 to 1.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the target's type does not fit its shape.
        IndexError: there is no class of that number.
        ValueError: input and target differ in batch size.
    """
    reduction = resolve(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    shape = input._payload.shape
    axis = 0 if len(shape) == 1 else 1
    if target._payload.shape == shape:
        if not target.is_floating_point():
            raise DtypeError(
                "Expected floating point type for target with class probabilities, got "
                f"{target.dtype.name}; class numbers would have the shape "
                f"{list(shape[:axis] + shape[axis + 1 :])}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _against_probabilities(input, target, weight, reduction, label_smoothing, axis)
    if weight is None and label_smoothing == 0.0 and _is_plain(input, target, ignore_index):
        return fused_cross_entropy(input, target, reduction=reduction)
    log_probabilities = ops.log_softmax(input, axis)
    if label_smoothing == 0.0:
        return nll_loss(log_probabilities, target, weight, None, ignore_index, None, reduction)
    return _smoothed(log_probabilities, target, weight, ignore_index, reduction, label_smoothing)


def _is_plain(input: Tensor, target: Tensor, ignore_index: int) -> bool:
    """Whether these are scores `(N, C)` and class numbers for a fused loss, none to be ignored."""
    scores, numbers = input._payload, target._payload
    if scores.ndim != 2 or not fits(input) or numbers.dtype != np.int64 or not numbers.size:
        return False
    _check_classes(input, target, None)
    return not _check_range(target, scores.shape[1], ignore_index)


def _per_class(weight: Tensor, ndim: int, classes: int) -> Tensor:
    """The class weights, shaped to multiply scores of `ndim` dimensions."""
    if weight._payload.shape != (classes,):
        raise ShapeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or "
            f"no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    return ops.reshape(weight, -1, *(1,) * max(ndim - 2, 0))


def _against_probabilities(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    label_smoothing: float,
    axis: int,
) -> Tensor:
    if input.ndim < 1:
        raise ShapeError("cross_entropy: the input needs a dimension of classes, but has none")
    classes = input.shape[axis]
    scores = ops.log_softmax(input, axis)
    if label_smoothing > 0.0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    products = scores * target
    if weight is not None:
        products = products * _per_class(weight, input.ndim, classes)
    loss = -ops.sum(products, axis)
    if reduction == "mean":
        return ops.sum(loss) / (input.numel() / classes if classes else 0)
    return reduced(loss, reduction)


def _smoothed(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """The loss against the class number, mixed with that against all classes evenly."""
    x = log_probabilities
    axis = 0 if x.ndim == 1 else 1
    classes = x.shape[axis]
    against_class = nll_loss(x, target, weight, None, ignore_index, None, reduction)
    if weight is not None:
        x = x * _per_class(weight, x.ndim, classes)
    ignored = ops.reshape(target == ignore_index, x.shape[:axis] + x.shape[axis + 1 :])
    against_all = ops.where(ignored, 0.0, -ops.sum(x, axis))
    if reduction == "mean":
        counted = _counted(target, weight, ignore_index, x.dtype)
        against_all = ops.sum(against_all) / ops.sum(counted)
    else:
        against_all = reduced(against_all, reduction)
    return (1 - label_smoothing) * against_class + against_all * (label_smoothing / classes)


def _counted(
    target: Tensor, weight: Tensor | None, ignore_index: int, dtype: dtypes.dtype
) -> Tensor:
    """What each element of the target counts in a mean: its class's weight, 0 where ignored."""
    counts = target != ignore_index
    if weight is None:
        return to_dtype(counts, dtype)
    classes = ops.reshape(ops.where(counts, target, 0), -1)
    weights = ops.reshape(ops.index_select(weight, 0, classes), target.shape)
    return ops.where(counts, weights, 0.0)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood: minus the input at the target's class.

    Args:
        input: log probabilities of the C classes: `(C,)`, `(N, C)` or `(N, C, d1, ...)`.
        target: int64 class numbers, `()`, `(N,)` or `(N, d1, ...)`.
        weight: of each class, `(C,)`.
        size_average: deprecated (see `reduction`).
        ignore_index: a class number that counts for nothing.
        reduce: deprecated (see `reduction`).
        reduction: `"mean"` (weighted, over those not ignored), `"sum"` or `"none"`.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the target is not int64 (or uint8).
        IndexError: there is no class of that number.
        ValueError: input and target differ in batch size.
    """
    reduction = resolve(reduction, size_average, reduce)
    if weight is None and _is_plain(input, target, ignore_index):
        return fused_nll(input, target, reduction=reduction)
    axis = _check_classes(input, target, weight)
    if target.dtype is not dtypes.int64:
        target = to_dtype(target, dtypes.int64)
    some_ignored = _check_range(target, input.shape[axis], ignore_index)
    classes = ops.where(target != ignore_index, target, 0) if some_ignored else target
    picked = ops.gather(input, axis, classes.unsqueeze(axis) if axis else classes.reshape(1))
    if weight is None and not some_ignored and reduction != "none":
        return called(-reduced(picked, reduction), "NllLossBackward0")
    loss = -ops.reshape(picked, target.shape)
    if weight is None and not some_ignored:
        return loss
    counted = _counted(target, weight, ignore_index, input.dtype)
    # Not a product: an ignored element counts for nothing, even where the input is infinite.
    loss = ops.where(target == ignore_index, 0.0, loss if weight is None else loss * counted)
    if reduction == "mean":
        return ops.sum(loss) / ops.sum(counted)
    return reduced(loss, reduction)


def _check_classes(input: Tensor, target: Tensor, weight: Tensor | None) -> int:
    """Which dimension of the input is that of the classes.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the types do not fit.
        ValueError: input and target differ in batch size, or the input has no dimensions.
    """
    shape, wanted = input._payload.shape, target._payload.shape
    if not shape:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    axis = 0 if len(shape) == 1 else 1
    if axis and (not wanted or shape[0] != wanted[0]):
        raise ValueError(
            f"Expected input batch_size ({shape[0]}) to match target batch_size "
            f"({wanted[0] if wanted else 'none'})."
        )
    fitting = shape[:axis] + shape[axis + 1 :]
    if wanted != fitting and not (axis == 0 and wanted == (1,)):
        raise ShapeError(
            f"Expected target size {list(fitting)}, got {list(wanted)} "
            f"(the input, {list(shape)}, has {shape[axis]} classes)"
        )
    if target._payload.dtype != np.int64 and target._payload.dtype != np.uint8:
        raise DtypeError(
            f"expected target dtype to be Long or Byte, but got {target.dtype.name}: class "
            "numbers are int64 (target.long()); probabilities have the input's shape"
        )
    if weight is not None:
        if weight._payload.shape != (shape[axis],):
            raise ShapeError(
                f"weight tensor should be defined either for all {shape[axis]} classes or no "
                f"classes but got weight tensor of shape: {list(weight.shape)}"
            )
        if weight.dtype is not input.dtype:
            raise DtypeError(
                f"expected the weights in the input's type, {input.dtype.name}, but found "
                f"{weight.dtype.name}"
            )
    return axis


def _check_range(target: Tensor, classes: int, ignore_index: int) -> bool:
    """Whether elements may have to be ignored; known only after looking at the values.

    Raises:
        IndexError: there is no class of that number.
    """
    values = target._payload
    message = f"Target {{}} is out of bounds: there are {classes} classes, 0 to {classes - 1}"
    if hasattr(values, "graph"):  # captured: there are no values yet
        checked_when_run(
            lambda: ((target >= 0) & (target < classes)) | (target == ignore_index),
            IndexError,
            message,
            target,
        )
        return True
    unsigned = values.view(np.uint64) if values.dtype == np.int64 else values
    if not values.size or np.maximum.reduce(unsigned, None) < classes:  # negative ones are huge
        return 0 <= ignore_index < classes
    wrong = values[((values < 0) | (values >= classes)) & (values != ignore_index)]
    if wrong.size:
        raise IndexError(message.format(wrong[0]))
    return True


@primitive
class bernoulli_nll(Binary):
    """`-(y log x + (1 - y) log(1 - x))`, with logarithms of at least -100."""

    may_fail = True
    gradient_name = "BinaryCrossEntropyBackward0"

    def kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if not np.all((x >= 0) & (x <= 1)):
            raise RuntimeError("all elements of input should be between 0 and 1")
        floor = np.array(-100, x.dtype)
        return (y - 1) * np.maximum(np.log1p(-x), floor) - y * np.maximum(np.log(x), floor)

    def gradient(self, grad, x, y):  # type: ignore[no-untyped-def]
        return (
            lambda: grad * (x - y) / ops.clamp_min((1 - x) * x, 1e-12),
            lambda: grad * (ops.log1p(-x) - ops.log(x)),
        )

    def lower(self, emit, x, y):  # type: ignore[no-untyped-def]
        inside = emit.logical_and(emit.ge(x, 0), emit.le(x, 1))
        message = "all elements of input should be between 0 and 1"
        emit.check(emit.logical_not(inside), RuntimeError, message)
        of_no = emit.max(emit.log1p(emit.neg(x)), -100)
        of_yes = emit.max(emit.log(x), -100)
        return emit.sub(emit.mul(emit.sub(y, 1), of_no), emit.mul(y, of_yes))


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy of yes-or-no targets, `-(y log x + (1 - y) log(1 - x))`.

    Args:
        input: probabilities of yes.
        target: 0 to 1, in the input's shape.
        weight: of each element; broadcasts.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: the shapes differ.
        RuntimeError: an input is not a probability.
    """
    reduction = resolve(reduction, size_average, reduce)
    if target._payload.shape != input._payload.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    require_floating(input, "binary_cross_entropy")
    if target.dtype is not input.dtype:
        raise DtypeError(
            f"binary_cross_entropy: Found dtype {target.dtype.name} but expected "
            f"{input.dtype.name}, the input's, for the target"
        )
    wide = input.dtype.itemsize == 2
    x = to_dtype(input, dtypes.float32) if wide else input
    y = to_dtype(target, dtypes.float32) if wide else target
    loss = bernoulli_nll(x, y)
    if weight is not None:
        loss = loss * weight
    return reduced(narrow(loss, input), reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of `sigmoid(input)`, without overflow.

    Args:
        input: scores.
        target: 0 to 1, in the input's shape.
        weight: of each element; broadcasts.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
        pos_weight: of the targets that are yes; broadcasts.

    Raises:
        ValueError: the shapes differ.
    """
    reduction = resolve(reduction, size_average, reduce)
    if target._payload.shape != input._payload.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if pos_weight is None and weight is None and fits(input, target):
        return fused_bce_with_logits(input, target, reduction=reduction)
    log_yes = logsigmoid(input)
    if pos_weight is not None:
        log_yes = log_yes * ((pos_weight - 1) * target + 1)
    loss = (1 - target) * input - log_yes
    if weight is not None:
        loss = loss * weight
    return reduced(loss, reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`log(1 + exp(-y x))`, for targets of 1 and -1."""
    reduction = resolve(reduction, size_average, reduce)
    require_floating(input, "soft_margin_loss")
    return reduced(ops.log1p(ops.exp(-target * input)), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the classes of their yes-or-no cross entropies.

    Args:
        input: scores of the C classes, `(*, C)`.
        target: 0 or 1 for each, `(*, C)`.
        weight: of each class; broadcasts.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.
    """
    reduction = resolve(reduction, size_average, reduce)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(ops.sum(loss, -1) / input.shape[-1], reduction)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: object = None,
) -> Tensor:
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`.

    Args:
        input: `(in_features,)` or `(N, in_features)`.
        linear_weight: `(C, d1, ..., in_features)`.
        target: as in `cross_entropy`, for scores of `(N, C, d1, ...)`.
        linear_bias: `(C, d1, ...)`.
        weight: of each class, `(C,)`.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: a class number that counts for nothing; not with probabilities.
        label_smoothing: as in `cross_entropy`.
        options: accepted, and without effect: they say how to divide the work.

    Raises:
        ShapeError: the shapes do not fit.
    """
    if not 1 <= input.ndim <= 2:
        raise ShapeError(f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if linear_weight.ndim < 2:
        raise ShapeError(
            f"expected linear_weight with dimensionality at least 2, got {linear_weight.ndim}"
        )
    if input.shape[-1] != linear_weight.shape[-1]:
        raise ShapeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{input.shape[-1]} and {linear_weight.shape[-1]}, respectively"
        )
    outputs = tuple(linear_weight.shape[:-1])
    if linear_bias is not None and tuple(linear_bias.shape) != outputs:
        raise ShapeError(f"expected linear_bias shape {outputs}, got {tuple(linear_bias.shape)}")
    if len(outputs) > 1 and input.ndim == 1:
        raise ShapeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} "
            f"requires batched input, (N, {input.shape[-1]}), got unbatched input with shape "
            f"{tuple(input.shape)}"
        )
    scores_shape = (*input.shape[:-1], *outputs)
    if ignore_index is not None and tuple(target.shape) == scores_shape:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    scores = ops.linear(
        input,
        ops.reshape(linear_weight, -1, input.shape[-1]),
        None if linear_bias is None else ops.reshape(linear_bias, -1),
    )
    return cross_entropy(
        ops.reshape(scores, *scores_shape),
        target,
        weight=weight,
        reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )


__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "linear_cross_entropy",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "soft_margin_loss",
]
