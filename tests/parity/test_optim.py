"""Every optimizer and every schedule takes PyTorch's path, step by step."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kuai
import kuai.optim
import kuai.optim.swa_utils

torch = pytest.importorskip("torch")

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.03}),
    ("Adam", {"lr": 0.03, "amsgrad": True}),
    ("Adam", {"lr": 0.03, "weight_decay": 0.02, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("Adam", {"lr": 0.03, "weight_decay": 0.02, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.03, "maximize": True, "fused": True}),
    ("Adam", {"lr": 0.03, "foreach": True}),
    ("AdamW", {"lr": 0.03}),
    ("AdamW", {"lr": 0.03, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.03}),
    ("NAdam", {"lr": 0.03, "weight_decay": 0.02, "momentum_decay": 0.01}),
    ("NAdam", {"lr": 0.03, "weight_decay": 0.02, "decoupled_weight_decay": True}),
    ("NAdam", {"lr": 0.03, "maximize": True}),
    ("RAdam", {"lr": 0.03}),
    ("RAdam", {"lr": 0.03, "betas": (0.8, 0.9), "weight_decay": 0.02}),
    ("RAdam", {"lr": 0.03, "weight_decay": 0.02, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.03, "maximize": True}),
    ("Adamax", {"lr": 0.03}),
    ("Adamax", {"lr": 0.03, "weight_decay": 0.02, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.02}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.3, "maximize": True}),
    ("Adadelta", {"lr": 1.0}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "weight_decay": 0.02, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "weight_decay": 0.02}),
    ("RMSprop", {"lr": 0.01, "maximize": True, "alpha": 0.9}),
    ("ASGD", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "t0": 10, "lambd": 0.01, "weight_decay": 0.02, "maximize": True}),
    ("Rprop", {"lr": 0.01}),
    ("Rprop", {"lr": 0.01, "etas": (0.4, 1.3), "step_sizes": (1e-4, 0.1), "maximize": True}),
    ("Adafactor", {"lr": 0.05}),
    ("Adafactor", {"lr": 0.05, "weight_decay": 0.02, "d": 1.5, "eps": (1e-4, 1e-2)}),
    ("Adafactor", {"lr": 0.05, "beta2_decay": -0.5, "maximize": True}),
]

LBFGS_OPTIONS: list[dict[str, Any]] = [
    {"lr": 0.5, "max_iter": 4},
    {"lr": 0.5, "max_iter": 5, "history_size": 3},
    {"max_iter": 6, "line_search_fn": "strong_wolfe"},
    {"lr": 4.0, "max_iter": 10, "line_search_fn": "strong_wolfe", "history_size": 2},
    {"max_iter": 10, "max_eval": 7, "line_search_fn": "strong_wolfe"},
]

TOLERANCE = {
    "float64": {"rtol": 1e-9, "atol": 1e-10},
    "float32": {"rtol": 1e-5, "atol": 2e-6},
}


class Problem:
    """A small network of its own for one library: two layers of tanh, and a mean square."""

    def __init__(self, library: Any, dtype: str) -> None:
        self.library = library
        random = np.random.default_rng(3)

        def tensor(*shape: int) -> Any:
            return library.tensor(random.normal(size=shape).tolist(), dtype=getattr(library, dtype))

        self.x, self.y = tensor(7, 4), tensor(7, 2)
        self.params = [tensor(5, 4), tensor(5), tensor(2, 5), tensor(2)]
        for p in self.params:
            p.requires_grad_(True)

    def loss(self) -> Any:
        w1, b1, w2, b2 = self.params
        hidden = (self.x @ w1.T + b1).tanh()
        return ((hidden @ w2.T + b2).tanh() - self.y).pow(2).mean()

    def values(self) -> list[np.ndarray]:
        return [np.array(p.detach().tolist()) for p in self.params]

    def train(self, optimizer: Any, steps: int) -> list[float]:
        losses = []

        def closure() -> Any:
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        for _ in range(steps):
            losses.append(optimizer.step(closure).item())
        return losses


def case_id(case: Any) -> str:
    if isinstance(case, str):
        return case
    return "-".join(f"{key}={value}" for key, value in case.items())


def assert_equal(ours: Problem, theirs: Problem, dtype: str) -> None:
    for a, b in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE[dtype])


def pair(name: str, options: dict[str, Any], dtype: str = "float64") -> tuple[Any, ...]:
    ours, theirs = Problem(kuai, dtype), Problem(torch, dtype)
    return (
        ours,
        getattr(kuai.optim, name)(ours.params, **options),
        theirs,
        getattr(torch.optim, name)(theirs.params, **options),
    )


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=case_id)
def test_fifty_steps_take_the_same_path(name: str, options: dict[str, Any]) -> None:
    ours, our_optimizer, theirs, their_optimizer = pair(name, options)
    for _ in range(5):
        our_losses = ours.train(our_optimizer, 10)
        their_losses = theirs.train(their_optimizer, 10)
        np.testing.assert_allclose(our_losses, their_losses, **TOLERANCE["float64"])
        assert_equal(ours, theirs, "float64")


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=case_id)
def test_fifty_steps_along_given_gradients_agree_in_single_precision(
    name: str, options: dict[str, Any]
) -> None:
    # Gradients of one's own would make much of a last bit: Rprop asks for their signs.
    ours, our_optimizer, theirs, their_optimizer = pair(name, options, "float32")
    for _ in range(50):
        theirs.train(their_optimizer, 1)
        for p, q in zip(ours.params, theirs.params, strict=True):
            p.grad = kuai.tensor(q.grad.tolist())
        our_optimizer.step()
        assert_equal(ours, theirs, "float32")


@pytest.mark.parametrize("options", LBFGS_OPTIONS, ids=case_id)
def test_lbfgs_takes_the_same_path(options: dict[str, Any]) -> None:
    ours, our_optimizer, theirs, their_optimizer = pair("LBFGS", options)
    for _ in range(5):
        np.testing.assert_allclose(
            ours.train(our_optimizer, 1), theirs.train(their_optimizer, 1), rtol=1e-8
        )
        mine, other = our_optimizer.state_dict(), their_optimizer.state_dict()
        for key in ("n_iter", "func_evals"):
            assert mine["state"][0][key] == other["state"][0][key]
    for a, b in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", LBFGS_OPTIONS, ids=case_id)
def test_lbfgs_starts_on_the_same_path_in_single_precision(options: dict[str, Any]) -> None:
    options = {**options, "max_iter": 3}
    ours, our_optimizer, theirs, their_optimizer = pair("LBFGS", options, "float32")
    ours.train(our_optimizer, 1)
    theirs.train(their_optimizer, 1)
    assert_equal(ours, theirs, "float32")


@pytest.mark.parametrize(
    ("rule", "shape"),
    [(None, (6, 4)), ("original", (4, 6)), ("match_rms_adamw", (5, 5))],
)
def test_muon_takes_the_same_path(rule: str | None, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    start, target = random.normal(size=shape), random.normal(size=shape)
    results = []
    for library in (kuai, torch):
        p = library.tensor(start.tolist(), dtype=library.float32, requires_grad=True)
        goal = library.tensor(target.tolist(), dtype=library.float32)
        optimizer = library.optim.Muon([p], lr=0.02, adjust_lr_fn=rule)
        for _ in range(10):
            optimizer.zero_grad()
            (p - goal).pow(2).sum().backward()
            optimizer.step()
        results.append(np.array(p.detach().tolist()))
    # Each of ten steps of 0.02 may differ by a last bit of bfloat16, in which PyTorch computes it.
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=10 * 0.02 * 2**-8)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=case_id)
def test_state_dicts_have_the_same_form(name: str, options: dict[str, Any]) -> None:
    ours, our_optimizer, theirs, their_optimizer = pair(name, options, "float32")
    ours.train(our_optimizer, 2)
    theirs.train(their_optimizer, 2)
    mine, other = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert mine["state"].keys() == other["state"].keys()
    for number, entries in other["state"].items():
        assert mine["state"][number].keys() == entries.keys()
        for key, value in entries.items():
            ours_value = mine["state"][number][key]
            assert tuple(ours_value.shape) == tuple(value.shape)
            assert str(ours_value.dtype).split(".")[1] == str(value.dtype).split(".")[1]
            assert not ours_value.requires_grad
            np.testing.assert_allclose(
                np.array(ours_value.tolist()), np.array(value.tolist()), rtol=1e-3, atol=1e-5
            )


@pytest.mark.parametrize("name", sorted({name for name, _ in OPTIMIZERS} | {"LBFGS"}))
def test_printed_as_pytorch_prints_it(name: str) -> None:
    _, ours, _, theirs = pair(name, {})
    assert repr(ours) == repr(theirs)


def test_a_learning_rate_may_be_a_tensor() -> None:
    for name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop"):
        ours, theirs = Problem(kuai, "float64"), Problem(torch, "float64")
        for problem in (ours, theirs):
            library = problem.library
            optimizer = getattr(library.optim, name)(
                problem.params, lr=library.tensor(0.02, dtype=library.float64)
            )
            problem.train(optimizer, 20)
        assert_equal(ours, theirs, "float64")


def test_betas_may_be_tensors() -> None:
    ours, theirs = Problem(kuai, "float64"), Problem(torch, "float64")
    for problem in (ours, theirs):
        library = problem.library
        double = library.float64
        betas = (library.tensor(0.8, dtype=double), library.tensor(0.9, dtype=double))
        problem.train(library.optim.Adam(problem.params, lr=0.02, betas=betas), 20)
    assert_equal(ours, theirs, "float64")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("Adam", {}),
        ("NAdam", {}),
        ("RAdam", {"betas": (0.8, 0.9)}),
        ("Adagrad", {}),
        ("Adadelta", {}),
        ("RMSprop", {"momentum": 0.5}),
    ],
    ids=case_id,
)
def test_gradients_flow_through_differentiable_steps(name: str, options: dict[str, Any]) -> None:
    results = []
    for library in (kuai, torch):
        double = library.float64
        start = library.tensor([0.5, -1.0, 2.0], dtype=double, requires_grad=True)
        scale = library.tensor([1.0, 2.0, 0.5], dtype=double, requires_grad=True)
        p = start.clone()
        optimizer = getattr(library.optim, name)([p], lr=0.1, differentiable=True, **options)
        for _ in range(7):
            p.grad = p.detach().cos() * scale
            optimizer.step()
        p.pow(2).sum().backward()
        results.append([np.array(t.grad.tolist()) for t in (start, scale)])
    # PyTorch corrects the bias of these steps in float32.
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def lambdas(library: Any) -> list[Callable[[int], float]]:
    return [lambda step: 0.95**step, lambda step: 1 / (1 + step)]


SCHEDULES: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("LambdaLR", lambda s, o: s.LambdaLR(o, lambda step: 0.95**step)),
    ("LambdaLR of each group", lambda s, o: s.LambdaLR(o, lambdas(s))),
    ("MultiplicativeLR", lambda s, o: s.MultiplicativeLR(o, lambda step: 0.97)),
    ("MultiplicativeLR of each group", lambda s, o: s.MultiplicativeLR(o, lambdas(s))),
    ("StepLR", lambda s, o: s.StepLR(o, 7, gamma=0.5)),
    ("MultiStepLR", lambda s, o: s.MultiStepLR(o, [4, 4, 20, 33], gamma=0.3)),
    ("ConstantLR", lambda s, o: s.ConstantLR(o, factor=0.4, total_iters=9)),
    ("LinearLR", lambda s, o: s.LinearLR(o, 0.2, 0.9, total_iters=17)),
    ("LinearLR by default", lambda s, o: s.LinearLR(o)),
    ("ExponentialLR", lambda s, o: s.ExponentialLR(o, 0.93)),
    ("PolynomialLR", lambda s, o: s.PolynomialLR(o, total_iters=40, power=2.0)),
    ("CosineAnnealingLR", lambda s, o: s.CosineAnnealingLR(o, T_max=13, eta_min=0.001)),
    ("CosineAnnealingLR long", lambda s, o: s.CosineAnnealingLR(o, T_max=200)),
    ("WarmRestarts", lambda s, o: s.CosineAnnealingWarmRestarts(o, 5)),
    ("WarmRestarts growing", lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.001)),
    ("CyclicLR", lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=6)),
    (
        "CyclicLR triangular2",
        lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.1, 5, 9, mode="triangular2"),
    ),
    (
        "CyclicLR exp_range",
        lambda s, o: s.CyclicLR(o, 0.01, 0.1, 5, mode="exp_range", gamma=0.97),
    ),
    (
        "CyclicLR of a function",
        lambda s, o: s.CyclicLR(o, 0.01, 0.1, 5, scale_fn=lambda x: 1 / (5 * x + 1)),
    ),
    (
        "CyclicLR of a function of iterations",
        lambda s, o: s.CyclicLR(
            o, 0.01, 0.1, 5, scale_fn=lambda x: 0.9**x, scale_mode="iterations"
        ),
    ),
    ("OneCycleLR", lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=60)),
    (
        "OneCycleLR linear",
        lambda s, o: s.OneCycleLR(
            o, [0.5, 0.2], epochs=6, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.4
        ),
    ),
    (
        "OneCycleLR three_phase",
        lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=60, three_phase=True),
    ),
    (
        "OneCycleLR without momentum",
        lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=60, cycle_momentum=False),
    ),
    (
        "SequentialLR",
        lambda s, o: s.SequentialLR(
            o, [s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.9), s.StepLR(o, 5)], [10, 30]
        ),
    ),
    (
        "SequentialLR warm-up and cosine",
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.01, total_iters=10), s.CosineAnnealingLR(o, 45)], [10]
        ),
    ),
    (
        "SequentialLR of chained",
        lambda s, o: s.SequentialLR(
            o,
            [
                s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
                s.ExponentialLR(o, 0.8),
            ],
            [8],
        ),
    ),
    (
        "ChainedScheduler",
        lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.9)]),
    ),
]


def two_groups(library: Any, name: str = "SGD") -> Any:
    a, b = (library.ones(2, requires_grad=True) for _ in range(2))
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(library.optim, name)(
        [{"params": [a]}, {"params": [b], "lr": 0.02}], lr=0.1, **options
    )
    for p in (a, b):
        p.grad = library.zeros(2)
    return optimizer


def rates(optimizer: Any) -> list[Any]:
    return [
        (float(g["lr"]), float(g["momentum"] if "momentum" in g else g["betas"][0]))
        for g in optimizer.param_groups
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("optimizer_name", ["SGD", "Adam"])
@pytest.mark.parametrize("make", [m for _, m in SCHEDULES], ids=[n for n, _ in SCHEDULES])
def test_schedules_give_the_same_rates(make: Callable[..., Any], optimizer_name: str) -> None:
    ours, theirs = two_groups(kuai, optimizer_name), two_groups(torch, optimizer_name)
    with warnings.catch_warnings():  # a chained schedule inside another steps too early
        warnings.simplefilter("ignore", UserWarning)
        our_schedule = make(kuai.optim.lr_scheduler, ours)
        their_schedule = make(torch.optim.lr_scheduler, theirs)
    for _ in range(59):
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)
        np.testing.assert_allclose(our_schedule.get_last_lr(), their_schedule.get_last_lr())
        for optimizer, schedule in ((ours, our_schedule), (theirs, their_schedule)):
            optimizer.step()
            with warnings.catch_warnings():  # PyTorch's own, inside SequentialLR
                warnings.simplefilter("ignore", UserWarning)
                schedule.step()
    np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Detected call")
@pytest.mark.parametrize("make", [m for _, m in SCHEDULES], ids=[n for n, _ in SCHEDULES])
def test_schedules_save_what_pytorchs_save(make: Callable[..., Any]) -> None:
    ours = make(kuai.optim.lr_scheduler, two_groups(kuai))
    theirs = make(torch.optim.lr_scheduler, two_groups(torch))

    def comparable(state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        inner = state.pop("_schedulers", [])
        return {**state, "inner": [comparable(s) for s in inner]}

    mine, other = comparable(ours.state_dict()), comparable(theirs.state_dict())
    assert mine == other


@pytest.mark.filterwarnings("ignore:Detected call")
@pytest.mark.parametrize("make", [m for _, m in SCHEDULES], ids=[n for n, _ in SCHEDULES])
def test_a_schedule_goes_on_from_pytorchs_saved_state(make: Callable[..., Any]) -> None:
    ours, theirs = two_groups(kuai), two_groups(torch)
    our_schedule = make(kuai.optim.lr_scheduler, ours)
    their_schedule = make(torch.optim.lr_scheduler, theirs)
    ours.step(), theirs.step()
    for _ in range(11):
        their_schedule.step()
    our_schedule.load_state_dict(copy.deepcopy(their_schedule.state_dict()))
    ours.load_state_dict({"state": {}, "param_groups": theirs.state_dict()["param_groups"]})
    for _ in range(20):
        our_schedule.step()
        their_schedule.step()
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 1, "mode": "max", "factor": 0.5, "cooldown": 3},
        {"patience": 0, "threshold_mode": "abs", "threshold": 0.05, "min_lr": [0.01, 0.002]},
        {"patience": 3, "mode": "max", "threshold_mode": "abs", "threshold": 0.05},
    ],
    ids=case_id,
)
def test_a_plateau_lowers_the_rates_at_the_same_steps(options: dict[str, Any]) -> None:
    ours, theirs = two_groups(kuai), two_groups(torch)
    our_schedule = kuai.optim.lr_scheduler.ReduceLROnPlateau(ours, **options)
    their_schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    measures = np.random.default_rng(1).normal(size=60) + np.linspace(1, 0, 60)
    for i, measure in enumerate(measures):
        our_schedule.step(kuai.tensor(measure) if i % 2 else measure)
        their_schedule.step(torch.tensor(measure) if i % 2 else measure)
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)
        np.testing.assert_allclose(our_schedule.get_last_lr(), their_schedule.get_last_lr())
    assert our_schedule.num_bad_epochs == their_schedule.num_bad_epochs


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 12])
def test_swalr_gives_the_same_rates(strategy: str, epochs: int) -> None:
    ours, theirs = two_groups(kuai), two_groups(torch)
    options = {"swa_lr": 0.05, "anneal_epochs": epochs, "anneal_strategy": strategy}
    our_schedule = kuai.optim.swa_utils.SWALR(ours, **options)
    their_schedule = torch.optim.swa_utils.SWALR(theirs, **options)
    for _ in range(30):
        ours.step(), theirs.step()
        our_schedule.step(), their_schedule.step()
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)


@pytest.mark.parametrize("epochs", [[0, 3, 7, 30, 12], [1, 2, 5, 100]])
def test_going_to_an_epoch_uses_the_closed_form(epochs: list[int]) -> None:
    for name, make in SCHEDULES:
        if name.startswith(("Sequential", "Chained", "OneCycle")):
            continue
        ours, theirs = two_groups(kuai), two_groups(torch)
        our_schedule = make(kuai.optim.lr_scheduler, ours)
        their_schedule = make(torch.optim.lr_scheduler, theirs)
        for epoch in epochs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                our_schedule.step(epoch)
                their_schedule.step(epoch)
            np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": -1.0}),
        ("SGD", {"momentum": -1.0}),
        ("SGD", {"weight_decay": -1.0}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"fused": True, "foreach": True}),
        ("SGD", {"fused": True, "differentiable": True}),
        ("Adam", {"lr": -1.0}),
        ("Adam", {"lr": float("nan")}),
        ("Adam", {"eps": -1.0}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, 1.0)}),
        ("Adam", {"betas": (0, 0.9)}),
        ("AdamW", {"weight_decay": -1}),
        ("NAdam", {"momentum_decay": -1}),
        ("RAdam", {"betas": (0.9, -0.1)}),
        ("Adamax", {"eps": -1}),
        ("Adagrad", {"lr_decay": -1}),
        ("Adagrad", {"initial_accumulator_value": -1}),
        ("Adadelta", {"rho": 1.1}),
        ("RMSprop", {"alpha": -1}),
        ("RMSprop", {"momentum": -1}),
        ("ASGD", {"weight_decay": -0.5}),
        ("Rprop", {"etas": (1.0, 0.5)}),
        ("Adafactor", {"d": 0.0}),
        ("Adafactor", {"beta2_decay": 0.8}),
        ("LBFGS", {"lr": -1}),
    ],
    ids=case_id,
)
def test_bad_hyperparameters_are_refused_in_the_same_words(
    name: str, options: dict[str, Any]
) -> None:
    errors = []
    for library in (kuai, torch):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            getattr(library.optim, name)([library.ones(2, requires_grad=True)], **options)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def bad_params(library: Any) -> list[Any]:
    p, q = (library.ones(2, requires_grad=True) for _ in range(2))
    return [
        [],
        [1.0],
        [p * 2],
        {p, q} and [{"params": {p, q}}],
        [{"params": [p]}, {"params": [p]}],
        [("p", p), q],
        [{"params": [("p", p)]}, {"params": [q]}],
        [[p]],
    ]


@pytest.mark.parametrize("case", range(8))
def test_bad_parameters_are_refused_in_the_same_words(case: int) -> None:
    errors = []
    for library in (kuai, torch):
        with pytest.raises((ValueError, TypeError)) as caught:
            library.optim.SGD(bad_params(library)[case], lr=0.1)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("kind", ["mean", "ema", "ema of all", "buffers"])
def test_averaged_models_hold_the_same_averages(kind: str) -> None:
    results = []
    for library in (kuai, torch):
        tools = library.optim.swa_utils
        model = library.nn.Linear(3, 2)
        model.register_buffer("seen", library.zeros(2))
        options = {
            "mean": {},
            "ema": {"avg_fn": tools.get_ema_avg_fn(0.9)},
            "ema of all": {"multi_avg_fn": tools.get_ema_multi_avg_fn(0.8)},
            "buffers": {"use_buffers": True},
        }[kind]
        average = tools.AveragedModel(model, **options)
        random = np.random.default_rng(5)
        for _ in range(5):
            with library.no_grad():
                for t in (model.weight, model.bias, model.seen):
                    t.copy_(library.tensor(random.normal(size=tuple(t.shape)).tolist()))
            average.update_parameters(model)
        state = average.state_dict()
        results.append({key: np.array(value.tolist()) for key, value in state.items()})
    assert results[0].keys() == results[1].keys()
    for key, value in results[1].items():
        np.testing.assert_allclose(results[0][key], value, rtol=1e-5, atol=1e-6)
