"""Tensors are printed as PyTorch prints them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import kuai

torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(0)
DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int64", "uint8", "bool")

VALUES: list[Any] = [
    0.0,
    -0.0,
    1.0,
    1.5,
    -1234.5678,
    1e-5,
    1e5,
    1e9,
    123456789.0,
    float("nan"),
    float("inf"),
    -float("inf"),
    [],
    [[]],
    [[], []],
    [[[]]],
    [0.0],
    [0.0, -0.0],
    [1.0, 2.0, 3.0],
    [1.0, 2.5],
    [1.0, float("nan")],
    [1.0, float("inf"), -float("inf")],
    [0.5, float("inf"), float("nan")],
    [float("nan"), float("nan")],
    [1e-3, 1.0],
    [1e-3, 1.5, 1000.0],
    [1e-8, 1.0],
    [1e-5, 2e-5],
    [1.0, 1001.0],
    [1.0, 10000.0],
    [1e8, 1.0],
    [1e9, 2e9],
    [100000.0, 200000.0],
    [0.1, 99999.0],
    [1e-30, 1e30],
    [1e-40, 1.0],
    [-1.0, 2.0],
    [-1.25, 200.125],
    [1, 2, 3],
    [-1, 100, 20000],
    [True, False],
    [[1.0, 2.0], [3.0, 4.5]],
    [[[1.0], [2.0]], [[3.0], [4.0]]],
    [[[[1.0, 2.0]]], [[[3.0, 4.0]]]],
    [0.12345678, 12.5],
    [3.14159265358979] * 30,
    list(range(50)),
    [float(i) for i in range(50)],
]

SHAPES = [(7,), (12,), (3, 4), (2, 3, 4), (1, 1, 1, 1), (2, 0, 3), (0,), (40, 2), (2, 40), (13, 13)]
LONG = [
    (1000,),
    (1001,),
    (5000,),
    (40, 40),
    (6, 7, 40),
    (1001, 1),
    (1, 1001),
    (7, 7, 7, 7),
    (2, 600),
]


def text(x: Any) -> str:
    """What a tensor prints as, with one name for both libraries.

    The shorter name may leave room for the type on a line where PyTorch's has none.
    """
    return re.sub(r",\n *(dtype=)", r", \1", repr(x).replace("torch.", "kuai."))


def both(values: Any, dtype: str | None = None, **options: Any) -> tuple[Any, Any]:
    """The same tensor in both libraries."""
    return tuple(
        library.tensor(values, dtype=getattr(library, dtype) if dtype else None, **options)
        for library in (kuai, torch)
    )


@pytest.mark.parametrize("values", VALUES, ids=lambda v: repr(v)[:30])
def test_values_print_alike(values: Any) -> None:
    ours, theirs = both(values)
    assert text(ours) == text(theirs)
    assert str(ours) == repr(ours)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_types_print_alike(shape: tuple[int, ...], dtype: str) -> None:
    for scale in (1.0, 30.0, 100.0):
        values = (RANDOM.standard_normal(shape) * scale).astype(np.float32).tolist()
        if dtype == "uint8":
            values = np.abs(np.asarray(values)).tolist()
        ours, theirs = both(values, "float64")
        kind = getattr(kuai, dtype), getattr(torch, dtype)
        ours, theirs = ours.reshape(shape).to(kind[0]), theirs.reshape(shape).to(kind[1])
        assert text(ours) == text(theirs)


@pytest.mark.parametrize("magnitude", [1e-12, 1e-5, 1e-3, 1e3, 1e5, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_magnitudes_print_alike(magnitude: float, dtype: str) -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).standard_normal((2, 3)) * magnitude
        ours, theirs = both(values.tolist(), dtype)
        assert text(ours) == text(theirs)
        ours, theirs = both(np.round(values).tolist(), dtype)
        assert text(ours) == text(theirs)


@pytest.mark.parametrize("shape", LONG, ids=str)
def test_long_tensors_are_abridged_alike(shape: tuple[int, ...]) -> None:
    values = RANDOM.standard_normal(shape)
    ours, theirs = kuai.from_numpy(values), torch.from_numpy(values)
    assert text(ours) == text(theirs)
    assert text(ours.float()) == text(theirs.float())
    assert text((ours * 1000).long()) == text((theirs * 1000).long())
    assert text(ours > 0) == text(theirs > 0)


@pytest.mark.parametrize(
    "program",
    [
        "t.ones(2, requires_grad=True)",
        "t.ones(2, requires_grad=True) * 2",
        "t.ones(2, requires_grad=True).double().exp()",
        "t.ones(2, 3, requires_grad=True).sum()",
        "t.ones(40, requires_grad=True) / 3",
        "t.ones(2, 3, requires_grad=True).view(3, 2)",
        "t.ones(2, 3, requires_grad=True)[0]",
        "t.ones(2, 3, requires_grad=True)[:, 1:]",
        "t.relu(t.ones(2, requires_grad=True))",
        "t.ones(2, requires_grad=True) + 1",
        "t.ones(2, requires_grad=True) - 1",
        "-t.ones(2, requires_grad=True)",
        "t.ones(2, requires_grad=True) ** 2",
        "t.ones(2, requires_grad=True).tanh()",
        "t.ones(2, requires_grad=True).sigmoid()",
        "t.ones(2, requires_grad=True).clone()",
        "t.ones(2, 3, requires_grad=True).reshape(6).unsqueeze(0)",
        "t.cat([t.ones(1, requires_grad=True), t.ones(1)])",
        "t.stack([t.ones(1, requires_grad=True), t.ones(1)])",
        "t.where(t.tensor([True, False]), t.ones(2, requires_grad=True), t.zeros(2))",
        "t.nn.functional.linear(t.ones(1, 3), t.ones(2, 3, requires_grad=True), t.ones(2))",
        "t.ones(2, requires_grad=True).mean()",
        "t.nn.functional.softmax(t.ones(4, requires_grad=True), 0)",
        "t.nn.functional.log_softmax(t.ones(4, requires_grad=True), 0)",
        "t.nn.functional.mse_loss(t.ones(4, requires_grad=True), t.zeros(4))",
        "t.nn.functional.cross_entropy(t.ones(1, 4, requires_grad=True), t.tensor([1]))",
        "t.nn.Parameter(t.ones(2, 2))",
        "[t.ones(1), {'a': t.zeros(2)}]",
        "t.ones(2).size()",
        "t.ones(2).dtype",
        "t.zeros(3, 0, dtype=t.int32)",
        "t.zeros(0, dtype=t.int64)",
        "t.arange(3).unsqueeze(0).expand(3, 3)",
        "t.nn.Linear(2, 3)",
        "t.finfo(t.float32)",
        "t.iinfo(t.int8)",
        "t.device('cpu')",
        "t.tensor(3)",
        "t.tensor(3.5).item()",
        "f'{t.tensor(3.14159):.2f} {t.tensor(3)}'",
    ],
)
def test_programs_print_alike(program: str) -> None:
    ours, theirs = (eval(program, {"t": library}) for library in (kuai, torch))
    assert text(ours) == text(theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 8},
        {"sci_mode": True},
        {"sci_mode": False},
        {"threshold": 5},
        {"edgeitems": 1, "threshold": 5},
        {"linewidth": 30},
        {"profile": "short"},
        {"profile": "full"},
    ],
    ids=str,
)
def test_print_options_work_alike(options: dict[str, Any]) -> None:
    values = np.random.default_rng(3).standard_normal((9, 9))
    try:
        for library in (kuai, torch):
            library.set_printoptions(**options)
        assert text(kuai.from_numpy(values)) == text(torch.from_numpy(values))
        assert text(kuai.from_numpy(values * 1e6)) == text(torch.from_numpy(values * 1e6))
        assert text(kuai.arange(30)) == text(torch.arange(30))
    finally:
        for library in (kuai, torch):
            library.set_printoptions(profile="default")


def test_the_default_type_is_not_printed() -> None:
    try:
        for library in (kuai, torch):
            library.set_default_dtype(library.float64)
        for dtype in ("float32", "float64"):
            ours, theirs = both([1.5, 2.5], dtype)
            assert text(ours) == text(theirs)
    finally:
        for library in (kuai, torch):
            library.set_default_dtype(library.float32)
