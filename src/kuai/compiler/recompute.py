"""What an earlier step makes on its way, computed once more instead of kept.

The gradient of an activation reads several values that the forward computes of one product: of a
GELU, half of the input, what the error function gives, a density. To keep the product alone and
compute them anew takes less time than to bring all of them to memory and back. A chain of
operations that begins at the product, and has no more than one function that is not cheap, is
copied into the step that needs its end. So is one of cheap operations on an array that lies in
memory anyway, as the rows of a layer norm around their means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai.compiler.emit.cheap import CHEAP
from kuai.compiler.graph import Operation, Region, Value

if TYPE_CHECKING:
    from kuai.compiler.kernels import Kernels
    from kuai.compiler.steps import Nest, Product, Step

LONGEST = 12  # operations of a chain
FUNCTIONS = 1  # that are not cheap, in a chain from a product


class Recompute:
    """Copies chains of earlier steps into later ones of a region.

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
        self, value: Value, source: Product | Nest, place: list[Operation]
    ) -> tuple[Value, list[Operation]]:
        """A value of a later step that equals one of an earlier step, and what computes it there.

        Args:
            value: what the earlier step makes.
            source: that step.
            place: the operations of the later one, or of one of its passes.
        """
        if value in self.kernels.stored or value.shape != source.domain:
            return value, []
        chain = self._chain(value, source)
        if chain is None or not self._is_worth_it(source):
            return value, []
        if source.root is not None:
            self.kernels.store(source.root)
        added: list[Operation] = []
        here = id(place)
        for operation in chain:
            (result,) = operation.results
            if (here, result) not in self._copies:
                copy = Value(self.kernels.graph, result.meta)
                given = [self._copy(x, here) for x in operation.inputs]
                parameters, origin = operation.parameters, operation.origin
                added.append(Operation(operation.primitive, given, parameters, (copy,), (), origin))
                self._copies[here, result] = copy
        source.is_recomputed = True
        return self._copies[here, value], added

    def _copy(self, x: object, here: int) -> object:
        return self._copies.get((here, x), x) if isinstance(x, Value) else x

    def _chain(self, value: Value, source: Product | Nest) -> list[Operation] | None:
        """The operations from one array to a value, in order, if they are a short way.

        The array is the product, or lies in memory anyway. What is smaller, as the mean of each
        row, may be read beside it.
        """
        root = source.root
        body = [op for operations in source.bodies for op in operations]
        makers = {op.results[0]: op for op in body}
        chain: dict[Operation, None] = {}
        begins: set[Value] = set()
        waiting = [value]
        while waiting:
            operation = makers.get(waiting.pop())
            if operation is None or operation.primitive.lower is None:
                return None
            chain[operation] = None
            given = [v for v in operation.inputs if isinstance(v, Value)]
            if not any(v.shape == source.domain for v in given):
                return None  # random numbers, or what has the shape without being read
            for v in given:
                if v.shape != source.domain:
                    if self.kernels.base_of(v) in self.kernels.outer:
                        return None  # which may be changed in place by then
                elif v in makers and v not in self.kernels.stored:
                    waiting.append(v)
                else:
                    begins.add(v)
        functions = sum(op.primitive.name not in CHEAP for op in chain)
        if len(begins) > 1 or functions > (0 if root is None else FUNCTIONS):
            return None
        if not begins.issubset(self.kernels.stored | {root}) or len(chain) > LONGEST:
            return None
        return [op for op in body if op in chain]

    def _is_worth_it(self, source: Product | Nest) -> bool:
        """Whether what chains begin at lies in memory anyway, or takes the place of several."""
        if source.root is None or source.root in self.kernels.stored:
            return True
        made = source.made
        late = [
            op.results[0]
            for operations in source.bodies
            for op in operations
            if op.results[0] not in self.kernels.stored
            and any(user.results[0] not in made for user in self.users.get(op.results[0], ()))
            and self._chain(op.results[0], source) is not None
        ]
        return len(late) > 1


def drop_unused(kernels: Kernels, steps: list[Step]) -> None:
    """Leave out of steps, and out of those inside, what is needed of the copies only."""
    for step in steps:
        for inner in step.steps:
            drop_unused(kernels, inner)
        if step.is_recomputed:
            needed: set[Value] = set()
            kept = set()
            for operation in reversed(step.operations):
                if any(r in kernels.stored or r in needed for r in operation.results):
                    kept.add(operation)
                    needed.update(v for v in operation.inputs if isinstance(v, Value))
            for operations in (step.operations, *step.lists):
                operations[:] = [op for op in operations if op in kept]
    steps[:] = [step for step in steps if step.operations]


__all__ = ["Recompute", "drop_unused"]
