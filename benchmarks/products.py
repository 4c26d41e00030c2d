"""Times kuai's compiled products beside NumPy's (OpenBLAS) and PyTorch's (oneMKL, oneDNN).

    python -m benchmarks.products
    python -m benchmarks.products --threads 2 --only square

Products of matrices, convolutions and their gradients, and attention. The contestants take turns;
each figure is of the fastest round. The results must be the same before anything is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import Row, Table, add_output_options, write_tables
from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.emit.products import Product, blocks, convolution, emit_product, workspace_bytes
from kuai.compiler.emit.products.attention import Attention, AttentionForward
from kuai.compiler.emit.products.kernel import WIDE
from kuai.compiler.native import jit, runtime
from kuai.compiler.native.target import host
from kuai.dtypes import float32

ROUNDS = 9
ROUND = 0.03  # seconds that a round takes at least

# m, n, k, and whether A and B are transposes of what lies in memory.
SMALL = {
    "20 to 256": (2, 256, 20, False, True),
    "256 to 10": (2, 10, 256, False, True),
    "20 to 64": (2, 64, 20, False, True),
    "64 to 32": (2, 32, 64, False, True),
    "20 by 20": (2, 20, 20, False, False),
    "gradient of the input, 256 to 20": (2, 20, 256, False, False),
    "gradient of the weight, 256 by 20": (256, 20, 2, True, False),
    "matrix times vector, 1024": (1024, 1, 1024, False, False),
}
SQUARE = (96, 192, 384, 768, 1536)

# batch, channels, outputs, size, kernel, stride, padding
CONVOLUTIONS = {
    "LeNet, first": (64, 1, 6, 28, 5, 1, 2),
    "LeNet, second": (64, 6, 16, 14, 5, 1, 0),
    "ResNet, 64 x 56 x 56": (8, 64, 64, 56, 3, 1, 1),
    "ResNet, 256 x 14 x 14": (8, 256, 256, 14, 3, 1, 1),
    "ResNet, 128 x 56 x 56, stride 2": (8, 128, 128, 56, 3, 2, 1),
    "ResNet, first": (8, 3, 64, 224, 7, 2, 3),
    "ResNet, 64 to 256, pointwise": (8, 64, 256, 56, 1, 1, 0),
}

# heads, queries and keys, width
ATTENTION = {"GPT, 48 heads of 64": (48, 64, 32), "8 heads of 512": (8, 512, 64)}

Work = Callable[[int], None]
Part = tuple[Ref, Ref] | None


class Subject(NamedTuple):
    """What the code for a kind of work is built from.

    Attributes:
        build: writes the code, for the addresses of two operands, the result and scratch memory,
            and a part of the blocks.
        blocks: into how many blocks it can be divided.
        workspace: bytes of scratch memory for each thread.
    """

    build: Callable[[Function, Sequence[Ref], Part], None]
    blocks: int
    workspace: int


def program(subject: Subject, arrays: Sequence[np.ndarray], threads: int) -> Work:
    """Runs a kind of work on arrays, so many times."""
    module = Module()
    part = module.function("part", "void", [("ptr", "table"), ("i64", "chunk")], attributes=WIDE)
    table, chunk = part.arguments
    given = [part.load("ptr", part.at(table, i, "ptr")) for i in range(4)]
    offset = part.mul(chunk, Ref(str(subject.workspace), "i64"))
    given[3] = part.at(given[3], offset, "i8")
    if threads > 1:
        counted, divisor = Ref(str(subject.blocks), "i64"), Ref(str(threads), "i64")
        following = part.add(chunk, Ref("1", "i64"))
        start, stop = (
            part.binary("sdiv", part.mul(counted, n), divisor) for n in (chunk, following)
        )
        subject.build(part, given, (start, stop))
    else:
        subject.build(part, given, None)
    part.ret()
    arguments = [("ptr", "table"), ("i64", "times")]
    f = module.function("program", "void", arguments, internal=False)
    table, times = f.arguments
    with f.loop(0, times):
        if threads > 1:
            module.declare("kuai_parallel", "void", ["ptr", "ptr", "i64"])
            chunks = Ref(str(threads), "i64")
            f.call("kuai_parallel", "void", Ref("@part", "ptr"), table, chunks)
        else:
            f.call("part", "void", table, Ref("0", "i64"))
    f.ret()
    library = runtime.load_program(jit.assemble(str(module)))
    memory = aligned(np.zeros(subject.workspace * threads + 64, np.uint8))
    pointers = (ctypes.c_void_p * 4)(*[a.ctypes.data for a in (*arrays, memory)])
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library["program"])

    def work(count: int) -> None:
        run(ctypes.addressof(pointers), count)

    work.kept = (library, memory, arrays)  # type: ignore[attr-defined]
    return work


def aligned(x: np.ndarray) -> np.ndarray:
    """A copy that starts at a line of the cache."""
    memory = np.empty(x.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def random(*shape: int) -> np.ndarray:
    """Random numbers, aligned."""
    return aligned(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def times_of(works: Sequence[Work]) -> list[float]:
    """Nanoseconds for each kind of work, the fastest of rounds in turns."""
    counts, best = [], [math.inf] * len(works)
    for work in works:
        count = 1
        while (taken := _seconds(work, count)) < ROUND and count < 1 << 24:
            count = max(2 * count, int(count * ROUND / max(taken, 1e-7)))
        counts.append(count)
    for _ in range(ROUNDS):
        for i, work in enumerate(works):
            best[i] = min(best[i], _seconds(work, counts[i]) / counts[i])
    return [t * 1e9 for t in best]


def _seconds(work: Work, count: int) -> float:
    start = time.perf_counter()
    work(count)
    return time.perf_counter() - start


def repeated(call: Callable[[], Any]) -> Work:
    """A call of another library, so many times."""

    def work(count: int) -> None:
        for _ in range(count):
            call()

    return work


def put(f: Function, at: Ref, value: Ref, mask: Ref | None) -> None:
    """Store a vector."""
    if mask is None:
        f.store(value, at)
    else:
        f.store_masked(value, at, mask)


def into_matrix(to: Ref, columns: int) -> Any:
    """Stores a matrix."""

    def store(f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Any) -> None:
        at = f.add(f.mul(row, Ref(str(columns), "i64")), column)
        put(f, f.at(to, at, "float"), value, mask)

    return store


def into_images(to: Ref, channels: int, size: int) -> Any:
    """Stores images of planes of `size` elements."""

    def store(
        f: Function, image: Ref, channel: Ref, at: Ref, value: Ref, lanes: int, mask: Any
    ) -> None:
        plane = f.add(f.mul(image, Ref(str(channels), "i64")), channel)
        at = f.add(f.mul(plane, Ref(str(size), "i64")), at)
        put(f, f.at(to, at, "float"), value, mask)

    return store


def strides(x: np.ndarray) -> Any:
    """The strides of an array, in elements."""
    return tuple(s // x.itemsize for s in x.strides)


def row(name: str, flops: float, others: Sequence[str], times: Sequence[float]) -> Row:
    """A row: nanoseconds or microseconds, and billions of operations in a second."""
    unit, name_of_unit = (1, "ns") if times[0] < 2e4 else (1e3, "µs")
    cells: Row = {"work": name, "kuai": f"{times[0] / unit:.0f} {name_of_unit}"}
    cells["GFLOP/s"] = f"{flops / times[0]:.0f}"
    for other, t in zip(others, times[1:], strict=True):
        cells[other] = f"{t / unit:.0f} {name_of_unit}"
        cells[f"times {other}"] = f"{t / times[0]:.2f}"
    return cells


def product_row(
    name: str, m: int, n: int, k: int, ta: bool, tb: bool, threads: int, torch: Any
) -> Row:
    """A product beside NumPy's and PyTorch's."""
    a = random(k, m).T if ta else random(m, k)
    b = random(n, k).T if tb else random(k, n)
    c = aligned(np.zeros((m, n), np.float32))
    p = Product(m, n, k, strides(a), strides(b), float32)
    target = host()

    def build(f: Function, given: Sequence[Ref], part: Part) -> None:
        x, y, to, memory = given
        emit_product(f, p, x, y, into_matrix(to, n), target, memory, part)

    subject = Subject(build, blocks(p, target), workspace_bytes(p, target))
    works = [program(subject, (a, b, c), threads)]
    works[0](1)
    np.testing.assert_allclose(c, a @ b, rtol=1e-3, atol=1e-3 * math.sqrt(k))
    out = np.empty_like(c)
    works.append(repeated(lambda: np.matmul(a, b, out=out)))
    x, y, z = (torch.from_numpy(array) for array in (a, b, out))
    works.append(repeated(lambda: torch.mm(x, y, out=z)))
    return row(name, p.flops, ("NumPy", "PyTorch"), times_of(works))


def convolution_rows(name: str, sizes: Sequence[int], threads: int, torch: Any) -> list[Row]:
    """A convolution and its gradients beside PyTorch's."""
    batch, channels, outputs, size, kernel, stride, padding = sizes
    count = (size + 2 * padding - kernel) // stride + 1
    pairs = [(n, n) for n in (size, count, kernel, stride, padding, 1)]
    c = convolution.Convolution(batch, channels, outputs, *pairs, 1, float32)
    x, w = random(batch, channels, size, size), random(outputs, channels, kernel, kernel)
    y = random(batch, outputs, count, count)
    tx, tw, ty = (torch.from_numpy(array) for array in (x, w, y))
    target, flops = host(), 2 * y.size * channels * kernel * kernel

    def theirs(wanted: list[bool]) -> Any:
        geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted)
        return torch.ops.aten.convolution_backward(ty, tx, tw, None, *geometry)

    forward = convolution.forward(c, strides(x), strides(w), target)
    of_input = convolution.input_gradient(c, strides(y), strides(w), target)
    of_weight = convolution.weight_gradient(c, strides(x), strides(y), target)
    kinds: list[tuple[str, Any, Any, Any, Callable[[], Any]]] = [
        (
            "forward",
            forward,
            (x, w),
            lambda to: into_images(to, outputs, count * count),
            lambda: torch.nn.functional.conv2d(tx, tw, stride=stride, padding=padding),
        ),
        (
            "gradient of the input",
            of_input,
            (y, w),
            lambda to: into_images(to, channels, size * size),
            lambda: theirs([True, False, False])[0],
        ),
        (
            "gradient of the weight",
            of_weight,
            (x, y),
            lambda to: into_matrix(to, channels * kernel * kernel),
            lambda: theirs([False, True, False])[1],
        ),
    ]
    rows = []
    for kind, strategy, operands, into, call in kinds:

        def build(
            f: Function,
            given: Sequence[Ref],
            part: Part,
            strategy: Any = strategy,
            into: Any = into,
        ) -> None:
            first, second, to, memory = given
            strategy.emit(f, first, second, into(to), memory, part)

        wanted = call().numpy()
        result = aligned(np.zeros_like(wanted))
        subject = Subject(build, strategy.blocks, strategy.workspace)
        work = program(subject, (*operands, result), threads)
        work(1)
        largest = float(np.abs(wanted).max())
        np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-4 * largest)
        times = times_of([work, repeated(call)])
        rows.append(row(f"{name}: {kind}", flops, ("PyTorch",), times))
    return rows


def attention_row(name: str, heads: int, length: int, width: int, threads: int, torch: Any) -> Row:
    """Causal attention beside PyTorch's."""
    q, kv = random(heads, length, width), random(2, heads, length, width)
    result = aligned(np.zeros_like(q))
    order = (width, 1)
    a = Attention(
        length, length, width, width, order, order, order, 1 / math.sqrt(width), float32, True
    )
    strategy = AttentionForward(a, host())
    size = length * width

    def build(f: Function, given: Sequence[Ref], part: Part) -> None:
        first, second, to, memory = given
        with f.loop(*(part or (0, heads))) as head:
            at = f.mul(head, Ref(str(size), "i64"))
            query, key = f.at(first, at, "float"), f.at(second, at, "float")
            operands = (query, key, f.at(key, heads * size, "float"))
            store = into_matrix(f.at(to, at, "float"), width)
            strategy.emit(f, operands, None, store, memory)

    work = program(Subject(build, heads, strategy.workspace), (q, kv, result), threads)
    tensors = [torch.from_numpy(x)[None] for x in (q, *kv)]

    def theirs() -> Any:
        return torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True)

    work(1)
    np.testing.assert_allclose(result, theirs()[0].numpy(), atol=1e-4)
    times = times_of([work, repeated(theirs)])
    return row(name, 4 * heads * length * length * width, ("PyTorch",), times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the name of the tables to fill")
    add_output_options(parser)
    options = parser.parse_args()
    import torch
    from threadpoolctl import threadpool_limits

    threads = min(options.threads, os.cpu_count() or 1)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    sides = [
        (f"{size}, {'A' + 'ᵀ' * ta} {'B' + 'ᵀ' * tb}", size, size, size, ta, tb)
        for size in SQUARE
        for ta in (False, True)
        for tb in (False, True)
    ]
    small = [(name, *sizes) for name, sizes in SMALL.items()] if threads == 1 else []
    with threadpool_limits(threads):
        tables = [
            Table(title, [r for item in work if options.only in title for r in make(*item)])
            for title, work, make in (
                ("small products", small, lambda *p: [product_row(*p, threads, torch)]),
                ("square products", sides, lambda *p: [product_row(*p, threads, torch)]),
                (
                    "convolutions",
                    list(CONVOLUTIONS.items()),
                    lambda *c: convolution_rows(*c, threads, torch),
                ),
                (
                    "causal attention",
                    [(name, *sizes) for name, sizes in ATTENTION.items()],
                    lambda *a: [attention_row(*a, threads, torch)],
                ),
            )
        ]
    note = f"{threads} thread{'s' * (threads > 1)}; the fastest of {ROUNDS} rounds in turns"
    write_tables(tables, options, [note])


if __name__ == "__main__":
    main()
