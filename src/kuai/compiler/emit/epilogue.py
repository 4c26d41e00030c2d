"""What is computed of the elements of a product before they are stored, and where they lie."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.domain import Access
from kuai.compiler.emit.nest_code import Code
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.graph import Operation, Value
from kuai.compiler.memory import Buffer
from kuai.compiler.sizes import identical

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program


class Epilogue:
    """Elementwise operations on a product's result.

    Args:
        program: the program.
        product: the result that is handed over.
        body: the operations on it.

    Attributes:
        values: what lies in memory of that which they read and make.
    """

    def __init__(self, program: Program, product: Value, body: Sequence[Operation] = ()) -> None:
        self.program = program
        self.product = product
        self.body = body
        constants = program.kernels.constants
        self.code = Code([(body, [], [])], constants)
        inputs = dict.fromkeys(v for op in body for v in op.inputs if isinstance(v, Value))
        self.loaded = [v for v in inputs if v in self.code.body_inputs and v is not self.product]
        self.stored = [v for v in program.stored(body) if v is not self.product]
        if self.product in program.plan.buffers:
            self.stored.insert(0, self.product)
        self.values: list[Value] = list(dict.fromkeys([*self.loaded, *self.stored]))

    def into(
        self, f: Function, pointers: dict[Buffer, Ref], groups: Iterable[int], rows: bool
    ) -> Places:
        """Where everything lies, in a kernel.

        Args:
            f: the kernel.
            pointers: the memory that it gets.
            groups: how many dimensions of the result each coordinate counts through.
            rows: whether lanes go along the last dimension only.
        """
        domain = self.product.shape
        accesses = {v: self.program.access(f, pointers, v, domain) for v in self.values}
        return Places(self, domain, accesses, list(groups), rows)


class Places:
    """An epilogue in a kernel."""

    def __init__(
        self,
        epilogue: Epilogue,
        domain: tuple[int, ...],
        accesses: dict[Value, Access],
        groups: list[int],
        rows: bool,
    ) -> None:
        self.epilogue = epilogue
        self.accesses = accesses
        self.rows = rows
        starts = [sum(groups[:i]) for i in range(len(groups))]
        self.groups = [
            [d for d in range(start, start + n) if domain[d] != 1]
            for start, n in zip(starts, groups, strict=True)
        ]
        self.domain = domain

    def finish(
        self, f: Function, coordinates: Sequence[Ref], value: Ref, lanes: int, mask: Ref | None
    ) -> None:
        """Compute what is computed of some elements, and store it.

        Args:
            f: the kernel.
            coordinates: those of the first lane; the lanes count the last one up.
            value: the elements of the product.
            lanes: how many; 0 for a scalar.
            mask: which of them there are.
        """
        epilogue = self.epilogue
        emit = Emit(f, lanes)
        env: dict[Value, Any] = {epilogue.product: Scalar(value, epilogue.product.meta.dtype)}
        for v in epilogue.loaded:
            pointer, stride, offsets = self._place(f, v, coordinates, lanes)
            under = mask if lanes else None
            if offsets is None:
                env[v] = emit.load(pointer, v.meta.dtype, stride, mask=under)
            else:
                env[v] = emit.load_at(pointer, offsets, v.meta.dtype, under)
        for op in epilogue.body:
            epilogue.code.compute(emit, env, op)
        for v in epilogue.stored:
            pointer, stride, offsets = self._place(f, v, coordinates, lanes)
            if offsets is None:
                emit.store(env[v], pointer, stride, mask=mask)
            else:
                emit.store_at(env[v], pointer, offsets, mask)

    def _place(
        self, f: Function, value: Value, coordinates: Sequence[Ref], lanes: int
    ) -> tuple[Ref, int, Ref | None]:
        """The address of the first lane, and elements from lane to lane or the offset of each."""
        access = self.accesses[value]
        pointer = access.pointer
        for dims, at in zip(self.groups[:-1], coordinates[:-1], strict=True):
            offset = self._offset(f, access.strides, dims, at)
            if offset is not None:
                pointer = f.at(pointer, offset, "i8")
        dims, at = self.groups[-1], coordinates[-1]
        step = access.strides[dims[-1]] if dims else access.dtype.itemsize
        if lanes and not self.rows and not self._in_line(access.strides, dims):
            count = f.add(f.splat(at, lanes), f.lanes(range(lanes), "i64"))
            return pointer, 0, self._offset(f, access.strides, dims, count)
        offset = self._offset(f, access.strides, dims, at)
        if offset is not None:
            pointer = f.at(pointer, offset, "i8")
        return pointer, step // access.dtype.itemsize, None

    def _in_line(self, strides: Sequence[int], dims: Sequence[int]) -> bool:
        """Whether elements follow each other at one distance through several dimensions."""
        return all(
            identical(strides[d], strides[e] * self.domain[e]) for d, e in itertools.pairwise(dims)
        )

    def _offset(
        self, f: Function, strides: Sequence[int], dims: Sequence[int], at: Ref
    ) -> Ref | None:
        """Bytes to what lies at a coordinate that counts through dimensions; `None` for none."""
        if not any(strides[d] for d in dims):
            return None
        if self._in_line(strides, dims):
            return _times(f, at, strides[dims[-1]])
        total: Ref | None = None
        for n, d in enumerate(reversed(dims)):
            own = at
            if n < len(dims) - 1:
                size = _like(f, self.domain[d], at)
                own, at = f.binary("urem", at, size), f.binary("udiv", at, size)
            if strides[d]:
                part = _times(f, own, strides[d])
                total = part if total is None else f.add(total, part)
        return total


def _times(f: Function, x: Ref, factor: int) -> Ref:
    return f.mul(x, _like(f, factor, x))


def _like(f: Function, n: int, x: Ref) -> Ref:
    """A number, in every lane that `x` has."""
    return f.splat(number(n), x.lanes)
