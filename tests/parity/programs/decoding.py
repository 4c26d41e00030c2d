"""Programs over sequences: alignments, structured losses, searches, decoders with a memory."""

# ruff: noqa: SIM102 - programs as people write them

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, differentiated, fill, program, uniform


@program
def ctc_alpha(torch: ModuleType) -> Any:
    F = torch.nn.functional

    NEG = -1e9

    def ctc_alpha(logits, target):
        """CTC forward by hand with extended labels and index writes."""
        lp = F.log_softmax(logits, -1)
        T, L = lp.shape[0], target.shape[0]
        S = 2 * L + 1
        ext = torch.zeros(S, dtype=torch.long)
        ext[1::2] = target
        alpha = torch.full((S,), NEG, dtype=lp.dtype)
        alpha[0] = lp[0, 0]
        alpha[1] = lp[0, ext[1]]
        for t in range(1, T):
            new = torch.full_like(alpha, NEG)
            for s in range(S):
                terms = [alpha[s]]
                if s > 0:
                    terms.append(alpha[s - 1])
                a = torch.stack(terms).logsumexp(0)
                if s > 1:
                    if ext[s] != 0 and ext[s] != ext[s - 2]:
                        a = torch.logaddexp(a, alpha[s - 2])
                new[s] = a + lp[t, ext[s]]
            alpha = new
        return -torch.logaddexp(alpha[S - 1], alpha[S - 2])

    return differentiated(
        torch,
        torch.compile(ctc_alpha),
        (data(7, 5), np.array([1, 2, 2])),
        (data(7, 5, seed=3), np.array([3, 1, 4])),
    )


@program
def soft_dtw(torch: ModuleType) -> Any:

    def soft_dtw(a, b):
        n, m = len(a), len(b)
        D = (a[:, None] - b[None, :]) ** 2
        R = torch.full((n + 1, m + 1), float("inf"), dtype=a.dtype)
        R[0, 0] = 0.0
        gamma = 0.5
        for i in range(1, n + 1):
            for j in range(1, m + 1):
                r = torch.stack([R[i - 1, j - 1], R[i - 1, j], R[i, j - 1]])
                R[i, j] = D[i - 1, j - 1] - gamma * torch.logsumexp(-r / gamma, 0)
        return R[n, m]

    return differentiated(torch, torch.compile(soft_dtw), (data(5), data(6, seed=1)))


@program
def edit_distance(torch: ModuleType) -> Any:

    def edit_distance(a, b):
        n, m = a.shape[0], b.shape[0]
        prev = torch.arange(m + 1)
        for i in range(n):
            cur = [prev[0] + 1]
            for j in range(m):
                cost = 0 if a[i] == b[j] else 1
                cur.append(
                    torch.minimum(torch.minimum(cur[j] + 1, prev[j + 1] + 1), prev[j] + cost)
                )
            prev = torch.stack(cur)
        return prev[-1]

    return differentiated(
        torch,
        torch.compile(edit_distance),
        (np.array([1, 2, 3, 4]), np.array([2, 3, 5])),
        (np.array([1, 1]), np.array([1, 1])),
        (np.array([4, 3, 2, 1]), np.array([1, 2, 3, 4])),
    )


@program
def linear_chain_crf(torch: ModuleType) -> Any:
    nn = torch.nn

    class LinearChainCRF(nn.Module):
        """like pytorch-crf: score, partition function, masked."""

        def __init__(self):
            super().__init__()
            self.transitions = nn.Parameter(torch.empty(4, 4))
            self.start = nn.Parameter(torch.empty(4))
            self.end = nn.Parameter(torch.empty(4))

        def score(self, em, tags, mask):
            L, B = tags.shape
            s = self.start[tags[0]]
            s += em[0, torch.arange(B), tags[0]]
            for i in range(1, L):
                s += self.transitions[tags[i - 1], tags[i]] * mask[i]
                s += em[i, torch.arange(B), tags[i]] * mask[i]
            last = mask.long().sum(dim=0) - 1
            s += self.end[tags[last, torch.arange(B)]]
            return s

        def partition(self, em, mask):
            s = self.start + em[0]
            for i in range(1, em.size(0)):
                nxt = torch.logsumexp(s.unsqueeze(2) + self.transitions + em[i].unsqueeze(1), dim=1)
                s = torch.where(mask[i].unsqueeze(1).bool(), nxt, s)
            return torch.logsumexp(s + self.end, dim=1)

        def forward(self, em, tags, mask):
            return -(self.score(em, tags, mask.to(em.dtype)) - self.partition(em, mask)).mean()

    net = fill(torch, LinearChainCRF())
    return differentiated(
        torch,
        torch.compile(net),
        (
            data(5, 2, 4),
            np.array([[0, 1], [2, 3], [1, 1], [0, 2], [3, 0]]),
            np.array([[1, 1], [1, 1], [1, 1], [1, 0], [0, 0]]),
        ),
        parameters=net.parameters(),
    )


@program
def crf_viterbi_tensor_backtrack(torch: ModuleType) -> Any:

    def crf_viterbi_tensor_backtrack(em):
        trans = torch.linspace(-1, 1, 16, dtype=em.dtype).view(4, 4)
        L, B, K = em.shape
        score = em[0]
        history = torch.zeros(L, B, K, dtype=torch.long)
        for t in range(1, L):
            m, i = (score.unsqueeze(2) + trans).max(dim=1)
            score = m + em[t]
            history[t] = i
        best = score.argmax(1)
        path = torch.empty(L, B, dtype=torch.long)
        path[L - 1] = best
        t = L - 1
        while t > 0:
            best = history[t].gather(1, best.unsqueeze(1)).squeeze(1)
            t -= 1
            path[t] = best
        return score.max(1)[0], path

    return differentiated(torch, torch.compile(crf_viterbi_tensor_backtrack), (data(5, 2, 4),))


@program
def beam_decoder(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class BeamDecoder(nn.Module):
        """The best beams by top-k, with an end, and lengths that count."""

        def __init__(self, V=6, H=5, k=3, max_len=8, eos=0):
            super().__init__()
            self.emb = nn.Embedding(V, H)
            self.rnn = nn.GRUCell(H, H)
            self.out = nn.Linear(H, V)
            self.V, self.H, self.k, self.max_len, self.eos = V, H, k, max_len, eos

        def forward(self, h0):
            k, V = self.k, self.V
            h = h0.expand(k, -1)
            tokens = torch.ones(k, self.max_len + 1, dtype=torch.long)
            scores = torch.full((k,), float("-inf"), dtype=h0.dtype)
            scores[0] = 0
            finished = torch.zeros(k, dtype=torch.bool)
            lengths = torch.zeros(k, dtype=torch.long)
            t = 0
            while t < self.max_len and not finished.all():
                h_new = self.rnn(self.emb(tokens[:, t]), h)
                logp = F.log_softmax(self.out(h_new), dim=-1)
                eos_only = torch.full_like(logp, float("-inf"))
                eos_only[:, self.eos] = 0
                logp = torch.where(finished[:, None], eos_only, logp)
                total = (scores[:, None] + logp).view(-1)
                scores, flat = total.topk(k)
                beam = torch.div(flat, V, rounding_mode="floor")
                word = flat % V
                tokens = tokens.index_select(0, beam)
                tokens[:, t + 1] = word
                finished = finished[beam] | (word == self.eos)
                lengths = lengths[beam] + (~finished).long()
                h = h_new[beam]
                t += 1
            norm = scores / (lengths + 1).to(scores.dtype) ** 0.7
            best = norm.argmax()
            return tokens[best], norm[best], t

    net = fill(torch, BeamDecoder())
    return differentiated(
        torch,
        torch.compile(net),
        (data(1, 5),),
        (data(1, 5, seed=2) * 3,),
        (data(1, 5, seed=4),),
        parameters=net.parameters(),
    )


@program
def batch_greedy(torch: ModuleType) -> Any:
    nn = torch.nn

    class BatchGreedy(nn.Module):
        """unfinished_sequences idiom of transformers."""

        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.lm = nn.Linear(4, 5)

        def forward(self, h):
            b = h.shape[0]
            pad, eos = 0, 3
            unfinished = torch.ones(b, dtype=torch.long)
            ids = torch.full((b, 9), pad)
            ids[:, 0] = 1
            cur = 1
            loss = h.new_zeros(())
            while True:
                h = torch.tanh(h + self.embed(ids[:, cur - 1].clone()))
                logits = self.lm(h)
                nxt = torch.argmax(logits, dim=-1)
                nxt = nxt * unfinished + pad * (1 - unfinished)
                ids[:, cur] = nxt
                cur = cur + 1
                loss = loss + (logits.logsumexp(-1) * unfinished).sum()
                unfinished = unfinished.mul((nxt != eos).long())
                if unfinished.max() == 0 or cur >= 9:
                    break
            return ids, loss

    net = fill(torch, BatchGreedy())
    return differentiated(
        torch, torch.compile(net), (data(3, 4),), (data(2, 4, seed=2),), parameters=net.parameters()
    )


@program
def cached_attention(torch: ModuleType) -> Any:
    nn = torch.nn

    class CachedAttention(nn.Module):
        """KV cache written by index; per step mask; multi-head."""

        def __init__(self, d=8, h=2, max_len=6):
            super().__init__()
            self.qkv = nn.Linear(d, 3 * d)
            self.o = nn.Linear(d, d)
            self.h, self.d, self.max_len = h, d, max_len

        def forward(self, x):
            B, T, D = x.shape
            k_cache = torch.zeros(B, self.h, self.max_len, D // self.h, dtype=x.dtype)
            v_cache = torch.zeros_like(k_cache)
            outs = []
            pos = 0
            while pos < T:
                q, k, v = self.qkv(x[:, pos]).split(D, dim=-1)
                q, k, v = (t.view(B, self.h, D // self.h) for t in (q, k, v))
                k_cache = k_cache.clone()
                v_cache = v_cache.clone()
                k_cache[:, :, pos] = k
                v_cache[:, :, pos] = v
                att = torch.einsum("bhd,bhtd->bht", q, k_cache) / math.sqrt(D // self.h)
                att = att.masked_fill(torch.arange(self.max_len) > pos, float("-inf")).softmax(-1)
                y = torch.einsum("bht,bhtd->bhd", att, v_cache).reshape(B, D)
                outs.append(self.o(y))
                pos += 1
            return torch.stack(outs, dim=1)

    net = fill(torch, CachedAttention())
    return differentiated(
        torch,
        torch.compile(net),
        (data(2, 5, 8),),
        (data(1, 5, 8, seed=3),),
        parameters=net.parameters(),
    )


@program
def speculative_decoding(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class SpeculativeDecoding(nn.Module):
        def __init__(self):
            super().__init__()
            self.draft = nn.Linear(4, 5)
            self.target = nn.Linear(4, 5)
            self.emb = nn.Embedding(5, 4)

        def forward(self, h, us):
            tokens = torch.zeros(12, dtype=torch.long)
            n = 1
            u = 0
            loglik = torch.zeros((), dtype=h.dtype)
            while n < 8 and u < 20:
                ctx = h + self.emb(tokens[n - 1].clone())
                q = F.softmax(self.draft(ctx), -1)
                p = F.softmax(self.target(ctx), -1)
                cand = (torch.cumsum(q.detach(), 0) < us[u]).sum().clamp(max=4)
                u += 1
                if us[u] < (p[cand] / q[cand]).clamp(max=1):
                    tok = cand
                else:
                    res = (p - q).clamp(min=0).detach()
                    res = res / (res.sum() + 1e-9)
                    tok = (torch.cumsum(res, 0) < us[u + 1]).sum().clamp(max=4)
                    u += 1
                u += 1
                tokens[n] = tok
                loglik = loglik + p[tok].log()
                h = torch.tanh(h + self.emb(tok))
                n += 1
            return tokens, loglik, n, u

    net = fill(torch, SpeculativeDecoding())
    return differentiated(
        torch,
        torch.compile(net),
        (data(4), uniform(24)),
        (data(4, seed=5), uniform(24, seed=7)),
        parameters=net.parameters(),
    )
