"""Autocasting computes products in a shorter type; the scaler keeps small gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.amp import GradScaler, autocast, custom_fwd


def test_products_are_computed_in_bfloat16_and_the_rest_is_not() -> None:
    x = kuai.rand(2, 3)
    with autocast("cpu"):
        assert kuai.is_autocast_enabled("cpu")
        assert nn.Linear(3, 4)(x).dtype is kuai.bfloat16
        assert (x @ x.T).dtype is kuai.bfloat16
        assert nn.Conv1d(3, 2, 1)(kuai.rand(1, 3, 4)).dtype is kuai.bfloat16
        assert x.exp().dtype is kuai.float32
        assert (x.double() @ x.double().T).dtype is kuai.float64
    assert not kuai.is_autocast_enabled("cpu")
    assert nn.Linear(3, 4)(x).dtype is kuai.float32


def test_a_network_trains_under_autocast_with_gradients_in_the_parameters_type() -> None:
    kuai.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 1))
    optimizer = kuai.optim.Adam(net.parameters(), lr=0.02)
    x = kuai.rand(32, 4)
    y = x.sum(1, keepdim=True)
    first = last = 0.0
    for step in range(60):
        with autocast("cpu"):
            loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item(), 0.0) if step == 0 else (first, loss.item())
    assert all(p.grad.dtype is kuai.float32 for p in net.parameters())
    assert last < first / 10


def test_autocast_can_be_off_inside() -> None:
    x = kuai.rand(2, 2)
    with autocast("cpu"):
        with autocast("cpu", enabled=False):
            assert (x @ x).dtype is kuai.float32
        assert (x @ x).dtype is kuai.bfloat16


def test_autocast_for_what_is_not_there_warns_and_does_nothing() -> None:
    with pytest.warns(UserWarning, match="not available"):
        context = autocast("cuda")
    with context:
        assert (kuai.ones(1, 1) @ kuai.ones(1, 1)).dtype is kuai.float32
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        autocast("cpu", dtype=kuai.float32)


def test_autocast_decorates() -> None:
    @autocast("cpu", dtype=kuai.float16)
    def product(x: Any) -> Any:
        return x @ x

    assert product(kuai.ones(2, 2)).dtype is kuai.float16


def test_custom_forward_may_ask_for_a_type() -> None:
    class Double(kuai.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu", cast_inputs=kuai.float32)
        def forward(ctx: Any, x: Any) -> Any:
            assert not kuai.is_autocast_enabled("cpu")
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    with autocast("cpu"):
        assert Double.apply(kuai.ones(2).bfloat16()).dtype is kuai.float32


def test_the_scaler_steps_as_without_it() -> None:
    weights = []
    for scaler in (GradScaler("cpu"), GradScaler("cpu", enabled=False)):
        kuai.manual_seed(0)
        net = nn.Linear(3, 1)
        optimizer = kuai.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(net(kuai.ones(2, 3)).square().sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        weights.append(net.weight.detach().numpy())
    np.testing.assert_allclose(*weights, rtol=1e-6)


def test_infinite_gradients_leave_the_step_out_and_lower_the_scale() -> None:
    net = nn.Linear(2, 1)
    optimizer = kuai.optim.SGD(net.parameters(), lr=0.1)
    scaler = GradScaler("cpu", init_scale=8.0, growth_interval=1)
    before = net.weight.detach().clone()
    scaler.scale((net(kuai.ones(1, 2)) * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert kuai.equal(net.weight, before)
    assert scaler.get_scale() == 4.0
    optimizer.zero_grad()
    scaler.scale(net(kuai.ones(1, 2)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert not kuai.equal(net.weight, before)
    assert scaler.get_scale() == 8.0


def test_the_scaler_refuses_steps_out_of_turn_and_keeps_its_state() -> None:
    net = nn.Linear(2, 1)
    optimizer = kuai.optim.SGD(net.parameters(), lr=0.1)
    scaler = GradScaler("cpu", init_scale=32.0)
    scaler.scale(net(kuai.ones(1, 2)).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    other = GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 32.0
    with pytest.raises(RuntimeError, match="empty"):
        other.load_state_dict({})


def test_a_scaler_for_what_is_not_there_does_nothing() -> None:
    with pytest.warns(UserWarning, match="not available"):
        scaler = GradScaler()
    assert not scaler.is_enabled()
    assert scaler.get_scale() == 1.0
