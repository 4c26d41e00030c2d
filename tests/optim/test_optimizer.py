"""What all optimizers share: groups, steps, hooks, and gradients through steps."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest

import kuai
from kuai.optim import SGD, Adam, AdamW, Optimizer
from kuai.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    required,
)


def parameter(*values: float) -> kuai.Tensor:
    p = kuai.tensor(list(values), requires_grad=True)
    p.grad = kuai.ones(len(values))
    return p


class SignSGD(Optimizer):
    """An optimizer as a user writes one, with a step of its own."""

    def __init__(self, params: Any, lr: Any = required) -> None:
        super().__init__(params, {"lr": lr})

    @kuai.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad.sign(), alpha=-group["lr"])


def test_a_step_moves_against_the_gradient() -> None:
    p = parameter(1.0, 2.0)
    SGD([p], lr=0.5).step()
    assert p.tolist() == [0.5, 1.5]


def test_a_step_leaves_alone_what_has_no_gradient() -> None:
    p, q = parameter(1.0), parameter(1.0)
    q.grad = None
    for make in (SGD, Adam, AdamW):
        optimizer = make([p, q], lr=0.5)
        optimizer.step()
        assert q.tolist() == [1.0]
        assert q not in optimizer.state


def test_a_step_is_not_recorded() -> None:
    p = parameter(1.0)
    optimizer = Adam([p], lr=0.1)
    optimizer.step()
    assert p.is_leaf
    assert p.requires_grad
    assert not any(entry.requires_grad for entry in optimizer.state[p].values())
    assert kuai.is_grad_enabled()


def test_gradients_are_recorded_again_after_a_step_that_fails() -> None:
    p = parameter(1.0)
    optimizer = SGD([p], lr=0.1)
    optimizer.param_groups[0]["lr"] = "fast"
    with pytest.raises(TypeError):
        optimizer.step()
    assert kuai.is_grad_enabled()


def test_a_closure_is_differentiated_and_its_loss_returned() -> None:
    p = parameter(3.0)
    optimizer = SGD([p], lr=0.1)

    def closure() -> kuai.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with kuai.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert p.tolist() == pytest.approx([2.4])


def test_groups_have_options_of_their_own() -> None:
    p, q = parameter(1.0), parameter(1.0)
    optimizer = SGD([{"params": [p], "lr": 0.25}, {"params": q}], lr=0.5)
    optimizer.step()
    assert (p.item(), q.item()) == (0.75, 0.5)
    assert optimizer.param_groups[0]["momentum"] == 0


def test_a_group_may_be_added_later() -> None:
    p, q = parameter(1.0), parameter(1.0)
    optimizer = SGD([p], lr=0.5)
    optimizer.add_param_group({"params": q, "lr": 0.25})
    optimizer.step()
    assert q.item() == 0.75


def test_parameters_may_have_names() -> None:
    p, q = parameter(1.0), parameter(1.0)
    optimizer = SGD([("weight", p), ("bias", q)], lr=0.5)
    optimizer.step()
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    assert p.item() == 0.5


def test_a_repeated_parameter_is_warned_of() -> None:
    p = parameter(1.0)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        SGD([p, p], lr=0.1)


def test_an_option_without_default_must_be_given() -> None:
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        SignSGD([parameter(1.0)])
    assert SignSGD([{"params": [parameter(1.0)], "lr": 0.5}]).param_groups[0]["lr"] == 0.5


def test_a_tensor_is_no_list_of_parameters() -> None:
    with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts"):
        SGD(parameter(1.0), lr=0.1)


def test_zero_grad_forgets_gradients_or_fills_them_with_zeros() -> None:
    p, q = parameter(1.0), parameter(1.0)
    q.grad = None
    optimizer = SGD([p, q], lr=0.1)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None
    assert p.grad.tolist() == [0.0]
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_zero_grad_cuts_a_gradient_off_the_tape() -> None:
    p = kuai.tensor([2.0], requires_grad=True)
    p.grad = p * p
    SGD([p], lr=0.1).zero_grad(set_to_none=False)
    assert p.grad is not None
    assert p.grad.tolist() == [0.0]
    assert not p.grad.requires_grad


def test_an_optimizer_of_ones_own_overrides_step() -> None:
    p = parameter(1.0, 2.0)
    SignSGD([p], lr=0.5).step()
    assert p.tolist() == [0.5, 1.5]


def test_step_hooks_run_in_order_and_can_be_removed() -> None:
    calls: list[str] = []
    optimizer = SignSGD([parameter(1.0)], lr=0.5)
    handles = [
        optimizer.register_step_pre_hook(lambda *_: calls.append("pre")),
        optimizer.register_step_post_hook(lambda *_: calls.append("post")),
        register_optimizer_step_pre_hook(lambda *_: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda *_: calls.append("global post")),
    ]
    optimizer.step()
    assert calls == ["global pre", "pre", "post", "global post"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4


def test_hooks_run_once_around_a_step_that_calls_its_parents() -> None:
    class Parent(SignSGD):
        def step(self, closure: Any = None) -> None:
            pass

    class Child(Parent):
        def step(self, closure: Any = None) -> None:
            super().step(closure)

    calls: list[str] = []
    optimizer = Child([parameter(1.0)], lr=0.25)
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.step()
    assert calls == ["pre"]


def test_a_pre_hook_may_replace_the_arguments() -> None:
    p = parameter(1.0)
    optimizer = SGD([p], lr=0.5)
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 7.0), {}))
    assert optimizer.step() == 7.0
    optimizer.register_step_pre_hook(lambda *_: "nonsense")
    with pytest.raises(RuntimeError, match="tuple of"):
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"weight_decay": 0.1}),
        ("Adam", {"weight_decay": 0.1}),
        ("Adam", {"amsgrad": True}),
        ("AdamW", {}),
        ("NAdam", {}),
        ("RAdam", {"betas": (0.8, 0.9)}),
        ("Adamax", {}),
        ("Adagrad", {}),
        ("Adadelta", {}),
        ("RMSprop", {"momentum": 0.5, "centered": True}),
        ("ASGD", {"t0": 2}),
    ],
)
def test_the_gradient_through_steps_agrees_with_differences(
    name: str, options: dict[str, Any]
) -> None:
    gradients = [kuai.tensor([0.3 * i, 1.1 - i], dtype=kuai.float64) for i in range(1, 6)]

    def after_training(shift: kuai.Tensor) -> kuai.Tensor:
        p = kuai.tensor([0.5, -1.0], dtype=kuai.float64).clone()
        optimizer = getattr(kuai.optim, name)([p], lr=0.1, differentiable=True, **options)
        for grad in gradients:
            p.grad = grad + shift
            optimizer.step()
        return p.pow(2).sum()

    shift = kuai.tensor([0.1, -0.2], dtype=kuai.float64, requires_grad=True)
    after_training(shift).backward()
    assert shift.grad is not None
    h = 1e-6
    for i in range(2):
        up, down = ([0.1, -0.2] for _ in range(2))
        up[i] += h
        down[i] -= h
        difference = after_training(kuai.tensor(up, dtype=kuai.float64)) - after_training(
            kuai.tensor(down, dtype=kuai.float64)
        )
        expected = difference.item() / (2 * h)
        assert shift.grad[i].item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad"])
def test_a_learning_rate_can_be_learned(name: str) -> None:
    gradients = [kuai.tensor([0.3 * i, 1.0 - i], dtype=kuai.float64) for i in range(1, 6)]

    def after_training(lr: kuai.Tensor) -> kuai.Tensor:
        p = kuai.tensor([0.5, -1.0], dtype=kuai.float64).clone()
        optimizer = getattr(kuai.optim, name)([p], lr=lr, differentiable=True)
        for grad in gradients:
            p.grad = grad
            optimizer.step()
        return p.pow(2).sum()

    lr = kuai.tensor(0.1, dtype=kuai.float64, requires_grad=True)
    after_training(lr).backward()
    h = 1e-6
    up, down = (after_training(kuai.tensor(0.1 + d, dtype=kuai.float64)) for d in (h, -h))
    assert lr.grad is not None
    assert lr.grad.item() == pytest.approx((up - down).item() / (2 * h), rel=1e-5)


def test_a_copy_goes_its_own_way_with_the_same_state() -> None:
    p = parameter(1.0)
    optimizer = Adam([p], lr=0.1)
    optimizer.step()
    for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        q = again.param_groups[0]["params"][0]
        assert q is not p
        assert again.state[q]["step"].item() == 1.0
        q.grad = kuai.ones(1)
        again.step()
        assert again.state[q]["step"].item() == 2.0
        assert q.item() < p.item()
    assert optimizer.state[p]["step"].item() == 1.0


def test_an_optimizer_that_nobody_holds_is_freed_at_once() -> None:
    gc.disable()
    try:
        optimizer = SGD([parameter(1.0)], lr=0.1)
        kuai.optim.lr_scheduler.StepLR(optimizer, 3)
        reference = weakref.ref(optimizer)
        del optimizer
        assert reference() is None
    finally:
        gc.enable()


def test_capturable_fused_and_foreach_are_accepted() -> None:
    for options in ({"capturable": True}, {"fused": True}, {"foreach": True}):
        p = parameter(1.0)
        Adam([p], lr=0.1, **options).step()
        assert p.item() == pytest.approx(0.9)


@pytest.mark.parametrize("dtype", [kuai.float16, kuai.bfloat16])
def test_state_of_half_precision_parameters_has_their_type(dtype: Any) -> None:
    for name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad"):
        p = kuai.ones(3, dtype=dtype, requires_grad=True)
        p.grad = kuai.ones(3, dtype=dtype)
        options = {"momentum": 0.9} if name == "SGD" else {"eps": 1e-4}
        optimizer = getattr(kuai.optim, name)([p], lr=0.1, **options)
        optimizer.step()
        assert p.dtype is dtype
        assert p[0].item() < 1.0
        for key, entry in optimizer.state[p].items():
            assert entry.dtype is (kuai.float32 if key in ("step", "mu_product") else dtype)
