"""Programs about tensors: types, memory, views, conversion."""

from __future__ import annotations

import copy
import pickle
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, program


@program
def type_promotion(torch: ModuleType) -> Any:
    """Tensors with tensors, with numbers, with zero-dimensional tensors."""
    names = ("bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64")
    kinds = [getattr(torch, name) for name in names]
    results = []
    for a in kinds:
        x = torch.ones(2, dtype=a)
        results.append([(x * torch.ones(2, dtype=b)).dtype for b in kinds])
        results.append([(x * torch.tensor(1, dtype=b)).dtype for b in kinds])
        results.append([(x * 2).dtype, (x * 2.5).dtype, (x * True).dtype, (x / 2).dtype])
        results.append([x.sum().dtype, torch.exp(x).dtype, x.cumsum(0).dtype, (x > 0).dtype])
    return (
        results,
        torch.tensor([1, 2]).dtype,
        torch.tensor([1.0, 2]).dtype,
        torch.tensor(True).dtype,
        torch.arange(3).dtype,
        torch.arange(3.0).dtype,
        torch.full((2,), 3).dtype,
        torch.tensor(np.float64(1)).dtype,
        torch.tensor(np.zeros(2, np.int16)).dtype,
        torch.result_type(torch.ones(1, dtype=torch.int32), 1.5),
        torch.can_cast(torch.float32, torch.int64),
        torch.promote_types(torch.uint8, torch.int8),
        torch.get_default_dtype(),
    )


@program
def integer_arithmetic(torch: ModuleType) -> Any:
    """Division and remainder of every sign, overflow, shifts, bitwise operations."""
    a = torch.tensor([7, -7, 7, -7, 0])
    b = torch.tensor([3, 3, -3, -3, 5])
    small = torch.tensor([250, 10], dtype=torch.uint8)
    return (
        a // b,
        a % b,
        a / b,
        torch.fmod(a, b),
        torch.div(a, b, rounding_mode="trunc"),
        torch.div(a, b, rounding_mode="floor"),
        a**2,
        -a,
        abs(a),
        a << 1,
        a >> 1,
        a & b,
        a | b,
        a ^ b,
        ~a,
        small + 10,
        small - 20,
        small * 2,
        torch.tensor([127], dtype=torch.int8) + 1,
        2 ** b.abs(),
        10 - a,
        10 // b,
        10 % b,
        a.float() // 2.5,
        a.bool() & b.bool(),
        ~a.bool(),
        torch.tensor(True) + torch.tensor(True),
        a.sum() / 2,
        a.prod(),
        divmod(7, 2),
    )


@program
def views_share_memory(torch: ModuleType) -> Any:
    """Which operations alias, which copy; strides and contiguity."""
    x = torch.arange(24).reshape(2, 3, 4)
    x.transpose(0, 2)[1, 1, 1] = 100
    x[..., -1].zero_()
    x.view(-1)[5] = -1
    x.flatten(1)[0, 0] = 77
    y = x.permute(2, 0, 1)
    z = y.contiguous()
    z.fill_(3)
    w = x.expand(5, 2, 3, 4)
    first, second = x.chunk(2)
    second += 1000
    part = x.select(1, 2).unsqueeze(0)
    part *= -1
    d = torch.eye(4, dtype=torch.int64)
    d.diagonal().copy_(torch.arange(4))
    return (
        x,
        y,
        w,
        d,
        y.stride(),
        y.is_contiguous(),
        z.stride(),
        w.stride(),
        first.storage_offset(),
        second.storage_offset(),
        x.data_ptr() == x.view(24).data_ptr(),
        y.shape,
        y.size(0),
        y.numel(),
        y.dim(),
        x.mT.shape,
        x.unfold(2, 2, 1).shape,
        x.as_strided((2, 2), (1, 2), 3),
        x.element_size(),
        x.nbytes,
    )


@program
def numpy_and_back(torch: ModuleType) -> Any:
    """Shared memory with NumPy, scalars, lists, protocols."""
    array = np.arange(6.0).reshape(2, 3)
    t = torch.from_numpy(array)
    array[0, 0] = 9
    t[1, 1] = -5
    u = torch.tensor(array)
    array[0, 1] = 8
    back = t.numpy()
    back[1, 2] = 3
    v = torch.as_tensor(array)
    return (
        t,
        u,
        v,
        back.tolist(),
        t.tolist(),
        t[0, 0].item(),
        float(t[0, 1]),
        int(t[1, 2]),
        bool(t[0, 2] > 1),
        np.asarray(t).sum().item(),
        np.sin(t.numpy()).tolist(),
        torch.tensor([np.float32(1.5), np.float32(2)]),
        torch.tensor([[1, 2], [3, 4]]).tolist(),
        torch.tensor(array).to(torch.int64),
        len(t),
        [row.sum().item() for row in t],
        torch.from_numpy(np.array([True, False])),
        (t.numpy() == array).all().item(),
        torch.stack([torch.tensor(r) for r in array.tolist()]),
        3 in torch.tensor([1, 3]),
        list(torch.tensor([1, 2]).unbind()),
        torch.Tensor([1, 2]).dtype,
        f"{t[0, 0]:.2f}",
        torch.from_dlpack(array),
        torch.tensor(5).__index__(),
        [10, 20, 30][torch.tensor(1)],
    )


@program
def reductions_in_all_forms(torch: ModuleType) -> Any:
    """Dimensions, keepdim, pairs of values and indices, empty and NaN inputs."""
    x = torch.from_numpy(data(3, 4, 5))
    n = torch.tensor([1.0, float("nan"), 3.0, -float("inf")])
    values, indices = x.max(dim=1)
    low = x.min(2, keepdim=True)
    return (
        x.sum(),
        x.sum((0, 2)),
        x.mean(-1, keepdim=True),
        x.std(),
        x.std(0, unbiased=False),
        x.var((0, 1), correction=0),
        values,
        indices,
        low.values,
        low.indices,
        x.argmax(),
        x.argmin(dim=-1),
        x.median(),
        x.median(dim=0),
        x.norm(),
        x.norm(p=1, dim=1),
        x.logsumexp((1, 2)),
        x.cumsum(1),
        x.cumprod(-1),
        torch.cummax(x, 0),
        x.prod(1),
        x.amax((0, 1)),
        (x > 0).all(dim=2),
        (x > 2).any(),
        torch.count_nonzero(x > 0, dim=0),
        torch.nansum(n),
        torch.nanmean(n[:3]),
        n.max(),
        n.isnan(),
        n.nan_to_num(0.0),
        n.sort(),
        torch.zeros(0).sum(),
        torch.zeros(0, 3).mean(0),
        torch.ones(0).prod(),
        x.flatten().topk(3),
        x.flatten().kthvalue(4),
        torch.unique(torch.tensor([3, 1, 3, 2]), return_counts=True, return_inverse=True),
        x.quantile(0.3),
        torch.std_mean(x, dim=1),
        x.aminmax(),
        torch.histc(x, 5),
        x.sort(dim=1, descending=True).indices,
    )


@program
def joining_and_rearranging(torch: ModuleType) -> Any:
    """cat, stack, split, roll, repeat, meshgrid and friends."""
    a, b = torch.arange(6).view(2, 3), torch.arange(6, 12).view(2, 3)
    return (
        torch.cat([a, b]),
        torch.cat((a, b), dim=-1),
        torch.stack([a, b], 1),
        torch.hstack([a, b]),
        torch.vstack([a, b]),
        a.split(2, dim=1),
        a.split([1, 2], 1),
        a.chunk(2, 1),
        a.unbind(1),
        a.roll(1),
        a.roll((1, -1), (0, 1)),
        a.flip(0, 1),
        a.repeat(2, 2),
        a.repeat_interleave(2, 0),
        a.tile((2, 1, 1)),
        torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij"),
        torch.cartesian_prod(torch.arange(2), torch.arange(2)),
        a.tril(),
        a.triu(1),
        a.diag(),
        torch.diag(torch.arange(3)),
        torch.kron(a, b),
        torch.rot90(a),
        a.movedim(0, 1),
        a[:, :, None].squeeze(-1),
        torch.block_diag(a, b),
        torch.tensor_split(a, 3, dim=1),
        torch.einsum("ij,kj->ik", a, b),
        torch.tensordot(a, b, dims=([1], [1])),
        torch.outer(a[0], b[0]),
        a.unflatten(1, (3, 1)),
        torch.broadcast_tensors(a[0], b[:, :1]),
        a @ b.T,
        torch.combinations(torch.arange(3)),
        a.ravel(),
        torch.nn.functional.one_hot(a),
        torch.nn.functional.pad(a, (1, 2), value=-1),
    )


@program
def copies_and_pickles(torch: ModuleType) -> Any:
    """clone, deepcopy, pickle, save to a buffer, `.to` that copies or not."""
    x = torch.from_numpy(data(2, 2)).requires_grad_()
    y = copy.deepcopy(x)
    z = pickle.loads(pickle.dumps(x))
    shared = {"a": x, "b": [x, x.detach()]}
    twin = copy.deepcopy({"a": x, "b": [x, 3]})
    w = x.clone()
    with torch.no_grad():
        y.zero_()
    return (
        x,
        y,
        z,
        z.requires_grad,
        z.is_leaf,
        twin["a"] is twin["b"][0],
        w.requires_grad,
        x.to(torch.float64) is x,
        x.to("cpu") is x,
        x.double() is x,
        x.float().dtype,
        x.to(torch.float32).requires_grad,
        x.detach().clone().add_(1),
        len(shared),
        x.device.type,
        str(x.device),
        x.is_cuda,
        x.cpu() is x,
        torch.cuda.is_available(),
        torch.zeros_like(x, dtype=torch.int32),
        x.new_tensor([1, 2]),
        x.type(torch.float16).dtype,
    )


@program
def in_place_everything(torch: ModuleType) -> Any:
    """The whole family of methods with a trailing underscore, chained."""
    x = torch.linspace(-2, 2, 8, dtype=torch.float64)
    x.add_(1).mul_(2).sub_(0.5, alpha=2).div_(3).clamp_(-1, 1.2).neg_().abs_().sqrt_().pow_(3)
    y = x.clone().exp_().log_().sigmoid_().round_(decimals=2)
    z = x.clone().view(2, 4).t_()
    z.unsqueeze_(0).squeeze_(0).transpose_(0, 1)
    i = torch.arange(5)
    i += 2
    i //= 2
    i **= 2
    i %= 5
    b = torch.tensor([True, False])
    b |= torch.tensor([False, False])
    b ^= True
    m = torch.zeros(3, 3)
    m.fill_diagonal_(4).masked_fill_(m == 0, -1).addmm_(torch.ones(3, 2), torch.ones(2, 3))
    m.index_fill_(0, torch.tensor([1]), 9).index_copy_(1, torch.tensor([2]), torch.ones(3, 1))
    m.scatter_(0, torch.tensor([[0, 1, 2]]), 5.0).triu_()
    n = (
        torch.ones(3)
        .copy_(torch.tensor([1, 2, 3]))
        .lerp_(torch.zeros(3), 0.5)
        .addcmul_(torch.ones(3), torch.ones(3), value=2)
    )
    return x, y, z, i, b, m, n, n.addcdiv_(torch.ones(3), n.clone()), torch.relu_(-n)


@program
def random_numbers_are_reproducible(torch: ModuleType) -> Any:
    """Seeds, generators, shapes and ranges (the numbers themselves are each library's own)."""
    torch.manual_seed(3)
    a = torch.rand(3, 4)
    torch.manual_seed(3)
    b = torch.rand(3, 4)
    state = torch.get_rng_state()
    c = torch.randn(5)
    torch.set_rng_state(state)
    d = torch.randn(5)
    g = torch.Generator().manual_seed(7)
    e = torch.randint(0, 10, (1000,), generator=g)
    g.manual_seed(7)
    f = torch.randint(0, 10, (1000,), generator=g)
    p = torch.randperm(10)
    n = torch.normal(mean=torch.zeros(20000), std=2.0)
    t = torch.multinomial(torch.tensor([0.0, 1.0, 3.0]), 50, replacement=True)
    u = torch.empty(10000).uniform_(-1, 3)
    return (
        torch.equal(a, b),
        torch.equal(c, d),
        torch.equal(e, f),
        e.dtype,
        e.min().item() >= 0,
        e.max().item() <= 9,
        p.sort().values,
        abs(n.std().item() - 2) < 0.1,
        0 in t.tolist(),
        a.dtype,
        bool((a >= 0).all() and (a < 1).all()),
        abs(u.mean().item() - 1) < 0.1,
        torch.bernoulli(torch.tensor([0.0, 1.0])),
        torch.initial_seed(),
        g.initial_seed(),
        torch.rand_like(a).shape,
        torch.dropout(torch.ones(4), 1.0, True),
    )
