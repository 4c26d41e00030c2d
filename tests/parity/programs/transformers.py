"""Programs with attention: masks, transformers from scratch and from layers, rotary positions."""

# ruff: noqa: B007 - programs as people write them

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program


@program
def attention_pooling(torch: ModuleType) -> Any:
    """Kernel regression, masked softmax, additive and scaled dot-product attention."""
    nn, F = torch.nn, torch.nn.functional

    def sequence_mask(X: Any, valid_len: Any, value: float) -> Any:
        mask = torch.arange(X.size(1))[None, :] < valid_len[:, None]
        X[~mask] = value
        return X

    def masked_softmax(X: Any, valid_lens: Any) -> Any:
        if valid_lens is None:
            return F.softmax(X, dim=-1)
        shape = X.shape
        if valid_lens.dim() == 1:
            valid_lens = torch.repeat_interleave(valid_lens, shape[1])
        else:
            valid_lens = valid_lens.reshape(-1)
        X = sequence_mask(X.reshape(-1, shape[-1]), valid_lens, value=-1e6)
        return F.softmax(X.reshape(shape), dim=-1)

    class Additive(nn.Module):
        def __init__(self, k: int, q: int, hidden: int, dropout: float) -> None:
            super().__init__()
            self.W_k, self.W_q = nn.Linear(k, hidden, bias=False), nn.Linear(q, hidden, bias=False)
            self.w_v, self.dropout = nn.Linear(hidden, 1, bias=False), nn.Dropout(dropout)

        def forward(self, queries: Any, keys: Any, values: Any, valid_lens: Any) -> Any:
            queries, keys = self.W_q(queries), self.W_k(keys)
            features = torch.tanh(queries.unsqueeze(2) + keys.unsqueeze(1))
            scores = self.w_v(features).squeeze(-1)
            self.attention_weights = masked_softmax(scores, valid_lens)
            return torch.bmm(self.dropout(self.attention_weights), values)

    class DotProduct(nn.Module):
        def forward(self, queries: Any, keys: Any, values: Any, valid_lens: Any = None) -> Any:
            d = queries.shape[-1]
            scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(d)
            return torch.bmm(masked_softmax(scores, valid_lens), values)

    queries, keys = torch.from_numpy(data(2, 1, 20)), torch.from_numpy(data(2, 10, 2, seed=1))
    values = torch.arange(40, dtype=torch.float64).reshape(1, 10, 4).repeat(2, 1, 1)
    valid_lens = torch.tensor([2, 6])
    additive = fill(torch, Additive(2, 20, 8, 0.1)).eval()
    a = additive(queries, keys, values, valid_lens)
    weights = additive.attention_weights
    dot = torch.compile(DotProduct())
    b = dot(queries[..., :2], keys, values, valid_lens)
    c = dot(queries[..., :2], keys, values)
    x = torch.linspace(0, 5, 12, dtype=torch.float64)
    y = 2 * torch.sin(x) + x**0.8
    X_repeat = x.repeat_interleave(12).reshape((-1, 12))
    w = F.softmax(-((X_repeat - x) ** 2) / 2, dim=1)
    masked = torch.compile(masked_softmax)(
        torch.from_numpy(data(2, 2, 4)), torch.tensor([[1, 3], [2, 4]])
    )
    return a, weights, b, c, torch.matmul(w, y), masked


@program
def transformer_from_scratch(torch: ModuleType) -> Any:
    """Multi-head attention by reshapes, sinusoidal positions, add & norm, encoder and decoder."""
    nn, F = torch.nn, torch.nn.functional

    class PositionalEncoding(nn.Module):
        def __init__(self, num_hiddens: int, dropout: float, max_len: int = 50) -> None:
            super().__init__()
            self.dropout = nn.Dropout(dropout)
            self.P = torch.zeros((1, max_len, num_hiddens))
            X = torch.arange(max_len, dtype=torch.float32).reshape(-1, 1) / torch.pow(
                10000, torch.arange(0, num_hiddens, 2, dtype=torch.float32) / num_hiddens
            )
            self.P[:, :, 0::2] = torch.sin(X)
            self.P[:, :, 1::2] = torch.cos(X)

        def forward(self, X: Any) -> Any:
            X = X + self.P[:, : X.shape[1], :].to(X.device)
            return self.dropout(X)

    def transpose_qkv(X: Any, num_heads: int) -> Any:
        X = X.reshape(X.shape[0], X.shape[1], num_heads, -1)
        X = X.permute(0, 2, 1, 3)
        return X.reshape(-1, X.shape[2], X.shape[3])

    def transpose_output(X: Any, num_heads: int) -> Any:
        X = X.reshape(-1, num_heads, X.shape[1], X.shape[2])
        X = X.permute(0, 2, 1, 3)
        return X.reshape(X.shape[0], X.shape[1], -1)

    class MultiHead(nn.Module):
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.num_heads = heads
            self.W_q, self.W_k = nn.Linear(d, d), nn.Linear(d, d)
            self.W_v, self.W_o = nn.Linear(d, d), nn.Linear(d, d)

        def forward(self, q: Any, k: Any, v: Any, valid_lens: Any) -> Any:
            q = transpose_qkv(self.W_q(q), self.num_heads)
            k = transpose_qkv(self.W_k(k), self.num_heads)
            v = transpose_qkv(self.W_v(v), self.num_heads)
            scores = torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[-1])
            if valid_lens is not None:
                valid_lens = torch.repeat_interleave(valid_lens, repeats=self.num_heads, dim=0)
                if valid_lens.dim() == 1:
                    valid_lens = valid_lens[:, None].expand(-1, q.shape[1])
                mask = torch.arange(k.shape[1])[None, None] < valid_lens[..., None]
                scores = scores.masked_fill(~mask, -1e6)
            return self.W_o(transpose_output(torch.bmm(F.softmax(scores, -1), v), self.num_heads))

    class AddNorm(nn.Module):
        def __init__(self, shape: Any, dropout: float) -> None:
            super().__init__()
            self.dropout, self.ln = nn.Dropout(dropout), nn.LayerNorm(shape)

        def forward(self, X: Any, Y: Any) -> Any:
            return self.ln(self.dropout(Y) + X)

    class EncoderBlock(nn.Module):
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.attention, self.addnorm1 = MultiHead(d, heads), AddNorm([5, d], 0.0)
            self.ffn = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
            self.addnorm2 = AddNorm(d, 0.0)

        def forward(self, X: Any, valid_lens: Any) -> Any:
            Y = self.addnorm1(X, self.attention(X, X, X, valid_lens))
            return self.addnorm2(Y, self.ffn(Y))

    class DecoderBlock(nn.Module):
        def __init__(self, d: int, heads: int, i: int) -> None:
            super().__init__()
            self.i = i
            self.attention1, self.attention2 = MultiHead(d, heads), MultiHead(d, heads)
            self.addnorm = nn.ModuleList(AddNorm(d, 0.0) for _ in range(2))

        def forward(self, X: Any, state: Any) -> Any:
            enc_outputs, enc_valid_lens = state[0], state[1]
            if state[2][self.i] is None:
                key_values = X
            else:
                key_values = torch.cat((state[2][self.i], X), axis=1)
            state[2][self.i] = key_values
            if self.training:
                batch_size, num_steps, _ = X.shape
                dec_valid_lens = torch.arange(1, num_steps + 1, device=X.device).repeat(
                    batch_size, 1
                )
            else:
                dec_valid_lens = None
            Y = self.addnorm[0](X, self.attention1(X, key_values, key_values, dec_valid_lens))
            Y2 = self.attention2(Y, enc_outputs, enc_outputs, enc_valid_lens)
            return self.addnorm[1](Y, Y2), state

    class Transformer(nn.Module):
        def __init__(self, vocab: int, d: int, heads: int, layers: int) -> None:
            super().__init__()
            self.d = d
            self.embedding, self.pos = nn.Embedding(vocab, d), PositionalEncoding(d, 0.0)
            self.blks = nn.Sequential()
            for i in range(layers):
                self.blks.add_module("block" + str(i), EncoderBlock(d, heads))
            self.decs = nn.ModuleList([DecoderBlock(d, heads, i) for i in range(layers)])
            self.dense = nn.Linear(d, vocab)

        def forward(self, X: Any, Y: Any, valid_lens: Any) -> Any:
            X = self.pos(self.embedding(X) * math.sqrt(self.d))
            for i, blk in enumerate(self.blks):
                X = blk(X, valid_lens)
            state = [X, valid_lens, [None] * len(self.decs)]
            Y = self.pos(self.embedding(Y) * math.sqrt(self.d))
            for dec in self.decs:
                Y, state = dec(Y, state)
            return self.dense(Y)

    net = fill(torch, Transformer(9, 8, 2, 2))
    run = torch.compile(net)
    rng = np.random.default_rng(0)
    X, Y = (torch.from_numpy(rng.integers(0, 9, (2, 5))) for _ in range(2))
    valid_lens = torch.tensor([3, 2])
    out = run(X, Y, valid_lens)
    F.cross_entropy(out.flatten(0, 1), Y.flatten()).backward()
    net.eval()
    with torch.no_grad():
        short = run(X, Y[:, :1], valid_lens)
    return (
        out,
        short,
        net.embedding.weight.grad,
        net.blks[0].addnorm1.ln.weight.grad,
        net.pos.P[0, 3],
    )


@program
def transformer_layers(torch: ModuleType) -> Any:
    """`nn.TransformerEncoder` with a causal mask and padding, a decoder, `nn.Transformer`."""
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
    encoder = fill(torch, nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False))
    x = torch.from_numpy(data(2, 5, 8))
    mask = nn.Transformer.generate_square_subsequent_mask(5).double()
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    run = torch.compile(encoder)
    out = run(x, mask=mask)
    out.square().mean().backward()
    padded = run(x, src_key_padding_mask=padding)[0]
    first = nn.TransformerDecoderLayer(8, 2, 16, 0.0, activation="gelu", norm_first=True)
    decoder = fill(torch, nn.TransformerDecoder(first, 2, norm=nn.LayerNorm(8)))
    decoded = torch.compile(decoder)(x.transpose(0, 1), out.detach().transpose(0, 1))
    whole = fill(torch, nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True))
    both = torch.compile(whole)(x, out.detach(), tgt_mask=mask, tgt_is_causal=True)
    both.square().sum().backward()
    grads = [p.grad for p in (*encoder.parameters(), *whole.parameters())]
    return out, padded, decoded, both, grads, list(encoder.state_dict()), str(encoder), str(layer)


@program
def state_space_and_rotary_positions(torch: ModuleType) -> Any:
    """A linear recurrence scanned by a loop, rotary embeddings, RMS norm, SwiGLU, grouped heads."""
    nn, F = torch.nn, torch.nn.functional

    class RMSNorm(nn.Module):
        def __init__(self, dim: int, eps: float = 1e-6) -> None:
            super().__init__()
            self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

        def forward(self, x: Any) -> Any:
            output = x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + self.eps)
            return output.type_as(x) * self.weight

    def rotate_half(x: Any) -> Any:
        x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return torch.cat((-x2, x1), dim=-1)

    def rope(x: Any, theta: float = 100.0) -> Any:
        t, d = x.shape[-2:]
        inv = 1.0 / (theta ** (torch.arange(0, d, 2).double() / d))
        freqs = torch.outer(torch.arange(t, dtype=torch.float64), inv)
        emb = torch.cat((freqs, freqs), dim=-1)
        return x * emb.cos() + rotate_half(x) * emb.sin()

    class Attention(nn.Module):
        def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
            super().__init__()
            self.h, self.kv, self.d = heads, kv_heads, dim // heads
            self.wq = nn.Linear(dim, dim, bias=False)
            self.wk = nn.Linear(dim, kv_heads * self.d, bias=False)
            self.wv = nn.Linear(dim, kv_heads * self.d, bias=False)
            self.wo = nn.Linear(dim, dim, bias=False)

        def forward(self, x: Any) -> Any:
            B, T, _ = x.shape
            q = rope(self.wq(x).view(B, T, self.h, self.d).transpose(1, 2))
            k = rope(self.wk(x).view(B, T, self.kv, self.d).transpose(1, 2))
            v = self.wv(x).view(B, T, self.kv, self.d).transpose(1, 2)
            k = (
                k[:, :, None]
                .expand(-1, -1, self.h // self.kv, -1, -1)
                .reshape(B, self.h, T, self.d)
            )
            v = v.repeat_interleave(self.h // self.kv, dim=1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.wo(y.transpose(1, 2).contiguous().view(B, T, -1))

    class SSM(nn.Module):
        def __init__(self, dim: int, n: int) -> None:
            super().__init__()
            self.A_log = nn.Parameter(torch.log(torch.arange(1, n + 1).float()).repeat(dim, 1))
            self.D, self.proj = nn.Parameter(torch.ones(dim)), nn.Linear(dim, 2 * n + 1)
            self.n = n

        def forward(self, x: Any) -> Any:
            b, l, d = x.shape
            delta, B, C = self.proj(x).split([1, self.n, self.n], dim=-1)
            delta, A = F.softplus(delta), -torch.exp(self.A_log)
            dA = torch.exp(torch.einsum("blo,dn->bldn", delta, A))
            dB = torch.einsum("blo,bln,bld->bldn", delta, B, x)
            h = torch.zeros(b, d, self.n, dtype=x.dtype)
            ys = []
            for i in range(l):
                h = dA[:, i] * h + dB[:, i]
                ys.append(torch.einsum("bdn,bn->bd", h, C[:, i, :]))
            return torch.stack(ys, dim=1) + x * self.D

    class Block(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.n1, self.attn, self.ssm = RMSNorm(dim), Attention(dim, 4, 2), SSM(dim, 3)
            self.w1, self.w2, self.w3 = (nn.Linear(dim, dim, bias=False) for _ in range(3))

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.n1(x))
            x = x + self.ssm(x)
            return x + self.w2(F.silu(self.w1(x)) * self.w3(x))

    net = fill(torch, nn.Sequential(Block(16), Block(16)))
    x = torch.from_numpy(data(2, 6, 16))
    out = torch.compile(net)(x)
    out.tanh().sum().backward()
    return out, [p.grad for p in net[0].parameters()]
