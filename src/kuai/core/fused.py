"""Compositions that eager mode runs as one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai.core import primitive as primitives
from kuai.core import tape
from kuai.core.base import TensorBase
from kuai.core.primitive import NO_PARAMETERS, PRIMITIVES, Meta, Primitive, primitive


class Composed(Primitive):
    """A primitive that can be composed of others: so its gradients are differentiated.

    `gradient` or `backward`, which names all inputs, in their order, is its first gradient. One
    that is itself recorded is that of the composition: nothing has to be written for the higher
    orders.
    """

    def compose(self, *inputs: Any, **parameters: Any) -> Any:
        """The results, from other primitives."""
        raise NotImplementedError

    def has_own_gradient(self, grad: Any) -> bool:
        """Whether the gradient, for this one of the results, need not be the composition's now."""
        return not tape.mode.grad

    def gradients(self, node: Any, grad: Any) -> Sequence[Any]:
        if self.has_own_gradient(grad):
            return super().gradients(node, grad)
        self._check_versions(node)
        recorded = tape.mode.grad
        with tape.enable_grad():
            inputs = [
                x if edge is None else PRIMITIVES["same"].finish_one(x._payload, x, NO_PARAMETERS)
                for x, edge in zip(node.saved, node.edges, strict=True)
            ]
            results = self.compose(*inputs, **node.parameters)
        several = isinstance(results, tuple)
        pairs = zip(results, grad, strict=True) if several else [(results, grad)]
        given = [(r, g) for r, g in pairs if g is not None]
        roots, grads = [r for r, _ in given], [g for _, g in given]
        wanted = [x for x, edge in zip(inputs, node.edges, strict=True) if edge is not None]
        found = iter(tape.backward(roots, grads, recorded, recorded, wanted, False))
        return [None if edge is None else next(found) for edge in node.edges]


class Fused(Composed):
    """A composition of primitives, with kernels of its own for eager mode.

    `decompose` says what it is composed of, and is all that a capture sees of it. In eager mode,
    `kernel` computes it, and `backward` its first gradient.
    """

    def compose(self, *inputs: Any, **parameters: Any) -> Any:
        return self.decompose(*inputs, **parameters)

    def has_own_gradient(self, grad: Any) -> bool:
        return not tape.mode.grad and primitives.intercept is None


@primitive
class same(Primitive):
    """The same tensor once more, at a place of its own on the tape."""

    is_identity = True

    def kernel(self, x: Any) -> Any:
        return x.copy()

    def infer(self, x: Meta) -> Meta:
        return x

    def gradient(self, grad):  # type: ignore[no-untyped-def]
        return grad


def fits(*tensors: Any) -> bool:
    """Whether a fused kernel takes these: tensors of one type, float32 or float64."""
    dtype = tensors[0]._payload.dtype
    return (
        dtype.kind == "f"
        and dtype.itemsize > 2
        and all(isinstance(x, TensorBase) and x._payload.dtype is dtype for x in tensors)
    )


def compute(fused: Any, *inputs: Any, **parameters: Any) -> Any:
    """Apply a fused primitive where its kernel takes the inputs, else what it is composed of."""
    return (fused if fits(*inputs) else fused.decompose)(*inputs, **parameters)


__all__ = ["Composed", "Fused", "compute", "fits"]
