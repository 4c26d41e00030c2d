"""Products of matrices as machine code, beside the same products in float64."""

from __future__ import annotations

import ctypes
import functools
import itertools

import ml_dtypes
import numpy as np
import pytest

from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.emit.products import (
    Product,
    Shared,
    blocks,
    emit_product,
    panels,
    workspace_bytes,
)
from kuai.compiler.native import jit
from kuai.compiler.native.target import Target, host
from kuai.dtypes import from_numpy_dtype

WIDE = '"min-legal-vector-width"="512" "prefer-vector-width"="512"'
PROTOTYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.c_int64)


@functools.cache
def smaller_target() -> Target:
    """This machine without its widest vectors and most of its registers."""
    features = host().features.replace("+avx512", "-avx512").replace("+avx10", "-avx10")
    return host()._replace(features=features, vector_bytes=16, registers=16)


TARGETS = {"host": host, "smaller": smaller_target}


def text_of(p: Product, target: Target, in_parts: bool, adds: bool = True) -> str:
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
            f.store(f.add(f.load(value.type, at), value) if adds else value, at)
        else:
            before = f.load_masked(value.type, at, mask, f.const(0, value.type))
            f.store_masked(f.add(before, value) if adds else value, at, mask)

    part = (start, stop) if in_parts else None
    emit_product(f, p, a, b, store, target, workspace, part)
    f.ret()
    return str(module)


def multiply(
    a: np.ndarray,
    b: np.ndarray,
    target: Target | None = None,
    parts: int = 0,
    adds: bool = True,
) -> np.ndarray:
    """`a @ b` by the code that `emit_product` builds, in one go or in parts."""
    target = target or host()
    size = a.itemsize
    strides_a, strides_b = (tuple(s // size for s in x.strides) for x in (a, b))
    p = Product(a.shape[0], b.shape[1], a.shape[1], strides_a, strides_b, from_numpy_dtype(a.dtype))
    object_file = jit.assemble(text_of(p, target, parts > 0, adds), verify=True, target=target)
    library = jit.load(object_file)
    run = PROTOTYPE(library["program"])
    c = np.zeros((p.m, p.n), a.dtype)
    needed = workspace_bytes(p, target)
    memory = np.full(needed + 256, 0xFF, np.uint8)  # NaN, read as floats
    start = -memory.ctypes.data % 64
    pointers = (a.ctypes.data, b.ctypes.data, c.ctypes.data, memory.ctypes.data + start)
    total = blocks(p, target)
    bounds = [total * i // parts for i in range(parts + 1)] if parts else [0, 0]
    for first, last in itertools.pairwise(bounds):
        run(*pointers, first, last)
    assert (memory[:start] == 0xFF).all(), "memory before the workspace was written"
    assert (memory[start + needed :] == 0xFF).all(), "memory after the workspace was written"
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


LAYOUTS = ["plain", "transposed", "wide", "spread", "reversed", "one row", "one column"]


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_operands_may_lie_anyhow(first: str, second: str) -> None:
    for m, n, k in [(3, 7, 5), (20, 33, 19), (1, 18, 6), (19, 1, 6), (1, 1, 30)]:
        a, b = matrix(m, k, first), matrix(k, n, second)
        assert_is_product(multiply(a, b), a, b)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layouts", ["plain plain", "plain transposed", "transposed transposed"])
@pytest.mark.parametrize("size", [(47, 300, 850), (200, 1100, 401), (1003, 40, 390)])
def test_large_products(size: tuple[int, int, int], layouts: str, dtype: str, target: str) -> None:
    m, n, k = size
    first, second = layouts.split()
    a, b = matrix(m, k, first, dtype), matrix(k, n, second, dtype)
    assert_is_product(multiply(a, b, TARGETS[target]()), a, b)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("size", [(2, 10, 20), (20, 33, 40), (40, 700, 500), (30, 1, 20)])
def test_integers_wrap_around(size: tuple[int, int, int], dtype: str) -> None:
    m, n, k = size
    a, b = matrix(m, k, "plain", dtype), matrix(k, n, "transposed", dtype)
    np.testing.assert_array_equal(multiply(a, b), a @ b)
    a, b = matrix(m, k, "transposed", dtype), matrix(k, n, "plain", dtype)
    np.testing.assert_array_equal(multiply(a, b), a @ b)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("size", [(2, 10, 20), (20, 33, 40), (40, 700, 500), (30, 1, 20)])
@pytest.mark.parametrize("layout", ["plain", "transposed"])
def test_short_floats_are_summed_in_float32(
    size: tuple[int, int, int], layout: str, dtype: str
) -> None:
    m, n, k = size
    a, b = (
        matrix(*shape, layout).astype(getattr(ml_dtypes, dtype, dtype))
        for shape in ((m, k), (k, n))
    )
    exact = a.astype(np.float64) @ b.astype(np.float64)
    c = multiply(a, b).astype(np.float64)
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert (np.abs(c - exact) <= step * np.abs(exact) * 1.01 + 1e-3).all()


def test_subnormal_results_of_bfloat16_stay() -> None:
    a = np.full((3, 4), 2.0**-70, ml_dtypes.bfloat16)
    b = np.full((4, 20), 2.0**-60, ml_dtypes.bfloat16)
    # Not added to C: the processor's own sums of bfloat16 take subnormal numbers for zero.
    assert (multiply(a, b, adds=False).astype(np.float64) == 2.0**-128).all()


@pytest.mark.parametrize("layouts", ["plain plain", "plain transposed", "transposed plain"])
@pytest.mark.parametrize("size", [(2, 70, 20), (70, 30, 30), (100, 500, 600), (500, 60, 500)])
def test_the_result_does_not_depend_on_the_division_into_parts(
    size: tuple[int, int, int], layouts: str
) -> None:
    m, n, k = size
    first, second = layouts.split()
    a, b = matrix(m, k, first), matrix(k, n, second)
    whole = multiply(a, b)
    assert_is_product(whole, a, b)
    for parts in (1, 2, 3, 5):
        np.testing.assert_array_equal(multiply(a, b, parts=parts), whole)


@pytest.mark.parametrize("layouts", ["plain plain", "plain transposed", "transposed plain"])
@pytest.mark.parametrize("size", [(2, 10, 20), (3, 40, 37), (30, 45, 33), (50, 700, 420)])
def test_what_is_no_number_stays_in_its_row_and_column(
    size: tuple[int, int, int], layouts: str
) -> None:
    m, n, k = size
    first, second = layouts.split()
    a, b = matrix(m, k, first).copy(), matrix(k, n, second).copy()
    a = a.T.copy().T if first == "transposed" else a
    b = b.T.copy().T if second == "transposed" else b
    a[1, k - 1], b[2, n - 1], a[0, 0] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        exact = a.astype(np.float64) @ b.astype(np.float64)
    c = multiply(a, b)
    np.testing.assert_array_equal(np.isnan(c), np.isnan(exact))
    np.testing.assert_array_equal(np.isinf(c), np.isinf(exact))
    sane = np.isfinite(exact)
    np.testing.assert_allclose(c[sane], exact[sane], rtol=1e-4, atol=1e-4)


def test_an_empty_sum_is_zero() -> None:
    for m, n in [(3, 5), (1, 20), (20, 1)]:
        c = multiply(np.zeros((m, 0), np.float32), np.zeros((0, n), np.float32))
        np.testing.assert_array_equal(c, np.zeros((m, n)))


def test_nothing_is_stored_where_there_is_nothing() -> None:
    assert multiply(matrix(0, 3, "plain"), matrix(3, 5, "plain")).shape == (0, 5)
    assert multiply(matrix(3, 2, "plain"), matrix(2, 0, "plain")).shape == (3, 0)


def test_lanes_go_along_the_rows_of_a_single_column_only_if_asked() -> None:
    a, b = matrix(40, 24, "plain"), matrix(24, 1, "plain")
    p = Product(40, 1, 24, (24, 1), (1, 1), from_numpy_dtype(a.dtype))
    for along_rows in (False, True):
        seen: list[int] = []
        f = Module().function("f", "void", [("ptr", "a"), ("ptr", "b")])

        def store(
            f: Function,
            row: Ref,
            column: Ref,
            value: Ref,
            lanes: int,
            mask: Ref | None,
            seen: list[int] = seen,
        ) -> None:
            seen.append(lanes)

        emit_product(f, p, *f.arguments, store, host(), along_rows=along_rows)
        assert (max(seen) > 0) == along_rows
    assert_is_product(multiply(a, b), a, b)


SHARED = [(40, 70, 300, "ab"), (130, 33, 1000, "b"), (50, 130, 900, "a"), (12, 1, 64, "b")]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("m", "n", "k", "operands"), SHARED)
@pytest.mark.parametrize("first", ["plain", "transposed"])
@pytest.mark.parametrize("second", ["plain", "transposed", "spread"])
def test_panels_that_were_made_before_serve_all_parts(
    m: int, n: int, k: int, operands: str, first: str, second: str, target: str
) -> None:
    machine = TARGETS[target]()
    a, b = matrix(m, k, first), matrix(k, n, second)
    strides = [tuple(s // x.itemsize for s in x.strides) for x in (a, b)]
    p = Product(m, n, k, *strides, from_numpy_dtype(a.dtype))
    module = Module()
    arguments = [("ptr", name) for name in ("a", "b", "c", "w", "for_a", "for_b")]
    f = module.function("program", "void", arguments, internal=False, attributes=WIDE)
    given = dict(zip("abcw", f.arguments, strict=False))
    memory = {}
    made: dict[str, Ref] = {}
    for operand in operands:
        found = panels(p, machine, operand)
        to = f.arguments[4 + "ab".index(operand)]
        memory[operand] = np.full(64 if found is None else found.size + 128, 0xFF, np.uint8)
        if found is None:
            continue
        for i in range(found.blocks):
            found.emit(f, given[operand], to, (Ref(str(i), "i64"), Ref(str(i + 1), "i64")))
        made[operand] = to

    def store(f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None) -> None:
        at = f.at(given["c"], f.add(f.mul(row, Ref(str(n), "i64")), column), value.element)
        if mask is None:
            f.store(value, at)
        else:
            f.store_masked(value, at, mask)

    for i in range(blocks(p, machine)):
        part = Ref(str(i), "i64"), Ref(str(i + 1), "i64")
        operands_ = given["a"], given["b"]
        emit_product(f, p, *operands_, store, machine, given["w"], part, shared=Shared(**made))
    f.ret()
    library = jit.load(jit.assemble(str(module), verify=True, target=machine))
    c = np.full((m, n), np.nan, a.dtype)
    workspace = np.full(workspace_bytes(p, machine) + 64, 0xFF, np.uint8)
    kept = [memory.get(x, np.zeros(64, np.uint8)) for x in "ab"]
    pointers = [x.ctypes.data for x in (a, b, c)]
    pointers += [x.ctypes.data + -x.ctypes.data % 64 for x in (workspace, *kept)]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(library["program"])(*pointers)
    assert_is_product(c, a, b)
