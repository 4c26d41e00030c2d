"""A program bound to the Python objects that it works on, ready to be called.

`Bound` holds the tables that the native entry reads, and knows how to do the same in Python: that
is the way for calls that the entry leaves alone, and for interpreters that it does not know.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai.compiler.native import descriptor as d
from kuai.compiler.native import objects
from kuai.compiler.native.descriptor import Memory, records
from kuai.compiler.native.interface import (
    ArrayMade,
    GradientWrite,
    GradOf,
    Interface,
    NumberUse,
    Source,
    Step,
    TensorUse,
    tensor_of,
)
from kuai.compiler.native.link import Library
from kuai.compiler.native.stacks import StackMemory
from kuai.core.base import wrap
from kuai.core.tape import OutputEdge, edge_of
from kuai.nn.registry import epoch

_ALIGNMENT = 64


class Bound:
    """A program that can be called.

    Args:
        interface: what it takes and gives.
        library: its machine code; `program` is its entry.
        fail: raises what a status that is not 0 stands for; gets it, and the address of the
            table of buffers.
    """

    def __init__(
        self, interface: Interface, library: Library, fail: Callable[[int, int], Any]
    ) -> None:
        self.interface = interface
        self.library = library
        self.fail = fail
        self._entry = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
            library["program"]
        )
        words = interface.buffers + len(interface.numbers) + len(interface.results)
        self.head = -(-8 * max(words, 1) // _ALIGNMENT) * _ALIGNMENT
        self._memory = np.empty(self.head + interface.arena + _ALIGNMENT, np.uint8)
        self.block = -(-self._memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        self._fill(self.block)
        self._tables: list[Any] = []
        self._guards: Memory | None = None
        self._uses: Memory | None = None
        self._finish = self._finish_native  # one object, whose address stands in the descriptor
        self.descriptor = self._describe() if self.is_native else None

    @property
    def is_native(self) -> bool:
        """Whether the native entry can call it."""
        i = self.interface
        return (
            objects.check()
            and i.objects is not None
            and all(n.is_native for n in i.numbers)
            and not any(t.hooks for t in i.tensors)
        )

    @property
    def address(self) -> int:
        """The address of its descriptor; 0 where it has none."""
        return self.descriptor.address if self.descriptor is not None else 0

    def set(self, **fields: int) -> None:
        """Change fields of its descriptor."""
        if self.descriptor is not None:
            for name, value in fields.items():
                self.descriptor.words[d.PROGRAM.index[name]] = value

    def keep_up(self, before: int) -> None:
        """Nothing that is watched has changed since the epoch was `before`."""
        if self.descriptor is not None:
            words, place = self.descriptor.words, d.PROGRAM.index["epoch"]
            if words[place] == before:
                words[place] = epoch[0]

    def guard(self, rows: Sequence[dict[str, int]]) -> None:
        """Replace the native guards by as many others."""
        table: Memory | None = self._guards
        if table is not None:
            table.write([word for row in rows for word in d.GUARD.words(**row)])

    # -- native -----------------------------------------------------------------------------

    def _fill(self, block: int) -> None:
        """Write into the table of a block what is the same in every call."""
        i = self.interface
        table = (ctypes.c_uint64 * (self.head // 8)).from_address(block)
        own = [n.buffer for n in i.numbers] + i.results
        for k, buffer in enumerate(own):  # numbers lie behind the table
            if buffer >= 0:
                table[buffer] = block + 8 * (i.buffers + k)
        for buffer, value in i.fixed.items():
            table[buffer] = value

    def _table(self, layout: d.Layout, rows: Sequence[dict[str, int]]) -> int:
        table = records(layout, rows)
        self._tables.append(table)
        if layout is d.GUARD:
            self._guards = table
        elif layout is d.TENSOR:
            self._uses = table
        return table.address

    def _words(self, words: Sequence[int]) -> int:
        memory = Memory([w & 0xFFFFFFFFFFFFFFFF for w in words])
        self._tables.append(memory)
        return memory.address

    def _source(self, source: Source) -> dict[str, int]:
        if isinstance(source, GradOf):
            return {**self._source(source.owner), "grad": 1}
        if isinstance(source, int):
            return {"object": 0, "place": self.interface.places[source]}
        self._tables.append(source)
        return {"object": id(source)}

    def _tensor_row(self, use: TensorUse) -> dict[str, int]:
        form = use.form
        self._tables.append(form)
        row = {
            **self._source(use.source),
            "payload": 0 if use.payload is None else id(use.payload),
            "requires_grad": 0 if use.requires_grad is None else id(use.requires_grad),
            "hooks": 0 if use.hooks is None else id(None),
            "no_grad": id(None) if use.lacks_grad else 0,
            "no_node": id(None) if use.is_leaf else 0,
            "nd": -1,
            "buffer": use.buffer,
            "written": use.written,
        }
        if form is None:
            return row
        low, high = form.extent()
        return row | {
            "descr": id(form.dtype),
            "nd": len(form.shape),
            "sizes": self._words(form.shape),
            "strides": self._words(form.steps()),
            "alignment": form.dtype.alignment - 1,
            "low": low,
            "high": high,
        }

    def _number_row(self, k: int, use: NumberUse) -> dict[str, int]:
        self._tables += [use.container, use.key, use.cell]
        container, key = 0, 0
        if use.cell is not None:
            container = id(use.cell) + objects.CELL_CONTENTS
        elif use.container is not None:
            container, key = id(use.container), id(use.key)
        return {
            "type": id(use.kind),
            "place": self.interface.places[use.leaf] if use.leaf >= 0 else 0,
            "container": container,
            "key": key,
            "offset": 8 * (self.interface.buffers + k),
            "item": use.item,
            "size": use.size,
            "sign": use.sign,
        }

    def _gradient_row(self, write: GradientWrite) -> dict[str, int]:
        row = self._source(write.source)
        if write.made is None:
            return row
        form = write.made.form
        self._tables.append(form)
        return row | {
            "descr": id(form.dtype),
            "nd": len(form.shape),
            "sizes": self._words(form.shape),
            "strides": self._words(form.steps()),
            "buffer": write.made.buffer,
            "fresh": write.fresh,
            "arrives": write.arrives + 1,
        }

    def _output_row(self, made: ArrayMade) -> dict[str, int]:
        self._tables.append(made.form)
        return {
            "descr": id(made.form.dtype),
            "nd": len(made.form.shape),
            "sizes": self._words(made.form.shape),
            "buffer": made.buffer,
        }

    def _step_row(self, step: Step) -> dict[str, int]:
        self._tables.append(step.pointer)
        number, pointer = step.number, id(step.pointer)
        if step.pointer is None and step.kind != d.PUSH_OBJECT:
            pointer = 0
        elif step.kind in (d.MAKE_DICT, d.PUSH_RESULT):
            pointer = self._words([id(x) for x in step.pointer])
        if step.kind == d.PUSH_ARGUMENT or (step.kind in d.OF_TENSORS and not pointer):
            number = self.interface.places[number]
        return {"kind": step.kind, "number": number, "pointer": pointer}

    def _describe(self) -> Memory:
        i = self.interface
        assert i.objects is not None
        tables = {
            "object": (d.OBJECT, i.objects),
            "tensor": (d.TENSOR, [self._tensor_row(t) for t in i.tensors]),
            "number": (d.NUMBER, [self._number_row(k, n) for k, n in enumerate(i.numbers)]),
            "guard": (d.GUARD, i.guards),
            "output": (d.OUTPUT, [self._output_row(o) for o in i.outputs]),
            "gradient": (d.GRADIENT, [self._gradient_row(g) for g in i.gradients]),
            "update": (d.UPDATE, [self._source(u) for u in i.updates]),
            "part": (d.PART, [part._asdict() for part in i.parts]),
            "step": (d.STEP, [self._step_row(s) for s in i.steps]),
        }
        fields: dict[str, int] = {}
        for name, (layout, rows) in tables.items():
            fields[f"{name}s"] = len(rows)
            fields[f"{name}_specs"] = self._table(layout, rows)
        return records(
            d.PROGRAM,
            [
                {
                    "owner": id(self),
                    "program": self.library["program"],
                    "fail": id(self.fail),
                    "finish": 0 if i.finish is None else id(self._finish),
                    "block": self.block,
                    "block_bytes": self.head + i.arena,
                    "head_bytes": self.head,
                    "releases": i.releases,
                    "holds": len(i.tensors) if i.releases or i.yields else 0,
                    "mode": i.mode,
                    "epoch": -1 if i.always else epoch[0],
                    "arguments": i.arguments,
                    "keywords": id(i.keywords) if i.keywords else 0,
                    **fields,
                }
            ],
        )

    def _finish_native(self, result: Any, found: tuple[Any, ...]) -> Any:
        assert self.interface.finish is not None
        return self.interface.finish(result, [found[p] for p in self.interface.places])

    # -- in Python --------------------------------------------------------------------------

    def fits(self, leaves: Sequence[Any]) -> bool:
        """Whether the tensors and numbers are such as the program was made for."""
        i = self.interface
        if not all(t.fits(leaves) for t in i.tensors):
            return False
        return all(n.fits(leaves) for n in i.numbers)

    def rebind(self, leaves: Sequence[Any]) -> bool:
        """Take over the new arrays of tensors from outside; whether they are as far apart."""
        changed = False
        for i, use in enumerate(self.interface.tensors):
            if use.payload is None:
                continue
            payload = tensor_of(use.source, leaves)._payload
            if payload is not use.payload:
                use.payload, changed = payload, True
                if self._uses is not None:
                    place = i * len(d.TENSOR) + d.TENSOR.index["payload"]
                    self._uses.words[place] = id(payload)
        return not changed or self._are_apart(leaves)

    def is_apart(self, leaves: Sequence[Any]) -> bool:
        """Whether no argument that the program changes shares memory with what else it uses."""
        if any(t.written and t.payload is None for t in self.interface.tensors):
            return self._are_apart(leaves)
        return True

    def _are_apart(self, leaves: Sequence[Any]) -> bool:
        spans = []
        for use in self.interface.tensors:
            start = tensor_of(use.source, leaves)._payload.__array_interface__["data"][0]
            low, high = (0, 0) if use.form is None else use.form.extent()
            spans.append((start + low, start + high, use.written))
        return not any(
            written and i != j and low < other_high and other_low < high
            for i, (low, high, written) in enumerate(spans)
            for j, (other_low, other_high, _) in enumerate(spans)
        )

    def call(self, leaves: Sequence[Any]) -> Any:
        """Run it on arguments that fit.

        Raises:
            Exception: what eager raises where the program fails; nothing has changed then.
        """
        i = self.interface
        memory = np.empty(self.head + i.arena + _ALIGNMENT, np.uint8)
        block = -(-memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        self._fill(block)
        table = (ctypes.c_uint64 * (self.head // 8)).from_address(block)
        held = [tensor_of(t.source, leaves)._payload for t in i.tensors]
        for use, payload in zip(i.tensors, held, strict=True):
            if use.buffer >= 0:
                table[use.buffer] = _address(payload)
        for number in i.numbers:
            if number.buffer < 0:
                continue
            value = number.value(leaves)
            kind = ctypes.c_double if number.kind is float else ctypes.c_int64
            kind.from_address(table[number.buffer]).value = value
        arrays = [np.empty(o.form.shape, o.form.dtype) for o in i.outputs]
        for made, array in zip(i.outputs, arrays, strict=True):
            table[made.buffer] = _address(array)
        grads: list[np.ndarray | None] = []
        for write in i.gradients:
            grads.append(None)
            if write.made is not None:
                array = np.empty(write.made.form.shape, write.made.form.dtype)
                table[write.made.buffer] = _address(array)
                grads[-1] = array
        for base, offset, buffer in i.parts:
            table[buffer] = table[base] + offset
        status = self._entry(block, block + self.head)
        if status:
            return self.fail(status, block)
        for source in i.updates:
            tensor_of(source, leaves)._counter[0] += 1
        for write, grad in zip(i.gradients, grads, strict=True):
            missing = grad is None or write.is_missing(table)
            tensor_of(write.source, leaves)._grad = None if missing else wrap(grad)
        result = self._build(table, arrays, leaves)
        return result if i.finish is None else i.finish(result, leaves)

    def _build(self, table: Any, arrays: list[np.ndarray], leaves: Sequence[Any]) -> Any:
        stack: list[Any] = []
        for kind, number, pointer in self.interface.steps:
            if kind >= d.MAKE_TUPLE:
                items = stack[len(stack) - number :]
                del stack[len(stack) - number :]
                if kind == d.MAKE_NODE:
                    stack.append(pointer.node(*items))
                elif kind == d.MAKE_DICT:
                    stack.append(dict(zip(pointer, items, strict=True)))
                else:
                    stack.append(tuple(items) if kind == d.MAKE_TUPLE else items)
            elif kind == d.PUSH_TENSOR:
                x = wrap(arrays[number])
                x._node, x._requires_grad = pointer, pointer is not None
                stack.append(x)
            elif kind == d.PUSH_ARRAY:
                stack.append(arrays[number])
            elif kind == d.PUSH_RESULT:
                stack.append(computed(wrap(arrays[number]), stack[0], pointer))
            elif kind == d.PUSH_EDGE:
                stack.append(edge_of(_tensor(pointer, leaves, number)))
            elif kind == d.PUSH_OBJECT:
                stack.append(pointer)
            elif kind == d.PUSH_ARGUMENT:
                stack.append(leaves[number])
            elif kind == d.PUSH_PAYLOAD:
                stack.append(_tensor(pointer, leaves, number)._payload)
            elif kind == d.PUSH_VERSION:
                stack.append(_tensor(pointer, leaves, number)._counter[0])
            elif kind == d.PUSH_FLOAT:
                stack.append(ctypes.c_double.from_address(table[number]).value)
            elif kind == d.PUSH_INT:
                stack.append(ctypes.c_int64.from_address(table[number]).value)
            elif kind == d.PUSH_BOOL:
                stack.append(ctypes.c_bool.from_address(table[number]).value)
            else:
                stack.append(StackMemory(table[number], table[number + 1]))
        return stack[-1]


def computed(x: Any, node: Any, output: tuple[Any, ...] | None) -> Any:
    """A fresh tensor as the result of a node: the only one, or one `output` of several."""
    x._node = node if output is None else OutputEdge(node, *output)
    x._requires_grad = True
    return x


def _tensor(pointer: Any, leaves: Sequence[Any], number: int) -> Any:
    return leaves[number] if pointer is None else pointer


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
