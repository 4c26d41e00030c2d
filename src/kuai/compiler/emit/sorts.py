"""Positions in the order of the elements that stand there: `before` of a primitive.

`before(self, emit, x, y, **parameters)` says whether the element `x` must come before `y`. Each row
along the dimension `dim` is sorted with the numbers of its elements: short stretches by insertion,
which are then merged. What may stand in either order stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai import dtypes
from kuai.compiler.emit import pulls
from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.domain import Part
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.graph import Operation
from kuai.compiler.memory import ALIGNMENT, Buffer

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program

STRETCH = 16  # elements that insertion sorts
ONE = Ref("1", "i64")


class _Row:
    """Elements and their numbers, beside each other in memory."""

    def __init__(self, emit: Emit, keys: Ref, numbers: Ref, dtype: dtypes.dtype) -> None:
        self.emit = emit
        self.keys, self.numbers = keys, numbers
        self.dtype = dtype

    def key(self, i: Ref) -> Scalar:
        """An element."""
        return self.emit.load(self._key_at(i), self.dtype)

    def number(self, i: Ref) -> Scalar:
        """Where it stood at first."""
        return self.emit.load(self.emit.function.at(self.numbers, i, "i64"), dtypes.int64)

    def put(self, i: Ref, key: Scalar, number: Scalar) -> None:
        """Store both."""
        self.emit.store(key, self._key_at(i))
        self.emit.store(number, self.emit.function.at(self.numbers, i, "i64"))

    def _key_at(self, i: Ref) -> Ref:
        f = self.emit.function
        return f.at(self.keys, f.mul(i, number(self.dtype.itemsize)), "i8")


def emit_sort(program: Program, operation: Operation) -> None:
    """Sort the rows of the input, and store where their elements stood."""
    kernels = program.kernels
    (source,), (result,) = operation.inputs, operation.results
    dims = [operation.parameters["dim"]] if source.ndim else []
    n = source.shape[dims[0]] if dims else 1
    dtype = source.meta.dtype
    keys = -(-n * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    numbers = -(-n * 8 // ALIGNMENT) * ALIGNMENT
    space = program.scratch(2 * (keys + numbers))

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
        if not result.size:
            return
        emit = Emit(f, 0)
        at = [pointers[space]]
        for step in (keys, numbers, keys):
            at.append(f.at(at[-1], step, "i8"))
        rows = _Row(emit, at[0], at[1], dtype), _Row(emit, at[2], at[3], dtype)
        into = pulls.Source(emit, *program.source(f, pointers, result))
        if source in kernels.constants:
            given = None
        else:
            given = pulls.Source(emit, *program.source(f, pointers, source))

        def row(position: list[Ref]) -> None:
            with f.loop(0, n) as i:
                here = _indices(emit, position, dims, i)
                key = emit.const(0, dtype) if given is None else given.at(*here)
                rows[0].put(i, key, Scalar(i, dtypes.int64))
            ordered = _sort(f, operation, rows, n)
            with f.loop(0, n) as i:
                into.put(ordered.number(i), *_indices(emit, position, dims, i))

        def walk(kept: Sequence[int], position: list[Ref]) -> None:
            if not kept:
                row(position)
                return
            with f.loop(0, source.shape[kept[0]]) as i:
                walk(kept[1:], [i if d == kept[0] else j for d, j in enumerate(position)])

        walk([d for d in range(source.ndim) if d not in dims], [Ref("0", "i64")] * source.ndim)

    buffers = [*program.buffers_of([source, result]), space]
    program.kernel(operation.primitive.name, buffers, build)


def _indices(emit: Emit, at: Sequence[Ref], dims: Sequence[int], i: Ref) -> list[pulls.Index]:
    return [pulls.Index(emit, i if d in dims else j) for d, j in enumerate(at)]


def _sort(f: Function, operation: Operation, rows: tuple[_Row, _Row], n: int) -> _Row:
    """Sort the first row; returns the one of the two where the result is."""
    row, other = rows
    with f.loop(0, n, STRETCH) as low:
        _insert(f, operation, row, low, _least(f, f.add(low, Ref(str(STRETCH), "i64")), n))
    width = STRETCH
    while width < n:
        with f.loop(0, n, 2 * width) as low:
            middle = _least(f, f.add(low, Ref(str(width), "i64")), n)
            high = _least(f, f.add(low, Ref(str(2 * width), "i64")), n)
            _merge(f, operation, row, other, (low, middle, high))
        row, other = other, row
        width *= 2
    return row


def _least(f: Function, x: Ref, n: int) -> Ref:
    limit = Ref(str(n), "i64")
    return f.select(f.compare("slt", x, limit), x, limit)


def _before(operation: Operation, emit: Emit, x: Scalar, y: Scalar) -> Ref:
    return operation.primitive.before(emit, x, y, **operation.parameters).ref


def _insert(f: Function, operation: Operation, row: _Row, low: Ref, high: Ref) -> None:
    """Sort a stretch, element by element."""
    with f.loop(f.add(low, ONE), high) as i:
        key, number = row.key(i), row.number(i)
        free = f.variable(i)
        test, compare, move, end = (f.label(x) for x in ("test", "compare", "move", "placed"))
        f.begin(test)
        j = free.get()
        f.branch_if(f.compare("sgt", j, low), compare, end)
        f.begin_after(compare)
        last = f.sub(j, ONE)
        other = row.key(last)
        f.branch_if(_before(operation, row.emit, key, other), move, end)
        f.begin_after(move)
        row.put(j, other, row.number(last))
        free.set(last)
        f.branch(test)
        f.begin_after(end)
        row.put(free.get(), key, number)


def _merge(
    f: Function, operation: Operation, row: _Row, into: _Row, bounds: tuple[Ref, Ref, Ref]
) -> None:
    """Bring two sorted stretches, beside each other, into one."""
    low, middle, high = bounds
    left, right = f.variable(low), f.variable(middle)
    with f.loop(low, high) as place:
        i, j = left.get(), right.get()
        left_ends = f.compare("sge", i, middle)
        right_ends = f.compare("sge", j, high)
        # Beyond its end, a stretch is read at its beginning, and what is read is not used.
        first = row.key(f.select(left_ends, low, i))
        second = row.key(f.select(right_ends, low, j))
        sooner = _before(operation, row.emit, second, first)
        takes_right = f.select(left_ends, Ref("true", "i1"), sooner)
        takes_right = f.select(right_ends, Ref("false", "i1"), takes_right)
        taken = f.select(takes_right, j, i)
        key = row.emit.where(Scalar(takes_right, dtypes.bool_), second, first)
        into.put(place, key, row.number(taken))
        left.set(f.select(takes_right, i, f.add(i, ONE)))
        right.set(f.select(takes_right, f.add(j, ONE), j))
