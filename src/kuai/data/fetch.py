"""Fetching: from the keys of a batch to the batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from kuai import ops
from kuai.data.collate import default_collate
from kuai.data.dataset import IterableDataset, Subset, TensorDataset


class MapFetcher:
    """Reads batches of a data set that is looked up by key.

    Args:
        dataset: the data set.
        batched: whether a request is a list of keys (rather than one key).
        collate: makes a batch of what was read.
        drop_last: unused; the batch sampler drops.
    """

    def __init__(
        self, dataset: Any, batched: bool, collate: Callable[[Any], Any], drop_last: bool
    ) -> None:
        self.dataset = dataset
        self.batched = batched
        self.collate = collate
        self.is_rows = batched and collate is default_collate and _is_rows(dataset)

    def fetch(self, keys: Any) -> Any:
        """The batch of these keys."""
        dataset = self.dataset
        if self.is_rows and type(keys) is list and all(type(key) is int for key in keys):
            return _gather(dataset, keys)
        if not self.batched:
            return self.collate(dataset[keys])
        read_batch = getattr(dataset, "__getitems__", None)
        if read_batch:
            return self.collate(read_batch(keys))
        return self.collate([dataset[key] for key in keys])


def _is_rows(dataset: Any) -> bool:
    """Whether the samples are rows of tensors, so that a batch can be gathered at once."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset


def _gather(dataset: Any, keys: list[int]) -> list[Any]:
    """What `default_collate` makes of these rows of tensors, without visiting each row."""
    while type(dataset) is Subset:
        keys = [dataset.indices[key] for key in keys]
        dataset = dataset.dataset
    rows = ops.from_numpy(np.array(keys, np.int64))
    return [tensor[rows] for tensor in dataset.tensors]


class IterableFetcher:
    """Reads batches of a data set that can only be iterated over.

    Args:
        dataset: the data set.
        batched: whether a request is a list, as long as the batch (rather than one `None`).
        collate: makes a batch of what was read.
        drop_last: leave out a last batch that is shorter.
    """

    def __init__(
        self, dataset: Any, batched: bool, collate: Callable[[Any], Any], drop_last: bool
    ) -> None:
        self.samples = iter(dataset)
        self.batched = batched
        self.collate = collate
        self.drop_last = drop_last

    def fetch(self, keys: Any) -> Any:
        """The next batch.

        Raises:
            StopIteration: there are no more samples (or fewer than a batch, with `drop_last`).
        """
        if not self.batched:
            return self.collate(next(self.samples))
        samples = list(itertools.islice(self.samples, len(keys)))
        if not samples or (self.drop_last and len(samples) < len(keys)):
            raise StopIteration
        return self.collate(samples)


def make_fetcher(
    dataset: Any, batched: bool, collate: Callable[[Any], Any], drop_last: bool
) -> MapFetcher | IterableFetcher:
    """The fetcher for this kind of data set."""
    kind = IterableFetcher if isinstance(dataset, IterableDataset) else MapFetcher
    return kind(dataset, batched, collate, drop_last)
