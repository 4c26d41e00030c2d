"""From operations to kernels: what is computed together, in one pass over memory.

A graph's operations become `Step`s:

* a `Nest` computes elementwise operations over one domain, and reductions of them;
* a `Product` multiplies matrices, or convolves, and computes elementwise operations on what
  comes out;
* a `Move` lays arrays into parts of another one;
* a `Push` puts elements, one by one, at computed positions;
* a `Fold` goes along a dimension with a state: running totals, and where the extremes stand;
* a `Sort` says in which order the elements along a dimension come;
* a `Host` step runs one primitive's NumPy kernel, for which there is no native form;
* an `Item` finds a slice of an array, which a loop reads where it lies;
* a `Special` step runs one primitive that emits itself;
* a `Loop` and a `Branch` hold steps of their own.

Views are no steps: an array that lies in another one's memory is an `Alias`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kuai.compiler import layout
from kuai.compiler.graph import Graph, Operation, Region, StackMeta, Value
from kuai.compiler.layout import Layout
from kuai.compiler.products import Attended, Kind, Matrices, kind_of
from kuai.compiler.recompute import Recompute, drop_unused
from kuai.core.primitive import PRIMITIVES

ELEMENTWISE_LIMIT = 200  # operations in one nest; more make its registers overflow
MANY, FEW = 1 << 18, 8  # elements of a domain, and of what is left of it


class Alias:
    """A value that lies in the memory of another one, `base`, which is stored."""

    __slots__ = ("base", "layout")

    def __init__(self, base: Value, where: Layout) -> None:
        self.base = base
        self.layout = where


class Step:
    """Something that is computed in one go.

    Attributes:
        operations: what it computes, in order.
        is_recomputed: whether later steps compute parts of it once more.
    """

    is_recomputed = False

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self.operations = list(operations)

    @property
    def steps(self) -> list[list[Step]]:
        """The steps inside, a list for each region."""
        return []

    @property
    def lists(self) -> list[list[Operation]]:
        """Where else its operations stand."""
        return []

    @property
    def made(self) -> set[Value]:
        """The values that it computes."""
        return {r for op in self.operations for r in op.results}

    @property
    def name(self) -> str:
        """What kind of step this is."""
        return type(self).__name__.lower()

    @property
    def kernel_name(self) -> str:
        """What its kernel is called: by the first operations."""
        return "_".join(dict.fromkeys(op.primitive.name for op in self.operations[:4]))

    def lines(self) -> list[str]:
        """Its text."""
        inner = [
            "    " + line
            for steps in self.steps
            for step in steps
            for line in [*step.lines(), ""]
            if line
        ]
        own = ["  " + op.lines()[0] for op in self.operations]
        return [self.title(), *own, *inner]

    def title(self) -> str:
        """One line that says what it is."""
        return self.name


class Pass:
    """One walk over a nest's domain, or over the part of it that one point of the result sees.

    Attributes:
        body: elementwise operations on the domain.
        reductions: operations that reduce members of the body (or arrays of the domain's shape).
        tail: elementwise operations on what the reductions of this pass and earlier ones give.
    """

    def __init__(self) -> None:
        self.body: list[Operation] = []
        self.reductions: list[Operation] = []
        self.tail: list[Operation] = []


class Nest(Step):
    """Loops over a domain, computing elementwise operations and reductions of them.

    For each point of what is kept, the passes follow each other: a softmax takes the greatest
    value of a row in one, the sum of the exponentials in the next, and divides in the last.

    Attributes:
        domain: the shape that is walked.
        passes: a later one may use what the reductions of an earlier one gave.
        dims: the dimensions that the reductions reduce; `None` without reductions.
        keepdim: whether what they give still has these dimensions.
    """

    def __init__(self, domain: tuple[int, ...]) -> None:
        super().__init__()
        self.domain = domain
        self.passes = [Pass()]
        self.dims: tuple[int, ...] | None = None
        self.keepdim = False

    @property
    def root(self) -> Value | None:
        """What the operations of the body begin at, if that is one value that it makes."""
        return None

    @property
    def bodies(self) -> list[list[Operation]]:
        """The elementwise operations on the domain, pass by pass."""
        return [p.body for p in self.passes]

    @property
    def lists(self) -> list[list[Operation]]:
        return [x for p in self.passes for x in (p.body, p.reductions, p.tail)]

    @property
    def reduced_shape(self) -> tuple[int, ...] | None:
        """The shape of what the reductions give."""
        first = next((op for p in self.passes for op in p.reductions), None)
        return None if first is None else first.results[0].shape

    @property
    def pulls(self) -> bool:
        """Whether something is read at positions other than the nest's own."""
        return any(is_pull(op) for op in self.operations)

    @property
    def elsewhere(self) -> list[Value]:
        """The arrays that are read at such positions."""
        return list(dict.fromkeys(v for op in self.operations for v in read_elsewhere(op)))

    def body_pass(self, value: Value) -> int | None:
        """The number of the pass whose body makes a value."""
        return _pass_of(value, [p.body for p in self.passes])

    def kept_pass(self, value: Value) -> int | None:
        """The number of the pass after whose walk a value is known: a reduction, or of a tail."""
        return _pass_of(value, [[*p.reductions, *p.tail] for p in self.passes])

    def title(self) -> str:
        text = f"nest over {list(self.domain)}"
        if self.dims is not None:
            text += f" reducing {list(self.dims)}"
        return text if len(self.passes) == 1 else f"{text} in {len(self.passes)} passes"


def _pass_of(value: Value, lists: Sequence[Sequence[Operation]]) -> int | None:
    for number, operations in enumerate(lists):
        if any(op.results[0] is value for op in operations):
            return number
    return None


class Product(Step):
    """An operation that hands over its result's elements, and elementwise operations on them.

    Attributes:
        product: that operation, such as a product of matrices or a convolution.
        body: elementwise operations of the result's shape.
    """

    def __init__(self, product: Operation) -> None:
        super().__init__([product])
        self.product = product
        self.domain = product.results[0].shape
        self.body: list[Operation] = []

    @property
    def root(self) -> Value | None:
        """What the operations of the body begin at."""
        return self.product.results[0]

    @property
    def bodies(self) -> list[list[Operation]]:
        """The elementwise operations on the domain."""
        return [self.body]

    @property
    def lists(self) -> list[list[Operation]]:
        return self.bodies

    @property
    def kind(self) -> Kind:
        """What kind of product it is."""
        kind = kind_of(self.product)
        assert kind is not None
        return kind

    @property
    def operands(self) -> int:
        """How many of the inputs must lie in memory."""
        return 2 if isinstance(self.kind, Matrices) else len(self.product.inputs)

    @property
    def is_open(self) -> bool:
        """Whether elementwise operations can join."""
        return not (isinstance(self.kind, Attended) and self.kind.gradient)

    def title(self) -> str:
        shapes = " x ".join(str(list(v.shape)) for v in self.product.inputs[:2])
        name = "product" if self.product.primitive.broadcasts else self.product.primitive.name
        return f"{name} {shapes}"


class Move(Step):
    """One operation whose result is made of its inputs, each laid into a part of it.

    Attributes:
        pieces: for each, a part of the result, the number of an input, and a part of that.
    """

    def __init__(self, operation: Operation, pieces: Sequence[tuple[Layout, int, Layout]]) -> None:
        super().__init__([operation])
        self.pieces = pieces

    def title(self) -> str:
        return f"move {self.operations[0].primitive.name}"


class Push(Step):
    """One operation that puts elements of its inputs at computed positions of its result."""

    def title(self) -> str:
        return f"push {self.operations[0].primitive.name}"


class Fold(Step):
    """One operation that goes along dimensions from element to element with a state."""

    def title(self) -> str:
        return f"fold {self.operations[0].primitive.name}"


class Sort(Step):
    """One operation that says in which order the elements along a dimension come."""

    def title(self) -> str:
        return f"sort {self.operations[0].primitive.name}"


class Host(Step):
    """One primitive's NumPy kernel, called from the program."""

    def title(self) -> str:
        return f"host call {self.operations[0].primitive.name}"


class Special(Step):
    """One operation whose primitive emits itself (`emit_special`)."""

    def title(self) -> str:
        return f"special {self.operations[0].primitive.name}"


class Item(Step):
    """One slice of an array along its first dimension, at a computed place: where it lies."""

    def title(self) -> str:
        return f"item {self.operations[0].primitive.name}"


class Control(Step):
    """A loop, a branch, a check, an item of a stack: one operation of `capture/control.py`."""

    def __init__(self, operation: Operation, inner: list[list[Step]]) -> None:
        super().__init__([operation])
        self.inner = inner

    @property
    def steps(self) -> list[list[Step]]:
        return self.inner

    @property
    def operation(self) -> Operation:
        """The one operation."""
        return self.operations[0]

    def title(self) -> str:
        return self.operation.primitive.name


class Kernels:
    """The steps of a graph, and what is known of its values.

    Args:
        graph: the graph.
        inputs: how the arguments lie in memory, where not in order.

    Attributes:
        graph: the graph.
        steps: in the order of computation.
        stored: the values that need memory (inputs and captured tensors have theirs).
        aliases: the values that lie in another one's memory.
        constants: the values that are one number, wherever they are used.
    """

    def __init__(self, graph: Graph, inputs: dict[Value, Layout] | None = None) -> None:
        self.graph = graph
        self.stored: set[Value] = set()
        self.aliases: dict[Value, Alias] = {}
        self.constants: dict[Value, Any] = {}
        self.layouts: dict[Value, Layout] = {}
        self.arrays: dict[Value, np.ndarray] = {}
        for value, tensor in graph.captured:
            self.layouts[value] = layout.of_array(tensor._payload)
        for value, array in graph.constants:
            if array.size == 1:
                self.constants[value] = array.reshape(()).item()
            else:
                self.layouts[value] = layout.of_array(array)
                self.arrays[value] = array
        for value in graph.inputs:
            given = (inputs or {}).get(value)
            self.layouts[value] = given or layout.contiguous(value.shape, value.meta.dtype)
        self.outer = set(self.layouts)
        self.steps = _Grouping(self).region(graph)
        for value in [
            *graph.outputs,
            *(new for _, new in graph.updates),
            *(g for _, g in graph.gradients if g is not None),
        ]:
            self.store(value)
        drop_unused(self, self.steps)

    def store(self, value: Value) -> Value:
        """Note that a value needs memory; returns the one whose memory it is."""
        alias = self.aliases.get(value)
        base = value if alias is None else alias.base
        if base not in self.outer and base not in self.constants:
            self.stored.add(base)
        return base

    def layout_of(self, value: Value) -> Layout:
        """How a value lies in the memory of its base."""
        alias = self.aliases.get(value)
        if alias is not None:
            return alias.layout
        found = self.layouts.get(value)
        if found is None:
            found = self.layouts[value] = layout.contiguous(value.shape, value.meta.dtype)
        return found

    def base_of(self, value: Value) -> Value:
        """The value in whose memory this one lies."""
        alias = self.aliases.get(value)
        return value if alias is None else alias.base

    def __str__(self) -> str:
        return "\n".join(line for step in self.steps for line in step.lines())


def is_elementwise(operation: Operation) -> bool:
    """Whether each element of the result comes from the elements at its place."""
    return operation.primitive.lower is not None and len(operation.results) == 1


def is_pull(operation: Operation) -> bool:
    """Whether each element of the result is read at a computed position of an input."""
    return operation.primitive.pull is not None


def read_here(operation: Operation) -> list[bool]:
    """For each input, whether an element of the result takes the element at its own place."""
    inputs = operation.inputs
    if not is_pull(operation):
        return [True] * len(inputs)
    names, here = operation.primitive.inputs, operation.primitive.here
    return [names[min(i, len(names) - 1)] in here for i in range(len(inputs))]


def read_elsewhere(operation: Operation) -> list[Value]:
    """The inputs of a pull that are read at computed positions."""
    return [
        v
        for v, here in zip(operation.inputs, read_here(operation), strict=True)
        if not here and isinstance(v, Value)
    ]


def may_refuse(operation: Operation) -> bool:
    """Whether the operation can end the program, for what values it finds."""
    primitive = operation.primitive
    if primitive.integers_may_fail:
        return not operation.results[0].meta.dtype.is_floating_point
    return primitive.may_fail


def may_fail(step: Step) -> bool:
    """Whether a step can end the program with an error, or be interrupted."""
    if isinstance(step, (Control, Host)):
        return True
    return any(may_refuse(op) for op in step.operations)


def is_reduction(operation: Operation) -> bool:
    """Whether the primitive says how two partial results combine."""
    return getattr(operation.primitive, "combine", None) is not None


class _Grouping:
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
            inner = [_Grouping(kernels).region(r) for r in operation.regions]
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
