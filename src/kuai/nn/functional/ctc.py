"""Connectionist temporal classification: labels of a sequence without their places."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import TensorBase, wrap
from kuai.errors import ShapeError
from kuai.nn.functional.precision import require_floating
from kuai.nn.functional.reduction import reduced

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log probability of the labels, summed over all ways in which they may be placed.

    Args:
        log_probs: of each class at each position, `(T, N, C)` or `(T, C)`, from `log_softmax`.
        targets: the labels, `(N, S)` or one after the other `(sum of target_lengths,)`.
        input_lengths: how many positions each sequence has, `(N,)`.
        target_lengths: how many labels each has, `(N,)`.
        blank: the class that is no label.
        reduction: `"mean"` (of the losses divided by the numbers of labels), `"sum"` or `"none"`.
        zero_infinity: whether labels that have no place count 0, and not infinity.

    Shape:
        `()`, or with `"none"` `(N,)`.

    Raises:
        RuntimeError: shapes, lengths or types do not fit.

    The gradient is that of the scores before a `log_softmax`, as PyTorch's: it contains the
    probabilities themselves, which that takes away again.

    Source: Graves et al. (2006), Connectionist Temporal Classification.
    """
    require_floating(log_probs, "ctc_loss")
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: log_probs must be (T, N, C) or (T, C), got {log_probs.shape}")
    batched = log_probs.ndim == 3
    x = log_probs if batched else ops.unsqueeze(log_probs, 1)
    times, samples, classes = x.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    have = _lengths("input_lengths", input_lengths, samples, times)
    wanted = _lengths("target_lengths", target_lengths, samples, None)
    labels = _labels(targets, wanted, samples, blank)
    losses = -_log_likelihood(x, labels, have, wanted)
    losses = losses + _of_scores(x, have)
    if zero_infinity:
        losses = ops.where(ops.eq(losses, math.inf), 0, losses)
    if reduction == "mean":
        losses = losses / ops.clamp(wanted, min=1).to(losses.dtype)
    losses = losses if batched or reduction != "none" else ops.squeeze(losses, 0)
    return reduced(losses, reduction)


def _of_scores(x: Tensor, have: Tensor) -> Tensor:
    """Zeros, whose gradient are the probabilities of all positions that a sequence has."""
    there = ops.arange(x.shape[0]).unsqueeze(1) < have
    sums = ops.sum(ops.where(there.unsqueeze(2), ops.exp(x), 0), (0, 2))
    return sums - sums.detach()


def _log_likelihood(x: Tensor, labels: Tensor, have: Tensor, wanted: Tensor) -> Tensor:
    """The log probability of all ways through the labels with blanks between them, `(N,)`."""
    times, samples, _ = x.shape
    places = labels.shape[1]
    emitted = ops.gather(x, 2, ops.expand(labels.unsqueeze(0), times, samples, places))
    # A blank may be left out between two labels that differ.
    differs = ops.ne(labels[:, 2:], labels[:, :-2])
    odd = wrap(np.arange(2, places) % 2 == 1)
    none = differs.new_zeros((samples, min(places, 2)))
    skips = ops.cat([none, ops.logical_and(differs, odd)], 1)
    first = wrap(np.arange(places) < 2)
    state = ops.where(first, emitted[0], -math.inf)
    for t in range(1, times):
        one, two = _moved(state, 1), ops.where(skips, _moved(state, 2), -math.inf)
        following = _log_sum(state, one, two) + emitted[t]
        state = ops.where((have > t).unsqueeze(1), following, state)
    last = (wanted * 2).unsqueeze(1)
    ends = ops.gather(state, 1, last)
    before = ops.gather(state, 1, ops.clamp(last - 1, min=0))
    before = ops.where(last > 0, before, -math.inf)
    total = ops.squeeze(_log_sum(ends, before), 1)
    return ops.where(ops.logical_and(ops.eq(have, 0), wanted > 0), -math.inf, total)


def _moved(state: Tensor, places: int) -> Tensor:
    """The state moved on by so many places."""
    n = state.shape[1]
    empty = ops.full_like(state[:, : min(places, n)], -math.inf)
    return ops.cat([empty, state[:, : max(n - places, 0)]], 1)


def _log_sum(*parts: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials; of minus infinities alone it has no gradient."""
    greatest = parts[0].detach()
    for part in parts[1:]:
        greatest = ops.maximum(greatest, part.detach())
    shift = ops.where(ops.eq(greatest, -math.inf), 0, greatest)
    total: Any = sum(ops.exp(part - shift) for part in parts)
    none = ops.eq(total, 0)
    return ops.where(none, -math.inf, ops.log(ops.where(none, 1, total)) + shift)


def _lengths(name: str, lengths: Any, samples: int, most: int | None) -> Tensor:
    values: Any = lengths if isinstance(lengths, TensorBase) else ops.tensor(list(lengths))
    if values.is_floating_point():
        raise RuntimeError(f"{name} must be integral")
    values = ops.reshape(values, -1).to(dtypes.int64)
    if values.shape[0] != samples:
        raise RuntimeError(f"{name} must be of size batch_size")
    if type(values._payload) is np.ndarray and samples:
        if most is not None and values._payload.max() > most:
            raise RuntimeError(
                f"Expected {name} to have value at most {most}, but got value "
                f"{values._payload.max()}"
            )
        if values._payload.min() < 0:
            raise RuntimeError(f"Expected {name} to have value at least 0")
    checked: Tensor = values
    return checked


def _labels(targets: Tensor, wanted: Tensor, samples: int, blank: int) -> Tensor:
    """The labels with blanks before, between and after them, `(N, 2 S + 1)`."""
    if targets.ndim == 2:
        if targets.shape[0] != samples:
            raise ShapeError(
                f"Expected tensor to have size {samples} at dimension 0, but got size "
                f"{targets.shape[0]} for argument 'targets'"
            )
        rows = targets.to(dtypes.int64)
    else:
        known = type(wanted._payload) is np.ndarray
        longest = int(wanted._payload.max(initial=0)) if known else targets.numel()
        flat = ops.reshape(targets, -1).to(dtypes.int64)
        begin = (ops.cumsum(wanted, 0) - wanted).unsqueeze(1)
        if not flat.shape[0]:
            flat = flat.new_full((1,), blank)
        at = ops.clamp(begin + ops.arange(longest), max=flat.shape[0] - 1)
        rows = ops.reshape(ops.index_select(flat, 0, ops.reshape(at, -1)), at.shape)
    inside = ops.arange(rows.shape[1]) < wanted.unsqueeze(1)
    rows = ops.where(inside, rows, blank)
    pairs = ops.stack([ops.full_like(rows, blank), rows], 2)
    last = rows.new_full((samples, 1), blank)
    return ops.cat([ops.reshape(pairs, samples, 2 * rows.shape[1]), last], 1)


__all__ = ["ctc_loss"]
