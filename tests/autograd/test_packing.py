"""What is saved for gradients can pass through hooks, or be computed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks
from kuai.utils.checkpoint import checkpoint, checkpoint_sequential


def test_saved_tensors_pass_through_the_hooks() -> None:
    seen = []

    def pack(x: Any) -> Any:
        seen.append(tuple(x.shape))
        return x.numpy(force=True)

    x = kuai.rand(2, 3, requires_grad=True)
    with saved_tensors_hooks(pack, kuai.from_numpy):
        y = (x.exp() * x).sum()
    assert seen == [(2, 3), (2, 3), (2, 3)]
    y.backward()
    expected = (x.detach().exp() * (1 + x.detach())).numpy()
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)


def test_what_the_hook_makes_is_what_the_gradient_uses() -> None:
    x = kuai.tensor([2.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: t.detach(), lambda t: t * 10):
        y = x * x
    y.backward()
    assert x.grad.item() == 40.0


def test_the_innermost_hooks_count() -> None:
    calls = []
    x = kuai.tensor([2.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: calls.append("outer") or t, lambda t: t):
        with saved_tensors_hooks(lambda t: calls.append("inner") or t, lambda t: t):
            x.exp()
        x.exp()
    assert calls == ["inner", "outer"]


def test_packed_gradients_differentiate_further() -> None:
    x = kuai.tensor([0.3, 0.7], dtype=kuai.float64, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        y = (x.sin() * x).sum()
    (g,) = kuai.autograd.grad(y, x, create_graph=True)
    (h,) = kuai.autograd.grad(g.sum(), x)
    v = x.detach()
    np.testing.assert_allclose(h.numpy(), (2 * v.cos() - v * v.sin()).numpy(), rtol=1e-12)


def test_hooks_can_be_refused() -> None:
    with disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        saved_tensors_hooks(lambda t: t, lambda t: t).__enter__()


def test_a_hook_must_give_a_tensor_back() -> None:
    x = kuai.tensor([2.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: 3, lambda t: 3):
        y = x.exp()
    with pytest.raises(TypeError, match="expected to be a Tensor"):
        y.backward()


def network() -> Any:
    kuai.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3), nn.GELU())


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_gives_the_same_results_and_gradients(use_reentrant: bool) -> None:
    plain, kept = network(), network()
    results = []
    for net, run in (
        (plain, lambda f, x: f(x)),
        (kept, lambda f, x: checkpoint(f, x, use_reentrant=use_reentrant)),
    ):
        kuai.manual_seed(1)
        x = kuai.rand(5, 4, requires_grad=True)
        y = run(net, x)
        y.square().sum().backward()
        results.append([y.detach(), x.grad, *[p.grad for p in net.parameters()]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_checkpoint_computes_once_more_and_keeps_nothing_meanwhile() -> None:
    runs = []

    def function(x: Any) -> Any:
        runs.append(1)
        return x.exp().exp().exp()

    x = kuai.rand(3, requires_grad=True)
    y = checkpoint(function, x, use_reentrant=False)
    assert len(runs) == 1
    y.sum().backward(retain_graph=True)
    assert len(runs) == 2
    y.sum().backward()
    assert len(runs) == 3


def test_a_checkpoint_differentiates_to_higher_orders() -> None:
    x = kuai.tensor([0.4], dtype=kuai.float64, requires_grad=True)
    y = checkpoint(lambda v: v.sin() * v, x, use_reentrant=False)
    (g,) = kuai.autograd.grad(y, x, create_graph=True)
    (h,) = kuai.autograd.grad(g, x)
    np.testing.assert_allclose(h.item(), 2 * np.cos(0.4) - 0.4 * np.sin(0.4), rtol=1e-12)


def test_checkpoints_nest_and_follow_each_other() -> None:
    plain, kept = network(), network()
    x = kuai.rand(5, 4)
    kuai.manual_seed(2)
    plain(x).sum().backward()
    kuai.manual_seed(2)
    checkpoint(
        lambda v: checkpoint_sequential(kept, 2, v, use_reentrant=False), x, use_reentrant=False
    ).sum().backward()
    for p, q in zip(plain.parameters(), kept.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
