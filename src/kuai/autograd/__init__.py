"""Differentiation: gradients of tensors, one's own operations, and checks, as in
`torch.autograd`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from kuai.autograd import functional, graph
from kuai.autograd.checks import gradcheck, gradgradcheck
from kuai.autograd.function import Function, FunctionCtx, NestedIOFunction, once_differentiable
from kuai.core import primitive as primitives
from kuai.core import tape
from kuai.core.base import TensorBase
from kuai.core.tape import (
    Node,
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
)
from kuai.tensor import Tensor, seed_gradient

Variable = Tensor

__all__ = [
    "Function",
    "FunctionCtx",
    "NestedIOFunction",
    "Node",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "once_differentiable",
    "set_detect_anomaly",
    "set_grad_enabled",
]


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, TensorBase) or x is None else tuple(x)


def _seeds(roots: Sequence[Tensor], grads: Any) -> list[Tensor]:
    given = _as_tuple(grads) if grads is not None else (None,) * len(roots)
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    return [seed_gradient(r, g) for r, g in zip(roots, given, strict=True)]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to `grad` of the leaves that they were computed from.

    Args:
        tensors: what to differentiate.
        grad_tensors: the gradient with respect to each; `None` where it has one element.
        retain_graph: keep the tape for another walk.
        create_graph: record the differentiation itself.
        inputs: the only tensors whose `grad` to add to.
    """
    roots = _as_tuple(tensors)
    seeds = _seeds(roots, grad_tensors if grad_tensors is not None else grad_variables)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        inputs = _as_tuple(inputs)
        if not inputs:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    tape.backward(roots, seeds, keep, create_graph, inputs)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, without touching any `grad`.

    Args:
        outputs: what to differentiate.
        inputs: with respect to what.
        grad_outputs: the gradient with respect to each output; `None` where it has one element.
        retain_graph: keep the tape for another walk.
        create_graph: record the differentiation itself, for higher orders.
        allow_unused: give `None` for inputs that were not used, instead of raising.
        is_grads_batched: `grad_outputs` have a leading dimension, to go through one by one.
        materialize_grads: give zeros for inputs that were not used.

    Raises:
        RuntimeError: an input needs no gradient, or was not used.
    """
    roots, targets = _as_tuple(outputs), _as_tuple(inputs)
    if not only_inputs:
        warnings.warn("only_inputs argument is deprecated and is ignored now", stacklevel=2)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    for x in targets:
        if tape.edge_of(x) is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        from kuai import ops

        batches = list(zip(*[ops.unbind(g) for g in _as_tuple(grad_outputs)], strict=True))
        rows = [
            grad(roots, targets, row, True, create_graph, True, allow_unused) for row in batches
        ]
        return tuple(
            None if column[0] is None else ops.stack(column) for column in zip(*rows, strict=True)
        )
    found = tape.backward(
        roots, _seeds(roots, grad_outputs), keep, create_graph, targets, accumulate=False
    )
    results = []
    for x, g in zip(targets, found, strict=True):
        if g is None and materialize_grads:
            g = x.new_zeros(x.shape)
        if g is None and not allow_unused:
            raise RuntimeError(_UNUSED)
        if (
            g is not None
            and g._arrives is not None
            and not (allow_unused and not materialize_grads)
        ):
            g = _there(g, materialize_grads)
        results.append(g)
    return tuple(results)


_UNUSED = (
    "One of the differentiated Tensors appears to not have been used in the graph. Set "
    "allow_unused=True if this is the desired behavior."
)


def _there(grad: Any, materialize: bool) -> Any:
    """A gradient that a captured program may find missing: then zeros, or an error when it runs."""
    recorder: Any = primitives.intercept
    if not materialize:
        recorder.check(grad._arrives, RuntimeError, _UNUSED)
    return grad.materialized()


class set_detect_anomaly:
    """Accepted for PyTorch's sake: kuai's errors name the operation without it."""

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        pass


class detect_anomaly(set_detect_anomaly):
    """Accepted for PyTorch's sake: kuai's errors name the operation without it."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
