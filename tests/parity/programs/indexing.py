"""Programs that read and write parts of tensors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, program


@program
def reading_by_index(torch: ModuleType) -> Any:
    """Integers, slices, None, Ellipsis, masks and integer tensors, mixed."""
    x = torch.arange(60).reshape(3, 4, 5)
    i, j = torch.tensor([0, 2]), torch.tensor([1, 3])
    mask = x > 30
    return (
        x[1],
        x[-1, 2],
        x[0, 1, 2],
        x[:, 1:3],
        x[..., 0],
        x[:, None].shape,
        x[1:, ::2, -1],
        x[i],
        x[i, j],
        x[:, i],
        x[:, i, j],
        x[i, :, j],
        x[i[:, None], j],
        x[mask],
        x[mask.any(2)],
        x[torch.tensor([True, False, True])],
        x[[0, 1]],
        x[[0, 1], [1, 2]],
        x[..., [0, 4]],
        x[0, mask[0]],
        x[None, ..., None].shape,
        x[1, :, torch.tensor(2)],
        x[torch.tensor(1)],
        x[:, torch.tensor([[0, 1], [2, 3]])].shape,
        x[-1:, ..., -2:],
        x[()].shape,
        x[3:].shape,
        x[torch.tensor([], dtype=torch.int64)].shape,
        x[mask.nonzero(as_tuple=True)],
        x[i, None].shape,
        x[None, i].shape,
        x[i, 1:3, j].shape,
        x[True].shape,
        x[1, True].shape,
    )


@program
def writing_by_index(torch: ModuleType) -> Any:
    """Assignment through every kind of index, with broadcasting and type conversion."""
    x = torch.zeros(4, 5)
    x[0] = 1
    x[1, 2:] = torch.tensor([7.0, 8.0, 9.0])
    x[:, 0] = torch.arange(4)
    x[x == 0] = -1
    x[[2, 3], [3, 4]] = torch.tensor([50.0, 60.0])
    x[..., 1] += 10
    x[torch.tensor([0, 0, 1]), torch.tensor([3, 3, 3])] += 1
    x[2] = x[3].clone()
    x[:, ::2] *= 2
    x[x > 40] /= 10
    x[1:3, [1, 4]] = torch.tensor([[1.5], [2.5]])
    y = torch.arange(6)
    y[y % 2 == 0] = 0
    y[-1] = 9.7
    y[torch.tensor([True, False, False, False, True, False])] = torch.tensor([-1, -2])
    z = torch.ones(2, 3, dtype=torch.bool)
    z[1] = False
    z[0, 0] = 0
    w = torch.zeros(3)
    w.index_put_((torch.tensor([0, 0, 2]),), torch.tensor([1.0, 2.0, 3.0]), accumulate=True)
    return x, y, z, w


@program
def gather_and_scatter(torch: ModuleType) -> Any:
    """The index functions, in and out of place, with gradients."""
    x = torch.from_numpy(data(3, 4)).requires_grad_()
    index = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    g = x.gather(0, index)
    s = torch.zeros(3, 4, dtype=torch.float64).scatter(0, index, x[:2])
    a = torch.ones(3, 4, dtype=torch.float64).scatter_add(0, index, x[1:])
    t = x.take_along_dim(x.argsort(1), 1)
    m = x.masked_select(x > 0)
    f = torch.where(x > 0, x, torch.zeros_like(x))
    c = x.index_select(1, torch.tensor([3, 0, 0]))
    loss = sum((v * v).sum() for v in (g, s, a, t, m, f, c))
    loss.backward()
    values = torch.tensor([0.3, 1.5, 2.0])
    edges = torch.tensor([0.0, 1.0, 2.0])
    return (
        g,
        s,
        a,
        t,
        m,
        f,
        c,
        loss,
        x.grad,
        torch.nonzero(x > 0),
        torch.where(x > 0),
        torch.searchsorted(edges, values),
        torch.bucketize(values, edges, right=True),
        torch.isin(torch.arange(4), torch.tensor([1, 3])),
        torch.bincount(index.flatten()),
        x.detach().masked_fill(x > 0, 0),
        torch.argwhere(index == 2),
        torch.scatter_reduce(torch.zeros(3), 0, torch.tensor([0, 1, 0]), values, "mean"),
        torch.take(x.detach(), torch.tensor([0, 5])),
        x.detach().index_add(0, torch.tensor([0, 0]), x.detach()[:2], alpha=2),
    )


@program
def beam_search(torch: ModuleType) -> Any:
    """Decoding with `topk` over a flattened beam, integer division, reordering by index."""
    table = torch.log_softmax(torch.from_numpy(data(6, 6)), dim=-1)
    beams = torch.zeros(3, 1, dtype=torch.long)
    scores = torch.tensor([0.0, float("-inf"), float("-inf")], dtype=torch.float64)
    for _ in range(4):
        total = scores[:, None] + table[beams[:, -1]]
        scores, flat = total.view(-1).topk(3)
        origin, token = flat // 6, flat % 6
        beams = torch.cat([beams[origin], token[:, None]], dim=1)
    finished = (beams == 3).any(dim=1)
    return beams, scores, finished, beams[scores.argmax()].tolist()


@program
def padding_and_masks(torch: ModuleType) -> Any:
    """Sequences of several lengths: padding, length masks, masked means, sorting by length."""
    rows = [torch.arange(1, n + 1, dtype=torch.float32) for n in (3, 1, 4)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)
    lengths = torch.tensor([len(r) for r in rows])
    mask = torch.arange(padded.size(1))[None, :] < lengths[:, None]
    mean = (padded * mask).sum(1) / mask.sum(1)
    order = lengths.argsort(descending=True)
    last = padded.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
    attention = padded.masked_fill(~mask, float("-inf")).softmax(-1)
    return padded, mask, mean, padded[order], last, attention, padded[mask].cumsum(0)
