"""The attention layer."""

from __future__ import annotations

from typing import Any

from kuai import dtypes, ops
from kuai.nn import functional as F
from kuai.nn import init
from kuai.nn.linear import NonDynamicallyQuantizableLinear
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter
from kuai.tensor import Tensor


class MultiheadAttention(Module):
    """Attention in several heads, between linear maps.

    Args:
        embed_dim: size of query and result, E.
        num_heads: a divisor of `embed_dim`.
        dropout: the probability with which weights are dropped in training.
        bias: whether the linear maps have biases.
        add_bias_kv: whether one more key and value is learnt.
        add_zero_attn: whether there is one more key and value of zeros.
        kdim: size of the keys; `embed_dim` by default.
        vdim: size of the values; `embed_dim` by default.
        batch_first: whether the batch dimension comes first.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        query `(L, N, E)`, key `(S, N, kdim)`, value `(S, N, vdim)` (N first with `batch_first`,
        or without N); results `(L, N, E)` and weights `(N, L, S)`.

    Raises:
        ValueError: a size is not positive.
        AssertionError: `embed_dim` is not a multiple of `num_heads`.

    Source: Vaswani et al. (2017), Attention Is All You Need.
    """

    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        packed = self._qkv_same_embed_dim
        shapes: dict[str, tuple[int, ...] | None] = {
            "q_proj_weight": None if packed else (embed_dim, embed_dim),
            "k_proj_weight": None if packed else (embed_dim, self.kdim),
            "v_proj_weight": None if packed else (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim) if packed else None,
            "in_proj_bias": (3 * embed_dim,) if bias else None,
        }
        for name, shape in shapes.items():
            self.register_parameter(name, _parameter(shape, device, dtype))
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        extra = (1, 1, embed_dim) if add_bias_kv else None
        self.bias_k = _parameter(extra, device, dtype)
        self.bias_v = _parameter(extra, device, dtype)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            for bias in (self.in_proj_bias, self.out_proj.bias):
                assert bias is not None
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result and the weights; arguments as in `multi_head_attention_forward`."""
        batch_first = self.batch_first and query.ndim == 3
        if batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        result, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (result.transpose(0, 1) if batch_first else result), weights


def _parameter(
    shape: tuple[int, ...] | None, device: Any, dtype: dtypes.dtype | None
) -> Parameter | None:
    return None if shape is None else Parameter(ops.empty(shape, device=device, dtype=dtype))


__all__ = ["MultiheadAttention"]
