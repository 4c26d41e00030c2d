"""Captures PyTorch's samples of an operator in a graph, and compares it with the eager run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

import kuai
from kuai.compiler import capture
from kuai.core.base import TensorBase
from tests.parity.convert import Converter, Excluded
from tests.parity.operators import Case, excluded_by_name, samples_of


def replaced(structure: Any, tensors: Sequence[Any]) -> Any:
    """The nested structure with its tensors, in their order, replaced by others."""
    remaining = iter(tensors)

    def visit(x: Any) -> Any:
        if isinstance(x, TensorBase):
            return next(remaining)
        if isinstance(x, (list, tuple)):
            items = [visit(item) for item in x]
            return items if isinstance(x, list) else tuple(items)
        if isinstance(x, dict):
            return {key: visit(value) for key, value in x.items()}
        return x

    return visit(structure)


def tensors_in(structure: Any) -> list[Any]:
    """The tensors of a nested structure, in their order."""
    found: list[Any] = []

    def visit(x: Any) -> None:
        if isinstance(x, TensorBase):
            found.append(x)
        elif isinstance(x, (list, tuple)):
            for item in x:
                visit(item)
        elif isinstance(x, dict):
            for item in x.values():
                visit(item)

    visit(structure)
    return found


def derivatives(results: Sequence[Any], inputs: Sequence[Any], order: int) -> list[Any]:
    """The gradients of a weighted sum of the results, and those of a sum of the gradients."""
    if order == 0:
        return []
    wanted = [x for x in inputs if x.requires_grad]
    floating = [r for r in results if r.requires_grad and r.numel()]
    if not wanted or not floating:
        return []
    loss: Any = 0.0
    for i, r in enumerate(floating):
        weights = kuai.tensor(np.random.default_rng(i).uniform(0.5, 1.5, tuple(r.shape)))
        loss = loss + (r * weights.to(r.dtype)).sum()
    grads = kuai.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
    grads = [kuai.zeros_like(x) if g is None else g for g, x in zip(grads, wanted, strict=True)]
    return [*grads, *derivatives(grads, wanted, order - 1)]


def flat_function(function: Callable[..., Any], structure: Any, order: int) -> Any:
    """A function of the structure's tensors that gives results and derivatives, as a list."""

    def run(*tensors: Any) -> list[Any]:
        first, args, kwargs = replaced(structure, tensors)
        kuai.manual_seed(0)
        results = tensors_in(function(first, *args, **kwargs))
        results = [r for r in results if not any(r is x for x in tensors)]
        return [*results, *derivatives(results, tensors, order)]

    return run


def compare(op: OpInfo, sample: SampleInput, order: int) -> str | None:
    """How a captured sample differs from its eager run, or None.

    Raises:
        Excluded: the sample is not for kuai.
        CompileError: it needs the values of a tensor.
    """
    excluded_by_name(op, sample)
    converted = Converter(kuai)((sample.input, sample.args, sample.kwargs))
    function = flat_function(Case(op, kuai).function(), converted, order)
    tensors = tensors_in(converted)
    expected = function(*tensors)
    graph = capture(function, *tensors)
    found = graph.evaluate(*[t._payload for t in tensors])
    if len(graph.outputs) != len(expected):
        return f"{len(graph.outputs)} results, not {len(expected)}"
    for i, (value, tensor) in enumerate(zip(graph.outputs, expected, strict=True)):
        array = tensor.detach()._payload
        if found[value].dtype != array.dtype or found[value].shape != array.shape:
            have = f"{found[value].dtype}{found[value].shape}"
            return f"result {i}: {have}, not {array.dtype}{array.shape}"
        try:
            np.testing.assert_allclose(
                found[value].astype(float), array.astype(float), rtol=1e-7, atol=1e-9
            )
        except AssertionError as error:
            return f"result {i}: {str(error).strip().splitlines()[0]}"
    return None


def samples(op: OpInfo, dtype: torch.dtype, limit: int) -> list[SampleInput]:
    """Some samples, differentiable where the dtype allows it."""
    return samples_of(op, dtype, dtype.is_floating_point and op.supports_autograd, limit)


__all__ = ["Excluded", "compare", "samples"]
