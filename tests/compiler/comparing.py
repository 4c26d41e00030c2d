"""Comparing compiled functions and blocks with eager ones: results, gradients, changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import kuai
from kuai import nn
from kuai.compiler.capture import trees
from kuai.core.base import TensorBase
from kuai.errors import CompileError

TOLERANCE = 2e-5


def near(found: Any, expected: Any, tolerance: float = TOLERANCE, where: str = "") -> None:
    """Values of the same structure, types and numbers."""
    assert type(found) is type(expected), (where, found, expected)
    parts = None if isinstance(expected, TensorBase) else trees.parts(expected)
    if parts is not None:
        assert trees.parts(found)[0] == parts[0], (where, found, expected)
        items = trees.parts(found)[1]
        for (name, item), (_, other) in zip(items, parts[1], strict=True):
            near(item, other, tolerance, where + name)
        return
    if isinstance(expected, TensorBase):
        assert found.dtype is expected.dtype, (where, found.dtype, expected.dtype)
        assert found.shape == expected.shape, (where, found.shape, expected.shape)
        # A loop that did not run leaves no trace on the tape; a program has one in any case.
        assert found.requires_grad or not expected.requires_grad, where
        a, b = (np.asarray(x.detach().to(kuai.float64)) for x in (found, expected))
        scale = tolerance * max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
        np.testing.assert_allclose(a, b, tolerance, scale, err_msg=where)
    elif isinstance(expected, float):
        np.testing.assert_allclose(found, expected, tolerance, tolerance, err_msg=where)
    else:
        assert found == expected, (where, found, expected)


def gradients_near(found: Sequence[Any], expected: Sequence[Any], tolerance: float) -> None:
    """Gradients: the course of a program decides where they flow."""
    if not expected:  # eagerly, nothing needs a gradient
        assert all(g is None for g in found)
        return
    assert len(found) == len(expected)
    for i, (g, other) in enumerate(zip(found, expected, strict=True)):
        near(g, other, tolerance, f"gradient {i}")


def differentiable(x: Any) -> list[Any]:
    """The tensors of a result that need gradients, each once."""
    found: list[Any] = []
    for leaf in trees.leaves(x):
        known = any(leaf is x for x in found)
        if isinstance(leaf, TensorBase) and leaf.requires_grad and not known:
            found.append(leaf)
    return found


def gradients(result: Any, leaves: Sequence[Any]) -> list[Any]:
    """What flows from all results, weighed, to the leaves."""
    ends = differentiable(result)
    if not ends or not leaves:
        return []
    seeds = [kuai.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape) for x in ends]
    found = kuai.autograd.grad(ends, leaves, seeds, allow_unused=True)
    return list(found)


def fresh(x: Any) -> Any:
    """Arguments whose tensors are copies."""

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, TensorBase):
            return copy.deepcopy(leaf) if not isinstance(leaf, nn.Module) else leaf
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)

    return trees.map_leaves(of, x)


def outcome(call: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """What a call gives, and does: result or error, gradients, arguments afterwards."""
    args = fresh(list(args))
    kuai.manual_seed(1)
    try:
        result = call(*args)
    except CompileError:
        raise
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
        return (type(error).__name__,)
    leaves = differentiable(args)
    grads = gradients(result, leaves)
    return result, grads, [x for x in trees.leaves(args) if isinstance(x, TensorBase)]


def agrees(
    function: Callable[..., Any],
    *calls: Sequence[Any],
    tolerance: float = TOLERANCE,
    compiled: Callable[..., Any] | None = None,
) -> None:
    """A function, compiled, does the same as eagerly, for each call of it."""
    compiled = compiled or kuai.compile(function)
    for call in calls:
        expected = outcome(function, call)
        for _ in range(2):
            found = outcome(compiled, call)
            if len(found) == len(expected) == 3:
                near(found[0], expected[0], tolerance)
                gradients_near(found[1], expected[1], tolerance)
                near(found[2], expected[2], tolerance)
            else:
                assert found == expected


def trained(
    make: Callable[[], nn.Module],
    optimizer: Callable[[Any], Any],
    loss: Callable[[nn.Module, Any], Any],
    batches: Sequence[Any],
    how: str,
    after: Callable[[nn.Module], object] = lambda net: None,
) -> tuple[nn.Module, list[float]]:
    """A block after some steps of training.

    Args:
        how: "eager"; "block" for a compiled block in an eager step; "step" for a compiled step.
        after: what happens between `backward` and the optimizer's step.
    """
    kuai.manual_seed(3)
    net = make()
    opt = optimizer(net)
    called = kuai.compile(net) if how == "block" else net

    def step(batch: Any) -> Any:
        opt.zero_grad()
        value = loss(called, batch)
        value.backward()
        after(net)
        opt.step()
        return value

    run = kuai.compile(step) if how == "step" else step
    kuai.manual_seed(4)
    return net, [float(run(batch)) for batch in batches]
