"""Optimizers are saved and loaded, and training goes on as if it had not stopped."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import kuai
from kuai.optim import SGD, Adam

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("AdamW", {"lr": 0.02}),
    ("NAdam", {"lr": 0.02}),
    ("RAdam", {"lr": 0.02}),
    ("Adamax", {"lr": 0.02}),
    ("Adagrad", {"lr": 0.1}),
    ("Adadelta", {}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True}),
    ("ASGD", {"lr": 0.1, "t0": 3}),
    ("Rprop", {"lr": 0.01}),
    ("Adafactor", {"lr": 0.05}),
    ("Muon", {"lr": 0.05}),
    ("LBFGS", {"lr": 0.5, "max_iter": 3, "history_size": 4}),
    ("LBFGS", {"max_iter": 3, "line_search_fn": "strong_wolfe"}),
]


def start() -> list[kuai.Tensor]:
    return [
        kuai.tensor([[0.3, -0.6], [0.9, 0.2]], requires_grad=True),
        kuai.tensor([[1.5, -0.5]], requires_grad=True),
    ]


def train(params: list[kuai.Tensor], optimizer: Any, scheduler: Any, steps: int) -> None:
    def closure() -> kuai.Tensor:
        optimizer.zero_grad()
        weight, bias = params
        loss = ((weight @ weight.T + bias).tanh() - 0.3).pow(2).sum()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        scheduler.step()


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_a_run_that_was_stopped_ends_where_one_that_was_not_does(
    name: str, options: dict[str, Any]
) -> None:
    def make(params: list[kuai.Tensor]) -> tuple[Any, Any]:
        optimizer = getattr(kuai.optim, name)(params, **options)
        return optimizer, kuai.optim.lr_scheduler.CosineAnnealingLR(optimizer, 25)

    whole = start()
    train(whole, *make(whole), 20)

    first = start()
    optimizer, scheduler = make(first)
    train(first, optimizer, scheduler, 9)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))

    second = [p.detach().clone().requires_grad_(True) for p in first]
    optimizer, scheduler = make(second)
    scheduler.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[0])
    train(second, optimizer, scheduler, 11)

    for p, q in zip(whole, second, strict=True):
        assert p.tolist() == q.tolist()


def test_state_is_numbered_through_all_groups() -> None:
    p, q, r = (kuai.ones(2, requires_grad=True) for _ in range(3))
    for t in (q, r):
        t.grad = kuai.ones(2)
    optimizer = Adam([{"params": [p, q]}, {"params": [r], "lr": 0.5}])
    optimizer.step()
    saved = optimizer.state_dict()
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2]]
    assert sorted(saved["state"]) == [1, 2]
    assert sorted(saved["state"][1]) == ["exp_avg", "exp_avg_sq", "step"]
    step = saved["state"][1]["step"]
    assert (step.dtype, step.shape, step.item()) == (kuai.float32, (), 1.0)


def test_loading_takes_over_options_but_keeps_the_parameters() -> None:
    p, q = (kuai.ones(2, requires_grad=True) for _ in range(2))
    optimizer = SGD([p], lr=0.5)
    optimizer.load_state_dict(SGD([q], lr=0.25, momentum=0.5).state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert optimizer.param_groups[0]["params"][0] is p


def test_loading_does_not_change_what_was_saved() -> None:
    p, q = (kuai.ones(2, requires_grad=True) for _ in range(2))
    p.grad = kuai.ones(2)
    saved = SGD([q], lr=0.25).state_dict()
    optimizer = SGD([p], lr=0.5)
    optimizer.load_state_dict(saved)
    optimizer.param_groups[0]["lr"] = 1.0
    assert saved["param_groups"][0]["lr"] == 0.25
    assert saved["param_groups"][0]["params"] == [0]


def test_loaded_state_is_cast_to_the_type_of_its_parameter_but_not_the_count() -> None:
    p = kuai.ones(2, requires_grad=True)
    p.grad = kuai.ones(2)
    optimizer = Adam([p])
    optimizer.step()
    double = Adam([kuai.ones(2, dtype=kuai.float64, requires_grad=True)])
    double.load_state_dict(optimizer.state_dict())
    (state,) = double.state.values()
    assert state["exp_avg"].dtype is kuai.float64
    assert state["step"].dtype is kuai.float32


def test_groups_that_do_not_fit_are_refused() -> None:
    p, q = (kuai.ones(2, requires_grad=True) for _ in range(2))
    one, two = SGD([p]), SGD([{"params": [p]}, {"params": [q]}])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        one.load_state_dict(two.state_dict())
    with pytest.raises(ValueError, match="doesn't match the size"):
        one.load_state_dict(SGD([p, q]).state_dict())


def test_older_checkpoints_get_the_options_and_tensors_that_they_lack() -> None:
    p = kuai.ones(2, requires_grad=True)
    p.grad = kuai.ones(2)
    optimizer = Adam([p])
    optimizer.step()
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["decoupled_weight_decay"]
    saved["state"][0] = {**saved["state"][0], "step": 4}
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is False
    assert optimizer.state[p]["step"].item() == 5.0


def test_adamw_decays_weights_apart_whatever_it_loads() -> None:
    p = kuai.ones(2, requires_grad=True)
    optimizer = kuai.optim.AdamW([p])
    optimizer.load_state_dict(Adam([p]).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True


def test_hooks_of_saving_and_loading_may_replace_the_state() -> None:
    calls: list[str] = []
    optimizer = SGD([kuai.ones(1, requires_grad=True)], lr=0.5)

    def with_note(opt: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "note": "saved"}

    def without_note(opt: Any, state: dict[str, Any]) -> dict[str, Any]:
        calls.append(state["note"])
        return {key: value for key, value in state.items() if key != "note"}

    optimizer.register_state_dict_pre_hook(lambda opt: calls.append("pre"))
    optimizer.register_state_dict_pre_hook(lambda opt: calls.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(with_note)
    optimizer.register_load_state_dict_pre_hook(without_note)
    optimizer.register_load_state_dict_post_hook(lambda opt: calls.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["first", "pre", "saved", "loaded"]


def test_names_are_kept_when_the_loaded_state_has_none() -> None:
    p = kuai.ones(1, requires_grad=True)
    named, unnamed = SGD([("weight", p)]), SGD([p])
    named.load_state_dict(unnamed.state_dict())
    assert named.param_groups[0]["param_names"] == ["weight"]
