"""Losses that ask for a margin: between scores, and between distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kuai import dtypes, ops
from kuai.core.primitive import checked_when_run
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.distance import pairwise_distance
from kuai.nn.functional.reduction import reduced, resolve

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, -y (x1 - x2) + margin)`: with a target of 1, x1 should be greater, with -1, x2.

    Raises:
        ShapeError: the numbers of dimensions differ.
    """
    reduction = resolve(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced(ops.clamp_min(-target * (input1 - input2) + margin, 0), reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """A distance `x` where the target is 1, and `max(0, margin - x)` where it is -1."""
    reduction = resolve(reduction, size_average, reduce)
    different = ops.where(target != 1, ops.clamp_min(margin - input, 0), 0.0)
    alike = ops.where(target != -1, input, 0.0)
    return reduced(different + alike, reduction)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`1 - cos(x1, x2)` where the target is 1, and `max(0, cos(x1, x2) - margin)` where it is -1.

    Shape:
        inputs `(N, D)` with a target `(N,)`, or inputs `(D,)` with a target `()`.

    Raises:
        ShapeError: the shapes do not fit.
    """
    reduction = resolve(reduction, size_average, reduce)
    if target.ndim > 1:
        raise ShapeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        raise ShapeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12
    product = ops.sum(input1 * input2, -1)
    squares1 = ops.sum(input1 * input1, -1) + tiny
    squares2 = ops.sum(input2 * input2, -1) + tiny
    cosine = product / ops.sqrt(squares1 * squares2)
    alike = ops.where(target == 1, 1 - cosine, 0.0)
    different = ops.where(target == -1, ops.clamp_min(cosine - margin, 0), 0.0)
    return reduced(alike + different, reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, margin - x[y] + x[i])ᵖ`, summed over all classes i but y, and divided by C.

    Args:
        input: scores of the C classes, `(N, C)` or `(C,)`.
        target: int64 class numbers, `(N,)` or `()`.
        p: 1 or 2.
        margin: by how much the target's score should be above the others.
        weight: of each class, `(C,)`.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: `p` is neither 1 nor 2.
        ShapeError: the shapes do not fit.
        RuntimeError: there is no class of that number.
    """
    reduction = resolve(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    _check_matrix(input, "multi_margin_loss")
    scores = input if input.ndim == 2 else input.reshape(1, -1)
    samples, classes = scores.shape
    if target.ndim > 1 or target.numel() != samples:
        raise ShapeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of "
            f"input samples (batch size). Expected target size [{samples}], but got "
            f"{list(target.shape)}."
        )
    if weight is not None and weight.numel() != classes:
        raise ShapeError(
            f"multi_margin_loss: expected {classes} weights, one a class, got {weight.numel()}"
        )
    if target.dtype is not dtypes.int64:
        raise DtypeError(f"multi_margin_loss: expected an int64 target, got {target.dtype.name}")
    _check_targets(target, 0, classes)
    index = target.reshape(-1, 1)
    loss = ops.relu(margin - ops.gather(scores, 1, index) + scores)
    if p == 2:
        loss = loss * loss
    if weight is not None:
        loss = loss * ops.index_select(weight, 0, target.reshape(-1)).unsqueeze(1)
    others = ops.where(ops.arange(classes) == index, 0.0, loss)
    per_sample = ops.sum(others, 1) / classes
    if reduction == "none":
        return per_sample.reshape(target.shape)
    return reduced(per_sample, reduction)


def _check_matrix(input: Tensor, name: str) -> None:
    if input.ndim not in (0, 1, 2) or (input.ndim and input.shape[-1] == 0):
        raise ShapeError(
            f"{name}: Expected non-empty vector or matrix with optional 0-dim batch size, but "
            f"got: {list(input.shape)}"
        )


def _check_targets(target: Tensor, low: int, classes: int) -> None:
    values = target._payload
    message = f"target out of range: {{}} is not among the {classes} classes, 0 to {classes - 1}"
    if hasattr(values, "graph"):  # captured: there are no values yet
        inside = lambda: (target >= low) & (target < classes)  # noqa: E731
        checked_when_run(inside, RuntimeError, message, target)
    elif values.size and (values.min() < low or values.max() >= classes):
        wrong = values[(values < low) | (values >= classes)]
        raise RuntimeError(message.format(wrong[0]))


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, 1 - (x[y] - x[i])) / C`, summed over all target classes y and all others i.

    Args:
        input: scores of the C classes, `(N, C)` or `(C,)`.
        target: int64, in the input's shape: the numbers of the target classes, then -1.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ShapeError: the shapes do not fit.
        RuntimeError: there is no class of that number.
    """
    reduction = resolve(reduction, size_average, reduce)
    _check_matrix(input, "multilabel_margin_loss")
    if input._payload.shape != target._payload.shape:
        raise ShapeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    classes = input.shape[-1] if input.ndim else 1
    _check_targets(target, -1, classes)
    scores, targets = input.reshape(-1, classes), target.reshape(-1, classes)
    named = ops.cumsum((targets < 0).to(dtypes.int64), 1) == 0
    numbers = ops.where(named, targets, 0)
    chosen = ops.scatter_add(ops.zeros_like(targets), 1, numbers, named.to(dtypes.int64)) > 0
    wanted = ops.gather(scores, 1, numbers).unsqueeze(2)
    lacking = ops.relu(1 - wanted + scores.unsqueeze(1))
    counts = named.unsqueeze(2) & ~chosen.unsqueeze(1)
    per_sample = ops.sum(ops.where(counts, lacking, 0.0), (1, 2)) / classes
    if reduction == "none":
        return per_sample.reshape(target.shape[:-1])
    return reduced(per_sample, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-06,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, d(anchor, positive) - d(anchor, negative) + margin)`, with d the p-norm distance.

    Args:
        anchor: `(N, D)` or `(D,)`.
        positive: what should be near, in the anchor's shape.
        negative: what should be far, in the anchor's shape.
        margin: by how much, positive.
        p: of the norm.
        eps: added to the differences, to keep the gradient finite.
        swap: use d(positive, negative) where that is the smaller distance.
        size_average: deprecated (see `reduction`).
        reduce: deprecated (see `reduction`).
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: the margin is not positive.
        ShapeError: the numbers of dimensions differ.

    Source: Balntas et al. (2016), Learning Shallow Convolutional Feature Descriptors with Triplet
    Losses.
    """
    reduction = resolve(reduction, size_average, reduce)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own; by default `pairwise_distance`."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    distance = distance_function or pairwise_distance
    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    return reduced(ops.clamp_min(margin + near - far, 0), reduction)


__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
