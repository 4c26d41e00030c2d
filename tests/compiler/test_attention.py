"""Attention and its gradients as machine code, beside eager's in float64."""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import kuai
from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.emit.products import Store
from kuai.compiler.emit.products.attention import Attention, AttentionForward
from kuai.compiler.emit.products.attention_gradient import AttentionGradient, Given
from kuai.compiler.native import jit
from kuai.compiler.native.target import Target, host
from tests.compiler.test_matmul import TARGETS, WIDE

NAMES = ("q", "k", "v", "mask", "result", "denominators", "grad", "dq", "dk", "dv", "memory")


def adding(to: Ref, columns: int) -> Store:
    """Adds a matrix to memory: what is stored twice, or not at all, is seen."""

    def store(f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None) -> None:
        assert value.lanes == lanes
        at = f.at(to, f.add(f.mul(row, Ref(str(columns), "i64")), column), value.element)
        if mask is None:
            f.store(f.add(f.load(value.type, at), value), at)
        else:
            before = f.load_masked(value.type, at, mask, f.const(0, value.type))
            f.store_masked(f.add(before, value), at, mask)

    return store


def attend(a: Attention, arrays: dict[str, np.ndarray], target: Target) -> None:
    """Compute result and gradients of a head, in place."""
    module = Module()
    arguments = [("ptr", n) for n in NAMES]
    f = module.function("program", "void", arguments, internal=False, attributes=WIDE)
    at = dict(zip(NAMES, f.arguments, strict=True))
    forward = AttentionForward(a, target)
    mask = at["mask"] if a.mask else None
    operands = (at["q"], at["k"], at["v"])
    store = adding(at["result"], a.value_width)
    forward.emit(f, operands, mask, store, at["memory"], at["denominators"])
    backward = AttentionGradient(a, target, (a.value_width, 1), (a.value_width, 1))
    given = Given(*operands, at["result"], at["grad"], at["denominators"], mask)
    widths = (a.width, a.width, a.value_width)
    stores = [adding(at[n], w) for n, w in zip(("dq", "dk", "dv"), widths, strict=True)]
    backward.emit(f, given, (stores[0], stores[1], stores[2]), at["memory"])
    f.ret()
    library = jit.load(jit.assemble(str(module), verify=True, target=target))
    needed = max(forward.workspace, backward.workspace)
    memory = np.full(needed + 256, 0xFF, np.uint8)
    start = -memory.ctypes.data % 64
    pointers = [arrays[n].ctypes.data if n in arrays else 0 for n in NAMES[:-1]]
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(NAMES))
    prototype(library["program"])(*pointers, memory.ctypes.data + start)
    assert (memory[:start] == 0xFF).all(), "memory before the workspace was written"
    assert (memory[start + needed :] == 0xFF).all(), "memory after the workspace was written"


def arrays_of(a: Attention, mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Random operands, and zeros for what is computed."""
    random = np.random.default_rng(3)
    dtype = a.dtype.numpy
    shapes = {
        "q": (a.queries, a.width),
        "k": (a.keys, a.width),
        "v": (a.keys, a.value_width),
        "grad": (a.queries, a.value_width),
    }
    arrays = {n: random.standard_normal(shape).astype(dtype) for n, shape in shapes.items()}
    for name, like in (("result", "grad"), ("dq", "q"), ("dk", "k"), ("dv", "v")):
        arrays[name] = np.zeros_like(arrays[like])
    arrays["denominators"] = np.zeros(a.queries, np.float64 if dtype.itemsize == 8 else np.float32)
    if mask is not None:
        arrays["mask"] = mask
    return arrays


def exact(a: Attention, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What eager computes, in float64."""
    q, k, v = (
        kuai.tensor(arrays[n].astype(np.float64), requires_grad=True) for n in ("q", "k", "v")
    )
    mask: Any = arrays.get("mask")
    if mask is not None:
        mask = np.broadcast_to(mask, (a.queries, a.keys))
        mask = kuai.tensor(mask if mask.dtype == bool else mask.astype(np.float64))
    result = kuai.nn.functional.scaled_dot_product_attention(
        q, k, v, mask, is_causal=a.causal, scale=a.scale
    )
    result.backward(kuai.tensor(arrays["grad"].astype(np.float64)))
    found = {"result": result.detach(), "dq": q.grad, "dk": k.grad, "dv": v.grad}
    return {n: x.numpy() for n, x in found.items()}


def head(
    queries: int, keys: int, width: int, value_width: int, dtype: str = "float32", **rest: Any
) -> Attention:
    """One head whose operands lie in order."""
    sizes = (queries, keys, width, value_width)
    strides = ((width, 1), (width, 1), (value_width, 1))
    return Attention(*sizes, *strides, 1 / math.sqrt(width), getattr(kuai, dtype), **rest)


def assert_agree(a: Attention, arrays: dict[str, np.ndarray], target: Target) -> None:
    """Result and gradients are those of eager, within rounding."""
    wanted = exact(a, arrays)
    attend(a, arrays, target)
    step = 2.0**-8 if a.dtype.itemsize == 2 else np.finfo(a.dtype.numpy).eps
    for name, x in wanted.items():
        largest = max(1.0, np.nanmax(np.abs(x), initial=0.0))
        found = arrays[name].astype(np.float64)
        np.testing.assert_allclose(found, x, rtol=0, atol=30 * step * largest, err_msg=name)


SIZES = [
    (1, 1, 1, 1),
    (5, 7, 3, 2),
    (64, 64, 32, 32),
    (33, 50, 20, 40),
    (70, 13, 64, 17),
    (32, 100, 8, 80),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_attention_and_its_gradients(
    size: tuple[int, int, int, int],
    causal: bool,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = TARGETS[target]()
    # Exponentials are written for the machine that runs.
    monkeypatch.setattr("kuai.compiler.native.target.host", lambda: machine)
    a = head(*size, causal=causal)
    assert_agree(a, arrays_of(a), machine)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_types(dtype: str) -> None:
    a = head(40, 30, 24, 20, dtype)
    assert_agree(a, arrays_of(a), host())


def test_masks_are_of_bools_or_added() -> None:
    random = np.random.default_rng(1)
    allowed = random.random((40, 35)) < 0.6
    allowed[3] = False  # a query that attends to nothing gives 0
    added = random.standard_normal((40, 35)).astype(np.float32)
    added[7, 5:] = -np.inf
    plain = head(40, 35, 16, 16)
    a = replace(plain, mask=kuai.bool, mask_strides=(35, 1))
    arrays = arrays_of(a, allowed)
    assert_agree(a, arrays, host())
    assert (arrays["result"][3] == 0).all()
    a = replace(plain, mask=kuai.float32, mask_strides=(35, 1))
    assert_agree(a, arrays_of(a, added), host())
    a = replace(plain, mask=kuai.float32, mask_strides=(0, 1))
    assert_agree(a, arrays_of(a, added[:1]), host())


def test_operands_may_lie_anyhow() -> None:
    a = head(20, 30, 12, 10)
    arrays = arrays_of(a)
    wanted = exact(a, arrays)
    for name in ("q", "k", "v"):
        arrays[name] = np.asfortranarray(arrays[name])
    a = replace(a, q=(1, 20), k=(1, 30), v=(1, 30))
    attend(a, arrays, host())
    for name, x in wanted.items():
        np.testing.assert_allclose(arrays[name], x, atol=1e-5, err_msg=name)


def test_what_is_no_number_stays_with_its_query() -> None:
    a = head(40, 35, 16, 16)
    arrays = arrays_of(a)
    arrays["q"][2, 3] = np.nan
    wanted = exact(a, arrays)
    attend(a, arrays, host())
    np.testing.assert_array_equal(np.isnan(arrays["result"]), np.isnan(wanted["result"]))
    np.testing.assert_array_equal(np.isnan(arrays["dq"]), np.isnan(wanted["dq"]))
