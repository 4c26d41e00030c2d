"""The graph of a captured computation: plain data, which can be built by hand, printed, evaluated.

A `Region` is a list of operations with parameters and results. A `Graph` is the outermost region,
with what connects it to the outer world. Loops and branches are operations with regions of their
own (`kuai.compiler.capture.control`), which may use the values of the regions around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kuai.core.primitive import Meta, Primitive
from kuai.errors import DataDependentError
from kuai.nn.block_path import BlockCall, annotate_calls


class Value:
    """An array that a captured computation will have: its shape and type, not its elements.

    It stands as the payload of a captured tensor.

    Attributes:
        graph: the graph that it belongs to.
        region: the region whose parameter or result it is; where it may be used, and inside.
        number: its place in the order in which values were made.
        shape, dtype: as those of a NumPy array.
        name: what it is called, where it comes from outside.
        lies_as: where it comes from outside, an array that lies in memory as it does.
    """

    base = None
    lies_as: np.ndarray | None = None
    region: Region | None

    def __init__(self, graph: Graph, meta: Meta, name: str = "") -> None:
        self.graph = graph
        self.region = None
        self.number = graph.count()
        self.shape = meta.shape
        self.meta = meta
        self.dtype = meta.dtype.numpy
        self.name = name

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    def __repr__(self) -> str:
        return f"%{self.name or self.number}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise DataDependentError(
            f"this needs the values of a captured tensor ({self.meta!r}), which are not there "
            f"while a graph is being captured (asked for .{name})"
        )

    def __bool__(self) -> bool:
        raise DataDependentError(
            "a branch or loop on the value of a captured tensor, in code that is not captured as "
            "source; use kuai.where, or write the branch in the function that is compiled"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise DataDependentError("a captured tensor has no values to make an array of")


class StackMeta(Meta):
    """What a loop kept of a value in each of its rounds: as many arrays as there were rounds.

    `shape` and `dtype` are those of one round's array.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"stack of {self.dtype.name}{list(self.shape)}"


class Origin:
    """Where in the user's program an operation comes from.

    Attributes:
        path: the block that applied it (`chimera.0.net.2: Linear`), innermost; empty outside.
        line: `file:line` of the user's source, where it is known.
        calls: the calls of blocks that were under way then, outermost first.
        is_gradient: whether it computes a gradient of what that line computes.
    """

    __slots__ = ("calls", "is_gradient", "line", "path")

    def __init__(
        self,
        path: str = "",
        line: str = "",
        calls: Sequence[BlockCall] = (),
        is_gradient: bool = False,
    ) -> None:
        self.path = path
        self.line = line
        self.calls = tuple(calls)
        self.is_gradient = is_gradient

    def annotate(self, error: Exception) -> None:
        """Note on an error that it arose here: the line, and every block around it."""
        if self.line:
            error.add_note(f"at {self.line}{', in its gradient' if self.is_gradient else ''}")
        annotate_calls(error, self.calls)


NOWHERE = Origin()


class Operation:
    """One application of a primitive: `results = primitive(*inputs, **parameters)`.

    Attributes:
        inputs: values, and Python numbers where the primitive takes them.
        regions: of a loop or a branch.
        origin: where in the user's program it comes from.
    """

    __slots__ = ("inputs", "origin", "parameters", "primitive", "regions", "results")

    def __init__(
        self,
        primitive: Primitive,
        inputs: Sequence[Any],
        parameters: dict[str, Any],
        results: Sequence[Value],
        regions: Sequence[Region] = (),
        origin: Origin = NOWHERE,
    ) -> None:
        self.primitive = primitive
        self.inputs = tuple(inputs)
        self.parameters = parameters
        self.results = tuple(results)
        self.regions = tuple(regions)
        self.origin = origin

    @property
    def path(self) -> str:
        """The innermost block that applied it."""
        return self.origin.path

    @property
    def is_view(self) -> bool:
        """Whether compiled, all that it makes lies where its input lies: repeating it is free."""
        return self.primitive.alias is not None and self.primitive.aliased == 0

    @property
    def has_effects(self) -> bool:
        """Whether it matters beyond its results, as a check or a print does."""
        if self.primitive.has_effects:
            return True
        return any(op.has_effects for region in self.regions for op in region.operations)

    @property
    def used(self) -> list[Value]:
        """The values that it needs, those that its regions take from outside included."""
        found = [x for x in self.inputs if isinstance(x, Value)]
        for region in self.regions:
            found += region.free()
        return found

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Its text, with its regions indented below."""
        results = ", ".join(f"{r!r}: {r.meta!r}" for r in self.results)
        arguments = [repr(x) for x in self.inputs]
        arguments += [f"{k}={v!r}" for k, v in self.parameters.items()]
        text = f"{results} = {self.primitive.name}({', '.join(arguments)})"
        if self.path:
            text += f"  # {self.path}"
        lines = [text]
        for region in self.regions:
            lines += ["  " + line for line in region.lines()]
        return lines


class Region:
    """Operations in the order of computation, from parameters to results."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.parameters: list[Value] = []
        self.operations: list[Operation] = []
        self.results: list[Value] = []

    def free(self) -> list[Value]:
        """The values that it uses and does not make, in the order of their first use."""
        made = set(self.parameters)
        found: dict[Value, None] = {}
        for operation in self.operations:
            for value in operation.used:
                if value not in made:
                    found[value] = None
            made.update(operation.results)
        for value in self.results:
            if value not in made:
                found[value] = None
        return list(found)

    def walk(self) -> Iterator[Operation]:
        """All operations, those of inner regions too."""
        for operation in self.operations:
            yield operation
            for region in operation.regions:
                yield from region.walk()

    def lines(self) -> list[str]:
        """Its text."""
        parameters = ", ".join(f"{v!r}: {v.meta!r}" for v in self.parameters)
        lines = [f"{self.name}({parameters})"]
        lines += ["  " + line for operation in self.operations for line in operation.lines()]
        lines.append(f"  yield {', '.join(map(repr, self.results))}")
        return lines


class Graph(Region):
    """A captured computation.

    Attributes:
        inputs: the values of the function's tensor arguments, in their order (its parameters).
        captured: for each tensor that came from outside (a parameter, a buffer), its value.
        constants: for each small constant, its value and its array.
        operations: in the order of computation.
        outputs: the values of the tensors that the function returned (its results).
        updates: for each tensor from outside that was changed in place, its new value.
        gradients: for each tensor from outside whose `grad` was written, the value of that
            (`None` where it was set to `None`).
    """

    def __init__(self) -> None:
        super().__init__("graph")
        self._count = 0
        self.captured: list[tuple[Value, Any]] = []
        self.constants: list[tuple[Value, np.ndarray]] = []
        self.updates: list[tuple[Value, Value]] = []
        self.gradients: list[tuple[Value, Value | None]] = []

    @property
    def inputs(self) -> list[Value]:
        """The values of the arguments."""
        return self.parameters

    @property
    def outputs(self) -> list[Value]:
        """The values of the results."""
        return self.results

    @outputs.setter
    def outputs(self, values: list[Value]) -> None:
        self.results = values

    def count(self) -> int:
        """The number of the next value."""
        self._count += 1
        return self._count - 1

    def verify(self) -> Graph:
        """Make sure that each value is computed before it is used; returns the graph.

        Raises:
            AssertionError: one is not, so that a program would read whatever memory holds.
        """
        known = {value for value, _ in self.captured} | {value for value, _ in self.constants}
        _verify(self, known)
        return self

    def evaluate(self, *arrays: np.ndarray) -> dict[Value, Any]:
        """Run the kernels one by one: slow, and obviously right.

        Args:
            arrays: one for each of `inputs`.

        Returns:
            The array of each value of the graph itself (not of inner regions).

        Raises:
            ValueError: not as many arrays as inputs.
        """
        found: dict[Any, Any] = dict(zip(self.inputs, arrays, strict=True))
        found.update({value: tensor._payload for value, tensor in self.captured})
        found.update(dict(self.constants))
        evaluate_region(self, found)
        return found

    def __str__(self) -> str:
        arguments = ", ".join(f"{v!r}: {v.meta!r}" for v in self.inputs)
        lines = [f"graph({arguments})"]
        lines += [f"  captured {v!r}: {v.meta!r}" for v, _ in self.captured]
        for v, array in self.constants:
            text = repr(array.item()) if array.size == 1 else "..."
            lines.append(f"  constant {v!r}: {v.meta!r} = {text}")
        lines += ["  " + line for operation in self.operations for line in operation.lines()]
        lines += [f"  gradient of {v!r} = {g!r}" for v, g in self.gradients]
        lines += [f"  update {v!r} = {new!r}" for v, new in self.updates]
        lines.append(f"  return {', '.join(map(repr, self.outputs))}")
        return "\n".join(lines)


def _verify(region: Region, known: set[Value]) -> None:
    known = known | set(region.parameters)
    for operation in region.operations:
        for x in operation.inputs:
            if isinstance(x, Value) and x not in known:
                raise AssertionError(f"{x!r} is used by {operation.primitive.name}, and not made")
        for inner in operation.regions:
            _verify(inner, known)
        known.update(operation.results)
    for value in region.results:
        if value not in known:
            raise AssertionError(f"{value!r} is a result of {region.name}, and not made")


def evaluate_region(region: Region, found: dict[Any, Any]) -> list[Any]:
    """Compute a region's operations; `found` has the arrays known, and receives the new ones."""
    for operation in region.operations:
        if operation.regions:
            result = operation.primitive.evaluate(operation, found)  # type: ignore[attr-defined]
        else:
            arguments = [found[x] if isinstance(x, Value) else x for x in operation.inputs]
            result = operation.primitive.kernel(*arguments, **operation.parameters)
        results = result if isinstance(result, (tuple, list)) else (result,)
        for value, array in zip(operation.results, results, strict=True):
            found[value] = array if isinstance(array, list) else np.asarray(array)
    return [found[value] for value in region.results]
