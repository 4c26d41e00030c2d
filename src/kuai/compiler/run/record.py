"""A captured call in the terms of a program: inputs, results, gradients, guards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from kuai.compiler.capture import Captured, NumberInput, capture_call
from kuai.compiler.capture.held import Held
from kuai.compiler.capture.records import FromCell, FromItem, OfBlock, OfTensor, Part
from kuai.compiler.capture.sameness import Key
from kuai.compiler.native.interface import GradOf
from kuai.compiler.run.backward import SpentNode
from kuai.compiler.run.bind import Input, Loose
from kuai.compiler.run.guards import Guards
from kuai.compiler.run.program import Call, Joint, Recorded
from kuai.compiler.run.results import Result
from kuai.core.base import TensorBase


def record(
    function: Any,
    call: Call,
    floats: set[Key],
    held: Sequence[Held] = (),
    ints: Collection[int] = (),
) -> Recorded:
    """Capture a call.

    Args:
        function: what is called.
        call: the arguments.
        floats: the reads whose floats are to be inputs.
        held: the attributes from outside that are arguments of the call.
        ints: the leaves of the arguments whose ints are to be inputs.

    Raises:
        CompileError: it does something that cannot be captured.
        NeedsHeldError: it sets an attribute that it has read, and that is not among `held`.
    """
    captured = capture_call(
        function,
        call.args,
        call.kwargs,
        differentiate=bool(call.mode & 1),
        floats=floats,
        held=held,
        ints=ints,
    )
    result = Result(captured.output, captured.source, captured.value)
    for x in captured.spent:
        result.nodes[_number(result, x)] = SpentNode(x._payload)
    joint = None
    if captured.differentiated:
        joint = Joint(
            [_number(result, x) for x in captured.differentiated],
            captured.grad_inputs,
            [source for source, _ in captured.leaf_gradients],
            [g for _, g in captured.leaf_gradients],
            captured.arrivals,
        )
    graph = captured.graph
    for entry in captured.born:
        flag = None if entry.defined is None else entry.defined._payload
        result.add(entry.optimizer, entry.parameter, entry.name, captured.value(entry.value), flag)
    arrivals = {i: result.hide(value) for i, value in captured.grad_arrivals.items()}
    graph.outputs = list(result.outputs)
    seen = [r.tensor for r in captured.records if isinstance(r, OfTensor)]
    owners = {id(x._grad._payload): x for x in seen if x._grad is not None}
    inputs = {n.key for n in captured.numbers}
    changing = [h.key for h in (*held, *captured.written)]
    for read in captured.records:
        if isinstance(read, OfBlock):
            read.settle(inputs, changing)
    guards = Guards(captured.records, owners)
    result.forget()
    found = _inputs(captured)
    written, unread = captured.written, captured.unread
    return Recorded(
        graph, found, result, guards, joint, owners, written, unread, arrivals, captured.effects
    )


def _number(result: Result, x: Any) -> int:
    """The number of a tensor among the computed ones."""
    return next(i for i, t in enumerate(result.tensors) if t is x)


def _inputs(captured: Captured) -> list[Input | Loose]:
    found: list[Input | Loose] = []
    for a in captured.arguments:
        if isinstance(a.given, TensorBase):
            source = GradOf(a.leaf) if a.is_grad else a.leaf
            made = Input(source, a.given, a.given._requires_grad)
            made.lacks_grad, made.is_leaf = a.lacks_grad, a.is_leaf
            found.append(made)
        else:
            found.append(Loose(type(a.given), a.leaf))
    return found + [_outer_number(captured, n) for n in captured.numbers]


def _outer_number(captured: Captured, number: NumberInput) -> Loose:
    """A number from outside, where native code can read it if possible."""
    kind, sign = number.any_number.kind, number.any_number.sign
    read: Any = getattr(number.fetch, "__self__", None)
    if isinstance(read, FromCell):
        return Loose(kind, cell=read.cell)
    container, index, item, size = None, number.key[-1], 0, 0
    if isinstance(read, Part):
        whole = getattr(read.whole, "__self__", None)
        if isinstance(whole, FromItem):
            index, item, size = whole.index, read.place, len(whole.value)
            read = whole
    if isinstance(read, FromItem):
        container = read.container
    elif number.key[0] == FromItem.kind:  # an attribute of a block
        for record in captured.records:
            if isinstance(record, OfBlock) and id(record.block.__dict__) == number.key[1]:
                container = record.block.__dict__
    if type(container) is dict and type(index) is str:
        return Loose(kind, container=container, key=index, item=item, size=size, sign=sign)
    return Loose(kind, read=number.fetch, sign=sign)
