"""The kernel of a product of matrices with the elementwise operations on its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kuai.compiler.emit import cost, panels_step
from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.domain import Access, Part
from kuai.compiler.emit.epilogue import Epilogue
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.graph import Value
from kuai.compiler.memory import Buffer
from kuai.compiler.products import Matrices
from kuai.compiler.sizes import hint, identical, varies
from kuai.compiler.steps import Product as ProductStep

if TYPE_CHECKING:
    from kuai.compiler.emit.program import Program


def emit_step(program: Program, step: ProductStep, kind: Matrices) -> None:
    """Call the kernel of a product."""
    from kuai.compiler.emit.products import variants

    epilogue = Epilogue(program, step.product.results[0], step.body)
    shape = Shape(program, step, kind, epilogue.values)
    ways = variants(shape.product, program.target)
    if ways.within is ways.beyond:
        shape.product = ways.within
        _call(program, step, shape, epilogue)
        return
    f = program.main
    within, beyond, end = f.label("within"), f.label("beyond"), f.label("end")
    f.branch_if(f.compare("sle", number(ways.size), number(ways.limit)), within, beyond)
    for label, way in ((within, ways.within), (beyond, ways.beyond)):
        f.begin_after(label)
        shape.product = way
        _call(program, step, shape, epilogue)
        f.branch(end)
    f.begin_after(end)


def _call(program: Program, step: ProductStep, shape: Shape, epilogue: Epilogue) -> None:
    """Call the kernel of a product of which it is known how it is computed."""
    from kuai.compiler.emit.products import workspace_bytes

    buffers = program.buffers_of([*step.product.inputs[:2], *epilogue.values, *shape.bias])
    size = workspace_bytes(shape.product, program.target)
    parts = _parts(program, step, shape)
    made = panels_step.of_loop(program, step, shape)
    if made is None and (varies(parts) or parts > 1):
        made = panels_step.of_parts(program, step, shape)
    own = 0 if made is None or made.outlives else made.panels.size
    most = cost.PARTS if varies(parts) else parts
    workspace = program.scratch(own + size * most) if size else None

    def build(f: Function, pointers: dict[Buffer, Ref], part: Part | None) -> None:
        kernel = _Kernel(program, step, shape, epilogue, f, pointers)
        if workspace is not None:
            kernel.workspace = f.at(pointers[workspace], own, "i8")
        if part is not None and kernel.workspace is not None:
            offset = f.mul(part.number, Ref(str(size), "i64"))
            kernel.workspace = f.at(kernel.workspace, offset, "i8")
        if made is not None:
            kernel.shared = made.shared(pointers[workspace if own else made.buffer])  # type: ignore[index]
        kernel.emit(part)

    used = [*buffers, *([workspace] if workspace else [])]
    if made is not None and made.outlives:
        used.append(made.buffer)
    program.kernel(step.kernel_name, used, build, parts)


def _parts(program: Program, step: ProductStep, shape: Shape) -> int:
    """Into how many parts the work is divided: blocks of one product, or whole products."""
    from kuai.compiler.emit.products import blocks

    nanoseconds = cost.of_step(step)
    wanted = cost.parts(nanoseconds)
    outermost = shape.lead[0] if shape.lead else blocks(shape.product, program.target)
    if program.batch is not None and any(map(varies, (*step.domain, shape.k))):
        divides = varies(outermost) or outermost > 1
        return cost.for_any_batch(nanoseconds, program.batch) if divides else 1
    if wanted == 1 or (_is_read_by_one(program, step) and nanoseconds < _way(step)):
        return 1
    share = -(-outermost // max(1, min(wanted, outermost)))
    return -(-outermost // share)  # so that none is empty


def _is_read_by_one(program: Program, step: ProductStep) -> bool:
    """Whether rounds of a loop read the result, which one thread goes through."""
    return any(program.kernels.base_of(v) in program.read_in_loops for v in step.made)


def _way(step: ProductStep) -> float:
    """Nanoseconds for which one thread waits for half of a result that another one has computed."""
    return cost.PER_BYTE_AWAY * sum(hint(v.size) * v.meta.dtype.itemsize for v in step.made)


class Shape:
    """The product as one over rows and columns, and the batch of them.

    Leading dimensions are rows too where every array that is touched allows it.
    """

    def __init__(
        self,
        program: Program,
        step: ProductStep,
        kind: Matrices,
        values: Sequence[Value],
    ) -> None:
        from kuai.compiler.emit.products import Product

        kernels = program.kernels
        domain = step.domain
        self.bias = [v for v in step.product.inputs[2:] if v not in kernels.constants]
        x, y = step.product.inputs[:2]
        lx, ly = kernels.layout_of(x), kernels.layout_of(y)
        lead = domain[:-2]
        self.k = kind.depth
        if kind.turned:
            a = lx.broadcast((*domain[:-1], self.k))
            b = (0,) * len(lead) + (ly.strides[1], ly.strides[0])
        else:
            a = lx.broadcast((*domain[:-1], self.k))
            b = ly.broadcast((*lead, self.k, domain[-1]))
        self.touched: dict[Value, tuple[int, ...]] = {}
        for v in (*values, *self.bias):
            if v not in kernels.constants:
                self.touched[v] = kernels.layout_of(v).broadcast(domain)
        self.lead: list[int] = list(lead)
        rows = domain[-2] if len(domain) > 1 else 1
        rowed = [a[:-1], *[s[:-1] for s in self.touched.values()]]
        # From the last leading dimension on, take it into the rows while everything allows it.
        while self.lead:
            d = len(self.lead) - 1
            if any(b[d : len(lead)]) and self.lead[d] != 1:
                break
            if not all(identical(s[d], s[d + 1] * domain[d + 1]) or domain[d] == 1 for s in rowed):
                break
            if not identical(rows, math.prod(domain[d + 1 : -1])):
                break
            rows *= self.lead.pop()
        # Merged dimensions step by the stride of the innermost one.
        itemsize = x.meta.dtype.itemsize
        self.rows = rows
        self.a, self.b = a, b
        self.product = Product(
            m=rows,
            n=domain[-1],
            k=self.k,
            a=(a[-2] // itemsize if len(a) > 1 else 0, a[-1] // itemsize),
            b=(b[-2] // itemsize, b[-1] // itemsize),
            dtype=x.meta.dtype,
        )


class _Kernel:
    """Writes the body of a product's kernel."""

    def __init__(
        self,
        program: Program,
        step: ProductStep,
        shape: Shape,
        epilogue: Epilogue,
        f: Function,
        pointers: dict[Buffer, Ref],
    ) -> None:
        from kuai.compiler.emit.products import Shared

        self.program = program
        self.step = step
        self.shape = shape
        self.epilogue = epilogue
        self.f = f
        self.workspace: Ref | None = None
        self.shared = Shared()
        kernels = program.kernels
        x, y = step.product.inputs[:2]
        self.a = self._start(pointers, x)
        self.b = self._start(pointers, y)
        self.bias = step.product.inputs[2] if len(step.product.inputs) > 2 else None
        self.accesses = {
            v: Access(self._start(pointers, v), strides, v.meta.dtype)
            for v, strides in shape.touched.items()
        }
        self.constants = kernels.constants

    def _start(self, pointers: dict[Buffer, Ref], value: Value) -> Ref:
        where = self.program.kernels.layout_of(value)
        return self.f.at(pointers[self.program.plan.buffer_of(value)], where.offset, "i8")

    def emit(self, part: Part | None) -> None:
        """Write the body, or one part of it."""
        starts = {v: access.pointer for v, access in self.accesses.items()}
        self._batch(0, self.a, self.b, starts, part)

    def _batch(
        self, level: int, a: Ref, b: Ref, starts: dict[Value, Ref], part: Part | None
    ) -> None:
        """The leading dimensions that are not rows, one by one."""
        from kuai.compiler.emit.products import blocks, emit_product
        from kuai.compiler.emit.products.kernel import prefetch

        lead = self.shape.lead
        if level < len(lead):
            n = lead[level]
            start, stop = part.range(self.f, n) if part is not None else (0, n)
            with self.f.loop(start, stop) as i:
                self._batch(
                    level + 1,
                    self._moved(a, i, self.shape.a[level]),
                    self._moved(b, i, self.shape.b[level]),
                    {
                        v: self._moved(p, i, self.accesses[v].strides[level])
                        for v, p in starts.items()
                    },
                    None,
                )
            return

        def store(
            f: Function, row: Ref, column: Ref, value: Ref, lanes: int, mask: Ref | None
        ) -> None:
            self._finish(starts, row, column, value, lanes, mask)

        product, target = self.shape.product, self.program.target
        share = part.range(self.f, blocks(product, target)) if part is not None else None
        far = [v for v in starts if self._is_far(v)]

        def ahead(f: Function, row: Ref, column: Ref) -> None:
            for v in far:
                place, _ = self._place(starts, v, row, column)
                prefetch(f, place, writes=v in self.epilogue.stored)

        given = self.workspace, share
        emit_product(
            self.f,
            product,
            a,
            b,
            store,
            target,
            *given,
            ahead=ahead if far else None,
            shared=self.shared,
        )

    def _is_far(self, value: Value) -> bool:
        """Whether what the epilogue needs of a value is likely not in the nearer caches."""
        access = self.accesses[value]
        size, rows = hint(value.size) * access.dtype.itemsize, access.strides[-2:-1]
        in_lines = access.strides[-1:] == (access.dtype.itemsize,)
        return in_lines and size > self.program.target.l2 // 8 and any(rows)

    def _moved(self, pointer: Ref, index: Ref, stride: int) -> Ref:
        if stride == 0:
            return pointer
        return self.f.at(pointer, self.f.mul(index, number(stride)), "i8")

    def _finish(
        self,
        starts: dict[Value, Ref],
        row: Ref,
        column: Ref,
        value: Ref,
        lanes: int,
        mask: Ref | None,
    ) -> None:
        """What is computed of the product's elements before they are stored."""
        operation = self.step.product
        emit = Emit(self.f, lanes)
        product = operation.results[0]
        result = Scalar(value, product.meta.dtype)
        if self.bias is not None:
            result = emit.add(result, self._operand(emit, starts, self.bias, row, column, mask))
        env: dict[Value, Any] = {product: result}
        for v in self.epilogue.loaded:
            env[v] = self._operand(emit, starts, v, row, column, mask)
        for op in self.epilogue.body:
            self.epilogue.code.compute(emit, env, op)
        for v in self.epilogue.stored:
            pointer, stride = self._place(starts, v, row, column)
            emit.store(env[v], pointer, stride, mask=mask)

    def _operand(
        self,
        emit: Emit,
        starts: dict[Value, Ref],
        value: Value,
        row: Ref,
        column: Ref,
        mask: Ref | None,
    ) -> Scalar:
        if value in self.constants:
            return emit.const(self.constants[value], value.meta.dtype)
        pointer, stride = self._place(starts, value, row, column)
        return emit.load(pointer, value.meta.dtype, stride, mask=mask if emit.lanes else None)

    def _place(
        self, starts: dict[Value, Ref], value: Value, row: Ref, column: Ref
    ) -> tuple[Ref, Any]:
        access = self.accesses[value]
        pointer = starts[value]
        if len(access.strides) > 1:
            pointer = self._moved(pointer, row, access.strides[-2])
        pointer = self._moved(pointer, column, access.strides[-1])
        along = -2 if self.shape.product.n == 1 and len(access.strides) > 1 else -1
        step = access.strides[along] // access.dtype.itemsize
        return pointer, number(step) if varies(step) else step
