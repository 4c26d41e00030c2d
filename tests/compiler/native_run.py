"""Runs primitives as native programs, next to their NumPy kernels."""

import ctypes
from typing import Any

import numpy as np

import kuai.compiler.capture.control  # noqa: F401  (its primitives)
from kuai import dtypes
from kuai.compiler.capture import capture
from kuai.compiler.emit.emitted import Emitted
from kuai.compiler.emit.program import emit_program
from kuai.compiler.emit.statuses import message_with
from kuai.compiler.graph import Graph, Operation, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import of_array
from kuai.compiler.native import jit, runtime
from kuai.compiler.native.target import host
from kuai.compiler.plan import plan
from kuai.compiler.run.failures import told
from kuai.compiler.simplify import simplify
from kuai.compiler.steps import Host, walk_steps
from kuai.core.base import wrap
from kuai.core.primitive import Meta, Primitive


def meta_of(array: np.ndarray) -> Meta:
    """Shape and type of an array."""
    return Meta(array.shape, dtypes.from_numpy_dtype(array.dtype))


class Program:
    """A graph as a native program, which calls no Python kernels.

    Args:
        graph: what to compute.
        arrays: its inputs, as they lie in memory.
    """

    def __init__(self, graph: Graph, arrays: list[np.ndarray]) -> None:
        self.graph = graph
        layouts = {v: of_array(a) for v, a in zip(graph.inputs, arrays, strict=True)}
        self.kernels = Kernels(graph, layouts)
        self.plan = plan(self.kernels)
        hosts = [s.title() for s in walk_steps(self.plan.steps) if isinstance(s, Host)]
        assert not hosts, hosts
        self.emitted: Emitted = emit_program(self.plan, host())
        object_code = jit.assemble(self.emitted.text, verify=True)
        self.library = runtime.load_program(object_code)
        self.call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
            self.library["program"]
        )

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs.

        Raises:
            Exception: what the program failed with.
        """
        outputs = [np.empty(v.shape, v.dtype) for v in self.graph.outputs]
        places = []
        for buffer in self.emitted.buffers:
            if buffer.kind == "input":
                places.append(arrays[buffer.index].ctypes.data)
            elif buffer.kind == "captured":
                places.append(self.graph.captured[buffer.index][1]._payload.ctypes.data)
            elif buffer.kind == "failure":
                places.append(0)
            else:
                places.append(outputs[buffer.index].ctypes.data)
        table = np.array([*places, 0], np.int64)
        arena = np.full(self.emitted.arena + 64, 0xA5, np.uint8)
        start = -(-arena.ctypes.data // 64) * 64
        status = self.call(table.ctypes.data, start)
        if status > 0:
            failure = self.emitted.failures[status - 1]
            buffers = [(b.kind, b.index) for b in self.emitted.buffers]
            values = told(table.ctypes.data, buffers) if failure.values else []
            raise failure.exception(message_with(failure.message, values[: failure.values]))
        assert status == 0, status
        return outputs


def graph_of(primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]) -> Graph:
    """A graph that applies a primitive once, to arrays (and numbers, or `None`)."""
    if primitive.decompose is not None:
        return captured(primitive, inputs, parameters)
    graph = Graph()
    values: list[Any] = []
    for x in inputs:
        if isinstance(x, np.ndarray):
            value = Value(graph, meta_of(x))
            graph.inputs.append(value)
            values.append(value)
        else:
            values.append(x)
    metas = [v.meta if isinstance(v, Value) else v for v in values]
    inferred = primitive.infer(*metas, **parameters)
    several = isinstance(inferred, tuple)
    results = [Value(graph, m) for m in (inferred if several else (inferred,))]
    graph.operations.append(Operation(primitive, values, parameters, results))
    graph.outputs = results
    return graph


def captured(primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]) -> Graph:
    """What a capture makes of one application."""
    places = [i for i, x in enumerate(inputs) if isinstance(x, np.ndarray)]

    def apply(*tensors: Any) -> Any:
        given = list(inputs)
        for i, x in zip(places, tensors, strict=True):
            given[i] = x
        return primitive(*given, **parameters)

    return simplify(capture(apply, *[wrap(inputs[i]) for i in places]))


def run(primitive: Primitive, *inputs: Any, **parameters: Any) -> Any:
    """What the native program of one application gives: an array, or a list of them."""
    arrays = [x for x in inputs if isinstance(x, np.ndarray)]
    outputs = Program(graph_of(primitive, inputs, parameters), arrays)(*arrays)
    return outputs[0] if len(outputs) == 1 else outputs
