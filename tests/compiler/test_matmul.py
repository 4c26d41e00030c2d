"""Products of matrices as machine code, beside the same products in float64."""

from __future__ import annotations

import ctypes
import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.emit.products import Product, blocks, emit_product, workspace_bytes
from kuai.compiler.native import jit
from kuai.compiler.native.target import Target, host
from kuai.dtypes import from_numpy_dtype

WIDE = '"min-legal-vector-width"="512" "prefer-vector-width"="512"'
PROTOTYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.c_int64)


@functools.cache
def smaller_target() -> Target:
    """This machine without its widest vectors and most of its registers."""
    features = host().features.replace("+avx512", "-avx512")
    return replace(host(), features=features, vector_bytes=16, registers=16)


TARGETS = {"host": host, "smaller": smaller_target}


def text_of(p: Product, target: Target, in_parts: bool) -> str:
    """A program that adds the product to C: what is stored twice, or not at all, is seen."""
    module = Module()
    arguments = [("ptr", n) for n in "abcw"] + [("i64", "start"), ("i64", "stop")]
    f = module.function("program", "void", arguments, internal=False, attributes=WIDE)
    a, b, c, workspace, start, stop = f.arguments

    def store(f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None) -> None:
        assert value.lanes == lanes
        place = f.add(f.mul(row, Ref(str(p.n), "i64")), column)
        at = f.at(c, place, value.element)
        if mask is None:
            f.store(f.add(f.load(value.type, at), value), at)
        else:
            before = f.load_masked(value.type, at, mask, f.const(0, value.type))
            f.store_masked(f.add(before, value), at, mask)

    part = (start, stop) if in_parts else None
    emit_product(f, p, a, b, store, target, workspace, part)
    f.ret()
    return str(module)


def multiply(
    a: np.ndarray, b: np.ndarray, target: Target | None = None, parts: int = 0
) -> np.ndarray:
    """`a @ b` by the code that `emit_product` builds, in one go or in parts."""
    target = target or host()
    size = a.itemsize
    strides_a, strides_b = (tuple(s // size for s in x.strides) for x in (a, b))
    p = Product(a.shape[0], b.shape[1], a.shape[1], strides_a, strides_b, from_numpy_dtype(a.dtype))
    object_file = jit.assemble(text_of(p, target, parts > 0), verify=True, target=target)
    library = jit.load(object_file)
    run = PROTOTYPE(library["program"])
    c = np.zeros((p.m, p.n), a.dtype)
    needed = workspace_bytes(p, target)
    memory = np.full(needed + 64, 0xFF, np.uint8)  # NaN, read as floats
    start = -memory.ctypes.data % 64
    pointers = (a.ctypes.data, b.ctypes.data, c.ctypes.data, memory.ctypes.data + start)
    total = blocks(p, target)
    bounds = [total * i // parts for i in range(parts + 1)] if parts else [0, 0]
    for first, last in itertools.pairwise(bounds):
        run(*pointers, first, last)
    return c


def matrix(rows: int, columns: int, layout: str, dtype: str = "float32") -> np.ndarray:
    """Random numbers, laid out in memory in one of several ways."""
    random = np.random.default_rng(rows * 1000 + columns)

    def numbers(*shape: int) -> np.ndarray:
        if np.dtype(dtype).kind in "iu":
            return random.integers(0, 100, shape).astype(dtype)
        return random.standard_normal(shape).astype(dtype)

    match layout:
        case "plain":
            return numbers(rows, columns)
        case "transposed":
            return numbers(columns, rows).T
        case "wide":
            return numbers(rows, columns + 3)[:, 1 : columns + 1]
        case "spread":
            return numbers(rows * 2, columns * 3)[::2, ::3]
        case "reversed":
            return numbers(rows, columns)[::-1, ::-1]
        case "one row":
            return np.broadcast_to(numbers(1, columns), (rows, columns))
        case "one column":
            return np.broadcast_to(numbers(rows, 1), (rows, columns))
    raise AssertionError(layout)


def assert_is_product(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """C is the product, to within what rounding of its terms can make of it."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    rounding = {2: 2.0**-8, 4: 2.0**-24, 8: 2.0**-53}[a.itemsize]
    allowed = magnitude * rounding * (4 + a.shape[1] / 4) + 1e-300
    assert (np.abs(c.astype(np.float64) - exact) <= allowed).all()


SMALL = [1, 2, 3, 4, 5, 7, 8, 10, 13, 16, 17, 20, 31, 32, 33, 40]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layouts", ["plain plain", "plain transposed", "transposed plain"])
def test_products_of_all_small_sizes(layouts: str, target: str) -> None:
    random = np.random.default_rng(7)
    for m in SMALL:
        for n, k in random.choice(SMALL, (3, 2)):
            first, second = layouts.split()
            a, b = matrix(m, k, first), matrix(k, n, second)
            assert_is_product(multiply(a, b, TARGETS[target]()), a, b)
