"""The machine code of a graph, with what its caller must know: made now, or found on disk.

What is found by the text of the graph needs no stage of the compiler at all; the stages run when
somebody wants to look at them.
"""

from __future__ import annotations

import ast
import importlib
from typing import TYPE_CHECKING, Any

from kuai.compiler.graph import Graph, Origin, Value
from kuai.compiler.layout import Layout
from kuai.compiler.native import cache, jit
from kuai.compiler.native.target import host
from kuai.compiler.run.failures import Failure
from kuai.compiler.run.signature import signature

if TYPE_CHECKING:
    from kuai.compiler.build import Built
    from kuai.compiler.emit.emitted import HostCall
    from kuai.compiler.native.link import Library


class Code:
    """Machine code and what its caller must know.

    Attributes:
        object_file: the machine code.
        inputs, outputs, captured, updates, gradients: as those of the graph, in the order of
            the numbers that `buffers` uses.
        buffers: kind and number of each address that the program takes.
        arena: bytes of scratch memory.
        failures: what the statuses 1, 2, ... mean.
        hosts: the NumPy kernels that it calls.
        cost: nanoseconds that it will take, without loops of unknown length.
        loops: whether it has such loops.
        library: where it is in memory already, that.
        batch: the size of the batch, where the machine code serves any.
    """

    object_file: bytes
    failures: list[Failure]
    hosts: list[HostCall]
    library: Library | None = None
    batch: int | None = None
    _built: Built | None

    def __init__(self, graph: Graph, layouts: dict[Value, Layout]) -> None:
        self._graph, self._layouts = graph, layouts
        self._built = None
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        self.captured, self.updates = list(graph.captured), list(graph.updates)
        self.gradients = list(graph.gradients)
        text = signature(graph, layouts)
        target = host()
        key = ""
        if text is not None:
            key = cache.key("program", cache.sources(), repr(target), text)
            found = cache.read(key)
            if found is not None:
                self._take(found)
                return
        self._make(key)

    def _origins(self) -> list[Origin]:
        """Where each operation comes from."""
        return [op.origin for op in self._graph.walk()]

    @property
    def built(self) -> Built:
        """The stages of the compiler."""
        if self._built is None:
            from kuai.compiler.build import build

            self._built = build(self._graph, self._layouts)
        return self._built

    def _make(self, key: str) -> None:
        before, origins = [v for v, _ in self.captured], self._origins()
        emitted = self.built.emitted
        graph = self._graph
        self.object_file = jit.compiled(emitted.text)
        self.buffers = [(b.kind, b.index) for b in emitted.buffers]
        self.arena, self.cost, self.loops = emitted.arena, emitted.cost, emitted.loops
        self.failures = [
            Failure(f.exception, f.message, f.values, f.operation.origin) for f in emitted.failures
        ]
        self.hosts = list(emitted.hosts)
        kept = [before.index(v) for v, _ in graph.captured]
        self.captured = [self.captured[i] for i in kept]
        if key and not self.hosts:
            self._keep(key, kept, origins)

    def _keep(self, key: str, kept: list[int], origins: list[Origin]) -> None:
        failures = [
            (c.__module__, c.__qualname__, message, values, origins.index(origin))
            for c, message, values, origin in self.failures
            if origin in origins
        ]
        if len(failures) < len(self.failures):
            return
        facts = {
            "buffers": self.buffers,
            "arena": self.arena,
            "cost": float(self.cost),
            "loops": self.loops,
            "failures": failures,
            "captured": kept,
        }
        head = repr(facts).encode()
        cache.write(key, len(head).to_bytes(8, "little") + head + self.object_file)

    def _take(self, found: bytes) -> None:
        start = 8 + int.from_bytes(found[:8], "little")
        facts: dict[str, Any] = ast.literal_eval(found[8:start].decode())
        self.object_file = found[start:]
        self.buffers = facts["buffers"]
        self.arena, self.cost, self.loops = facts["arena"], facts["cost"], facts["loops"]
        origins = self._origins() if facts["failures"] else []
        self.failures = [
            Failure(_class(module, name), message, values, origins[place])
            for module, name, message, values, place in facts["failures"]
        ]
        self.hosts = []
        self.captured = [self.captured[i] for i in facts["captured"]]


def _class(module: str, name: str) -> Any:
    """A class by its name."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
