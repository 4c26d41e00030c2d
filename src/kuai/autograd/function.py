"""One's own operations, with a forward and a backward of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.autograd.packing import Packed, pack_now
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, alias, wrap
from kuai.core.primitive import _changed, is_floating
from kuai.core.tape import (
    FREED,
    Node,
    OutputEdge,
    _sequence,
    edge_of,
    edge_shape,
    mode,
    no_grad,
    refresh,
)
from kuai.errors import GradientError

if TYPE_CHECKING:
    pass


class FunctionCtx:
    """What `forward` leaves for `backward`: saved tensors, and any attributes."""

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads = True
    _freed = False

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for `backward`, where `saved_tensors` gives them."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Accepted for PyTorch's sake."""

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs `forward` changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which results have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros, and not `None`, for results without a gradient."""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that `forward` saved.

        Raises:
            GradientError: they were freed, or changed in place since.
        """
        if self._freed:
            raise GradientError(
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Specify retain_graph=True if you "
                "need to backward through the graph a second time."
            )
        return tuple([self._unpack(s) for s in self.__dict__.get("_saved", ())])

    saved_variables = saved_tensors

    def _unpack(self, saved: Any) -> Any:
        if saved is None:
            return None
        if isinstance(saved, Packed):
            return saved.unpack()
        kind, x, version, payload, counter = saved
        if counter[0] != version:
            raise _changed(payload, counter[0], version, self._node)  # type: ignore[attr-defined]
        if kind is None:
            return x
        result = wrap(payload)  # one of the results: rebuilt, as holding it would be a cycle
        result._counter = counter
        node = self._node  # type: ignore[attr-defined]
        if node is not None and is_floating(payload):
            result._requires_grad = True
            result._node = (
                node if node.outputs == 1 else OutputEdge(node, kind, payload.shape, payload.dtype)
            )
        return result


class _FunctionNode(Node):
    """The node that a `Function` leaves on the tape; it calls the user's `backward`."""

    function: type[Function]
    context: Any
    metas: list[tuple[Any, Any]]

    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def gradients(self, grad: Any) -> Sequence[Any]:
        grads = grad if self.outputs > 1 else [grad]
        context = self.context
        if context.materialize_grads:
            grads = [
                wrap(np.zeros(shape, numpy_dtype)) if g is None else g
                for g, (shape, numpy_dtype) in zip(grads, self.metas, strict=True)
            ]
        context._node = self
        try:
            results = self.function.backward(context, *grads)
        finally:
            context._node = None
        if not isinstance(results, (tuple, list)):
            results = (results,)
        results = tuple(results)
        if len(results) > len(self.edges):
            if any(r is not None for r in results[len(self.edges) :]):
                raise GradientError(
                    f"function {self.name()} returned an incorrect number of gradients (expected "
                    f"{len(self.edges)}, got {len(results)})"
                )
            results = results[: len(self.edges)]
        elif len(results) < len(self.edges):
            raise GradientError(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{len(self.edges)}, got {len(results)})"
            )
        return [
            None if edge is None or g is None else self._checked(i, g, edge)
            for i, (g, edge) in enumerate(zip(results, self.edges, strict=True))
        ]

    def _checked(self, i: int, g: Any, edge: Any) -> Any:
        from kuai.ops.pointwise import broadcast_shapes, sum_to

        if not isinstance(g, TensorBase):
            raise TypeError(
                f"function {self.name()} returned a {type(g).__name__} at position {i}, expected a "
                "Tensor or None"
            )
        shape = edge_shape(edge)
        if g._payload.shape == shape:
            return g
        try:
            fits = broadcast_shapes(g._payload.shape, shape) == g._payload.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise GradientError(
                f"Function {self.name()} returned an invalid gradient at index {i} - got "
                f"{list(g._payload.shape)} but expected shape compatible with {list(shape)}"
            )
        return sum_to(g, shape)  # type: ignore[arg-type]

    def release(self) -> None:
        self.context._freed = "_saved" in self.context.__dict__
        self.context.__dict__.pop("_saved", None)
        if self.context._freed:
            self.saved = FREED


def result_metas(results: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The shape and type of each result, which zeros in the place of its gradient have."""
    return [
        (r._payload.shape, r._payload.dtype) if isinstance(r, TensorBase) else ((), np.float32)
        for r in results
    ]


class Function:
    """One's own operation: subclass it, write `forward` and `backward` as static methods.

    `forward(ctx, *args)` computes the result, with what `backward` needs left in `ctx`; or
    `forward(*args)` with `setup_context(ctx, inputs, output)` beside it. `backward(ctx, *grads)`
    returns one gradient (or `None`) for each argument of `forward`. Call it as
    `YourFunction.apply(*args)`.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradients of the arguments from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward
    setup_context: Any = None

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward`, and record `backward`."""
        context = cls._context_class()()
        context._node = None
        edges = tuple(edge_of(a) for a in args)
        context.needs_input_grad = tuple(e is not None for e in edges)
        recording = mode.grad and any(context.needs_input_grad)
        record: Any = cls._record
        if recording and primitives.intercept is not None:
            from kuai.autograd.captured_function import CapturedRecord

            record = CapturedRecord(cls, args)
        with no_grad():
            if cls.setup_context is not None:
                output = cls.forward(*args)
                cls.setup_context(context, args, output)
            else:
                output = cls.forward(context, *args)
        several = isinstance(output, (tuple, list))
        results = list(output) if several else [output]
        dirty = context.__dict__.pop("_dirty", ())
        fixed = context.__dict__.pop("_non_differentiable", ())
        if recording:
            record(context, args, edges, results, dirty, fixed)
        context.__dict__.pop("_to_save", None)
        return tuple(results) if several else results[0]

    @classmethod
    def _context_class(cls) -> Any:
        """The class of this function's contexts; made once, as a class is a cycle of references."""
        found = cls.__dict__.get("_contexts")
        if found is None:
            found = cls._contexts = type(  # type: ignore[attr-defined]
                f"{cls.__name__}Backward", (FunctionCtx,), {}
            )
        return found

    @classmethod
    def _record(
        cls,
        context: Any,
        args: Sequence[Any],
        edges: tuple[Any, ...],
        results: list[Any],
        dirty: Sequence[Any],
        fixed: Sequence[Any],
    ) -> None:
        node = object.__new__(_FunctionNode)
        node.function = cls
        node.context = context
        node.primitive = None
        node.edges = edges
        node.saved = None
        node.result = None
        node.pre_hooks = node.post_hooks = None
        node.sequence = _sequence()
        node.outputs = len(results)
        node.metas = result_metas(results)
        node.shape, node.numpy_dtype = node.metas[0]
        for i, r in enumerate(results):
            if not isinstance(r, TensorBase):
                continue
            changed = any(r is d for d in dirty)
            if any(r is a for a in args) and not changed:
                r = results[i] = alias(r)
            if any(r is f for f in fixed) or not is_floating(r._payload):
                r._requires_grad, r._node = False, None
                continue
            if r._view is not None:
                refresh(r)
            if changed:
                r._counter[1] += 1
            r._requires_grad = True
            r._node = (
                node
                if node.outputs == 1
                else OutputEdge(node, i, r._payload.shape, r._payload.dtype)
            )
        saved: list[Any] = []
        for x in context.__dict__.get("_to_save", ()):
            if x is None:
                saved.append(None)
                continue
            packed = pack_now(x)
            if packed is not None:
                saved.append(packed)
                continue
            place = next((i for i, t in enumerate(results) if t is x), None)
            saved.append(
                (place, x if place is None else None, x._counter[0], x._payload, x._counter)
            )
        if saved:
            context._saved = saved


NestedIOFunction = Function


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of `backward`: it is not itself differentiable."""

    @functools.wraps(function)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            return function(ctx, *grads)

    return wrapper
