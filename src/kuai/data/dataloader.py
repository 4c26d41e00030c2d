"""The loader: batches of a data set, read here or by worker processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kuai.data.collate import default_collate, default_convert
from kuai.data.dataset import Dataset, IterableDataset
from kuai.data.fetch import make_fetcher
from kuai.data.sampler import (
    BatchSampler,
    EndlessSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    draw_seed,
)

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from kuai.ops import Generator

T_co = TypeVar("T_co", covariant=True)

FIXED_ATTRIBUTES = frozenset(
    ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
)


class DataLoader(Generic[T_co]):
    """Iterates over a data set in batches.

    Args:
        dataset: a data set with `__getitem__` and `__len__`, or an `IterableDataset`.
        batch_size: samples in a batch; `None` gives the samples one by one, uncollated.
        shuffle: read in a new random order each epoch.
        sampler: the order to read in, instead of `shuffle`.
        batch_sampler: gives lists of keys, instead of `batch_size`, `shuffle`, `sampler` and
            `drop_last`.
        num_workers: how many processes read; 0 reads in this one. The batches' order is the same.
        collate_fn: makes a batch of a list of samples; `default_collate` if `None`.
        pin_memory: has no effect: there is no device to copy to.
        drop_last: leave out a last batch that is shorter.
        timeout: how many seconds to wait for a worker's batch; 0 waits for ever.
        worker_init_fn: called with the worker's number in each worker as it starts.
        multiprocessing_context: how workers are started: `"fork"`, `"spawn"`, `"forkserver"` or a
            context of `multiprocessing`.
        generator: where the order's and the workers' random numbers come from; the default one,
            which `manual_seed` sets, if `None`.
        prefetch_factor: batches that each worker reads ahead; 2 if `None`.
        persistent_workers: keep the workers after an epoch.
        pin_memory_device: has no effect.
        in_order: give batches in the sampler's order; otherwise, in the order in which workers
            finish them.

    Raises:
        ValueError: arguments exclude each other or are out of range.
        RuntimeError: while iterating, a worker died or timed out. An exception in a worker is
            raised here again, as what it was, with the worker's traceback in its message.
    """

    dataset: Dataset[T_co]
    batch_size: int | None
    sampler: Sampler[Any] | Iterable[Any]
    _iterator: Any = None

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: BaseContext | str | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_worker_arguments(num_workers, timeout, prefetch_factor, persistent_workers)
        iterable = isinstance(dataset, IterableDataset)
        if iterable:
            _check_iterable_arguments(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        if sampler is None:
            if iterable:
                sampler = EndlessSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order
        self._reported_length: int | None = None
        self._initialized = True
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED_ATTRIBUTES and "_initialized" in self.__dict__:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> BaseContext | None:
        """How workers are started: a context of `multiprocessing`, or `None` for its default."""
        return self._multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: BaseContext | str | None) -> None:
        self._multiprocessing_context = _start_context(context, self.num_workers)

    @property
    def _batched(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _requests(self) -> Iterable[Any]:
        """The sampler whose items are one request each: keys of a batch, or one key."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return _LocalIterator(self)
        from kuai.data.parallel import ParallelIterator

        if not self.persistent_workers:
            return ParallelIterator(self)
        if self._iterator is None:
            self._iterator = ParallelIterator(self)
        else:
            self._iterator.start_epoch(self)
        return self._iterator

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self._requests)  # type: ignore[arg-type]
        length = self._reported_length = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn if there are more workers than processors for them."""
        if hasattr(os, "sched_getaffinity"):
            available = len(os.sched_getaffinity(0))
        else:
            available = os.cpu_count() or 1
        if self.num_workers > available:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our "
                f"suggested max number of worker in current system is {available}: more can make "
                "loading slow or even freeze it.",
                stacklevel=3,
            )

    def _check_length(self, batches: int) -> None:
        """Warn if an iterable data set gave more than its `__len__` said."""
        length = self._reported_length
        if length is not None and batches > len(self):
            warnings.warn(
                f"Length of IterableDataset {self.dataset} was reported to be {length} (when "
                f"accessing len(dataloader)), but {batches} "
                f"{'samples' if self.batch_size is None else 'batches'} have been fetched. With "
                "several workers, each must be told by get_worker_info() to give its share only.",
                stacklevel=3,
            )


class _LocalIterator:
    """One epoch, read in this process."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        if loader.timeout != 0:
            raise AssertionError(
                "a DataLoader's timeout needs worker processes (num_workers > 0), "
                f"but got timeout={loader.timeout} with num_workers=0"
            )
        self._loader = loader
        self._requests = iter(loader._requests)
        # Drawn although no worker needs it, so that the stream of random numbers after an epoch
        # does not depend on the number of workers.
        self._seed = draw_seed(loader.generator)
        self._fetcher = make_fetcher(
            loader.dataset, loader._batched, loader.collate_fn, loader.drop_last
        )
        self._batches = 0

    def __iter__(self) -> _LocalIterator:
        return self

    def __next__(self) -> Any:
        batch = self._fetcher.fetch(next(self._requests))
        self._batches += 1
        if self._loader._reported_length is not None:
            self._loader._check_length(self._batches)
        return batch

    def __len__(self) -> int:
        return len(self._loader)


def _check_worker_arguments(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing: let num_workers "
            "> 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable_arguments(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    unexpected = {
        "shuffle": shuffle or None,
        "sampler": sampler,
        "batch_sampler": batch_sampler,
    }
    for name, value in unexpected.items():
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, "
                f"but got {name}={value}"
            )


def _start_context(context: BaseContext | str | None, num_workers: int) -> BaseContext | None:
    """A context of `multiprocessing`, by itself or by its name."""
    if context is None:
        return None
    if num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading "
            f"(num_workers > 0), but got num_workers={num_workers}"
        )
    import multiprocessing
    from multiprocessing.context import BaseContext

    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(
                "multiprocessing_context option should specify a valid start method in "
                f"{methods!r}, but got multiprocessing_context={context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string "
            f"specifying the start method, but got multiprocessing_context={context!r}"
        )
    return context
