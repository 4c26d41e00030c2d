"""What a product's elements are made into, computed once more instead of kept.

The gradient of an activation reads several values that the forward computes of one product: of a
GELU, half of the input, what the error function gives, a density. To keep the product alone and
compute them anew takes less time than to bring all of them to memory and back. A chain of
operations that begins at the product, and has no more than one function that is not cheap, is
copied into the step that needs its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kuai.compiler.emit.cheap import CHEAP
from kuai.compiler.graph import Operation, Region, Value

if TYPE_CHECKING:
    from kuai.compiler.kernels import Kernels, Product, Step

FUNCTIONS = 1  # that are not cheap, in a chain


class Recompute:
    """Copies chains from products into later steps of a region.

    Args:
        kernels: what is known of the values.
        region: the region whose operations are put into steps.
    """

    def __init__(self, kernels: Kernels, region: Region) -> None:
        self.kernels = kernels
        self.users: dict[Value, list[Operation]] = {}
        for operation in region.operations:
            for value in operation.used:
                self.users.setdefault(value, []).append(operation)
        self._copies: dict[tuple[int, Value], Value] = {}

    def instead(
        self, value: Value, source: Product, place: list[Operation]
    ) -> tuple[Value, list[Operation]]:
        """A value of a later step that equals one of a product's, and what computes it there.

        Args:
            value: what the product's step makes.
            source: that step.
            place: the operations of the later one, or of one of its passes.
        """
        if value in self.kernels.stored or value.shape != source.domain:
            return value, []
        chain = self._chain(value, source)
        if chain is None or not self._is_worth_it(source):
            return value, []
        added: list[Operation] = []
        here = id(place)
        self.kernels.store(source.product.results[0])
        for operation in chain:
            (result,) = operation.results
            if (here, result) not in self._copies:
                copy = Value(self.kernels.graph, result.meta)
                given = [self._copy(x, here) for x in operation.inputs]
                parameters, path, line = operation.parameters, operation.path, operation.line
                added.append(
                    Operation(operation.primitive, given, parameters, (copy,), (), path, line)
                )
                self._copies[here, result] = copy
        source.is_recomputed = True
        return self._copies[here, value], added

    def _copy(self, x: object, here: int) -> object:
        return self._copies.get((here, x), x) if isinstance(x, Value) else x

    def _chain(self, value: Value, source: Product) -> list[Operation] | None:
        """The operations from the product to a value, in order, if they are a short way."""
        makers = {op.results[0]: op for op in source.body}
        root = source.product.results[0]
        chain: dict[Operation, None] = {}
        waiting = [value]
        while waiting:
            operation = makers.get(waiting.pop())
            if operation is None:
                return None
            chain[operation] = None
            large = [v for v in operation.inputs if isinstance(v, Value) and v.size > 1]
            small = [v for v in operation.inputs if isinstance(v, Value) and v.size == 1]
            if not large or any(v in makers for v in small):
                return None  # it does not begin at the product
            waiting += [v for v in large if v is not root]
        functions = sum(op.primitive.name not in CHEAP for op in chain)
        if functions > FUNCTIONS:
            return None
        return [op for op in source.body if op in chain]

    def _is_worth_it(self, source: Product) -> bool:
        """Whether the product lies in memory anyway, or takes the place of several values."""
        root = source.product.results[0]
        if root in self.kernels.stored:
            return True
        made = source.made
        late = [
            op.results[0]
            for op in source.body
            if op.results[0] not in self.kernels.stored
            and any(user.results[0] not in made for user in self.users.get(op.results[0], ()))
            and self._chain(op.results[0], source) is not None
        ]
        return len(late) > 1


def drop_unused(kernels: Kernels, steps: Iterable[Step]) -> None:
    """Leave out of products what only the copies are needed of."""
    for step in steps:
        if not getattr(step, "is_recomputed", False):
            continue
        needed: set[Value] = set()
        kept = []
        for operation in reversed(step.body):  # type: ignore[attr-defined]
            (result,) = operation.results
            if result in kernels.stored or result in needed:
                kept.append(operation)
                needed.update(v for v in operation.inputs if isinstance(v, Value))
        step.body[:] = kept[::-1]  # type: ignore[attr-defined]
        step.operations[1:] = step.body  # type: ignore[attr-defined]


__all__ = ["Recompute", "drop_unused"]
