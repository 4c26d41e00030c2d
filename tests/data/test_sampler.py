"""Samplers: which keys come, in which order, and which arguments are refused."""

from __future__ import annotations

from typing import Any

import pytest

import kuai
from kuai.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def generator(seed: int = 0) -> Any:
    return kuai.Generator().manual_seed(seed)


def test_a_sequential_sampler_goes_through_in_order() -> None:
    assert list(SequentialSampler("abc")) == [0, 1, 2]


def test_a_random_sampler_shuffles_anew_each_epoch_and_repeats_with_its_seed() -> None:
    sampler = RandomSampler(range(50), generator=generator())
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert list(RandomSampler(range(50), generator=generator())) == first


def test_a_random_sampler_follows_manual_seed() -> None:
    def order(seed: int) -> list[int]:
        kuai.manual_seed(seed)
        return list(RandomSampler(range(50)))

    assert order(1) == order(1) != order(2)


def test_drawing_more_than_there_are_begins_another_round() -> None:
    drawn = list(RandomSampler(range(4), num_samples=10))
    assert [sorted(drawn[:4]), sorted(drawn[4:8]), len(drawn)] == [[0, 1, 2, 3]] * 2 + [10]


def test_drawing_with_replacement_can_repeat() -> None:
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=100))
    assert len(drawn) == 100
    assert set(drawn) == set(range(5))


def test_a_subset_sampler_shuffles_its_keys() -> None:
    assert sorted(SubsetRandomSampler([7, 8, 9], generator())) == [7, 8, 9]


def test_a_weighted_sampler_follows_its_weights() -> None:
    drawn = list(WeightedRandomSampler([0, 3, 1], 4000, generator=generator()))
    assert drawn.count(0) == 0
    assert 2800 < drawn.count(1) < 3200


def test_a_weighted_sampler_without_replacement_draws_each_once() -> None:
    assert sorted(WeightedRandomSampler([1, 1, 5], 3, replacement=False)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("drop", "expected"), [(False, [[0, 1], [2, 3], [4]]), (True, [[0, 1], [2, 3]])]
)
def test_a_batch_sampler_groups(drop: bool, expected: list[list[int]]) -> None:
    sampler = BatchSampler(range(5), 2, drop)
    assert list(sampler) == expected
    assert len(sampler) == len(expected)


def test_shares_of_processes_cover_everything_and_have_one_length() -> None:
    shares = [list(DistributedSampler(range(10), 3, rank, shuffle=False)) for rank in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7, 0], [2, 5, 8, 1]]
    cut = [list(DistributedSampler(range(10), 3, rank, drop_last=True)) for rank in range(3)]
    assert [len(share) for share in cut] == [3, 3, 3]
    assert len({key for share in cut for key in share}) == 9


def test_shares_are_shuffled_alike_and_differently_each_epoch() -> None:
    samplers = [DistributedSampler(range(20), 2, rank, seed=1) for rank in range(2)]
    first = [list(sampler) for sampler in samplers]
    assert sorted(first[0] + first[1]) == list(range(20))
    samplers[0].set_epoch(1)
    assert list(samplers[0]) != first[0]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RandomSampler([]), ValueError),
        (lambda: RandomSampler([1], num_samples=0), ValueError),
        (lambda: RandomSampler([1], num_samples=1.5), ValueError),  # type: ignore[arg-type]
        (lambda: RandomSampler([1], replacement=1), TypeError),  # type: ignore[arg-type]
        (lambda: WeightedRandomSampler([1], 0), ValueError),
        (lambda: WeightedRandomSampler([1], True), ValueError),
        (lambda: WeightedRandomSampler([1], 1, replacement=1), ValueError),  # type: ignore[arg-type]
        (lambda: WeightedRandomSampler([[1]], 1), ValueError),  # type: ignore[list-item]
        (lambda: BatchSampler([1], 0, False), ValueError),
        (lambda: BatchSampler([1], True, False), ValueError),
        (lambda: BatchSampler([1], 1, 1), ValueError),  # type: ignore[arg-type]
        (lambda: DistributedSampler([1], 2, 2), ValueError),
        (lambda: DistributedSampler([1]), RuntimeError),
        (lambda: iter(Sampler()), NotImplementedError),
        (lambda: list(WeightedRandomSampler([1, 2], 5, replacement=False)), RuntimeError),
    ],
)
def test_what_makes_no_sampler_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()
