"""The graph of a captured computation: plain data, which can be printed and evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kuai.core.primitive import Meta, Primitive
from kuai.errors import DataDependentError


class Value:
    """An array that a captured computation will have: its shape and type, not its elements.

    It stands as the payload of a captured tensor.

    Attributes:
        graph: the graph that it belongs to.
        number: its place in the order in which values were made.
        shape, dtype: as those of a NumPy array.
        name: what it is called, where it comes from outside.
    """

    base = None

    def __init__(self, graph: Graph, meta: Meta, name: str = "") -> None:
        self.graph = graph
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
            "a branch or loop on the value of a captured tensor cannot be captured yet"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise DataDependentError("a captured tensor has no values to make an array of")


class Operation:
    """One application of a primitive: `results = primitive(*inputs, **parameters)`."""

    __slots__ = ("inputs", "parameters", "primitive", "results")

    def __init__(
        self,
        primitive: Primitive,
        inputs: Sequence[Any],
        parameters: dict[str, Any],
        results: Sequence[Value],
    ) -> None:
        self.primitive = primitive
        self.inputs = tuple(inputs)
        self.parameters = parameters
        self.results = tuple(results)

    def __repr__(self) -> str:
        results = ", ".join(f"{r!r}: {r.meta!r}" for r in self.results)
        arguments = [repr(x) for x in self.inputs]
        arguments += [f"{k}={v!r}" for k, v in self.parameters.items()]
        return f"{results} = {self.primitive.name}({', '.join(arguments)})"


class Graph:
    """A captured computation.

    Attributes:
        inputs: the values of the function's tensor arguments, in their order.
        captured: for each tensor that came from outside (a parameter, a buffer), its value.
        constants: for each small constant, its value and its array.
        operations: in the order of computation.
        outputs: the values of the tensors that the function returned.
        updates: for each tensor from outside that was changed in place, its new value.
        gradients: for each tensor from outside whose `grad` was written, the value of that.
    """

    def __init__(self) -> None:
        self._count = 0
        self.inputs: list[Value] = []
        self.captured: list[tuple[Value, Any]] = []
        self.constants: list[tuple[Value, np.ndarray]] = []
        self.operations: list[Operation] = []
        self.outputs: list[Value] = []
        self.updates: list[tuple[Value, Value]] = []
        self.gradients: list[tuple[Value, Value]] = []

    def count(self) -> int:
        """The number of the next value."""
        self._count += 1
        return self._count - 1

    def evaluate(self, *arrays: np.ndarray) -> dict[Value, Any]:
        """Run the kernels one by one: slow, and obviously right.

        Args:
            arrays: one for each of `inputs`.

        Returns:
            The array of each value.

        Raises:
            ValueError: not as many arrays as inputs.
        """
        found: dict[Any, Any] = dict(zip(self.inputs, arrays, strict=True))
        found.update({value: tensor._payload for value, tensor in self.captured})
        found.update(dict(self.constants))
        for operation in self.operations:
            arguments = [found[x] if isinstance(x, Value) else x for x in operation.inputs]
            result = operation.primitive.kernel(*arguments, **operation.parameters)
            results = result if isinstance(result, tuple) else (result,)
            for value, array in zip(operation.results, results, strict=True):
                found[value] = np.asarray(array)
        return found

    def __str__(self) -> str:
        arguments = ", ".join(f"{v!r}: {v.meta!r}" for v in self.inputs)
        lines = [f"graph({arguments})"]
        lines += [f"  captured {v!r}: {v.meta!r}" for v, _ in self.captured]
        for v, array in self.constants:
            text = repr(array.item()) if array.size == 1 else "..."
            lines.append(f"  constant {v!r}: {v.meta!r} = {text}")
        lines += [f"  {operation!r}" for operation in self.operations]
        lines += [f"  gradient of {v!r} = {g!r}" for v, g in self.gradients]
        lines += [f"  update {v!r} = {new!r}" for v, new in self.updates]
        lines.append(f"  return {', '.join(map(repr, self.outputs))}")
        return "\n".join(lines)
