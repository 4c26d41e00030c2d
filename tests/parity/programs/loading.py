"""Programs about data sets, loaders and schedules."""

# ruff: noqa: B007 - programs as people write them

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, program, raised


@program
def a_data_set_of_ones_own(torch: ModuleType) -> Any:
    """Dataset, collate function, batches of dicts, the last batch, splitting and joining."""
    utils = torch.utils.data

    class Squares(utils.Dataset):
        def __init__(self, n: int) -> None:
            self.n = n

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, i: int) -> Any:
            if i >= self.n:
                raise IndexError
            return {"x": torch.tensor([float(i)]), "y": i * i, "name": f"item {i}"}

    def lengths(items: Any) -> Any:
        return torch.tensor([item["y"] for item in items]), [item["name"] for item in items]

    squares = Squares(7)
    batches = [(b["x"], b["y"], b["name"]) for b in utils.DataLoader(squares, batch_size=3)]
    own = list(utils.DataLoader(squares, batch_size=4, collate_fn=lengths, drop_last=True))
    single = [item["y"] for item in utils.DataLoader(squares, batch_size=None)]
    joined = utils.ConcatDataset([squares, Squares(2)])
    part = utils.Subset(squares, [5, 1])
    torch.manual_seed(0)
    first, second = utils.random_split(squares, [5, 2])
    fractions = utils.random_split(range(10), [0.7, 0.3])
    return (
        batches,
        own,
        single,
        len(joined),
        joined[8]["y"],
        len(part),
        part[0]["y"],
        sorted([*first.indices, *second.indices]),
        [len(f) for f in fractions],
        len(utils.DataLoader(squares, 3)),
        len(utils.DataLoader(squares, 3, drop_last=True)),
        raised(lambda: utils.random_split(squares, [5, 5])),
        raised(lambda: joined[99]),
    )


@program
def samplers(torch: ModuleType) -> Any:
    """The order in which a loader goes: seeded shuffles, weights, batches, one's own sampler."""
    utils = torch.utils.data
    numbers = utils.TensorDataset(torch.arange(10))

    class Backwards(utils.Sampler):
        def __init__(self, n: int) -> None:
            self.n = n

        def __iter__(self) -> Any:
            return iter(range(self.n - 1, -1, -1))

        def __len__(self) -> int:
            return self.n

    def order(**options: Any) -> Any:
        return [batch[0].tolist() for batch in utils.DataLoader(numbers, **options)]

    def shuffled(seed: int) -> Any:
        return order(shuffle=True, batch_size=10, generator=torch.Generator().manual_seed(seed))[0]

    class Stream(utils.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(5))

    weighted = utils.WeightedRandomSampler([0.0, 1.0, 0.0], 6, replacement=True)
    return (
        order(batch_size=4, sampler=Backwards(10)),
        order(batch_sampler=[[1, 2], [9]]),
        shuffled(3) == shuffled(3),
        sorted(shuffled(1)),
        list(weighted),
        len(weighted),
        list(utils.BatchSampler(utils.SequentialSampler(range(5)), 2, False)),
        list(utils.DataLoader(Stream(), batch_size=2)),
        sorted(utils.RandomSampler(range(4))),
        raised(lambda: utils.DataLoader(numbers, shuffle=True, sampler=Backwards(10))),
        utils.default_collate([(1, 2.0, np.float32(3)), (4, 5.0, np.float32(6))]),
        utils.default_collate([{"a": torch.ones(2)}, {"a": torch.zeros(2)}]),
    )


@program
def learning_rate_schedules(torch: ModuleType) -> Any:
    """The rates that every scheduler gives over twelve steps."""
    schedules = torch.optim.lr_scheduler
    optimizers = []

    def rates(make: Any, metric: Any = None, momentum: float = 0.9) -> list[float]:
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=0.5, momentum=momentum)
        optimizers.append(optimizer)
        schedule, values = make(optimizer), []
        for step in range(12):
            optimizer.step()
            if metric is None:
                schedule.step()
            else:
                schedule.step(metric(step))
            values.append(optimizer.param_groups[0]["lr"])
        return values

    return [
        rates(lambda o: schedules.StepLR(o, 3, gamma=0.5)),
        rates(lambda o: schedules.MultiStepLR(o, [2, 5, 5], gamma=0.1)),
        rates(lambda o: schedules.ExponentialLR(o, 0.8)),
        rates(lambda o: schedules.ConstantLR(o, 0.3, total_iters=4)),
        rates(lambda o: schedules.LinearLR(o, 0.1, 0.9, total_iters=6)),
        rates(lambda o: schedules.PolynomialLR(o, total_iters=8, power=2.0)),
        rates(lambda o: schedules.CosineAnnealingLR(o, T_max=5, eta_min=0.01)),
        rates(lambda o: schedules.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2)),
        rates(lambda o: schedules.OneCycleLR(o, max_lr=1.0, total_steps=14)),
        rates(lambda o: schedules.CyclicLR(o, 0.1, 1.0, step_size_up=3, mode="triangular2")),
        rates(lambda o: schedules.LambdaLR(o, lambda e: 1 / (1 + e))),
        rates(lambda o: schedules.MultiplicativeLR(o, lambda e: 0.9)),
        rates(
            lambda o: schedules.SequentialLR(
                o,
                [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.9)],
                milestones=[4],
            )
        ),
        rates(
            lambda o: schedules.ChainedScheduler(
                [schedules.ConstantLR(o, 0.5, 3), schedules.ExponentialLR(o, 0.9)]
            )
        ),
        rates(
            lambda o: schedules.ReduceLROnPlateau(o, patience=1, factor=0.5, cooldown=1),
            metric=lambda step: 1.0 if step < 3 else 1.1,
        ),
        optimizers[8].param_groups[0]["momentum"],
    ]


@program
def early_stopping_with_the_best_weights(torch: ModuleType) -> Any:
    """Validation, patience, the best state kept by deep copy and put back."""
    import copy

    nn = torch.nn
    x, y = torch.from_numpy(data(30, 3)), torch.from_numpy(data(30, 1, seed=1))
    model = nn.Linear(3, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.constant_(model.bias, 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    best, best_state, waited, history = float("inf"), None, 0, []
    for epoch in range(60):
        model.train()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[:20]), y[:20]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            validation = nn.functional.l1_loss(model(x[20:]), y[20:]).item()
        history.append(validation)
        if validation < best - 1e-6:
            best, best_state, waited = validation, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
            if waited >= 3:
                break
    model.load_state_dict(best_state)
    return history, epoch, best, model(x[20:])
