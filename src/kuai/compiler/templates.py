"""Templates: a program with its backward half, for any batch, made of captures for two sizes.

A template serves a call if what is captured for it pairs with what the template was made of
(`kuai.compiler.pairing`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai.compiler.build import Built
from kuai.compiler.emit.emitted import HostCall
from kuai.compiler.emit.program import emit_program
from kuai.compiler.graph import Graph
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import Layout
from kuai.compiler.native import jit, runtime
from kuai.compiler.native.target import host
from kuai.compiler.pairing import DifferentError, Pairing, as_it_is, on_a_line
from kuai.compiler.plan import plan
from kuai.compiler.run.code import Code
from kuai.compiler.run.failures import Failure
from kuai.compiler.run.program import Call, Layouts, MakeCode, Program, Recorded, graphs_of
from kuai.compiler.simplify import simplify
from kuai.compiler.sizes import Batch, at

BESIDE = 3  # how much greater the second batch size is: x // 2 and x // 3 are no lines over it


class Half:
    """The program of a graph, for any batch.

    Args:
        mine: the kernels for the batch size of `batch`; those of another half may share values.
        like: those for the other size.
        batch: the batch.
        other: the other size.

    Raises:
        DifferentError: they differ in more than sizes that are lines over the batch.
        SizeError: some stage cannot do without a number.
    """

    def __init__(self, mine: Kernels, like: Kernels, batch: Batch, other: int) -> None:
        self.batch = batch
        Pairing(mine, like, on_a_line(batch, other))
        self._kernels = copy.copy(mine)  # as they were paired; the plan changes them
        for name in ("stored", "layouts", "aliases", "constants", "arrays"):
            setattr(self._kernels, name, copy.copy(getattr(mine, name)))
        planned = plan(mine)
        emitted = emit_program(planned, host(), batch)
        self.built = Built(mine.graph, mine, planned, emitted, batch)
        self.object_file = jit.compiled(emitted.text)
        self.library = runtime.load_program(self.object_file)

    def code(self, graph: Graph, layouts: Layouts, batch: int) -> Code:
        """The program for a graph of another batch size.

        Raises:
            DifferentError: it is not the program of this graph.
        """
        pairing = Pairing(self._kernels, _kernels(graph, layouts), as_it_is(batch))
        return _Code(self, graph, pairing, batch)


def _kernels(graph: Graph, layouts: Layouts) -> Kernels:
    return Kernels(simplify(graph, any_batch=True), layouts)


class _Code(Code):
    """A program for any batch, as it is for one size."""

    def __init__(self, half: Half, graph: Graph, pairing: Pairing, batch: int) -> None:
        emitted = half.built.emitted
        self._built = half.built
        self.object_file, self.library = half.object_file, half.library
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        self.captured, self.updates = list(graph.captured), list(graph.updates)
        self.gradients = list(graph.gradients)
        self.buffers = [(b.kind, b.index) for b in emitted.buffers]
        self.batch = batch
        self.arena = at(emitted.arena, batch)
        self.cost, self.loops = emitted.cost * batch / half.batch.value, emitted.loops
        self.failures = [
            Failure(
                f.exception,
                half.batch.message(f.message, batch),
                f.values,
                pairing.operations.get(f.operation, f.operation).origin,
            )
            for f in emitted.failures
        ]
        self.hosts = [
            HostCall(
                pairing.operations[h.operation],
                tuple([_at(x, batch) for x in h.inputs]),
                tuple([_at(x, batch) for x in h.outputs]),
            )
            for h in emitted.hosts
        ]


def _at(x: Any, batch: int) -> Any:
    """The argument of a NumPy kernel for a batch size."""
    if isinstance(x, tuple):  # a layout, or a meta and a number
        items = [_at(item, batch) for item in x]
        return type(x)(*items) if isinstance(x, Layout) else tuple(items)
    if hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, np.ndarray):
        return type(x)(_at(x.shape, batch), x.dtype)
    return at(x, batch)


class Template:
    """A program with its backward half, for any batch.

    Args:
        batch: the batch that it is made for in the first place.
        recorded: captures for a batch of this size, and of one that is greater by `BESIDE`.
        calls: what was captured.

    Attributes:
        skeleton: the names of all primitives of the capture, by which another is told apart.
    """

    def __init__(self, batch: Batch, recorded: Sequence[Recorded], calls: Sequence[Call]) -> None:
        self.batch = batch
        other = batch.value + BESIDE
        self.skeleton = skeleton_of(recorded[0])
        kernels = []
        for one, made in zip(recorded, calls, strict=True):
            found = graphs_of(one, made.leaves)
            kernels.append([_kernels(g, found.layouts) for g in found.graphs])
        pairs = zip(*kernels, strict=True)
        self.halves = [Half(mine, like, self.batch, other) for mine, like in pairs]

    def codes(self, size: int) -> MakeCode:
        """Makes the codes of a program for a batch size."""
        return lambda graph, layouts, half: self.halves[half].code(graph, layouts, size)


def skeleton_of(recorded: Recorded) -> list[str]:
    """The primitives of a capture."""
    return [op.primitive.name for op in recorded.graph.walk()]


class Attempt:
    """The search for a program for one call.

    Attributes:
        program: what has been found.
        why: what was in the way last.
    """

    def __init__(
        self,
        size: int,
        capture: Callable[[], Recorded],
        make: Callable[[Recorded, MakeCode], Program],
    ) -> None:
        self.program: Program | None = None
        self.why = ""
        self._size, self._capture, self._make = size, capture, make
        self._recorded: Recorded | None = None  # until it is used up

    def with_template(self, template: Template) -> bool:
        """Whether a template has the program."""
        recorded = self._recorded = self._recorded or self._capture()
        if not template.batch.holds(self._size) or template.skeleton != skeleton_of(recorded):
            return False
        try:
            self._recorded = None
            self.program = self._make(recorded, template.codes(self._size))
        except DifferentError as error:
            self.why = str(error)
        return self.program is not None

    def at_new(
        self, calls: Sequence[Call], batch: Batch, capture: Callable[[Call], Recorded]
    ) -> Template | None:
        """A new template, which may have the program; `None` if it cannot be made."""
        self._recorded = self._recorded or self._capture()  # which says if it cannot be compiled
        try:
            template = Template(batch, [capture(c) for c in calls], calls)
        except Exception as error:  # whatever a stage cannot do without knowing the size
            self.why = f"{type(error).__name__}: {error}"
            return None
        self.with_template(template)
        return template
