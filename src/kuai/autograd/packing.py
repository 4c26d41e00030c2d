"""Functions that what is saved for gradients passes through: `saved_tensors_hooks`.

They cost nothing where they are not used: the context intercepts the primitives that are applied
in it, and packs what the nodes that these leave on the tape have saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, alias, wrap
from kuai.core.primitive import Primitive, intercepted
from kuai.core.tape import FREED, Node, OutputEdge

Hook = Callable[[Any], Any]
_refusals: list[str] = []


class PackedNode(Node):
    """A node that has given what it saved to a hook, and gets it back for its gradient."""

    packed: list[Packed | None]
    packed_results: list[Packed] | None

    def gradients(self, grad: Any) -> Sequence[Any]:
        saved = [item if not isinstance(item, Packed) else item.unpack() for item in self.packed]
        self.saved = saved if saved else ()
        self.versions = [x._counter[0] if isinstance(x, TensorBase) else 0 for x in saved]
        if self.packed_results is not None:
            results = [packed.unpack() for packed in self.packed_results]
            kept = [(r._payload, r._counter, r._counter[0]) for r in results]
            self.result = kept if self.outputs > 1 else kept[0]
        try:
            return super().gradients(grad)
        finally:
            self.saved, self.versions, self.result = (), (), None

    def release(self) -> None:
        self.packed = []
        self.packed_results = None
        self.saved = FREED


class Packed:
    """One saved tensor in the form that the hook gave it, and its place on the tape."""

    def __init__(self, x: Any, pack: Hook, unpack: Hook) -> None:
        self.content = pack(x)
        self.unpack_hook = unpack
        self.requires_grad = x._requires_grad
        self.node = x if x._node is None and x._requires_grad else x._node

    def unpack(self) -> Any:
        """The tensor, at its place on the tape."""
        x = self.unpack_hook(self.content)
        if not isinstance(x, TensorBase):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor")
        result = alias(x)
        result._requires_grad, result._node = self.requires_grad, self.node
        return result


def pack_now(x: Any) -> Packed | None:
    """The tensor in the form that the innermost hooks give it; `None` where there are none."""
    return Packed(x, *_hooks[-1]) if _hooks else None


class _Interceptor:
    """Applies primitives as before, and packs what their nodes save with the innermost hooks."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(
        self, primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]
    ) -> Any:
        if self.before is not None:
            result = self.before(primitive, inputs, parameters)
        else:
            result = primitive.run(inputs, parameters)
        first = result[0] if isinstance(result, tuple) else result
        edge = first._node if isinstance(first, TensorBase) else None
        node = edge.node if isinstance(edge, OutputEdge) else edge
        if type(node) is Node and node.primitive is primitive and _hooks:
            with intercepted(self.before):
                _pack(node, *_hooks[-1])
        return result

    def __getattr__(self, name: str) -> Any:  # what a capture under way is asked beside
        return getattr(self.before, name)


_hooks: list[tuple[Hook, Hook]] = []


@contextmanager
def packed(pack: Hook, unpack: Hook) -> Iterator[None]:
    """What nodes save in this context passes through `pack`, and, when it is used, `unpack`.

    Raises:
        RuntimeError: hooks are refused here.
    """
    if _refusals:
        raise RuntimeError(_refusals[-1])
    now = primitives.intercept
    _hooks.append((pack, unpack))
    try:
        with intercepted(now if isinstance(now, _Interceptor) else _Interceptor(now)):
            yield
    finally:
        _hooks.pop()


@contextmanager
def refused(message: str) -> Iterator[None]:
    """In this context `packed` is an error."""
    _refusals.append(message)
    try:
        yield
    finally:
        _refusals.pop()


def _pack(node: Any, pack: Hook, unpack: Hook) -> None:
    """Exchange what a fresh node saved for what `pack` makes of it."""
    if not node.saved and node.result is None:
        return
    node.__class__ = PackedNode
    node.packed = [
        Packed(x, pack, unpack) if isinstance(x, TensorBase) else x for x in node.saved or ()
    ]
    node.packed_results = None
    if node.result is not None:
        kept = node.result if isinstance(node.result, list) else [node.result]
        results = []
        for i, (payload, counter, _) in enumerate(kept):
            r = wrap(payload)
            r._counter = counter
            r._requires_grad = True
            r._node = (
                OutputEdge(node, i, payload.shape, payload.dtype) if node.outputs > 1 else node
            )
            packed_result = Packed(r, pack, unpack)
            packed_result.node = None  # that would be a cycle; the node itself knows its place
            packed_result.requires_grad = False
            results.append(packed_result)
        node.packed_results = results
    node.saved, node.versions, node.result = (), (), None
