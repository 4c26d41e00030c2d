"""How the result of a call is put together from what the program computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kuai.compiler.arguments import LEAF
from kuai.compiler.graph import Value
from kuai.compiler.native import descriptor as d
from kuai.compiler.native.bound import Source, Step
from kuai.compiler.numbers import KINDS, Number
from kuai.compiler.trees import parts, rebuild
from kuai.core.base import TensorBase

_PUSH_NUMBER = {float: d.PUSH_FLOAT, int: d.PUSH_INT, bool: d.PUSH_BOOL}
_MAKE: dict[type, int] = {tuple: d.MAKE_TUPLE, list: d.MAKE_LIST, dict: d.MAKE_DICT}
View = tuple[Source, Sequence[tuple[Any, dict[str, Any]]]]


class Result:
    """What a function returned while it was captured, as steps that make it anew.

    Args:
        tree: the value that was returned.
        source: for a tensor, where it comes from, if it is no result of the program: the number
            of a leaf of the arguments, or the tensor itself.
        is_output: whether a value is computed by the program.

    Attributes:
        outputs: the values that the program has to return, in order.
        numbers: for each of them, `float`, `int` or `bool` if it is a Python number.
        leaves: the steps for each leaf of the result.
        views: for leaves that are views of tensors from outside, how they are taken.
        nodes: for outputs whose place on the tape is known, the node.
    """

    def __init__(self, tree: Any, source: Callable[[TensorBase], Source | None]) -> None:
        self.tree = tree
        self.outputs: list[Value] = []
        self.numbers: list[type | None] = []
        self.tensors: list[Any] = []  # the captured tensor behind each output
        self.leaves: list[Step] = []
        self.views: dict[int, View] = {}
        self.nodes: dict[int, Any] = {}
        self._source = source
        self._shape = self._collect(tree)

    def _collect(self, x: Any) -> Any:
        found = None if isinstance(x, TensorBase) else parts(x)
        if found is not None:
            return (x, [self._collect(item) for _, item in found[1]])
        self.leaves.append(self._leaf(x))
        return LEAF

    def _leaf(self, x: Any) -> Step:
        if not isinstance(x, TensorBase):
            return Step(d.PUSH_OBJECT, 0, x)
        source = self._source(x)
        if source is not None:
            if isinstance(source, int):
                return Step(d.PUSH_ARGUMENT, source)
            return Step(d.PUSH_OBJECT, 0, source)
        view = self._view_of_outside(x)
        if view is not None:
            self.views[len(self.leaves)] = view
            return Step(d.PUSH_OBJECT, 0, None)
        for number, known in enumerate(self.tensors):
            if known is x:  # the same tensor twice is one object
                return Step(d.PUSH_TENSOR, number)
        self.tensors.append(x)
        value: Any = x._payload
        self.outputs.append(value)
        kind = KINDS[x.dtype] if isinstance(x, Number) else None
        self.numbers.append(kind)
        number = len(self.outputs) - 1
        return Step(d.PUSH_TENSOR if kind is None else _PUSH_NUMBER[kind], number)

    def _view_of_outside(self, x: Any) -> View | None:
        chain: list[tuple[Any, dict[str, Any]]] = []
        while x._view is not None:
            chain.append((x._view.primitive, x._view.parameters))
            x = x._view.source
        source = self._source(x) if chain else None
        return None if source is None else (source, chain[::-1])

    def forget(self) -> None:
        """Let go of what was captured: how to make the result is known."""
        self.tensors = []
        self._source = lambda _: None

    @property
    def repeats(self) -> bool:
        """Whether the result has one computed tensor at two places."""
        pushed = [s.number for s in self.leaves if s.kind == d.PUSH_TENSOR]
        return len(set(pushed)) < len(pushed)

    @property
    def is_native(self) -> bool:
        """Whether native code can put it together."""
        return not self.views and not self.repeats and _is_plain(self._shape)

    def steps(self) -> list[Step]:
        """The steps that make the result."""
        steps: list[Step] = []
        _steps(self._shape, iter(self.leaves), steps)
        return [self._with_node(s) for s in steps]

    def _with_node(self, step: Step) -> Step:
        if step.kind != d.PUSH_TENSOR:
            return step
        return step._replace(pointer=self.nodes.get(step.number))

    def flat(self, saved: Sequence[Step] = ()) -> list[Step]:
        """Steps that make a tuple: each computed tensor or number once, then `saved`."""
        steps = []
        for number, kind in enumerate(self.numbers):
            step = Step(d.PUSH_TENSOR if kind is None else _PUSH_NUMBER[kind], number)
            steps.append(self._with_node(step))
        return [*steps, *saved, Step(d.MAKE_TUPLE, len(steps) + len(saved))]

    def build(self, computed: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """The result, of what the steps of `flat` made."""
        leaves: list[Any] = []
        for i, step in enumerate(self.leaves):
            if i in self.views:
                source, chain = self.views[i]
                x = arguments[source] if isinstance(source, int) else source
                for primitive, parameters in chain:
                    x = primitive(x, **parameters)
                leaves.append(x)
            elif step.kind == d.PUSH_OBJECT:
                leaves.append(step.pointer)
            elif step.kind == d.PUSH_ARGUMENT:
                leaves.append(arguments[step.number])
            else:
                leaves.append(computed[step.number])
        return _unflatten(self._shape, iter(leaves))


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
