"""How the result of a call is put together from what the program computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kuai.compiler.capture.numbers import KINDS, Number
from kuai.compiler.capture.trees import Fields, Whole, parts, rebuild
from kuai.compiler.graph import Value
from kuai.compiler.native import descriptor as d
from kuai.compiler.native.interface import GradOf, Source, Step, tensor_of
from kuai.compiler.run.arguments import LEAF
from kuai.compiler.struct import Struct
from kuai.core.base import TensorBase
from kuai.core.tape import set_grad_enabled

_PUSH_NUMBER = {float: d.PUSH_FLOAT, int: d.PUSH_INT, bool: d.PUSH_BOOL}
_MAKE: dict[type, int] = {tuple: d.MAKE_TUPLE, list: d.MAKE_LIST, dict: d.MAKE_DICT}


class View(Struct):
    """A result that is a view of a tensor from outside.

    Attributes:
        source: the tensor that it is taken from, or that it is.
        chain: the primitives that take it, one after the other, with their parameters.
        recorded: whether the tape records that.
    """

    source: Source
    chain: Sequence[tuple[Any, dict[str, Any]]]
    recorded: bool

    def take(self, arguments: Sequence[Any]) -> Any:
        """The view, of the tensor as it is now."""
        x = tensor_of(self.source, arguments)
        with set_grad_enabled(self.recorded):
            for primitive, parameters in self.chain:
                x = primitive(x, **parameters)
        return x


class State(Struct):
    """An entry of an optimizer's state that a program makes.

    Attributes:
        optimizer, parameter, name: whose it is.
        output: the number of the output.
        flag: that of the one that says whether this call has made it; `None` for always.
    """

    optimizer: Any
    parameter: Any
    name: str
    output: int
    flag: int | None


class Result:
    """What a function returned while it was captured, as steps that make it anew.

    Args:
        tree: the value that was returned.
        source: for a tensor, where it comes from, if it is no result of the program: the number
            of a leaf of the arguments, or the tensor itself.
        value: for a tensor that is a result of the program, its value in the graph.

    Attributes:
        outputs: the values that the program has to return, in order.
        numbers: for each of them, `float`, `int` or `bool` if it is a Python number.
        places: for each of them, the number of its (first) leaf.
        leaves: the steps for each leaf of the result.
        views: for leaves that are views of tensors from outside, how they are taken.
        nodes: for outputs whose place on the tape is known, the node.
        opens: the classes of objects that are taken apart and made anew.
        made: the leaves of the tape that the function makes: outputs to be told that they need a
            gradient.
        missing: for each output that may be None, the number of the one that says whether not.
        states: the entries of optimizers' states among the outputs.
    """

    def __init__(
        self,
        tree: Any,
        source: Callable[[TensorBase], Source | None],
        value: Callable[[TensorBase], Value],
    ) -> None:
        self.tree = tree
        self.outputs: list[Value] = []
        self.numbers: list[type | None] = []
        self.places: list[int] = []
        self.made: set[int] = set()
        self.missing: dict[int, int] = {}
        self.states: list[State] = []
        self.opens: set[type] = set()
        self.tensors: list[Any] = []  # the captured tensor behind each output
        self.leaves: list[Step] = []
        self.views: dict[int, View] = {}
        self.nodes: dict[int, Any] = {}
        self._source = source
        self._value = value
        self._shape = self._collect(tree)
        for number in self.missing:
            self.missing[number] = self.hide(value(self.tensors[number]._arrives))

    def _collect(self, x: Any) -> Any:
        found = None if isinstance(x, TensorBase) else parts(x)
        if isinstance(x, Fields):
            self.opens.add(type(x.like))
        if found is not None:
            return (x, [self._collect(item) for _, item in found[1]])
        self.leaves.append(self._leaf(x))
        return LEAF

    def _leaf(self, x: Any) -> Step:
        if isinstance(x, Whole):
            return Step(d.PUSH_OBJECT, 0, x.container)
        if not isinstance(x, TensorBase):
            return Step(d.PUSH_OBJECT, 0, x)
        source = self._source(x)
        if source is not None:
            if isinstance(source, int):
                return Step(d.PUSH_ARGUMENT, source)
            if isinstance(source, GradOf):
                self.views[len(self.leaves)] = View(source, (), False)
                return Step(d.PUSH_OBJECT, 0, None)
            return Step(d.PUSH_OBJECT, 0, source)
        view = view_of_outside(x, self._source)
        if view is not None:
            self.views[len(self.leaves)] = view
            return Step(d.PUSH_OBJECT, 0, None)
        for number, known in enumerate(self.tensors):
            if known is x:  # the same tensor twice is one object
                return self._push(number)
        self.tensors.append(x)
        self.places.append(len(self.leaves))
        self.outputs.append(self._value(x))
        kind = KINDS[x.dtype] if isinstance(x, Number) else None
        self.numbers.append(kind)
        number = len(self.outputs) - 1
        if x._requires_grad and x._node is None:
            self.made.add(number)
        if x._arrives is not None:
            self.missing[number] = len(self.missing)
        return self._push(number)

    def _push(self, number: int) -> Step:
        """The step that gives a tensor or number which the program computes."""
        kind = self.numbers[number]
        return Step(d.PUSH_TENSOR if kind is None else _PUSH_NUMBER[kind], number)

    def hide(self, value: Value, kind: type | None = bool) -> int:
        """Let the program compute what is no part of the result; the number of its output."""
        self.outputs.append(value)
        self.numbers.append(kind)
        return len(self.outputs) - 1

    def add(self, optimizer: Any, p: Any, name: str, value: Value, flag: Value | None) -> None:
        """Let each call that does so give an optimizer this entry of its state."""
        output = self.hide(value, None)
        self.states.append(
            State(optimizer, p, name, output, None if flag is None else self.hide(flag))
        )

    def forget(self) -> None:
        """Let go of what was captured: how to make the result is known."""
        self.tensors = []
        del self._source, self._value

    @property
    def repeats(self) -> bool:
        """Whether the result has one computed tensor at two places."""
        pushed = [s.number for s in self.leaves if s.kind == d.PUSH_TENSOR]
        return len(set(pushed)) < len(pushed)

    @property
    def is_native(self) -> bool:
        """Whether native code can put it together."""
        special = self.views or self.made or self.missing or self.states or self.repeats
        return not special and _is_plain(self._shape)

    def steps(self, computed: Mapping[int, Any] | None = None) -> list[Step]:
        """The steps that make the result.

        Args:
            computed: for outputs that are results of the node on the tape, which ones they are.
        """
        steps: list[Step] = []
        _steps(self._shape, iter(self.leaves), steps)
        known = computed or {}
        return [
            Step(d.PUSH_RESULT, s.number, known[s.number])
            if s.kind == d.PUSH_TENSOR and s.number in known
            else self._with_node(s)
            for s in steps
        ]

    def _with_node(self, step: Step) -> Step:
        if step.kind != d.PUSH_TENSOR:
            return step
        return step._replace(pointer=self.nodes.get(step.number))

    def flat(self, saved: Sequence[Step] = ()) -> list[Step]:
        """Steps that make a tuple: each computed tensor or number once, then `saved`."""
        steps = []
        for number in range(len(self.numbers)):
            steps.append(self._with_node(self._push(number)))
        return [*steps, *saved, Step(d.MAKE_TUPLE, len(steps) + len(saved))]

    def build(self, computed: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """The result, of what the steps of `flat` made."""
        for number in self.made:
            computed[number]._requires_grad = True
        for state in self.states:
            if state.flag is None or computed[state.flag]:
                state.optimizer.state[state.parameter][state.name] = computed[state.output]
        leaves: list[Any] = []
        for i, step in enumerate(self.leaves):
            if i in self.views:
                leaves.append(self.views[i].take(arguments))
            elif step.kind == d.PUSH_OBJECT:
                leaves.append(step.pointer)
            elif step.kind == d.PUSH_ARGUMENT:
                leaves.append(arguments[step.number])
            elif step.number in self.missing and not computed[self.missing[step.number]]:
                leaves.append(None)
            else:
                leaves.append(computed[step.number])
        return _unflatten(self._shape, iter(leaves))


def view_of_outside(x: Any, source: Callable[[TensorBase], Source | None]) -> View | None:
    """How a tensor is taken from one from outside, if it is a view of such."""
    recorded = x._requires_grad
    chain: list[tuple[Any, dict[str, Any]]] = []
    while x._view is not None:
        chain.append((x._view.primitive, x._view.parameters))
        x = x._view.source
        found = source(x)
        if found is not None:
            return View(found, chain[::-1], recorded)
    return None


def _is_plain(shape: Any) -> bool:
    if shape is LEAF:
        return True
    like, inside = shape
    return type(like) in _MAKE and all(_is_plain(s) for s in inside)


def _steps(shape: Any, leaves: Any, steps: list[Step]) -> None:
    if shape is LEAF:
        steps.append(next(leaves))
        return
    like, inside = shape
    for s in inside:
        _steps(s, leaves, steps)
    steps.append(Step(_MAKE[type(like)], len(inside), list(like) if type(like) is dict else None))


def _unflatten(shape: Any, leaves: Any) -> Any:
    if shape is LEAF:
        return next(leaves)
    like, inside = shape
    return rebuild(like, [_unflatten(s, leaves) for s in inside])
