"""A graph through all stages to a program's text, with each stage kept for those who look."""

from __future__ import annotations

from dataclasses import dataclass

from kuai.compiler.emit.emitted import Emitted
from kuai.compiler.emit.program import emit_program
from kuai.compiler.graph import Graph, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import Layout
from kuai.compiler.memory import Plan
from kuai.compiler.native.target import Target, host
from kuai.compiler.plan import plan
from kuai.compiler.simplify import simplify
from kuai.compiler.sizes import Batch


@dataclass(frozen=True)
class Built:
    """The stages of one program; `batch` where it serves batches of any size."""

    graph: Graph
    kernels: Kernels
    plan: Plan
    emitted: Emitted
    batch: Batch | None = None


def build(
    graph: Graph, layouts: dict[Value, Layout] | None = None, target: Target | None = None
) -> Built:
    """Make a program of a graph, which is simplified in place.

    Args:
        graph: what to compute.
        layouts: how arguments lie in memory, where not in order.
        target: the machine; this one by default.
    """
    kernels = Kernels(simplify(graph).verify(), layouts)
    planned = plan(kernels)
    return Built(graph, kernels, planned, emit_program(planned, target or host()))
