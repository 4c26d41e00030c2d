"""The loader: the same batches in the same order, whoever reads them, and errors that arrive."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import kuai
from kuai.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
    get_worker_info,
)

TEN = TensorDataset(kuai.arange(10))
Pair = namedtuple("Pair", "a b")


class Each(Dataset[Any]):
    """A data set of what a function makes of each index."""

    def __init__(self, function: Callable[[int], Any], count: int = 8) -> None:
        self.function = function
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.function(index)


class Shared(IterableDataset[int]):
    """The numbers below 11, each from one worker."""

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        if info is None:
            return iter(range(11))
        return iter(range(info.id, 11, info.num_workers))


def batches(*arguments: Any, **options: Any) -> list[Any]:
    return [batch[0].tolist() for batch in DataLoader(*arguments, **options)]


def as_lists(loader: Any) -> list[Any]:
    return [batch.tolist() for batch in loader]


def test_batches_come_in_order_with_a_shorter_last_one() -> None:
    assert batches(TEN, 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches(TEN, 4, drop_last=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (len(DataLoader(TEN, 4)), len(DataLoader(TEN, 4, drop_last=True))) == (3, 2)


def test_rows_gathered_at_once_are_what_collating_them_gives() -> None:
    images = kuai.arange(24.0).reshape(6, 4)
    rows = TensorDataset(images.T, kuai.arange(4), kuai.ones(4, 0))
    part = Subset(Subset(rows, [3, 2, 0]), [2, -2])  # type: ignore[var-annotated]
    for dataset in (rows, part):
        gathered = next(iter(DataLoader(dataset, 2)))
        collated = default_collate([dataset[0], dataset[1]])
        assert type(gathered) is type(collated) is list
        for one, other in zip(gathered, collated, strict=True):
            assert (one.dtype, one.shape, one.stride()) == (
                other.dtype, other.shape, other.stride()
            )  # fmt: skip
            assert one.tolist() == other.tolist()
    with pytest.raises(IndexError):
        list(DataLoader(rows, 2, sampler=[0, 4]))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_seed_gives_the_same_order_with_any_number_of_workers(workers: int) -> None:
    kuai.manual_seed(3)
    expected = [batches(TEN, 3, shuffle=True), batches(TEN, 3, shuffle=True), kuai.rand(1).item()]
    kuai.manual_seed(3)
    loader = DataLoader(TEN, 3, shuffle=True, num_workers=workers)
    found = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    assert [*found, kuai.rand(1).item()] == expected
    assert found[0] != found[1]


def test_a_generator_of_ones_own_leaves_the_default_one_alone() -> None:
    def order() -> list[Any]:
        return batches(TEN, 10, shuffle=True, generator=kuai.Generator().manual_seed(5))

    kuai.manual_seed(0)
    expected = kuai.rand(1).item()
    kuai.manual_seed(0)
    assert order() == order()
    assert kuai.rand(1).item() == expected


def test_samplers_choose_the_order() -> None:
    assert batches(TEN, 2, sampler=[3, 1, 2]) == [[3, 1], [2]]
    assert batches(TEN, batch_sampler=[[1], [5, 6]]) == [[1], [5, 6]]


def test_without_a_batch_size_samples_come_as_they_are() -> None:
    (first,), *_ = DataLoader(TEN, batch_size=None)
    assert first.shape == ()
    converted = next(iter(DataLoader([np.ones(2)], batch_size=None)))  # type: ignore[arg-type, var-annotated]
    assert isinstance(converted, kuai.Tensor)


def test_a_collate_function_makes_the_batch() -> None:
    assert list(DataLoader(range(3), 2, collate_fn=sum)) == [1, 2]  # type: ignore[arg-type]


def test_streams_are_batched_and_shared_among_workers() -> None:
    assert as_lists(DataLoader(Shared(), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert as_lists(DataLoader(Shared(), 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    both = as_lists(DataLoader(Shared(), 2, num_workers=2))
    assert both == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9]]


def test_a_stream_longer_than_it_said_is_warned_of() -> None:
    class Liar(Shared):
        def __len__(self) -> int:
            return 5

    loader = DataLoader(Liar(), 2)
    assert len(loader) == 3
    with pytest.warns(UserWarning, match="was reported to be 5"):
        list(loader)


def test_an_exception_in_a_worker_is_raised_here_with_its_traceback() -> None:
    def fail(index: int) -> int:
        if index == 2:
            raise KeyError("the missing key")
        return index

    loader = iter(DataLoader(Each(fail), num_workers=1))
    assert [next(loader).item(), next(loader).item()] == [0, 1]
    with pytest.raises(KeyError, match=r"(?s)worker process 0.*in fail.*the missing key"):
        next(loader)
    assert next(loader).item() == 3


def test_an_exception_that_cannot_travel_is_still_reported() -> None:
    class Local(Exception):
        pass

    def fail(index: int) -> int:
        raise Local("lost")

    with pytest.raises(RuntimeError, match=r"(?s)Caught Local.*lost"):
        list(DataLoader(Each(fail), num_workers=1))


def test_a_batch_that_cannot_travel_is_reported() -> None:
    loader = DataLoader(Each(lambda i: lambda: i), num_workers=1, collate_fn=list)
    with pytest.raises(Exception, match=r"(?s)worker process 0.*[Pp]ickle"):
        list(loader)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda _: os._exit(3), r"exited unexpectedly \(exit code 3\)"),
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), "killed by signal: SIGKILL"),
    ],
)
def test_a_worker_that_dies_is_reported(end: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        list(DataLoader(Each(end), num_workers=2))


def test_a_worker_that_takes_too_long_is_reported() -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"timed out after 0\.3 seconds"):
        list(DataLoader(Each(lambda _: time.sleep(60)), num_workers=1, timeout=0.3))
    assert time.monotonic() - start < 5


def test_workers_know_who_they_are_and_draw_different_numbers() -> None:
    def describe(_: int) -> tuple[Any, ...]:
        info: Any = get_worker_info()
        drawn = kuai.rand(1).item(), random.random(), float(np.random.rand())
        return info.id, info.num_workers, info.seed, drawn

    def run() -> list[Any]:
        kuai.manual_seed(7)
        loader = DataLoader(Each(describe, 2), num_workers=2, collate_fn=lambda batch: batch[0])
        return list(loader)

    (zero, two, seed, drawn), (one, _, other_seed, other_drawn) = run()
    assert (zero, one, two, other_seed - seed) == (0, 1, 2, 1)
    assert not set(drawn) & set(other_drawn)
    assert run() == run()
    assert get_worker_info() is None


def test_an_init_function_runs_first_in_each_worker() -> None:
    def init(number: int) -> None:
        get_worker_info().dataset.function = lambda i: 100 * number + i  # type: ignore[union-attr]

    loader = DataLoader(Each(abs, 4), num_workers=2, worker_init_fn=init)
    assert as_lists(loader) == [[0], [101], [2], [103]]


def test_an_init_function_that_fails_is_reported() -> None:
    def init(number: int) -> None:
        raise ValueError("no such disk")

    with pytest.raises(ValueError, match="no such disk"):
        list(DataLoader(TEN, num_workers=1, worker_init_fn=init))


def test_persistent_workers_serve_the_next_epoch_also_after_a_break() -> None:
    pids = Each(lambda _: os.getpid(), 8)
    loader = DataLoader(pids, 1, num_workers=2, persistent_workers=True)
    first = {batch.item() for batch in loader}
    next(iter(loader))
    assert {batch.item() for batch in loader} == first
    assert len(first) == 2
    streams = DataLoader(Shared(), 4, num_workers=2, persistent_workers=True)
    assert as_lists(streams) == as_lists(streams)


def test_breaking_off_an_epoch_ends_its_workers() -> None:
    iterator: Any = iter(DataLoader(TEN, num_workers=2))
    next(iterator)
    processes = [worker.process for worker in iterator._workers]
    del iterator
    assert not any(process.is_alive() for process in processes)


def test_without_order_batches_come_as_they_are_ready() -> None:
    def slow_first(index: int) -> int:
        if index == 0:
            time.sleep(0.5)
        return index

    found = as_lists(DataLoader(Each(slow_first), 1, num_workers=2, in_order=False))
    assert sorted(found) == [[i] for i in range(8)]
    assert found[0] != [0]


def test_large_batches_travel() -> None:
    images = TensorDataset(kuai.ones(16, 3, 128, 128))
    total = sum(batch.sum().item() for (batch,) in DataLoader(images, 8, num_workers=2))
    assert total == 16 * 3 * 128 * 128


def test_workers_can_be_spawned() -> None:
    loader = DataLoader(TEN, 5, num_workers=1, multiprocessing_context="spawn")
    assert [batch[0].tolist() for batch in loader] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([1, 2], kuai.tensor([1, 2])),
        ([1.5, 2], kuai.tensor([1.5, 2], dtype=kuai.float64)),
        ([True, False], kuai.tensor([True, False])),
        ([np.float32(1), np.float32(2)], kuai.tensor([1.0, 2.0])),
        ([np.zeros(2)] * 2, kuai.zeros(2, 2, dtype=kuai.float64)),
        ([kuai.ones(2)] * 2, kuai.ones(2, 2)),
    ],
)
def test_numbers_arrays_and_tensors_collate_to_a_tensor(samples: Any, expected: Any) -> None:
    result = default_collate(samples)
    assert result.dtype is expected.dtype
    assert result.tolist() == expected.tolist()


def test_containers_collate_entry_by_entry() -> None:
    assert default_collate(["a", "b"]) == ["a", "b"]
    assert [t.tolist() for t in default_collate([(1, 2), (3, 4)])] == [[1, 3], [2, 4]]
    pair = default_collate([Pair(1, 2), Pair(3, 4)])
    assert type(pair) is Pair
    assert pair.b.tolist() == [2, 4]
    for kind in (dict, OrderedDict, UserDict):
        result = default_collate([kind(x=1), kind(x=2)])
        assert type(result) is kind
        assert result["x"].tolist() == [1, 2]


def test_what_cannot_be_collated_is_named() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        default_collate([None])
    with pytest.raises(TypeError, match="<U1"):
        default_collate([np.array("a")])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([kuai.ones(2), kuai.ones(3)])


def test_converting_leaves_plain_values_alone() -> None:
    number, array, nested, text = default_convert([1, np.zeros(2), {"a": np.float32(2)}, "s"])
    assert (number, array.dtype, nested["a"].item(), text) == (1, kuai.float64, 2.0, "s")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_workers": -1}, ValueError, "non-negative"),
        ({"timeout": -1}, ValueError, "non-negative"),
        ({"prefetch_factor": 2}, ValueError, "num_workers"),
        ({"prefetch_factor": -1, "num_workers": 1}, ValueError, "non-negative"),
        ({"persistent_workers": True}, ValueError, "num_workers > 0"),
        ({"batch_size": 0}, ValueError, "positive"),
        ({"batch_size": 2.5}, ValueError, "positive"),
        ({"batch_size": True}, ValueError, "positive"),
        ({"batch_size": None, "drop_last": True}, ValueError, "drop_last"),
        ({"drop_last": 3}, ValueError, "boolean"),
        ({"sampler": [1], "shuffle": True}, ValueError, "mutually exclusive"),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "mutually exclusive"),
        ({"batch_sampler": [[1]], "shuffle": True}, ValueError, "mutually exclusive"),
        ({"multiprocessing_context": "fork"}, ValueError, "multi-process"),
        ({"multiprocessing_context": "x", "num_workers": 1}, ValueError, "valid start method"),
        ({"multiprocessing_context": 3, "num_workers": 1}, TypeError, "valid context"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DataLoader(TEN, **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_a_stream_has_no_order_to_choose(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="IterableDataset"):
        DataLoader(Shared(), **options)


def test_what_a_loader_reads_is_fixed_once_it_is_made() -> None:
    loader = DataLoader(TEN)
    for name in ("batch_size", "sampler", "batch_sampler", "drop_last", "dataset"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set"):
            setattr(loader, name, 1)


def test_an_empty_set_cannot_be_shuffled_but_can_be_read() -> None:
    assert list(DataLoader([])) == []  # type: ignore[arg-type, var-annotated]
    with pytest.raises(ValueError, match="num_samples=0"):
        DataLoader([], shuffle=True)  # type: ignore[arg-type]


def test_more_workers_than_processors_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="1000 worker processes"):
        DataLoader(TEN, num_workers=1000)


def test_pytorchs_module_names_lead_to_the_same_classes() -> None:
    import kuai.utils.data.dataloader
    from kuai.utils.data.dataset import TensorDataset as ByDataset
    from kuai.utils.data.distributed import DistributedSampler
    from kuai.utils.data.sampler import RandomSampler

    import kuai.utils.data

    assert ByDataset is TensorDataset
    assert kuai.utils.data.DataLoader is kuai.utils.data.dataloader.DataLoader is DataLoader
    assert kuai.utils.data.RandomSampler is RandomSampler
    assert kuai.utils.data.DistributedSampler is DistributedSampler
