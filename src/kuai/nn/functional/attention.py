"""Attention: each query's mean of the values, weighted by how well their keys answer it.

Source: Vaswani et al. (2017), Attention Is All You Need.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from kuai import dtypes, ops
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.dropout import dropout
from kuai.nn.functional.padding import pad
from kuai.nn.functional.precision import narrow, widen
from kuai.ops.attention import attention, attention_weights, suits

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`softmax(Q Kᵀ * scale + mask) V`; where a query may attend to nothing, the result is 0.

    Args:
        query: `(*, L, E)`.
        key: `(*, S, E)`.
        value: `(*, S, Ev)`.
        attn_mask: broadcasts to `(*, L, S)`: of bools, True where the query may attend, or of
            floats, added to the scores.
        dropout_p: the probability with which weights are dropped, also outside training.
        is_causal: let query i attend to the keys up to i only; not with `attn_mask`.
        scale: of the scores; `1 / √E` by default.
        enable_gqa: let groups of heads (the dimension before L) share keys and values.

    Shape:
        the result `(*, L, Ev)`.

    Raises:
        DtypeError: the types differ.
        ShapeError: an input has fewer than 2 dimensions, or the heads cannot share keys.
        RuntimeError: `dropout_p` is not a probability, or there are two masks.
    """
    if not query.dtype is key.dtype is value.dtype:
        raise DtypeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype.name} key.dtype: {key.dtype.name} and value.dtype: {value.dtype.name} "
            "instead."
        )
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(
            "Expected query, key, and value to all be at least 2 dimensional, but got query.dim: "
            f"{query.ndim}, key.dim: {key.ndim} and value.dim: {value.ndim} instead."
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    q, k, v = (widen(x, "scaled_dot_product_attention") for x in (query, key, value))
    if enable_gqa:
        if any(x.ndim < 3 or q.shape[-3] % x.shape[-3] for x in (k, v)):
            raise ShapeError(
                "Number of heads in key and value must divide the number of heads in query, but "
                f"the shapes are {list(q.shape)}, {list(k.shape)} and {list(v.shape)}"
            )
        k, v = (ops.repeat_interleave(x, q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    if attn_mask is not None and attn_mask.dtype is not dtypes.bool_:
        attn_mask = widen(attn_mask, "scaled_dot_product_attention")
    if dropout_p == 0.0 and isinstance(scale, (int, float)) and suits(q, k, v, attn_mask):
        mask = () if attn_mask is None else (attn_mask,)
        result, _ = attention(q, k, v, *mask, scale=float(scale), is_causal=is_causal)
        return narrow(result, query)
    weights = attention_weights(q, k, attn_mask, scale, is_causal)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return narrow(ops.matmul(weights, v), query)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in several heads, between linear maps.

    Args:
        query: `(L, N, E)` or `(L, E)`.
        key: `(S, N, Ek)` or `(S, Ek)`.
        value: `(S, N, Ev)` or `(S, Ev)`.
        embed_dim_to_check: E.
        num_heads: a divisor of E.
        in_proj_weight: the maps of query, key and value, one above the other, `(3 E, E)`.
        in_proj_bias: their biases, `(3 E,)`.
        bias_k: one more key, `(1, 1, E)`.
        bias_v: one more value, `(1, 1, E)`.
        add_zero_attn: whether there is one more key and value of zeros.
        dropout_p: the probability with which weights are dropped in training.
        out_proj_weight: the map of the result, `(E, E)`.
        out_proj_bias: its bias, `(E,)`.
        training: whether weights are dropped.
        key_padding_mask: `(N, S)` or `(S,)`: True for keys that are not attended to, or floats
            that are added to the scores.
        need_weights: whether the weights are returned too.
        attn_mask: `(L, S)` or `(N num_heads, L, S)`, of the same meaning.
        use_separate_proj_weight: whether the three maps are given one by one.
        q_proj_weight: the query's map, `(E, E)`.
        k_proj_weight: the key's map, `(E, Ek)`.
        v_proj_weight: the value's map, `(E, Ev)`.
        static_k: keys to use instead, `(N num_heads, S, E / num_heads)`.
        static_v: values to use instead, `(N num_heads, S, E / num_heads)`.
        average_attn_weights: whether the weights returned are the mean over the heads.
        is_causal: a hint that `attn_mask` is the causal one.

    Returns:
        the result, `(L, N, E)` or `(L, E)`, and the weights, `(N, L, S)` or `(L, S)`, with the
        heads before L where they are not averaged; `None` without `need_weights`.

    Raises:
        AssertionError: the shapes do not fit.
        RuntimeError: the mask does not fit, or is missing for `is_causal`.
    """
    batched = _check_dimensions(query, key, value, key_padding_mask, attn_mask)
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    length, batch, size = query.shape
    if size != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}"
        )
    if size % num_heads:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if q_proj_weight is None or k_proj_weight is None or v_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is True but a weight is None")
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                f"{value.shape[:2]}"
            )
        maps = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        if key.shape != value.shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        maps = ops.chunk(in_proj_weight, 3)
    biases = (None,) * 3 if in_proj_bias is None else ops.chunk(in_proj_bias, 3)
    q, k, v = (
        ops.linear(x, w, b) for x, w, b in zip((query, key, value), maps, biases, strict=True)
    )
    mask = _scores_mask(attn_mask, key_padding_mask, q, num_heads, key.shape[0])
    added = 0
    if bias_k is not None and bias_v is not None:
        k = ops.cat([k, bias_k.expand(1, batch, size)])
        v = ops.cat([v, bias_v.expand(1, batch, size)])
        added += 1
    q, k, v = (_heads(x, num_heads) for x in (q, k, v))
    k = k if static_k is None else static_k
    v = v if static_v is None else static_v
    if add_zero_attn:
        zero = ops.zeros(k.shape[0], 1, k.shape[2], dtype=k.dtype)
        k, v = ops.cat([k, zero], 1), ops.cat([v, zero], 1)
        added += 1
    if mask is not None and added:
        mask = pad(mask, (0, added))
    dropped = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = ops.matmul(q * math.sqrt(1.0 / q.shape[-1]), ops.transpose(k, -2, -1))
        weights = ops.softmax(scores if mask is None else scores + mask, -1)
        if dropped > 0.0:
            weights = dropout(weights, dropped)
        mixed = ops.matmul(weights, v)
    else:
        mixed = scaled_dot_product_attention(q, k, v, mask, dropped)
    mixed = ops.reshape(ops.transpose(mixed, 0, 1), length, batch, size)
    result = ops.linear(mixed, out_proj_weight, out_proj_bias)
    if not batched:
        result = result.squeeze(1)
    if weights is None:
        return result, None
    weights = ops.reshape(weights, batch, num_heads, length, -1)
    if average_attn_weights:
        weights = ops.mean(weights, 1)
    return result, weights if batched else weights.squeeze(0)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """`(S, N, E)` as `(N num_heads, S, E / num_heads)`."""
    length, batch, size = x.shape
    split = ops.reshape(x, length, batch * num_heads, size // num_heads)
    return ops.transpose(split, 0, 1)


def _check_dimensions(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
) -> bool:
    """Whether the inputs have a batch dimension."""
    if query.ndim not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{query.ndim}-D query tensor"
        )
    if not key.ndim == value.ndim == query.ndim:
        raise AssertionError(
            f"For {query.ndim}-D `query`, expected `key` and `value` to be {query.ndim}-D but "
            f"found {key.ndim}-D and {value.ndim}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.ndim != query.ndim - 1:
        raise AssertionError(
            f"For {query.ndim}-D `query`, expected `key_padding_mask` to be `None` or "
            f"{query.ndim - 1}-D but found {key_padding_mask.ndim}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.ndim not in (2, 3):
        raise AssertionError(
            f"expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.ndim}-D tensor"
        )
    return query.ndim == 3


def _scores_mask(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    query: Tensor,
    num_heads: int,
    keys: int,
) -> Tensor | None:
    """What to add to the scores, `(N num_heads or 1, L or 1, S)`, for the two masks."""
    length, batch, _ = query.shape
    mask = None
    if attn_mask is not None:
        wanted = (length, keys) if attn_mask.ndim == 2 else (batch * num_heads, length, keys)
        if tuple(attn_mask.shape) != wanted:
            raise ShapeError(
                f"The shape of the {attn_mask.ndim}D attn_mask is {tuple(attn_mask.shape)}, but "
                f"should be {wanted}."
            )
        mask = _as_addend(attn_mask, "attn_mask", query.dtype)
        mask = mask.unsqueeze(0) if mask.ndim == 2 else mask
    if key_padding_mask is None:
        return mask
    if tuple(key_padding_mask.shape) != (batch, keys):
        raise AssertionError(
            f"Expected key_padding_mask of shape {(batch, keys)}, but got "
            f"{tuple(key_padding_mask.shape)}"
        )
    if attn_mask is not None and attn_mask.dtype is not key_padding_mask.dtype:
        warnings.warn(
            "Support for mismatched key_padding_mask and attn_mask is deprecated. "
            "Use same type for both instead.",
            stacklevel=3,
        )
    padding = _as_addend(key_padding_mask, "key_padding_mask", query.dtype)
    padding = padding.reshape(batch, 1, 1, keys).expand(batch, num_heads, 1, keys)
    padding = padding.reshape(batch * num_heads, 1, keys)
    return padding if mask is None else mask + padding


def _as_addend(mask: Tensor, name: str, dtype: dtypes.dtype) -> Tensor:
    """A mask of bools (True: do not attend) as what to add to the scores."""
    if mask.is_floating_point():
        return mask
    if mask.dtype is not dtypes.bool_:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return ops.masked_fill(ops.zeros(mask.shape, dtype=dtype), mask, -math.inf)


__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]
