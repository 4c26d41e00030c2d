"""Captured functions evaluated operation by operation, compared with the functions themselves."""

import copy
import dataclasses

import numpy as np

import kuai
from kuai.compiler.capture import capture_call
from kuai.compiler.capture.trees import leaves, map_leaves
from kuai.core.base import TensorBase


def fresh(x):
    """The same arguments again: in-place changes and gradients stay apart."""

    def copied(leaf):
        if isinstance(leaf, TensorBase):
            new = leaf.detach().clone()
            return new.requires_grad_() if leaf.requires_grad else new
        return leaf

    return map_leaves(copied, x)


def number(x):
    return x.detach().numpy() if isinstance(x, TensorBase) else x


def check(function, *args, orders=1, **tolerance):
    """Compare results, changed arguments and gradients, to the given order; gives the capture."""
    tolerance = {"rtol": 1e-9, "atol": 1e-12} | tolerance
    captured = capture_call(function, args, differentiate=orders > 0)
    arrays = [number(a.given) for a in captured.arguments]
    arrays = [np.asarray(a) for a in arrays]
    seeds = [np.full(v.shape, 1.0, v.dtype) for v in captured.grad_inputs]
    found = captured.graph.evaluate(*arrays, *seeds)
    result = captured.evaluate(*arrays, *seeds)
    eager = fresh(args)
    expected = function(*eager)
    compare(result, expected, tolerance)
    given = leaves(eager)
    changed = dict(captured.graph.updates)
    for a in captured.arguments:
        if isinstance(a.given, TensorBase):
            now = found[changed.get(a.value, a.value)]
            np.testing.assert_allclose(now, number(given[a.leaf]), **tolerance)
    mine, theirs = leaves(captured.output), leaves(expected)
    for a, b in zip(mine, theirs, strict=True):
        if isinstance(b, TensorBase) and captured.source(a) is None:
            assert not b.requires_grad or any(a is x for x in captured.differentiated)
    outputs = []
    for x in captured.differentiated:
        y = theirs[next(i for i, a in enumerate(mine) if a is x)]
        outputs.append(y if y.requires_grad else y * 0)
    if outputs:
        wanted = [x for x in given if isinstance(x, TensorBase) and x.requires_grad]
        total = sum((x.sum() for x in outputs[1:]), outputs[0].sum())
        grads = [None] * len(wanted)
        if total.requires_grad:
            grads = kuai.autograd.grad(total, wanted, allow_unused=True)
        mine = [g for source, g in captured.leaf_gradients if isinstance(source, int)]
        assert len(mine) == len(wanted)
        for g, e in zip(mine, grads, strict=True):
            if e is None:
                assert g is None or not np.any(found[g])
            elif g is None:
                assert not np.any(e.numpy())
            else:
                np.testing.assert_allclose(found[g], e.numpy(), **tolerance)
    if orders > 1:
        check(derivative(function), *args, orders=orders - 1, **tolerance)
    return captured


def derivative(function):
    """The function that gives the gradients of the sum of squares of a function's results."""

    def gradients(*args):
        wanted = [x for x in leaves(list(args)) if isinstance(x, kuai.Tensor) and x.requires_grad]
        result = function(*args)
        outputs = [x for x in leaves(result) if isinstance(x, kuai.Tensor)]
        total = 0.0
        for x in outputs:
            if x.requires_grad:
                total = total + (x * x).sum()
        grads = kuai.autograd.grad(total, wanted, create_graph=True, allow_unused=True)
        return [kuai.zeros_like(x) if g is None else g for g, x in zip(grads, wanted, strict=True)]

    return gradients


def compare(result, expected, tolerance):
    """Compare trees of arrays and numbers."""
    mine, theirs = leaves(result), leaves(expected)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        if isinstance(b, TensorBase):
            assert a.shape == tuple(b.shape)
            assert a.dtype == b.detach().numpy().dtype
            np.testing.assert_allclose(a, number(b), **tolerance)
        elif isinstance(b, float):
            assert type(a) is type(b)
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            assert a == b
            assert type(a) is type(b)


def doubles(*shape, seed=0, requires_grad=True, scale=1.0):
    """Random float64 numbers."""
    array = np.random.default_rng(seed).standard_normal(shape) * scale
    return kuai.tensor(array, dtype=kuai.float64, requires_grad=requires_grad)


__all__ = ["check", "copy", "dataclasses", "derivative", "doubles", "fresh"]
