"""Which steps can end a program: nothing from outside is changed before all of them are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kuai.compiler.graph import Operation, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.steps import Control, Step, may_refuse

Bound = tuple[Value, int]
"""A value that lies in memory, and below what all of its elements must be."""


def failing(kernels: Kernels, steps: Sequence[Step]) -> list[int]:
    """The numbers of the steps that can end the program with an error, or be interrupted.

    The gradient of what is read at an index puts elements at the same index: the check before it
    has told already that this cannot fail.
    """
    checked: set[Bound] = set()
    found = []
    for number, step in enumerate(steps):
        operations = step.operations
        is_open = isinstance(step, Control) or step.name == "host"  # to what Python does
        if is_open or any(_may_fail(kernels, operation, checked) for operation in operations):
            found.append(number)
        checked.update(bound for operation in operations for bound in _checks(kernels, operation))
    return found


def _may_fail(kernels: Kernels, operation: Operation, checked: set[Bound]) -> bool:
    if not may_refuse(operation):
        return False
    needed = list(_needs(kernels, operation))
    return not needed or not all(bound in checked for bound, _ in needed)


def _checks(kernels: Kernels, operation: Operation) -> Iterator[Bound]:
    """What is known after an operation: all elements of these are below a bound."""
    for (base, limit), value in _needs(kernels, operation):
        if value.size == base.size and operation.results[0].size:
            yield base, limit


def _needs(kernels: Kernels, operation: Operation) -> Iterator[tuple[Bound, Value]]:
    """The bounds that an operation checks, and the views that it checks them of."""
    primitive = operation.primitive
    if primitive.bounds is None or not all(isinstance(v, Value) for v in operation.inputs):
        return
    metas = [v.meta for v in operation.inputs]
    for number, limit in primitive.bounds(*metas, **operation.parameters):
        value = operation.inputs[number]
        yield (kernels.base_of(value), limit), value
