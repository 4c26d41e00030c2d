"""Recording what a function does to tensors as a graph, without computing it.

The function runs once, on tensors whose payloads are graph values. Every primitive that it
applies is handed here by `kuai.core.primitive.intercept`; the tape works on those tensors as on
any others, so that `backward()` inside the function adds the backward computation to the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kuai.compiler.graph import Graph, Operation, Value
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, intercepted, meta_of
from kuai.core.tape import refresh


class Capture:
    """A capture under way: the graph, and how to put the outer tensors back afterwards."""

    def __init__(self, names: dict[int, str]) -> None:
        self.graph = Graph()
        self._names = names
        self._outer: dict[int, tuple[Any, Value, np.ndarray, Any]] = {}
        self._values: dict[int, Value] = {}
        self._moved: list[tuple[Any, np.ndarray]] = []

    def argument(self, x: TensorBase, name: str) -> Any:
        """A captured tensor that stands for an argument."""
        value = Value(self.graph, meta_of(x), name)
        self.graph.inputs.append(value)
        captured = wrap(value)
        captured._requires_grad = x._requires_grad
        return captured

    def __call__(
        self, primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]
    ) -> Any:
        """Record one application of a primitive."""
        values = [self._value(x) if isinstance(x, TensorBase) else x for x in inputs]
        typed = next((v for v in values if isinstance(v, Value)), None)
        scalar = typed.meta.dtype if typed is not None else None
        metas = [
            v.meta if isinstance(v, Value) else Meta((), scalar)  # type: ignore[arg-type]
            for v in values
        ]
        inferred = primitive.infer(*metas, **parameters)
        if isinstance(inferred, tuple):
            payload: Any = tuple([Value(self.graph, m) for m in inferred])
            results = payload
        else:
            payload = Value(self.graph, inferred)
            results = (payload,)
        self.graph.operations.append(Operation(primitive, values, parameters, results))
        return primitive.run(inputs, parameters, payload)

    def _value(self, x: TensorBase) -> Value:
        before = x._payload
        refresh(x)
        payload = x._payload
        if isinstance(payload, Value):
            if isinstance(before, np.ndarray):
                self._moved.append((x, before))
            return payload
        if id(x) in self._outer:
            return self._outer[id(x)][1]
        value = self._values.get(id(payload))  # a snapshot shares the array of its tensor
        if value is None:
            name = self._names.get(id(payload), "")
            value = self._values[id(payload)] = Value(self.graph, meta_of(x), name)
            if payload.size <= 1 and not x._requires_grad and not name:
                self.graph.constants.append((value, payload.copy()))
            else:
                self.graph.captured.append((value, wrap(payload)))
        self._outer[id(x)] = (x, value, payload, x._grad)
        return value

    def changing(self, x: TensorBase) -> None:
        """Note an outer tensor before it is changed in place."""
        self._value(x)

    def finish(self, outputs: Any) -> None:
        """Note results, updates and gradients, and put the outer tensors back as they were."""
        self.graph.outputs = [self._value(x) for x in _tensors(outputs)]
        for x, value, _, grad in self._outer.values():
            if isinstance(x._payload, Value):
                self.graph.updates.append((value, x._payload))
            if x._grad is not grad and x._grad is not None:
                self.graph.gradients.append((value, self._value(x._grad)))
        self.restore()

    def restore(self) -> None:
        """Put the outer tensors back as they were."""
        for x, payload in self._moved:
            x._payload = payload
        for x, _, payload, grad in self._outer.values():
            if isinstance(x._payload, Value):
                x._payload = payload
                x._node = None
            x._grad = grad


def _tensors(x: Any) -> list[Any]:
    if isinstance(x, TensorBase):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        return [t for item in x for t in _tensors(item)]
    return []


def capture(function: Any, *args: Any) -> Graph:
    """The graph of what `function` does to tensors, when called with `args`.

    Args:
        function: a function or a block; it runs once, on tensors without values.
        args: its arguments; tensors among them become the graph's inputs, anything else is
            taken as it is.

    Raises:
        DataDependentError: it asks for the value of a tensor, as a branch on one does.
    """
    names: dict[int, str] = {}
    if hasattr(function, "named_parameters"):
        names = {id(p._payload): name for name, p in function.named_parameters()}
        names |= {id(b._payload): name for name, b in function.named_buffers()}
    under_way = Capture(names)
    captured = [
        under_way.argument(a, f"x{i}") if isinstance(a, TensorBase) else a
        for i, a in enumerate(args)
    ]
    try:
        with intercepted(under_way):
            outputs = function(*captured)
            under_way.finish(outputs)
    finally:
        under_way.restore()
    return under_way.graph
