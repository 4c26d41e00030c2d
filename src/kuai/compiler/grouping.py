"""Which operations are computed together, in one pass over memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai.compiler import layout
from kuai.compiler.graph import Graph, Operation, Region, StackMeta, Value
from kuai.compiler.layout import Layout
from kuai.compiler.products import Attended, kind_of
from kuai.compiler.recompute import Recompute
from kuai.compiler.steps import (
    Alias,
    Control,
    Fold,
    Host,
    Item,
    Move,
    Nest,
    Pass,
    Product,
    Push,
    Sort,
    Special,
    Step,
    is_elementwise,
    is_pull,
    is_reduction,
    may_fail,
    may_refuse,
    read_elsewhere,
)
from kuai.core.primitive import PRIMITIVES

if TYPE_CHECKING:
    from kuai.compiler.kernels import Kernels

ELEMENTWISE_LIMIT = 200  # operations in one nest; more make its registers overflow
MANY, FEW = 1 << 18, 8  # elements of a domain, and of what is left of it


class Grouping:
    """Puts the operations of one region into steps."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.steps: list[Step] = []
        self.made_by: dict[Value, int] = {}
        self.parameters: set[Value] = set()
        self.is_inner = False
        self.inner: set[Value] = set()  # what only the program itself uses, outside of loops
        self.failing = -1  # the last step that may fail

    def region(self, region: Region) -> list[Step]:
        """The steps of a region."""
        if isinstance(region, Graph):
            ends = {*region.outputs, *(new for _, new in region.updates)}
            ends.update(g for _, g in region.gradients if g is not None)
            self.inner = {r for op in region.operations for r in op.results} - ends
        self.recompute = Recompute(self.kernels, region)
        self.parameters = set(region.parameters)
        self.is_inner = not isinstance(region, Graph)
        for operation in self.numbers_first(region.operations):
            self.add(operation)
        if isinstance(region, Graph):
            region.updates[:] = [(old, self.apart(new)) for old, new in region.updates]
        for value in region.results:
            self.kernels.store(value)
        return [step for step in self.steps if step.operations]

    def numbers_first(self, operations: Sequence[Operation]) -> list[Operation]:
        """The operations, those on single numbers from outside before the others.

        So that what uses them (a learning rate, a count of steps) can join the step that makes
        its other operand.
        """
        early: list[Operation] = []
        late: list[Operation] = []
        made_late: set[Value] = set()
        for operation in operations:
            inputs = [v for v in operation.inputs if isinstance(v, Value)]
            if (
                is_elementwise(operation)
                and operation.results[0].size == 1
                and not may_refuse(operation)
                and all(v.size == 1 and v not in made_late for v in inputs)
            ):
                early.append(operation)
            else:
                late.append(operation)
                made_late.update(operation.results)
        return early + late

    def add(self, operation: Operation) -> None:
        primitive, kernels = operation.primitive, self.kernels
        if operation.regions:
            inner = [Grouping(kernels).region(r) for r in operation.regions]
            self.finish(Control(operation, inner), operation)
        elif getattr(primitive, "is_control", False):
            self.finish(Control(operation, []), operation)
        elif self.alias(operation):
            return
        elif is_elementwise(operation):
            self.elementwise(operation)
        elif is_reduction(operation):
            self.reduction(operation)
        elif kind_of(operation) is not None:
            self.product(operation)
        elif self.is_item(operation):
            self.finish(Item([operation]), operation)
        elif is_pull(operation):
            self.pull(operation)
        elif (pieces := self.pieces(operation)) is not None:
            self.finish(Move(operation, pieces), operation)
        elif primitive.push is not None:
            self.finish(Push([operation]), operation)
        elif primitive.fold is not None:
            self.finish(Fold([operation]), operation)
        elif primitive.before is not None:
            self.finish(Sort([operation]), operation)
        elif getattr(primitive, "emit_special", None) is not None:
            self.finish(Special([operation]), operation)
        else:
            self.finish(Host([operation]), operation)

    def finish(self, step: Step, operation: Operation) -> None:
        """A step of its own, whose inputs and results lie in memory."""
        for value in operation.used:
            self.kernels.store(value)
        for value in operation.results:
            self.kernels.store(value)
        self.append(step, operation)

    def fill(self, value: Value) -> None:
        """Let a value that is one number everywhere lie in memory, for who cannot do without."""
        kernels = self.kernels
        if value not in kernels.constants or value in kernels.stored:
            return
        kernels.stored.add(value)
        dtype = value.meta.dtype
        number = kernels.constants[value]
        self.elementwise(Operation(PRIMITIVES["cast"], (number,), {"dtype": dtype}, (value,)))

    def append(self, step: Step, operation: Operation) -> None:
        if may_fail(step):
            self.failing = len(self.steps)
        for value in operation.results:
            self.made_by[value] = len(self.steps)
        self.steps.append(step)

    def alias(self, operation: Operation) -> bool:
        """Take the results as parts of an input's memory, if that is what they are."""
        kernels, number = self.kernels, operation.primitive.aliased
        source = operation.inputs[number] if operation.inputs else None
        if not isinstance(source, Value) or isinstance(source.meta, StackMeta):
            return False
        if source in kernels.constants:
            if operation.primitive.alias is None or source.dtype != operation.results[0].dtype:
                return False
            for value in operation.results:
                kernels.constants[value] = kernels.constants[source]
            return True
        found = layout.views(operation.primitive, operation.parameters, kernels.layout_of(source))
        if found is None and operation.primitive.pieces is not None:
            return False
        if found is None and operation.primitive.alias is not None:
            source = self.in_order(source)
            where = kernels.layout_of(source)
            found = layout.views(operation.primitive, operation.parameters, where)
        if found is None:
            return False
        base = kernels.store(source)
        for value, where in zip(operation.results, found, strict=True):
            if where.shape != value.shape:
                where = where._replace(shape=value.shape, strides=where.broadcast(value.shape))
            kernels.aliases[value] = Alias(base, where)
            if base in self.made_by:
                self.made_by[value] = self.made_by[base]
        return True

    def apart(self, value: Value) -> Value:
        """A value that a tensor from outside becomes: a copy, if another such tensor holds it.

        Otherwise, where two tensors take each other's values, the second would find its own.
        """
        return self.in_order(value) if self.kernels.base_of(value) in self.kernels.outer else value

    def in_order(self, value: Value) -> Value:
        """A copy of a value whose elements lie in order."""
        copy = Value(self.kernels.graph, value.meta)
        dtype = value.meta.dtype
        self.elementwise(Operation(PRIMITIVES["cast"], (value,), {"dtype": dtype}, (copy,)))
        return copy

    def latest(self, operation: Operation) -> int:
        """The number of the last step that makes one of the inputs; -1 without."""
        made = [self.made_by.get(v, -1) for v in operation.inputs if isinstance(v, Value)]
        return max(made, default=-1)

    def pieces(self, operation: Operation) -> list[tuple[Layout, int, Layout]] | None:
        """What lies where in the result, if it is made of its inputs."""
        if operation.primitive.pieces is None:
            return None
        kernels = self.kernels
        given = [
            layout.contiguous(v.shape, v.meta.dtype)
            if v in kernels.constants
            else kernels.layout_of(v)
            for v in operation.inputs
        ]
        whole = kernels.layout_of(operation.results[0])
        return layout.pieces(operation.primitive, operation.parameters, whole, given)

    def is_item(self, operation: Operation) -> bool:
        """Whether a round of a loop takes a slice of what stays as it is meanwhile.

        Then the slice is read where it lies.
        """
        primitive, kernels = operation.primitive, self.kernels
        values = [v for v in operation.inputs if isinstance(v, Value)]
        if primitive.item is None or not self.is_inner or len(values) < len(operation.inputs):
            return False
        x, index = values[0], values[1]
        base, (result,) = kernels.base_of(x), operation.results
        if not primitive.item(*[v.meta for v in values], **operation.parameters):
            return False
        if any(v in kernels.constants for v in values) or index.dtype.kind != "i":
            return False
        if any(v in self.made_by or v in self.parameters for v in (x, base)):
            return False
        where = kernels.layout_of(x)
        rest = where._replace(shape=where.shape[1:], strides=where.strides[1:], offset=0)
        return result.size > 1 and rest == layout.contiguous(result.shape, result.meta.dtype)

    def pull(self, operation: Operation) -> None:
        """A member of a nest, which reads arrays that are finished before."""
        for value in read_elsewhere(operation):
            self.kernels.store(value)
        self.elementwise(operation)

    def elementwise(self, operation: Operation) -> None:
        shape = operation.results[0].shape
        self.join_free(operation)
        last = self.latest(operation)
        step = self.steps[last] if last >= 0 else None
        refuses = may_refuse(operation)
        place = None
        if not refuses or last >= self.failing:  # what fails first in eager mode fails first
            place = self.place_in(step, operation, last, shape)
        if place is None and self.shares_with_last(operation):
            last = len(self.steps) - 1
            step = self.steps[last]
            place = self.place_in(step, operation, last, shape)
        if place is None:
            step = Nest(shape)
            place = step.passes[0].body
            last = len(self.steps)
            self.steps.append(step)
        assert step is not None
        if shape == step.domain:  # type: ignore[attr-defined]
            operation = self.recomputing(operation, step, last, place)
        for value in operation.inputs:
            if isinstance(value, Value) and (
                self.made_by.get(value, -1) != last or value in self.kernels.aliases
            ):
                self.kernels.store(value)
        if refuses:
            self.failing = max(self.failing, last)
        place.append(operation)
        step.operations.append(operation)
        self.made_by[operation.results[0]] = last

    def recomputing(
        self, operation: Operation, step: Step, number: int, place: list[Operation]
    ) -> Operation:
        """The operation, on copies of what products before its step make on the way."""
        given = list(operation.inputs)
        for i, value in enumerate(given):
            before = self.made_by.get(value, number) if isinstance(value, Value) else number
            source = self.steps[before]  # the step itself, or a later one, where it is not earlier
            if before >= number or before < 0 or value in self.kernels.aliases:
                continue
            if not isinstance(source, (Product, Nest)):
                continue
            given[i], added = self.recompute.instead(value, source, place)
            for copy in added:
                for v in copy.inputs:
                    if isinstance(v, Value) and self.made_by.get(v, -1) != number:
                        self.kernels.store(v)
                place.append(copy)
                step.operations.append(copy)
                self.made_by[copy.results[0]] = number
        if given == list(operation.inputs):
            return operation
        o = operation
        return Operation(o.primitive, given, o.parameters, o.results, (), o.origin)

    def join_free(self, operation: Operation) -> None:
        """Bring the makers of an operation's inputs together, where that is one step more.

        An optimizer's `mean * 0.9` needs nothing that the program computes, so it has a nest of
        its own; what adds the gradient to it makes both one with the step of the gradient.
        """
        shape = operation.results[0].shape
        makers = sorted({self.made_by.get(v, -1) for v in operation.inputs if isinstance(v, Value)})
        while len(makers) > 1 and makers[-2] >= 0:
            last, before = makers[-1], makers[-2]
            free, target = self.steps[last], self.steps[before]
            if not (
                isinstance(free, Nest)
                and self.is_free(free, last)
                and free.domain == shape
                and (isinstance(target, Nest) or (isinstance(target, Product) and target.is_open))
                and target.domain == shape
                and len(target.operations) + len(free.operations) < ELEMENTWISE_LIMIT
                and not any(may_refuse(op) for op in free.operations)
            ):
                return
            moved = free.passes[0].body
            body = target.body if isinstance(target, Product) else target.passes[0].body
            body.extend(moved)
            target.operations.extend(moved)
            for other in moved:
                self.made_by[other.results[0]] = before
            self.steps[last] = Nest(())  # nothing is left to do there
            makers.pop()

    def is_free(self, nest: Nest, number: int) -> bool:
        """Whether a nest could be computed at any time before: it needs no other step."""
        return (
            nest.dims is None
            and len(nest.passes) == 1
            and not any(is_pull(op) for op in nest.operations)
            and all(
                self.made_by.get(v, -1) in (-1, number) and v not in self.kernels.aliases
                for op in nest.operations
                for v in op.inputs
                if isinstance(v, Value)
            )
        )

    def shares_with_last(self, operation: Operation) -> bool:
        """Whether the last step is a nest over the result's shape that reads an input, too."""
        step = self.steps[-1] if self.steps else None
        if not isinstance(step, Nest) or step.domain != operation.results[0].shape:
            return False
        read = {v for op in step.operations for v in op.inputs if isinstance(v, Value)}
        return any(isinstance(v, Value) and v in read for v in operation.inputs)

    def place_in(
        self, step: Step | None, operation: Operation, last: int, shape: tuple[int, ...]
    ) -> list[Operation] | None:
        """The list of the step in which the operation can be computed, if there is one."""
        if not isinstance(step, (Nest, Product)) or len(step.operations) > ELEMENTWISE_LIMIT:
            return None
        inside = [
            v for v in operation.inputs if isinstance(v, Value) and self.made_by.get(v, -1) == last
        ]
        if any(v in self.kernels.aliases for v in inside):
            return None  # a view of what the step stores: it must be finished first
        if is_pull(operation) and (
            shape != step.domain
            or isinstance(step, Product)
            or (step.dims is not None and shape == step.reduced_shape)  # it would be in a tail
            or any(self.made_by.get(v, -1) == last for v in read_elsewhere(operation))
        ):
            return None
        if isinstance(step, Nest):
            return self.place_in_nest(step, inside, shape)
        others = step.product.results[1:]
        if (
            step.is_open
            and shape == step.domain
            and not may_refuse(operation)  # a product goes on, and has no way to say so
            and all(v.shape == shape and v not in others for v in inside)
        ):
            return step.body
        return None

    def place_in_nest(
        self, nest: Nest, inside: list[Value], shape: tuple[int, ...]
    ) -> list[Operation] | None:
        kept = [nest.kept_pass(v) for v in inside]
        if kept and shape == nest.reduced_shape and None not in kept:
            return nest.passes[max(n for n in kept if n is not None)].tail
        if shape != nest.domain:
            return None
        needed = 0
        for value, after in zip(inside, kept, strict=True):
            if after is None:
                needed = max(needed, nest.body_pass(value) or 0)
            elif nest.keepdim:
                needed = max(needed, after + 1)
            else:
                return None
        if needed == len(nest.passes):
            if _is_better_apart(nest):
                return None
            nest.passes.append(Pass())
        for value, after in zip(inside, kept, strict=True):
            if after is None and nest.body_pass(value) != needed:
                self.kernels.store(value)  # an earlier pass leaves it in memory
        return nest.passes[needed].body

    def reduction(self, operation: Operation) -> None:
        source = operation.inputs[0]
        dims, keepdim = operation.parameters["dim"], operation.parameters["keepdim"]
        last = self.made_by.get(source, -1)
        step = self.steps[last] if last >= 0 else None
        number = None
        if (
            isinstance(step, Nest)
            and source not in self.kernels.aliases
            and (step.dims is None or (step.dims == dims and step.keepdim == keepdim))
        ):
            number = step.body_pass(source)
        if number is None:
            step = Nest(source.shape)
            number = 0
            last = len(self.steps)
            self.steps.append(step)
            self.kernels.store(source)
        assert isinstance(step, Nest)
        step.dims, step.keepdim = dims, keepdim
        step.passes[number].reductions.append(operation)
        step.operations.append(operation)
        self.made_by[operation.results[0]] = last

    def product(self, operation: Operation) -> None:
        step = Product(operation)
        for value in operation.inputs[: step.operands]:
            self.fill(value)
        for value in operation.inputs:
            self.kernels.store(value)
        if isinstance(step.kind, Attended):
            self.lay_out_heads(operation, step.kind)
        if not step.is_open:
            for value in operation.results:
                self.kernels.store(value)
        self.append(step, operation)

    def lay_out_heads(self, operation: Operation, kind: Attended) -> None:
        """Let what comes out of attention lie as its operands do.

        Their heads are often parts of rows: where those of the result are too, putting them beside
        each other again is just a view.
        """
        first = int(kind.gradient)
        results = operation.results if kind.gradient else operation.results[:1]
        for value, like in zip(results, operation.inputs[first : first + 3], strict=False):
            if isinstance(like, Value) and value in self.inner:
                where = self.kernels.layout_of(like)
                found = layout.ordered_like(value.shape, value.meta.dtype, where)
                self.kernels.layouts[value] = found


def _is_better_apart(nest: Nest) -> bool:
    """Whether so much is reduced to so little that one more pass should have threads of its own."""
    kept = [n for d, n in enumerate(nest.domain) if d not in (nest.dims or ())]
    return math.prod(nest.domain) > MANY and math.prod(kept) < FEW
