"""Data sets: combining, splitting, and the digits."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import Any

import pytest

import kuai
from kuai.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    digits,
    random_split,
    shakespeare,
)


class Stream(IterableDataset[int]):
    """The numbers below `count`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


class InBatches(Dataset[int]):
    """A data set that is read a batch at a time, and counts how often."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: Any) -> int:
        raise AssertionError("read one by one")

    def __getitems__(self, indices: list[int]) -> list[int]:
        self.reads += 1
        return [10 * i for i in indices]


def test_rows_of_tensors_are_samples() -> None:
    rows = TensorDataset(kuai.arange(6).reshape(3, 2), kuai.arange(3))
    assert len(rows) == 3
    assert [t.tolist() for t in rows[1]] == [[2, 3], 1]


def test_tensors_of_different_lengths_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"Size mismatch.*\[2, 3\]"):
        TensorDataset(kuai.ones(2), kuai.ones(3))


def test_concatenated_sets_are_indexed_from_both_ends() -> None:
    both: Any = ConcatDataset([range(3), range(10, 12)])  # type: ignore[list-item]
    assert [both[i] for i in range(5)] == [0, 1, 2, 10, 11]
    assert both[-1] == 11
    assert both[-5] == 0
    assert both.cumulative_sizes == [3, 5]
    with pytest.raises(ValueError, match="absolute value of index"):
        both[-6]
    with pytest.raises(IndexError):
        both[5]


def test_adding_sets_puts_them_one_after_the_other() -> None:
    rows = TensorDataset(kuai.arange(2))
    assert len(rows + rows) == 4
    assert list(Stream(2) + Stream(1)) == [0, 1, 0]
    assert len(Stream(2) + Stream(1)) == 3  # type: ignore[arg-type]


def test_streams_and_indexed_sets_do_not_mix() -> None:
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        ConcatDataset([Stream(1)])
    with pytest.raises(AssertionError, match="empty"):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(ChainDataset([TensorDataset(kuai.ones(1))]))


def test_stacked_sets_give_tuples_or_dicts() -> None:
    by_place: Any = StackDataset(range(3), "abc")  # type: ignore[arg-type]
    by_name: Any = StackDataset(number=range(3), letter="abc")  # type: ignore[arg-type]
    assert by_place[1] == (1, "b")
    assert by_name[1] == {"number": 1, "letter": "b"}
    assert by_place.__getitems__([0, 2]) == [(0, "a"), (2, "c")]
    assert by_name.__getitems__([2]) == [{"number": 2, "letter": "c"}]
    assert len(by_place) == 3


def test_stacking_needs_sets_of_one_length_and_one_kind_of_name() -> None:
    with pytest.raises(ValueError, match="At least one"):
        StackDataset()
    with pytest.raises(ValueError, match="both types"):
        StackDataset(range(1), a=range(1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Size mismatch"):
        StackDataset(range(1), range(2))  # type: ignore[arg-type]


def test_batches_are_read_at_once_through_subsets_and_stacks() -> None:
    source = InBatches()
    assert Subset(source, [3, 4, 5]).__getitems__([0, 2]) == [30, 50]
    assert StackDataset(source, source).__getitems__([1]) == [(10, 10)]
    assert source.reads == 3


def test_a_random_split_covers_everything_once_and_is_seeded() -> None:
    def split(seed: int) -> list[list[int]]:
        parts = random_split(range(10), [7, 3], kuai.Generator().manual_seed(seed))  # type: ignore[type-var, arg-type]
        return [list(part) for part in parts]  # type: ignore[call-overload]

    assert sorted(functools.reduce(operator.iadd, split(0), [])) == list(range(10))
    assert split(0) == split(0)
    assert split(0) != split(1)


@pytest.mark.parametrize(
    ("lengths", "expected"), [([0.5, 0.3, 0.2], [5, 3, 2]), ([1 / 3] * 3, [4, 3, 3]), ([10], [10])]
)
def test_fractions_become_whole_lengths(lengths: list[float], expected: list[int]) -> None:
    assert [len(part) for part in random_split(range(10), lengths)] == expected  # type: ignore[arg-type, type-var]


@pytest.mark.parametrize("lengths", [[3, 3], [0.5, 0.6], [20]])
def test_lengths_that_do_not_add_up_are_refused(lengths: list[float]) -> None:
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(range(10), lengths)  # type: ignore[arg-type, type-var]


def test_an_empty_part_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="index 1 is 0"):
        random_split(range(3), [0.9, 0.1])  # type: ignore[arg-type, type-var]


def test_an_abstract_set_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
    with pytest.raises(TypeError, match="abstract"):
        IterableDataset()  # type: ignore[abstract]


def test_the_digits_are_images_with_labels() -> None:
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8)
    assert (images.dtype, labels.dtype) == (kuai.float32, kuai.int64)
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert labels[:10].tolist() == list(range(10))
    assert images[0, 0, 0].tolist() == [0, 0, 5 / 16, 13 / 16, 9 / 16, 1 / 16, 0, 0]


def test_the_digits_split_into_fifths_of_each_class_that_never_change() -> None:
    (images, labels), (test_images, test_labels) = digits(True), digits(False, flatten=True)
    assert (images.shape, test_images.shape) == ((1438, 1, 8, 8), (359, 64))
    assert labels.bincount().tolist() == [142, 146, 142, 146, 145, 146, 145, 143, 139, 144]
    assert test_labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert test_labels[:12].tolist() == digits(False)[1][:12].tolist()
    together = {tuple(row) for row in images.reshape(-1, 64).tolist()}
    assert not together & {tuple(row) for row in test_images.tolist()}


def test_the_play_is_plain_text_with_its_own_names() -> None:
    text = shakespeare()
    assert text.startswith("A Midsummer Night's Dream\n")
    assert len(text) > 90_000
    assert text.isascii()
    assert "The course of true love never did run smooth" in text
