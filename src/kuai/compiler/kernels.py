"""From operations to kernels: a graph as steps, and where its values lie.

Views are no steps: an array that lies in another one's memory is an `Alias`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kuai.compiler import layout
from kuai.compiler.graph import Graph, Value
from kuai.compiler.grouping import Grouping
from kuai.compiler.layout import Layout
from kuai.compiler.recompute import drop_unused
from kuai.compiler.steps import Alias


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
        self.steps = Grouping(self).region(graph)
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
