"""Calls of a `Function` while a graph is captured: operations of the graph, as others are.

The results pass through an operation that leaves them as they are, and whose gradient is the
user's `backward`. Whatever that takes (what was saved, tensors that are attributes of the
context) is an input of the operation, so that loops and branches can repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai.autograd.function import _FunctionNode, result_metas
from kuai.core.base import TensorBase
from kuai.core.fused import same
from kuai.core.primitive import Primitive, is_floating, primitive
from kuai.core.tape import edge_of


@primitive
class custom_gradient(Primitive):
    """The first `count` inputs unchanged, with a gradient that `application` gives."""

    inputs = ("values",)
    variadic = True
    is_identity = True

    def kernel(self, *values: np.ndarray, count: int, application: Application) -> Any:
        return values[:count]

    def infer(self, *metas: Any, count: int, application: Application) -> Any:
        return metas[:count]

    def gradient(self, grad: Any, result: Any, values: Any, application: Application) -> Any:
        grads = grad if isinstance(grad, (tuple, list)) else (grad,)
        return application.gradients(grads, result, values)


class _Held:
    """What stands in a context for one of the operation's inputs."""

    def __init__(self, place: int) -> None:
        self.place = place


class Application:
    """One call of a `Function`.

    Args:
        function: which.
        context: what its `forward` left.
        sources: for each argument of `forward` where its gradient goes, or `None`.
        results: what `forward` returned.
        outputs: the numbers of those results that have a gradient.

    Attributes:
        values: the inputs of the operation.
    """

    def __init__(
        self,
        function: Any,
        context: Any,
        sources: Sequence[Any],
        results: Sequence[Any],
        outputs: list[int],
    ) -> None:
        self.function = function
        self.outputs = outputs
        self.metas = result_metas(results)
        self.values: list[Any] = [results[i] for i in outputs]
        self.arguments: list[int | None] = []
        for x in sources:
            self.arguments.append(None if x is None else len(self.values))
            if x is not None:
                self.values.append(x)
        self.context_class = type(context)
        attributes = dict(vars(context))
        self.saved = [self._hold(x) for x in attributes.pop("_to_save", ())]
        self.attributes = {name: self._hold(x) for name, x in attributes.items()}

    def _hold(self, x: Any) -> Any:
        def place(leaf: Any) -> Any:
            if not isinstance(leaf, TensorBase):
                return leaf
            for i, value in enumerate(self.values):
                if value is leaf:
                    return _Held(i)
            self.values.append(leaf)
            return _Held(len(self.values) - 1)

        return _mapped(place, x)

    def gradients(self, grads: Sequence[Any], result: Sequence[Any], values: Sequence[Any]) -> Any:
        """The gradients of the operation's inputs.

        Args:
            grads: those of its results.
            result: its results.
            values: its inputs, as they are where the gradients are wanted.
        """
        values = [*result, *values[len(result) :]]

        def given(leaf: Any) -> Any:
            return values[leaf.place] if isinstance(leaf, _Held) else leaf

        context = self.context_class()
        for name, x in self.attributes.items():
            setattr(context, name, _mapped(given, x))
        saved = [given(x) for x in self.saved]
        context._saved = [
            None if x is None else (None, x, x._counter[0], x._payload, x._counter) for x in saved
        ]
        node = object.__new__(_FunctionNode)
        node.function, node.context, node.metas = self.function, context, self.metas
        node.outputs = len(self.metas)
        node.edges = [None if i is None else edge_of(values[i]) for i in self.arguments]
        every: list[Any] = [None] * len(self.metas)
        for i, grad in zip(self.outputs, grads, strict=True):
            every[i] = grad
        found: list[Any] = [None] * len(values)
        own = node.gradients(every if node.outputs > 1 else every[0])
        for place, grad in zip(self.arguments, own, strict=True):
            if place is not None:
                found[place] = grad
        return found

    def __repr__(self) -> str:
        return str(self.function.__name__)


def _mapped(function: Callable[[Any], Any], x: Any) -> Any:
    if type(x) in (list, tuple):
        return type(x)([_mapped(function, item) for item in x])
    if type(x) is dict:
        return {key: _mapped(function, item) for key, item in x.items()}
    return function(x)


class CapturedRecord:
    """What gives the results of a captured `Function` their place on the tape.

    Args:
        function: which.
        args: the arguments of `forward`, which has not run.
    """

    def __init__(self, function: Any, args: Sequence[Any]) -> None:
        self.function = function
        # Where their gradients go has a place of its own: `forward` may change them in place.
        self.sources = [None if edge_of(x) is None else same(x) for x in args]

    def __call__(
        self,
        context: Any,
        args: Sequence[Any],
        edges: Sequence[Any],
        results: list[Any],
        dirty: Sequence[Any],
        fixed: Sequence[Any],
    ) -> None:
        """Record the call; `results` becomes what `apply` returns."""
        outputs = [
            i
            for i, r in enumerate(results)
            if isinstance(r, TensorBase)
            and is_floating(r._payload)
            and not any(r is other for other in fixed)
        ]
        if not outputs:
            return
        call = Application(self.function, context, self.sources, results, outputs)
        found = custom_gradient(*call.values, count=len(outputs), application=call)
        for i, new in zip(outputs, found, strict=True):
            old = results[i]
            if any(old is d for d in dirty):
                old._payload, old._node = new._payload, new._node
                old._requires_grad = new._requires_grad
                old._counter[1] += 1
            else:
                new._counter = old._counter  # the memory is the same
                results[i] = new
