"""One level of differentiation: inputs of its own on the tape, and results cut free of them.

A function transform differentiates with respect to new tensors that stand for its inputs, so that
transforms nest without mixing up their derivatives. Where an input is recorded by an outer level,
its stand-in is computed from it, and the derivative is itself differentiable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kuai import ops
from kuai.core import tape
from kuai.core.base import TensorBase, alias, wrap
from kuai.tensor import Tensor


class Level:
    """The inputs of one function transform.

    Args:
        leaves: the tensors to differentiate with respect to.

    Attributes:
        inputs: the stand-ins for `leaves`, to be handed to the function.

    Raises:
        ValueError: a leaf is no tensor.
        RuntimeError: a leaf is not of a floating type.
    """

    def __init__(self, leaves: Iterable[Any]) -> None:
        self.records_outside = tape.is_grad_enabled()
        self._own: set[Tensor] = set()
        self.inputs: list[Tensor] = []
        self._anchors: list[Tensor] = []
        for x in leaves:
            if not isinstance(x, TensorBase):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
            self._enter(x)  # type: ignore[arg-type]

    def _enter(self, x: Tensor) -> None:
        if self.records_outside and tape.edge_of(x) is not None:
            inside = ops.view_as(x, x)
            # What the function does to its input in place moves the input on along the tape;
            # the derivative is taken where it entered.
            anchor = wrap(inside._payload)
            anchor._requires_grad, anchor._node = True, inside._node
        else:
            inside = anchor = self.variable(x)
        self.inputs.append(inside)
        self._anchors.append(anchor)

    def variable(self, x: Tensor) -> Tensor:
        """A tensor of this level alone, with the values of `x`."""
        inside = alias(x).requires_grad_()
        self._own.add(inside)
        return inside

    def reaches_outside(self, tensors: Iterable[Any]) -> bool:
        """Whether one of the tensors depends on something that is recorded outside this level."""
        if not self.records_outside:
            return False
        seen: set[Any] = set()
        stack = [tape.edge_of(x) for x in tensors]
        while stack:
            edge = stack.pop()
            if edge is None or edge in seen:
                continue
            seen.add(edge)
            if isinstance(edge, TensorBase):
                if edge not in self._own:
                    return True
            elif type(edge) is tape.OutputEdge:
                stack.append(edge.node)
            else:
                stack.extend(edge.edges)
        return False

    def release(self, x: Any) -> Any:
        """`x` as it is seen from outside: off the tape, unless something outside is recorded."""
        if not isinstance(x, TensorBase) or not x._requires_grad or self.reaches_outside((x,)):
            return x
        return alias(x)

    def gradients(
        self,
        outputs: Sequence[Tensor],
        seeds: Sequence[Tensor],
        retain_graph: bool = False,
        create_graph: bool = False,
    ) -> list[Tensor]:
        """The gradients of the inputs, zeros where none arrives."""
        return gradients(outputs, self._anchors, seeds, retain_graph, create_graph)


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
) -> list[Tensor]:
    """The gradients of `inputs`, zeros where none arrives."""
    keep = retain_graph or create_graph
    found = tape.backward(outputs, seeds, keep, create_graph, inputs, accumulate=False)
    return [ops.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def tensors_only(leaves: Iterable[Any], name: str) -> None:
    """Check that a function's results are tensors.

    Raises:
        RuntimeError: one is not.
    """
    for y in leaves:
        if not isinstance(y, TensorBase):
            raise RuntimeError(
                f"{name}: expected f(*primals) to return only tensors, got unsupported type "
                f"{type(y)}"
            )
