"""Programs whose result is what a person reads."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, program


@program
def printing_tensors(torch: ModuleType) -> Any:
    """The representation of tensors of every size, type and range."""
    x = torch.tensor([[1.5, -2.25], [1000.0, 0.001]])
    r = torch.tensor([1.0, 2.0], requires_grad=True)
    tensors = [
        torch.tensor(1),
        torch.tensor(1.5),
        torch.tensor([1, 2, 3]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([1e-8, 1.0]),
        torch.tensor([1e10, 1.0]),
        torch.tensor([123456789.0]),
        torch.tensor([1.0, float("nan"), float("-inf"), 0.0]),
        torch.tensor([float("nan"), 0.0, float("-inf")]),
        torch.tensor([0.25, float("nan"), -0.0, float("-inf"), -20.5]),
        x,
        x.T,
        torch.tensor([True, False]),
        torch.tensor([]),
        torch.zeros(0, 3),
        torch.zeros(2, 0),
        torch.arange(10000),
        torch.arange(2000.0).view(40, 50),
        torch.zeros(3, 2, 2),
        torch.tensor([float("nan"), float("inf"), -1.0]),
        torch.tensor([1.0], dtype=torch.float64),
        torch.tensor([1, 2], dtype=torch.int8),
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(2, dtype=torch.float16),
        r,
        r * 2,
        (r * 2).sum(),
        r.exp().mean(),
        r[0],
        r.view(1, 2),
        r @ r,
        torch.nn.Parameter(torch.ones(2)),
        torch.tensor([0.1, 0.25, 3.0]),
        torch.tensor([-1.0, 1.0]) * 1e-5,
        torch.tensor([100000.0, 0.5]),
        torch.tensor([[[1.0]]]),
        torch.tensor(float("nan")),
        torch.tensor(-0.0),
        torch.arange(1001),
        torch.full((1, 30), 7.0),
        torch.from_numpy(data(3, 3)),
        torch.from_numpy(data(2, 2)).float() * 1e4,
    ]
    return [repr(t) for t in tensors] + [str(tensors[7]), f"{tensors[1]}", f"{tensors[1]:.3f}"]


@program
def printing_options(torch: ModuleType) -> Any:
    """`set_printoptions` and back."""
    x = torch.tensor([3.14159265, 2e-6])
    plain = str(x)
    torch.set_printoptions(precision=2, sci_mode=False)
    short = str(x)
    torch.set_printoptions(threshold=5, edgeitems=1)
    folded = str(torch.arange(20).view(4, 5))
    torch.set_printoptions(profile="default")
    return plain, short, folded, str(x)


@program
def printing_types_and_sizes(torch: ModuleType) -> Any:
    """dtypes, sizes, devices, results with names, and their use in f-strings."""
    x = torch.arange(6.0).view(2, 3)
    return (
        str(x.dtype),
        repr(torch.int64),
        repr(x.shape),
        str(x.size()),
        f"{x.shape}",
        repr(x.device),
        str(torch.device("cpu")),
        x.type(),
        x.shape == (2, 3),
        x.shape[0],
        x.shape + (1,),
        x.shape.numel(),
        torch.float32 == x.dtype,
        torch.float is torch.float32,
        str(x.max(1)),
        str(torch.finfo(torch.float32).eps),
        str(torch.iinfo(torch.int8).max),
        x.layout is torch.strided,
        torch.finfo(torch.float16).max,
        torch.is_tensor(x),
        x.is_floating_point(),
        type(x).__name__,
        torch.numel(x),
        x.ndim,
        x.itemsize,
        hash(x) == hash(x),
        x.dtype.itemsize,
    )


@program
def printing_modules(torch: ModuleType) -> Any:
    """The representation of every common block."""
    nn = torch.nn
    modules = [
        nn.Linear(2, 3),
        nn.Linear(2, 3, bias=False),
        nn.Bilinear(2, 3, 4),
        nn.Embedding(5, 2),
        nn.Embedding(5, 2, padding_idx=0, max_norm=1.0),
        nn.LayerNorm(4),
        nn.LayerNorm([2, 3], elementwise_affine=False),
        nn.RMSNorm(4),
        nn.Dropout(),
        nn.Dropout(0.1, inplace=True),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.2),
        nn.ELU(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(),
        nn.Softmax(dim=-1),
        nn.LogSoftmax(1),
        nn.Softplus(),
        nn.PReLU(3),
        nn.Hardtanh(),
        nn.Threshold(0.1, 20),
        nn.Flatten(),
        nn.Unflatten(1, (2, 3)),
        nn.Identity(),
        nn.MSELoss(),
        nn.CrossEntropyLoss(),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.Sequential(),
        nn.ModuleList(),
        nn.ModuleDict(),
        nn.ParameterList(),
        nn.CosineSimilarity(),
        nn.LazyLinear(4),
        nn.GLU(),
        nn.ModuleList([nn.Linear(1, 1) for _ in range(3)] + [nn.ReLU()]),
        nn.Hardshrink(),
        nn.BCEWithLogitsLoss(),
        nn.HuberLoss(),
        nn.Mish(),
        nn.SELU(),
        nn.CELU(),
        nn.RReLU(),
        nn.Sequential(nn.Sequential(nn.Linear(1, 2), nn.ReLU()), nn.Linear(2, 1)),
    ]
    optimizer = torch.optim.SGD(modules[0].parameters(), lr=0.1)
    return [repr(m) for m in modules] + [repr(optimizer)]
