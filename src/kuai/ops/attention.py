"""Attention as one operation, and its gradients as another: the scores are not kept between them.

Sources: Vaswani et al. (2017), Attention Is All You Need; Dao et al. (2022), FlashAttention: the
logarithms of the softmax's denominators are all that the gradients need of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core import tape
from kuai.core.fused import Composed, fits
from kuai.core.primitive import Meta, primitive
from kuai.ops.matmul import matmul_

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Array = np.ndarray


# -- composed of other operations ---------------------------------------------------------------


def attention_weights(
    query: Tensor, key: Tensor, mask: Tensor | None, scale: Any, is_causal: bool
) -> Tensor:
    """`softmax(Q Kᵀ * scale + mask)`, `(*, L, S)`; 0 where a query may attend to nothing."""
    return _weights(_masked_scores(query, key, mask, scale, is_causal), mask is not None)


def _masked_scores(
    query: Tensor, key: Tensor, mask: Tensor | None, scale: Any, is_causal: bool
) -> Tensor:
    scores = ops.matmul(query, ops.transpose(key, -2, -1)) * scale
    if is_causal:  # each query sees the first key, so that no row is without any
        seen = ops.tril(ops.ones(query.shape[-2], key.shape[-2], dtype=dtypes.bool_))
        scores = ops.where(seen, scores, -math.inf)
    if mask is None:
        return scores
    return ops.where(mask, scores, -math.inf) if mask.dtype is dtypes.bool_ else scores + mask


def _weights(scores: Tensor, masked: bool) -> Tensor:
    if not masked:
        return ops.softmax(scores, -1)
    nothing = ops.all(scores == -math.inf, -1, keepdim=True)
    return ops.where(nothing, 0.0, ops.softmax(ops.where(nothing, 0.0, scores), -1))


def _composed(query: Tensor, key: Tensor, value: Tensor, *mask: Tensor, **how: Any) -> Tensor:
    weights = attention_weights(query, key, mask[0] if mask else None, **how)
    return ops.matmul(weights, value)


# -- of arrays ----------------------------------------------------------------------------------


def _scores(
    query: Array, key: Array, mask: Sequence[Array], scale: float, is_causal: bool
) -> tuple[Array, Array | None]:
    """The scores, and where queries attend to nothing, if some are not to attend to some keys."""
    scores = np.asarray(matmul_.kernel(query, key.swapaxes(-1, -2)))
    scores *= np.asarray(scale, scores.dtype)
    hidden = None
    if is_causal:
        hidden = np.logical_not(np.tri(*scores.shape[-2:], dtype=np.bool_))
    elif mask and mask[0].dtype == bool:
        hidden = np.logical_not(mask[0])
    elif mask:
        scores += mask[0]
    if hidden is not None:
        np.copyto(scores, -math.inf, where=hidden)
    return scores, hidden


@primitive
class attention(Composed):
    """`softmax(Q Kᵀ * scale + mask) V`, and the logarithms of the softmax's denominators.

    Queries are `(*, L, E)`, keys `(*, S, E)` and values `(*, S, Ev)`, of the same leading
    dimensions and of size 1 at least; a mask broadcasts to `(*, L, S)`: of bools, True where a
    query attends, or added to the scores. Where a query attends to nothing, the result is 0, and
    the logarithm is taken as infinity: so all its weights are 0, too.
    """

    inputs = ("query", "key", "value", "*mask")
    gradient_name = "ScaledDotProductFlashAttentionForCpuBackward0"

    def kernel(
        self,
        query: Array,
        key: Array,
        value: Array,
        *mask: Array,
        scale: float,
        is_causal: bool,
    ) -> tuple[Array, Array]:
        weights, _ = _scores(query, key, mask, scale, is_causal)
        largest = weights.max(-1, keepdims=True)
        largest[largest == -math.inf] = 0
        weights -= largest
        np.exp(weights, out=weights)
        sums = weights.sum(-1, keepdims=True)
        denominators = largest + np.log(sums)
        nothing = sums == 0
        denominators[nothing] = math.inf
        sums[nothing] = 1
        result = np.asarray(matmul_.kernel(weights, value))
        result /= sums
        return result, denominators[..., 0]

    def infer(
        self, query: Meta, key: Meta, value: Meta, *mask: Meta, scale: float, is_causal: bool
    ) -> tuple[Meta, Meta]:
        result = Meta((*query.shape[:-1], value.shape[-1]), query.dtype)
        return result, Meta(query.shape[:-1], query.dtype)

    def product(self, kinds, query, key, value, *mask, scale, is_causal):
        return kinds.attention(query, key, value, *mask, scale=scale, is_causal=is_causal)

    def gradient(self, grad, query, key, value, result, mask, scale, is_causal):
        how = {"scale": scale, "is_causal": is_causal}
        grads = attention_gradient(grad[0], query, key, value, *result, *mask, **how)
        return (*grads, *[None for _ in mask])

    def has_own_gradient(self, grad: Any) -> bool:
        return super().has_own_gradient(grad) and grad[1] is None

    def compose(self, query, key, value, *mask, **how):
        scores = _masked_scores(query, key, mask[0] if mask else None, **how)
        result = ops.matmul(_weights(scores, bool(mask)), value)
        sums = ops.logsumexp(scores, -1)
        return result, ops.where(sums == -math.inf, math.inf, sums)


@primitive
class attention_gradient(Composed):
    """The gradients of attention with respect to queries, keys and values."""

    inputs = ("upstream", "query", "key", "value", "output", "denominators", "*mask")

    def kernel(
        self,
        upstream: Array,
        query: Array,
        key: Array,
        value: Array,
        output: Array,
        denominators: Array,
        *mask: Array,
        scale: float,
        is_causal: bool,
    ) -> tuple[Array, Array, Array]:
        weights, hidden = _scores(query, key, mask, scale, is_causal)
        weights -= denominators[..., None]
        np.exp(weights, out=weights)
        of_value = matmul_.kernel(weights.swapaxes(-1, -2), upstream)
        of_scores = np.asarray(matmul_.kernel(upstream, value.swapaxes(-1, -2)))
        of_scores -= np.einsum("...i,...i->...", upstream, output)[..., None]
        of_scores *= weights
        of_scores *= np.asarray(scale, weights.dtype)
        if hidden is not None:
            np.copyto(of_scores, 0, where=hidden)
        of_key = matmul_.kernel(of_scores.swapaxes(-1, -2), query)
        return matmul_.kernel(of_scores, key), of_key, of_value

    def infer(
        self,
        upstream: Meta,
        query: Meta,
        key: Meta,
        value: Meta,
        output: Meta,
        denominators: Meta,
        *mask: Meta,
        scale: float,
        is_causal: bool,
    ) -> tuple[Meta, Meta, Meta]:
        return query, key, value

    def product(self, kinds, upstream, query, key, value, output, denominators, *mask, **how):
        return kinds.attention(query, key, value, *mask, gradient=True, **how)

    def gradient(self, grad, upstream, query, key, value, output, denominators, mask):
        raise NotImplementedError("the composition is differentiated")

    def has_own_gradient(self, grad: Any) -> bool:
        return False

    def compose(self, upstream, query, key, value, output, denominators, *mask, **how):
        inputs = [x if x.requires_grad else x.detach() for x in (query, key, value)]
        inputs = [x if x.requires_grad else x.requires_grad_() for x in inputs]
        result = _composed(*inputs, *mask, **how)
        return tuple(tape.backward([result], [upstream], True, True, inputs, False))


def suits(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Whether `attention` takes these; else they are composed."""
    q, k, v = query._payload.shape, key._payload.shape, value._payload.shape
    if not (fits(query, key, value) and len(q) == len(k) == len(v) and q[:-2] == k[:-2] == v[:-2]):
        return False
    if q[-1] != k[-1] or k[-2] != v[-2] or 0 in (*q, *k, *v):
        return False
    if mask is None:
        return True
    if mask._requires_grad or mask.dtype not in (dtypes.bool_, query.dtype):
        return False
    shape, scores = mask._payload.shape, (*q[:-1], k[-2])
    places = scores[len(scores) - len(shape) :]
    return len(shape) <= len(scores) and all(
        n in (1, to) for n, to in zip(shape, places, strict=True)
    )


__all__: list[str] = []
