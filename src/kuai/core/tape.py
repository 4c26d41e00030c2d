"""The tape: what was computed from what, and the engine that walks it backwards.

Each recorded operation leaves a `Node`. A node's edges lead to what its inputs came from: another
node, one output of a node with several (`OutputEdge`), or a leaf tensor that wants a gradient.
Nodes are numbered as they are made, so that visiting them in falling order visits every consumer
before its producer; no recursion, no counting of dependencies.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kuai.core.base import TensorBase, alias, inferring, wrap
from kuai.errors import GradientError

if TYPE_CHECKING:
    from kuai.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


class _Mode(threading.local):
    grad = True
    inference = False


mode = _Mode()
_sequence = itertools.count().__next__


def is_grad_enabled() -> bool:
    """Whether operations are recorded for differentiation in this thread."""
    return mode.grad


def is_inference_mode_enabled() -> bool:
    """Whether `inference_mode` is on in this thread."""
    return mode.inference


class _GradMode:
    """A context manager and decorator that sets whether operations are recorded."""

    enabled = True

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self._before: list[bool] = []

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        instance = object.__new__(cls)
        if function is None:
            return instance
        cls.__init__(instance)  # `@no_grad` without parentheses
        return instance(function)

    def __enter__(self) -> None:
        self._before.append(mode.grad)
        mode.grad = self.enabled

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        mode.grad = self._before.pop()

    def __call__(self, function: F) -> F:
        return _decorate(self.clone, function)

    def clone(self) -> _GradMode:
        """A fresh context manager of the same kind."""
        return type(self)()


def _decorate(context: Callable[[], Any], function: Any) -> Any:
    if isinstance(function, type):
        raise TypeError("a gradient mode decorates functions, not classes")
    import inspect

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            with context():
                source = function(*args, **kwargs)
                value = next(source, _DONE)
            while value is not _DONE:
                sent = yield value
                with context():
                    try:
                        value = source.send(sent)
                    except StopIteration as stop:
                        return stop.value
            return None

        return generator

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with context():
            return function(*args, **kwargs)

    return wrapper


_DONE = object()


class no_grad(_GradMode):
    """Context manager or decorator: operations inside are not recorded."""

    enabled = False


class enable_grad(_GradMode):
    """Context manager or decorator: operations inside are recorded, also within `no_grad`."""

    enabled = True


class set_grad_enabled(_GradMode):
    """Set recording on or off: at once when called, undone at the end when used with `with`."""

    def __new__(cls, mode: bool) -> set_grad_enabled:
        return object.__new__(cls)

    def __init__(self, mode: bool) -> None:
        self.enabled = bool(mode)
        self._before = [globals()["mode"].grad]
        globals()["mode"].grad = self.enabled

    def __enter__(self) -> None:
        mode.grad = self.enabled

    def __call__(self, function: F) -> F:
        mode.grad = self._before.pop()
        enabled = self.enabled
        return _decorate(lambda: set_grad_enabled(enabled), function)


class inference_mode(_GradMode):
    """Context manager or decorator: as `no_grad`, for code that never differentiates."""

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode):
            return inference_mode()(mode)
        return object.__new__(cls)

    def __init__(self, mode: Any = True) -> None:
        self.on = bool(mode)
        self._states: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._states.append((mode.grad, mode.inference))
        self._set(not self.on, self.on)

    def __exit__(self, *exc: Any) -> None:
        self._set(*self._states.pop())

    def _set(self, grad: bool, inference: bool) -> None:
        mode.grad, mode.inference = grad, inference
        (inferring.add if inference else inferring.discard)(threading.get_ident())

    def clone(self) -> inference_mode:
        return inference_mode(self.on)


class RemovableHandle:
    """What `register_hook` returns; `remove()` (or leaving a `with`) takes the hook away."""

    _next_id = itertools.count().__next__

    def __init__(self, hooks: dict[int, Any], *extra: dict[int, Any]) -> None:
        self.id = RemovableHandle._next_id()
        self._hooks = [hooks, *extra]

    def remove(self) -> None:
        """Take the hook away; nothing happens when it is gone already."""
        for hooks in self._hooks:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


FREED: Any = ("freed",)


class Node:
    """One recorded operation.

    Attributes:
        edges: for each input, where its gradient goes; `None` where none is wanted.
        shape, numpy_dtype: of the result (of the first one, where there are several).
        sequence: the number by which nodes are ordered.
    """

    primitive: Any
    parameters: dict[str, Any]
    edges: Sequence[Edge | None]
    sequence: int
    shape: tuple[int, ...]
    numpy_dtype: Any
    result: Any = None
    saved: Any = None
    shapes: Any = None
    versions: Sequence[int] = ()
    pre_hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None
    post_hooks: dict[int, Callable[[Any, Any], Any]] | None = None
    outputs: int = 1
    index: int = 0
    label: str = ""

    def name(self) -> str:
        """The name that is printed as `grad_fn`."""
        return self.label or str(self.primitive.gradient_name)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that the gradients go to, with the number of the output that each is for."""
        return tuple(_as_function(edge) for edge in self.edges)

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after this node's gradients are computed."""
        if self.post_hooks is None:
            self.post_hooks = {}
        handle = RemovableHandle(self.post_hooks)
        self.post_hooks[handle.id] = hook
        return handle

    def register_prehook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before this node's gradients are computed."""

        def on_tensor(grad: Tensor) -> Tensor | None:
            new = hook((grad,))
            return new[0] if isinstance(new, tuple) else new

        return self.add_tensor_hook(on_tensor)

    def add_tensor_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook` with the gradient of this node's result; what it returns replaces it."""
        if self.pre_hooks is None:
            self.pre_hooks = {}
        handle = RemovableHandle(self.pre_hooks)
        self.pre_hooks[handle.id] = hook
        return handle

    def gradients(self, grad: Any) -> Sequence[Tensor | None]:
        """The gradients of the inputs, given that of the result."""
        return self.primitive.gradients(self, grad)

    def release(self) -> None:
        """Let go of the saved values."""
        if self.saved is not None:
            self.saved = FREED
        self.result = None


class OutputEdge:
    """One output of a node that has several; it passes its gradient on to the node."""

    __slots__ = ("__weakref__", "index", "node", "numpy_dtype", "pre_hooks", "sequence", "shape")

    def __init__(self, node: Node, index: int, shape: tuple[int, ...], numpy_dtype: Any) -> None:
        self.node = node
        self.index = index
        self.shape = shape
        self.numpy_dtype = numpy_dtype
        self.sequence = _sequence()
        self.pre_hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None

    add_tensor_hook = Node.add_tensor_hook

    def __repr__(self) -> str:
        return repr(self.node)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


Edge = Any  # Node | OutputEdge | Tensor (a leaf)


class AccumulateGrad:
    """What `next_functions` shows for a leaf: the node that adds to its `grad`."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable
        self.next_functions: tuple[()] = ()

    def name(self) -> str:
        """The name that is printed."""
        return "kuai::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


def _as_function(edge: Edge | None) -> tuple[Any, int]:
    if edge is None:
        return (None, 0)
    if isinstance(edge, TensorBase):
        return (AccumulateGrad(edge), 0)  # type: ignore[arg-type]
    if isinstance(edge, OutputEdge):
        return (edge.node, edge.index)
    return (edge, 0)


def edge_of(x: Any) -> Edge | None:
    """Where the gradient of `x` goes: its node, itself when it is a leaf, or nowhere."""
    if not isinstance(x, TensorBase):
        return None
    if x._view is not None:
        refresh(x)
    if not x._requires_grad:
        return None
    return x if x._node is None else x._node


def edge_shape(edge: Edge) -> tuple[int, ...]:
    """The shape of the tensor that the edge leads to."""
    return edge._payload.shape if isinstance(edge, TensorBase) else edge.shape


def called(result: Tensor, label: str) -> Tensor:
    """The fresh result of a composed function, its node under the name that PyTorch prints."""
    if result._node is not None:
        result._node.label = label
    return result


def refresh(x: TensorBase) -> None:
    """Derive a view anew when its memory's generation has moved on since it was taken."""
    view = x._view
    if view is not None and view.generation != x._counter[1]:
        for generation, was in view.source.__dict__.get("_was", ()):
            if view.generation < generation:
                view.source = was
                break
        view.generation = x._counter[1]
        view.primitive.retake(x, view)


def backward(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] | None = None,
    accumulate: bool = True,
) -> list[Tensor | None]:
    """Walk the tape from `roots` backwards.

    Args:
        roots: tensors on the tape.
        grads: the gradient of each, of its shape.
        retain_graph: whether the saved values stay for another walk.
        create_graph: whether the walk itself is recorded.
        inputs: where given, only gradients of these are computed.
        accumulate: whether gradients are added to `grad` of the leaves (or of `inputs`).

    Returns:
        The gradients of `inputs` (empty without them), `None` where none arrived.

    Raises:
        GradientError: the graph was freed, or a saved value was changed in place.
    """
    targets: dict[Any, list[int]] = {}
    wanted: set[Any] | None = None
    found: list[Tensor | None] = []
    if inputs is not None:
        found = [None] * len(inputs)
        for i, x in enumerate(inputs):
            targets.setdefault(edge_of(x), []).append(i)
        wanted = _leading_to([edge_of(r) for r in roots], targets)

    pending: dict[Any, Any] = {}
    heap: list[tuple[int, Any]] = []
    leaves: dict[Any, Tensor] = {}

    def send(edge: Any, grad: Tensor) -> None:
        if isinstance(edge, TensorBase):
            have = leaves.get(edge)
            leaves[edge] = grad if have is None else have + grad
        elif edge in pending:
            pending[edge] = pending[edge] + grad
        else:
            pending[edge] = grad
            heapq.heappush(heap, (-edge.sequence, edge))

    before = mode.grad
    mode.grad = create_graph
    try:
        for root, grad in zip(roots, grads, strict=True):
            edge = edge_of(root)
            if edge is not None and (wanted is None or edge in wanted):
                send(edge, grad)
        del root, grad
        while heap:
            node = heapq.heappop(heap)[1]
            grad = pending.pop(node)
            if node.pre_hooks:
                grad = _run_hooks(node.pre_hooks, grad)
            if node in targets:
                for i in targets[node]:
                    found[i] = grad
            if wanted is not None and not _goes_on(node, wanted):
                continue
            if type(node) is OutputEdge:
                parent = node.node
                collected = pending.get(parent)
                if collected is None:
                    collected = pending[parent] = [None] * parent.outputs
                    heapq.heappush(heap, (-parent.sequence, parent))
                have = collected[node.index]
                collected[node.index] = grad if have is None else have + grad
                continue
            if node.saved is FREED:
                raise GradientError(
                    "Trying to backward through the graph a second time (or directly access saved "
                    "tensors after they have already been freed). Saved intermediate values of "
                    "the graph are freed when you call .backward() or autograd.grad(). Specify "
                    "retain_graph=True if you need to backward through the graph a second time."
                )
            results = node.gradients(grad)
            if not retain_graph:
                node.release()
            if node.post_hooks:
                results = _run_post_hooks(node, results, grad)
            grad = None  # type: ignore[assignment]
            for edge, result in zip(node.edges, results, strict=False):
                if result is not None and edge is not None and (wanted is None or edge in wanted):
                    send(edge, result)
            result = results = edge = None
        while leaves:
            leaf, grad = leaves.popitem()
            if leaf._hooks:
                grad = _run_hooks(leaf._hooks, grad)
            for i in targets.get(leaf, ()):
                found[i] = grad
            if accumulate and (inputs is None or leaf in targets):
                _accumulate(leaf, grad, create_graph)
                if leaf._hooks is not None:
                    for hook in list(getattr(leaf, "_accumulate_hooks", {}).values()):
                        hook(leaf)
        if accumulate and inputs is not None:
            for x, g in zip(inputs, found, strict=True):
                if x._node is not None and g is not None:
                    _accumulate(x, g, create_graph)
    finally:
        mode.grad = before
    return found


def _goes_on(node: Any, wanted: set[Any]) -> bool:
    if type(node) is OutputEdge:
        return node.node in wanted
    return any(edge is not None and edge in wanted for edge in node.edges)


def _leading_to(roots: Sequence[Any], targets: dict[Any, list[int]]) -> set[Any]:
    """All edges on a path from a root to a target."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack = [r for r in roots if r is not None]
    while stack:
        edge = stack.pop()
        if edge in seen:
            continue
        seen.add(edge)
        order.append(edge)
        stack.extend(_successors(edge))
    leading = {t for t in targets if t is not None}
    order = [e for e in order if not isinstance(e, TensorBase)]
    order.sort(key=lambda e: e.sequence)
    for edge in order:
        if any(s in leading for s in _successors(edge)):
            leading.add(edge)
    return leading


def _successors(edge: Any) -> Sequence[Any]:
    if isinstance(edge, TensorBase):
        return ()
    if type(edge) is OutputEdge:
        return (edge.node,)
    return [e for e in edge.edges if e is not None]


def hooks_of(x: Any) -> Any:
    """A copy of the hooks that a gradient for this tensor meets; false where there are none."""
    if x._hooks is None:
        return False
    found = dict(x._hooks), dict(getattr(x, "_accumulate_hooks", ()))
    return found if any(found) else False


def _run_hooks(hooks: dict[int, Any], grad: Any) -> Any:
    first = grad
    last = [hook for key, hook in hooks.items() if key < 0]
    for key, hook in list(hooks.items()):
        new = hook(grad) if key >= 0 else None
        if new is not None:
            grad = new
    if isinstance(first, TensorBase) and first._arrives is not None:
        grad = first.arriving(grad)
    for keep in last:  # `retain_grad` sees what the other hooks made of the gradient
        keep(grad)
    return grad


def _run_post_hooks(node: Node, results: Any, grad: Any) -> Any:
    results = tuple(results)
    assert node.post_hooks is not None
    for hook in list(node.post_hooks.values()):
        new = hook(results, grad if isinstance(grad, (tuple, list)) else (grad,))
        if new is not None:
            results = new if isinstance(new, tuple) else (new,)
    return results


def _accumulate(leaf: Any, grad: Any, create_graph: bool) -> None:
    have = leaf._grad
    if have is not None:
        if create_graph or have._arrives is not None:
            leaf._grad = have + grad
        else:
            have.add_(grad)
        return
    if create_graph or grad._arrives is not None:
        leaf._grad = grad
        return
    payload = grad._payload
    # Taken as it is only when nothing else holds it: the counts are those of this function's
    # and its caller's variables.
    if (
        getattr(payload, "base", None) is None
        and getrefcount(payload) <= 3
        and (getrefcount(grad) <= 3)
    ):
        leaf._grad = grad if grad._node is None else alias(grad)
    elif isinstance(payload, np.ndarray):
        leaf._grad = wrap(payload.copy())
    else:
        leaf._grad = alias(grad)


def retain_grad(x: Tensor) -> None:
    """Keep the gradient of a non-leaf tensor in its `grad` when `backward` passes."""
    if not x._requires_grad:
        raise GradientError("can't retain_grad on Tensor that has requires_grad=False")
    if x._node is None or getattr(x, "_retains_grad", False):
        return
    x._retains_grad = True
    reference = weakref.ref(x)

    def keep(grad: Tensor) -> None:
        tensor = reference()
        if tensor is not None:
            tensor._grad = alias(grad) if tensor._grad is None else tensor._grad + grad

    edge = x._node
    if edge.pre_hooks is None:
        edge.pre_hooks = {}
    edge.pre_hooks[-1 - len(edge.pre_hooks)] = keep
