"""What capturing one call gives: the graph, and what belongs to it of the world outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai.compiler.capture import trees
from kuai.compiler.capture.held import Held
from kuai.compiler.capture.numbers import Number
from kuai.compiler.capture.reads import Reads
from kuai.compiler.capture.records import Fetch, Read
from kuai.compiler.capture.sameness import AnyNumber, Key
from kuai.compiler.capture.stepping import Born
from kuai.compiler.graph import Graph, Value
from kuai.compiler.native.interface import GradOf, Source
from kuai.core.base import TensorBase


class Argument:
    """A tensor or float among the arguments' leaves that is an input of the graph.

    Attributes:
        leaf: its number among the leaves.
        value: the graph's input.
        given: what it was in the call that was captured.
        stand_in: the captured tensor that the function got for it.
        is_grad: whether it is the `grad` of the leaf, and not the leaf itself.
        lacks_grad: whether it must have no `grad`.
        is_leaf: whether it must be where gradients end, without hooks.
    """

    def __init__(
        self, leaf: int, value: Value, given: Any, stand_in: Any, is_grad: bool = False
    ) -> None:
        self.leaf, self.value, self.given, self.stand_in = leaf, value, given, stand_in
        self.is_grad = is_grad
        self.lacks_grad = self.is_leaf = False
        self.reads_grad = False
        self.overwritten = False  # its grad was written before anything read it

    def reads_gradient(self, overwritten: bool) -> None:
        """Note that the `grad` of its tensor is about to be read, or written unread."""
        if overwritten and not self.reads_grad:
            self.overwritten = True
        self.reads_grad = self.reads_grad or not self.overwritten


class NumberInput:
    """A number from outside that is an input of the graph.

    Attributes:
        value: the graph's input.
        fetch: gives the number as it is now.
        key: of the read that it stands for.
        any_number: which numbers the graph is for.
    """

    def __init__(self, value: Value, fetch: Fetch, key: Key, any_number: AnyNumber) -> None:
        self.value, self.fetch, self.key, self.any_number = value, fetch, key, any_number


class Captured:
    """A captured call.

    Attributes:
        graph: what it does to tensors. Its inputs are those of `arguments`, then those of
            `numbers`, then `grad_inputs`.
        arguments: the inputs that come from the call's arguments.
        numbers: those that are fetched from outside.
        output: what the function returned, with captured tensors in it.
        differentiated: the returned tensors that need gradients.
        spent: those whose part of the tape has been used up by `backward`.
        grad_inputs: the graph's inputs for the gradients of `differentiated`.
        leaf_gradients: for each leaf that gradients flow to (the number of an argument's leaf,
            or a tensor from outside), its gradient, if one may arrive.
        arrivals: for each of these, the bool that says whether it arrives; `None` for always.
        grad_arrivals: the same for those of the graph's `gradients` that may not arrive, by
            their number.
        born: what the call adds to the state of optimizers.
        reads: what was read, to be checked before the graph is used again.
        function: the function as it was captured.
        written: the attributes from outside that it sets; `output` is then a pair of what it
            returned and what these hold.
        unread: the leaves, of attributes from outside, that it did not look at.
        effects: what is done when each call is over.
    """

    def __init__(self, graph: Graph, reads: Reads) -> None:
        self.graph = graph
        self.arguments: list[Argument] = []
        self.numbers: list[NumberInput] = []
        self.output: Any = None
        self.differentiated: list[Any] = []
        self.spent: list[Any] = []
        self.grad_inputs: list[Value] = []
        self.leaf_gradients: list[tuple[Source, Value | None]] = []
        self.arrivals: list[Value | None] = []
        self.grad_arrivals: dict[int, Value] = {}
        self.born: list[Born] = []
        self.reads = reads
        self.function: Any = None
        self.written: list[Held] = []
        self.unread: set[int] = set()
        self.effects: list[Callable[[], object]] = []
        self._outer: dict[int, Any] = {}
        self._stand_ins: dict[int, int] = {}
        # By a tensor, the one whose `grad` it is in the end.
        self._grads: dict[int, int | TensorBase] = {}
        self._constants: dict[int, Value] = {}

    def source(self, x: TensorBase) -> Source | None:
        """Where a returned tensor comes from, if it is an argument or a tensor from outside."""
        if id(x) in self._grads:
            return GradOf(self._grads[id(x)])
        if id(x) in self._stand_ins:
            return self._stand_ins[id(x)]
        return x if id(x) in self._outer else None

    def value(self, x: TensorBase) -> Value:
        """The value of a tensor that was made during the capture."""
        payload: Any = x._payload
        return payload if isinstance(payload, Value) else self._constants[id(x)]

    @property
    def records(self) -> list[Read]:
        """What was read."""
        return list(self.reads.records.values())

    def evaluate(self, *arrays: Any) -> Any:
        """What the function returns, by NumPy: tensors are arrays, captured numbers numbers.

        Args:
            arrays: one for each of `arguments`.
        """
        import numpy as np

        numbers = [np.asarray(n.fetch(), n.value.dtype) for n in self.numbers]
        found = self.graph.evaluate(*arrays, *numbers)
        changed = {id(v): new for v, new in self.graph.updates}

        def of(x: Any) -> Any:
            if not isinstance(x, TensorBase):
                return x
            payload: Any = x._payload
            source = self.source(x)
            if isinstance(source, int):
                value = next(a.value for a in self.arguments if a.leaf == source)
                payload = changed.get(id(value), value)
            elif isinstance(source, TensorBase):
                value = self._outer[id(x)].value
                payload = changed.get(id(value), value)
            array = found[payload] if isinstance(payload, Value) else payload
            return array.item() if isinstance(x, Number) else array

        return trees.map_leaves(of, self.output)

    def __str__(self) -> str:
        return str(self.graph)
