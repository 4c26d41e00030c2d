"""Convolutions and their gradients as machine code, beside eager's in float64."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.emit.products import Store, convolution
from kuai.compiler.emit.products.convolution import Convolution
from kuai.compiler.native import jit
from kuai.compiler.native.target import Target, host
from kuai.dtypes import float64, from_numpy_dtype
from kuai.ops.conv import (
    convolution_,
    convolution_input_gradient,
    convolution_weight_gradient,
    output_sizes,
)
from tests.compiler.test_matmul import TARGETS, WIDE

PROTOTYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.c_int64)


def run(
    strategy: Any,
    store_to: Callable[[Ref], Any],
    operands: tuple[np.ndarray, np.ndarray],
    result: np.ndarray,
    target: Target,
    parts: int,
) -> np.ndarray:
    """Add what a strategy computes of the operands to `result`."""
    module = Module()
    arguments = [("ptr", n) for n in "abcw"] + [("i64", "start"), ("i64", "stop")]
    f = module.function("program", "void", arguments, internal=False, attributes=WIDE)
    a, b, c, workspace, start, stop = f.arguments
    strategy.emit(f, a, b, store_to(c), workspace, (start, stop) if parts else None)
    f.ret()
    library = jit.load(jit.assemble(str(module), verify=True, target=target))
    needed = strategy.workspace
    memory = np.full(needed + 256, 0xFF, np.uint8)
    first = -memory.ctypes.data % 64
    pointers = [x.ctypes.data for x in (*operands, result)] + [memory.ctypes.data + first]
    bounds = [strategy.blocks * i // parts for i in range(parts + 1)] if parts else [0, 0]
    for low, high in itertools.pairwise(bounds):
        PROTOTYPE(library["program"])(*pointers, low, high)
    assert (memory[:first] == 0xFF).all(), "memory before the workspace was written"
    assert (memory[first + needed :] == 0xFF).all(), "memory after the workspace was written"
    return result


def add(f: Function, at: Ref, value: Ref, lanes: int, mask: Ref | None) -> None:
    """Add a vector to memory: what is stored twice, or not at all, is seen."""
    assert value.lanes == lanes
    if mask is None:
        f.store(f.add(f.load(value.type, at), value), at)
    else:
        before = f.load_masked(value.type, at, mask, f.const(0, value.type))
        f.store_masked(f.add(before, value), at, mask)


def to_images(channels: int, size: int) -> Callable[[Ref], convolution.StoreImage]:
    """Adds planes of `size` elements to memory."""

    def to(c: Ref) -> convolution.StoreImage:
        def store(
            f: Function,
            image: Ref,
            channel: Ref,
            position: Ref,
            value: Ref,
            lanes: int,
            mask: Ref | None,
        ) -> None:
            plane = f.add(f.mul(image, Ref(str(channels), "i64")), channel)
            at = f.add(f.mul(plane, Ref(str(size), "i64")), position)
            add(f, f.at(c, at, value.element), value, lanes, mask)

        return store

    return to


def to_matrix(columns: int) -> Callable[[Ref], Store]:
    """Adds a matrix to memory."""

    def to(c: Ref) -> Store:
        def store(
            f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None
        ) -> None:
            at = f.add(f.mul(row, Ref(str(columns), "i64")), column)
            add(f, f.at(c, at, value.element), value, lanes, mask)

        return store

    return to


def forward(
    c: Convolution, x: np.ndarray, weight: np.ndarray, target: Target, parts: int = 0
) -> np.ndarray:
    """The convolution, computed by machine code."""
    result = np.zeros((c.batch, c.outputs, *c.count), x.dtype)
    strategy = convolution.forward(c, strides(x), strides(weight), target)
    store = to_images(c.outputs, c.count[0] * c.count[1])
    return run(strategy, store, (x, weight), result, target, parts)


def input_gradient(
    c: Convolution, y: np.ndarray, weight: np.ndarray, target: Target, parts: int = 0
) -> np.ndarray:
    """The gradient of the input, computed by machine code."""
    result = np.zeros((c.batch, c.channels, *c.sizes), y.dtype)
    strategy = convolution.input_gradient(c, strides(y), strides(weight), target)
    store = to_images(c.channels, c.sizes[0] * c.sizes[1])
    return run(strategy, store, (y, weight), result, target, parts)


def weight_gradient(
    c: Convolution, x: np.ndarray, y: np.ndarray, target: Target, parts: int = 0
) -> np.ndarray:
    """The gradient of the weight, computed by machine code."""
    inner = c.channels // c.groups
    result = np.zeros((c.outputs, inner, *c.kernel), y.dtype)
    strategy = convolution.weight_gradient(c, strides(x), strides(y), target)
    store = to_matrix(inner * c.kernel[0] * c.kernel[1])
    return run(strategy, store, (x, y), result, target, parts)


def strides(x: np.ndarray) -> convolution.Strides:
    """The strides of an array, in elements."""
    i, j, k, m = (s // x.itemsize for s in x.strides)
    return i, j, k, m


def geometry(
    batch: int,
    channels: int,
    outputs: int,
    sizes: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    dtype: str = "float32",
) -> Convolution:
    """A convolution of these sizes."""
    count = output_sizes(sizes, kernel, stride, padding, dilation)
    kind = from_numpy_dtype(np.dtype(dtype))
    shape = (batch, channels, outputs, sizes, (count[0], count[1]), kernel)
    return Convolution(*shape, stride, padding, dilation, groups, kind)


def operands(c: Convolution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random input, weight and gradient of the output."""
    random = np.random.default_rng(5)
    shapes = (
        (c.batch, c.channels, *c.sizes),
        (c.outputs, c.channels // c.groups, *c.kernel),
        (c.batch, c.outputs, *c.count),
    )
    x, weight, y = (random.standard_normal(shape).astype(c.dtype.numpy) for shape in shapes)
    return x, weight, y


def exact(c: Convolution, x: np.ndarray, weight: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """What eager computes, in float64."""
    rest = {"stride": c.stride, "padding": c.padding, "dilation": c.dilation, "groups": c.groups}
    x, weight, y = (a.astype(np.float64) for a in (x, weight, y))
    return [
        convolution_.kernel(x, weight, **rest),
        convolution_input_gradient.kernel(y, weight, sizes=c.sizes, **rest),
        convolution_weight_gradient.kernel(x, y, kernel_size=c.kernel, **rest),
    ]


def assert_agree(c: Convolution, target: Target, parts: int = 0) -> None:
    """All three products are those of eager, within rounding."""
    x, weight, y = operands(c)
    wanted = exact(c, x, weight, y)
    found = [
        forward(c, x, weight, target, parts),
        input_gradient(c, y, weight, target, parts),
        weight_gradient(c, x, y, target, parts),
    ]
    step = np.finfo(c.dtype.numpy).eps
    for name, a, b in zip(("forward", "input", "weight"), found, wanted, strict=True):
        largest = max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=40 * step * largest, err_msg=name)


GEOMETRIES = {
    "one position": geometry(1, 1, 1, (1, 1), (1, 1)),
    "lenet's first": geometry(2, 1, 6, (28, 28), (5, 5), padding=(2, 2)),
    "lenet's second": geometry(2, 6, 16, (14, 14), (5, 5)),
    "three by three": geometry(2, 20, 17, (13, 11), (3, 3), padding=(1, 1)),
    "strided": geometry(2, 5, 14, (15, 17), (3, 3), (2, 2), (1, 1)),
    "strides that differ": geometry(2, 5, 14, (15, 17), (3, 5), (3, 1), (1, 2)),
    "a stride beyond the kernel": geometry(2, 5, 7, (20, 23), (1, 2), (3, 4)),
    "pointwise": geometry(3, 33, 20, (7, 7), (1, 1)),
    "pointwise, strided": geometry(2, 18, 20, (9, 8), (1, 1), (2, 2)),
    "dilated": geometry(2, 4, 9, (16, 15), (3, 3), padding=(2, 2), dilation=(2, 2)),
    "dilated and strided": geometry(2, 4, 9, (16, 15), (3, 3), (2, 2), (3, 1), (3, 2)),
    "more padding than kernel": geometry(1, 3, 4, (6, 6), (2, 2), padding=(3, 4)),
    "groups": geometry(2, 12, 18, (9, 10), (3, 3), padding=(1, 1), groups=3),
    "depthwise": geometry(2, 10, 20, (9, 10), (3, 3), padding=(1, 1), groups=10),
    "one dimension": geometry(3, 7, 9, (1, 50), (1, 4), (1, 2), (0, 1)),
    "wide": geometry(1, 3, 13, (6, 200), (3, 3), padding=(1, 1)),
    "seven by seven": geometry(1, 3, 8, (40, 40), (7, 7), (2, 2), (3, 3)),
    "a single image, pointwise": geometry(1, 33, 40, (9, 9), (1, 1)),
    "pointwise, in groups": geometry(2, 12, 8, (5, 6), (1, 1), groups=4),
    "many channels": geometry(2, 130, 70, (6, 7), (3, 3), padding=(1, 1)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_products_of_a_convolution(name: str, target: str) -> None:
    assert_agree(GEOMETRIES[name], TARGETS[target]())


@pytest.mark.parametrize("name", ["three by three", "strided", "groups"])
def test_double_precision(name: str) -> None:
    assert_agree(replace(GEOMETRIES[name], dtype=float64), host())


@pytest.mark.parametrize(
    "name",
    [
        "three by three",
        "one position",
        "groups",
        "depthwise",
        "wide",
        "pointwise",
        "a single image, pointwise",
    ],
)
def test_the_result_does_not_depend_on_the_division_into_parts(name: str) -> None:
    c = GEOMETRIES[name]
    x, weight, y = operands(c)
    whole = (
        forward(c, x, weight, host()),
        input_gradient(c, y, weight, host()),
        weight_gradient(c, x, y, host()),
    )
    for parts in (1, 2, 3):
        np.testing.assert_array_equal(forward(c, x, weight, host(), parts), whole[0])
        np.testing.assert_array_equal(input_gradient(c, y, weight, host(), parts), whole[1])
        np.testing.assert_array_equal(weight_gradient(c, x, y, host(), parts), whole[2])


def test_operands_may_lie_anyhow() -> None:
    c = GEOMETRIES["strided"]
    x, weight, y = operands(c)
    wanted = exact(c, x, weight, y)
    x, weight, y = (np.asfortranarray(a) for a in (x, weight, y))
    for a, b in zip(
        (
            forward(c, x, weight, host()),
            input_gradient(c, y, weight, host()),
            weight_gradient(c, x, y, host()),
        ),
        wanted,
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_what_is_no_number_stays_in_the_windows_that_meet_it() -> None:
    c = GEOMETRIES["three by three"]
    x, weight, y = operands(c)
    x[0, 3, 5, 10], x[1, 2, 0, 0] = np.inf, np.nan
    y[0, 1, 2, 0] = np.nan
    with np.errstate(invalid="ignore"):
        wanted = exact(c, x, weight, y)
    found = (
        forward(c, x, weight, host()),
        input_gradient(c, y, weight, host()),
        weight_gradient(c, x, y, host()),
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
