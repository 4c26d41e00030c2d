"""Random programs, run in PyTorch and in kuai from one description, give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kuai

torch = pytest.importorskip("torch")

SHAPES = [(3, 4), (4, 3), (4,), (3, 1), (1, 4), (2, 3, 4), (), (3, 3)]
DTYPES = ["float64", "float64", "float32", "int64", "int32", "uint8", "bool"]

UNARY = [
    "exp", "tanh", "sin", "sigmoid", "neg", "abs", "square", "relu", "sign", "floor", "clone",
    "isnan", "expm1", "atan", "erf", "logical_not", "detach", "contiguous", "float", "double",
    "long", "bool",
]  # fmt: skip
BINARY = [
    "add", "sub", "mul", "maximum", "minimum", "lt", "ge", "eq", "atan2", "div", "logical_and",
    "hypot", "logaddexp", "where_positive",
]  # fmt: skip
REDUCTIONS = ["sum", "mean", "amax", "amin", "prod", "logsumexp", "var", "cumsum", "all", "any"]
VIEWS: list[Callable[[Any], Any]] = [
    lambda x: x.T if x.dim() == 2 else x.unsqueeze(0),
    lambda x: x.reshape(-1),
    lambda x: x[0],
    lambda x: x[..., 1:],
    lambda x: x[::2],
    lambda x: x[None],
    lambda x: x.transpose(0, -1),
    lambda x: x.flatten(),
    lambda x: x.view(-1),
    lambda x: x.diagonal(),
    lambda x: x.expand(2, *x.shape),
    lambda x: x.squeeze(),
    lambda x: x.narrow(0, 1, 2),
    lambda x: x.movedim(0, -1),
    lambda x: x[-1:],
    lambda x: x.unbind(0)[0],
    lambda x: x.chunk(2)[0],
    lambda x: x.unfold(0, 2, 2),
]
PICKS: list[Callable[[Any, Any], Any]] = [
    lambda t, x: x[t.tensor([0, 1, 0])],
    lambda t, x: x[x > 0],
    lambda t, x: x[:, [0, 1]],
    lambda t, x: x.index_select(0, t.tensor([1, 1])),
    lambda t, x: x.flip(0),
    lambda t, x: x.roll(1, 0),
    lambda t, x: t.cat([x, x]),
    lambda t, x: t.stack([x, x], -1),
    lambda t, x: x.repeat(2, *[1] * (x.dim() - 1)),
    lambda t, x: x.gather(0, t.zeros(1, *x.shape[1:], dtype=t.int64)),
    lambda t, x: x.masked_fill(x > 0, 2),
    lambda t, x: x.tril(),
    lambda t, x: x @ x.T,
    lambda t, x: x.sort(0)[0],
    lambda t, x: x.max(0)[0],
    lambda t, x: x.topk(1, 0)[0],
]
CHANGES: list[Callable[[Any, Any, Any], Any]] = [
    lambda t, x, y: x.add_(y),
    lambda t, x, y: x.mul_(y),
    lambda t, x, y: x.sub_(1),
    lambda t, x, y: x.mul_(0.5),
    lambda t, x, y: x.copy_(y),
    lambda t, x, y: x.zero_(),
    lambda t, x, y: x.fill_(2),
    lambda t, x, y: x.clamp_(-1, 1),
    lambda t, x, y: x.tanh_(),
    lambda t, x, y: x.exp_(),
    lambda t, x, y: x.relu_(),
    lambda t, x, y: x.neg_(),
    lambda t, x, y: x.masked_fill_(x > 0, 0.5),
    lambda t, x, y: x.div_(2),
    lambda t, x, y: x.pow_(2),
    lambda t, x, y: x.index_fill_(0, t.tensor([0]), 3),
    lambda t, x, y: x.index_add_(0, t.tensor([0]), x[:1].clone()),
    lambda t, x, y: x.t_(),
    lambda t, x, y: x.unsqueeze_(0),
]
ASSIGNMENTS: list[tuple[Callable[[Any, Any], Any], str]] = [
    (lambda t, x: 0, "first"),
    (lambda t, x: slice(None, None, 2), "stepped"),
    (lambda t, x: (Ellipsis, 1), "column"),
    (lambda t, x: x > 0, "mask"),
    (lambda t, x: t.tensor([1, 0]), "list"),
    (lambda t, x: (slice(None), [0, 2]), "mixed"),
    (lambda t, x: (None, slice(1, None)), "new dimension"),
    (lambda t, x: (t.tensor([0, 1]), t.tensor([1, 0])), "points"),
]

number = st.integers(0, 10**6)
steps = st.lists(st.tuples(st.integers(0, 7), number, number, number), min_size=2, max_size=9)
leaves = st.lists(
    st.tuples(st.sampled_from(SHAPES), st.sampled_from(DTYPES), st.integers(0, 99)),
    min_size=2,
    max_size=3,
)


REFUSALS = (RuntimeError, IndexError, TypeError, ValueError)


class Refused:
    """What stands for the result of a step that raised."""


def step(t: Any, kind: int, a: int, b: int, c: int, values: list[Any]) -> Any:
    """One step of a program; `a` and `b` say on which values, `c` which operation."""
    x, y = values[a % len(values)], values[b % len(values)]
    if kind == 0:
        return getattr(x, UNARY[c % len(UNARY)])()
    if kind == 1:
        name = BINARY[c % len(BINARY)]
        if name == "where_positive":
            return t.where(x > 0, x, y)
        if name == "atan2":  # PyTorch squares integers in their own type for its gradient
            x, y = x.double(), y.double()
        return getattr(t, name)(x, y)
    if kind == 2:
        name, dim = REDUCTIONS[c % len(REDUCTIONS)], b % 3 - 1
        return getattr(x, name)(dim) if b % 4 or name != "sum" else x.sum()
    if kind in (3, 7):
        return VIEWS[c % len(VIEWS)](x)
    if kind == 4:
        return PICKS[c % len(PICKS)](t, x)
    if kind == 5:
        CHANGES[c % len(CHANGES)](t, x, y)
        return None
    key = ASSIGNMENTS[c % len(ASSIGNMENTS)][0](t, x)
    x[key] = y if b % 2 else 0.25
    return None


def start(t: Any, shape: tuple[int, ...], dtype: str, seed: int) -> tuple[Any, Any]:
    """A leaf, and a value that starts out as a copy of it."""
    values = np.random.default_rng(seed).uniform(-2, 2, shape)
    if dtype == "uint8":
        values = np.abs(values)
    x = t.tensor((values * (1 if "float" in dtype else 3)).tolist(), dtype=getattr(t, dtype))
    if x.is_floating_point():
        x.requires_grad_()
    return x, x * 1 if dtype != "bool" else x.clone()


def same(ours: Any, theirs: Any, single: bool, what: str) -> None:
    """Type, shape, whether it is on the tape, and values agree."""
    assert str(ours.dtype).replace("kuai", "torch") == str(theirs.dtype), what
    assert tuple(ours.shape) == tuple(theirs.shape), what
    if theirs.is_floating_point():
        assert ours.requires_grad == theirs.requires_grad, what
    np.testing.assert_allclose(
        ours.detach().numpy(),
        theirs.detach().numpy(),
        rtol=2e-4 if single else 1e-9,
        atol=1e-5 if single else 1e-9,
        err_msg=what,
    )


def agree(ours: list[Any], theirs: list[Any], what: str) -> None:
    """All values agree, so that a change that reached the wrong alias shows."""
    single = any(x.dtype == torch.float32 for x in theirs)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        same(a, b, single, f"{what}, value {i}")


def gradients(t: Any, roots: list[Any], inputs: list[Any]) -> Any:
    """The gradients of the sum of all that is on the tape, or what was raised."""
    wanted = [x for x in inputs if x.requires_grad]
    try:
        total = sum((r * r).sum() for r in roots if r.requires_grad and r.is_floating_point())
        if not wanted or not isinstance(total, t.Tensor):
            return []
        return t.autograd.grad(total, wanted, allow_unused=True)
    except RuntimeError as error:
        if t is kuai and "modified by an inplace operation" not in str(error):
            raise
        return Refused


def tame(values: list[Any]) -> bool:
    """Whether all values are small enough to compare what was computed from them."""
    return all(
        bool(torch.isfinite(v).all()) and (v.numel() == 0 or float(v.detach().abs().max()) < 1e4)
        for v in values
        if v.is_floating_point()
    )


def run_alike(beginnings: list[Any], program: list[Any]) -> None:
    """Run a program in both libraries, a step at a time, and compare after each step."""
    ours = [start(kuai, *b) for b in beginnings]
    theirs = [start(torch, *b) for b in beginnings]
    mine, others = [v for _, v in ours], [v for _, v in theirs]
    for number_, (kind, a, b, c) in enumerate(program):
        what = f"step {number_} of {program[: number_ + 1]} on {beginnings}"
        try:
            result = step(torch, kind, a, b, c, others)
            small = tame(others)
        except REFUSALS:
            if kind in (5, 6):
                return  # PyTorch may have written part of it
            break
        try:
            mine_too = step(kuai, kind, a, b, c, mine)
        except RuntimeError as error:
            if "refers to a single memory location" not in str(error):
                raise
            break  # PyTorch fills what overlaps in memory; kuai writes to it in no way
        if result is not None:
            others.append(result)
            mine.append(mine_too)
        if not small or not tame(others):
            return
        agree(mine, others, what)
    found = gradients(kuai, mine, [x for x, _ in ours])
    expected = gradients(torch, others, [x for x, _ in theirs])
    if found is Refused or expected is Refused:
        return
    for g, e in zip(found, expected, strict=True):
        if g is None or e is None:
            rest = e if g is None else g
            assert rest is None or float(rest.abs().max()) == 0
        elif bool(torch.isfinite(e).all()) and float(e.abs().max()) < 1e6:
            single = any(x.dtype == torch.float32 for x in others)
            np.testing.assert_allclose(
                g.numpy(),
                e.numpy(),
                rtol=1e-3 if single else 1e-7,
                atol=1e-3 if single else 1e-7,
                err_msg=f"gradient of {program} on {beginnings}",
            )


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    database=None,
)
@given(leaves, steps)
def test_random_programs_give_the_same(beginnings: list[Any], program: list[Any]) -> None:
    run_alike(beginnings, program)
