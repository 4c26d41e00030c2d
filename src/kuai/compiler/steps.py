"""What a program does, step by step, as plain data.

A graph's operations become `Step`s (`grouping.py` decides which):

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

from collections.abc import Iterable, Iterator, Sequence

from kuai.compiler.graph import Operation, Value
from kuai.compiler.layout import Layout
from kuai.compiler.products import Attended, Kind, Matrices, kind_of


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


def walk_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, those inside loops and branches too."""
    for step in steps:
        yield step
        for inner in step.steps:
            yield from walk_steps(inner)
