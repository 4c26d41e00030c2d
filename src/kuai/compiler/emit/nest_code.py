"""What a nest computes at each point of its domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kuai import dtypes
from kuai.compiler.emit import pulls
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.graph import Operation, Value
from kuai.compiler.steps import is_pull, read_here


class Reducer:
    """One reduction of a nest.

    Attributes:
        source: what is reduced.
        result: what it gives.
        dtype: the type in which it accumulates.
        identity: the number that changes nothing.
        combine: makes one value of two.
    """

    def __init__(self, operation: Operation) -> None:
        primitive = operation.primitive
        self.source = operation.inputs[0]
        self.result = operation.results[0]
        meta = self.result.meta.dtype
        short = meta.is_floating_point and meta.itemsize == 2
        self.dtype = dtypes.float32 if short else meta
        self.identity = primitive.identity(self.dtype)
        self.combine: Callable[[Emit, Scalar, Scalar], Scalar] = primitive.combine


class PassCode:
    """The arithmetic of one pass.

    Attributes:
        body, tail: elementwise operations at each point of the domain, and of what is kept.
        reductions: what is reduced of the body.
        inner, kept: the values that the body makes, and those that are known after the walk.
        body_inputs, tail_inputs: the values that each part loads.
    """

    def __init__(
        self,
        body: Sequence[Operation],
        reductions: Sequence[Operation],
        tail: Sequence[Operation],
    ) -> None:
        self.body = list(body)
        self.reductions = [Reducer(op) for op in reductions]
        self.tail = list(tail)
        self.inner = {op.results[0] for op in body}
        self.kept = {op.results[0] for op in (*reductions, *tail)}
        self.body_inputs: set[Value] = set()
        self.tail_inputs: set[Value] = set()


class Code:
    """The arithmetic of a nest, pass by pass.

    Args:
        passes: for each, its body, reductions and tail.
        constants: the values that are one number.
        copied: values that are only loaded and stored.

    Attributes:
        reduces: whether there are reductions.
    """

    def __init__(
        self,
        passes: Sequence[tuple[Sequence[Operation], Sequence[Operation], Sequence[Operation]]],
        constants: dict[Value, Any],
        copied: Sequence[Value] = (),
    ) -> None:
        self.constants = constants
        self.passes = [PassCode(*operations) for operations in passes]
        self.reduces = any(code.reductions for code in self.passes)
        known: set[Value] = set()
        for code in self.passes:
            code.inner.update(copied)
            made = code.inner.difference(copied)
            wanted = [*_inputs(code.body), *(r.source for r in code.reductions), *copied]
            code.body_inputs = {
                v for v in wanted if v not in made and v not in known and v not in constants
            }
            known |= code.kept
            code.tail_inputs = {
                v for v in _inputs(code.tail) if v not in known and v not in constants
            }

    @property
    def inner(self) -> set[Value]:
        """The values that the bodies make."""
        return {v for code in self.passes for v in code.inner}

    @property
    def body_inputs(self) -> set[Value]:
        """The values that the bodies load."""
        return {v for code in self.passes for v in code.body_inputs}

    @property
    def tail_inputs(self) -> set[Value]:
        """The values that the tails load."""
        return {v for code in self.passes for v in code.tail_inputs}

    def operand(self, emit: Emit, env: dict[Value, Scalar], x: Any) -> Any:
        """An input as the primitive's `lower` takes it."""
        if not isinstance(x, Value):
            return x
        if x in self.constants:
            return emit.const(self.constants[x], x.meta.dtype)
        return env[x]

    def compute(
        self,
        emit: Emit,
        env: dict[Value, Scalar],
        op: Operation,
        place: pulls.Place | None = None,
    ) -> None:
        """Compute an operation."""
        emit.dtype = op.results[0].meta.dtype
        if not is_pull(op):
            operands = [self.operand(emit, env, x) for x in op.inputs]
            env[op.results[0]] = op.primitive.lower(emit, *operands, **op.parameters)
            return
        assert place is not None
        operands = [
            self.operand(emit, env, x) if here else place.source(emit, x, self.constants)
            for x, here in zip(op.inputs, read_here(op), strict=True)
        ]
        env[op.results[0]] = op.primitive.pull(emit, place.at, *operands, **op.parameters)


def _inputs(operations: Sequence[Operation]) -> list[Value]:
    """The values that operations take from their own place."""
    return [
        v
        for op in operations
        for v, here in zip(op.inputs, read_here(op), strict=True)
        if here and isinstance(v, Value)
    ]
