"""Samplers: in which order, and in which batches, a loader reads the samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kuai import dtypes, ops

if TYPE_CHECKING:
    from kuai.ops import Generator

T_co = TypeVar("T_co", covariant=True)

LARGEST_SEED = 2**63 - 1


def draw_seed(generator: Generator | None = None) -> int:
    """A seed drawn from a generator; the default one, which `manual_seed` sets, if `None`."""
    return int(ops.randint(0, LARGEST_SEED, (), generator=generator).item())


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class Sampler(Generic[T_co]):
    """An order of keys (or of lists of keys, for a batch sampler).

    A subclass writes `__iter__()`, which is asked for anew each epoch, and usually `__len__()`.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__")


class SequentialSampler(Sampler[int]):
    """All samples in their order.

    Args:
        data_source: what to sample from.
    """

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Samples in random order.

    Args:
        data_source: what to sample from.
        replacement: draw each sample independently of the others, so that one can come twice.
        num_samples: how many to draw; as many as there are if `None`. Without replacement, more
            than there are begin another shuffled round.
        generator: where the random numbers come from. If `None`, each epoch gets a generator of
            its own, seeded from the default one.

    Raises:
        TypeError: `replacement` is no bool.
        ValueError: `num_samples` is no positive integer.
    """

    data_source: Sized
    replacement: bool

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got {replacement=}")
        if not _positive(self.num_samples):
            raise ValueError(
                f"num_samples should be a positive integer value, but got "
                f"num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many samples an epoch draws."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        count, available = self.num_samples, len(self.data_source)
        generator = self.generator
        if generator is None:
            seed = draw_seed()
            generator = ops.Generator()
            generator.manual_seed(seed)
        if self.replacement:
            if count:
                yield from ops.randint(0, available, (count,), generator=generator).tolist()
            return
        while available and count > 0:
            yield from ops.randperm(available, generator=generator).tolist()[:count]
            count -= available

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given keys in random order.

    Args:
        indices: the keys.
        generator: where the random numbers come from; the default one if `None`.
    """

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in ops.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Samples drawn with given probabilities.

    Args:
        weights: one weight for each sample, which need not sum to 1.
        num_samples: how many to draw.
        replacement: whether one sample can come twice.
        generator: where the random numbers come from; the default one if `None`.

    Raises:
        ValueError: `num_samples` is no positive integer, `replacement` no bool, or the weights
            are not one-dimensional.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not _positive(num_samples):
            raise ValueError(
                f"num_samples should be a positive integer value, but got {num_samples=}"
            )
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got {replacement=}")
        self.weights = ops.as_tensor(weights, dtype=dtypes.float64)
        if self.weights.dim() != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape "
                f"{tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = ops.multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


class EndlessSampler(Sampler[None]):
    """`None` for ever: what a loader asks an iterable data set, which has no keys, for."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class BatchSampler(Sampler[list[int]]):
    """Keys of another sampler, in lists of `batch_size`.

    Args:
        sampler: the keys, one by one.
        batch_size: how many make a batch.
        drop_last: leave out the last batch if it is shorter.

    Raises:
        ValueError: `batch_size` is no positive integer or `drop_last` no bool.
    """

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool
    ) -> None:
        if not _positive(batch_size):
            raise ValueError(
                f"batch_size should be a positive integer value, but got {batch_size=}"
            )
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got {drop_last=}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        keys = iter(self.sampler)
        while batch := list(itertools.islice(keys, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


class DistributedSampler(Sampler[int]):
    """One process's share of the samples, when several processes train together.

    The shares have one length: the first samples are repeated to fill the last shares, or, with
    `drop_last`, the last samples are left out.

    Args:
        dataset: what to sample from.
        num_replicas: how many processes there are.
        rank: which one this is, from 0.
        shuffle: whether to shuffle; all processes shuffle alike.
        seed: the seed of that shuffling; with the epoch, see `set_epoch`.
        drop_last: leave samples out instead of repeating some.

    Raises:
        RuntimeError: `num_replicas` or `rank` is missing (kuai has no process groups to ask).
        ValueError: `rank` is not below `num_replicas`.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "DistributedSampler: give num_replicas and rank; kuai has no "
                "process groups that it could ask for them"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        whole, rest = divmod(len(dataset), num_replicas)
        self.num_samples = whole if drop_last or not rest else whole + 1
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        if self.shuffle:
            generator = ops.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = ops.randperm(count, generator=generator).tolist()
        else:
            order = list(range(count))
        if order and self.total_size > count:
            order = order * math.ceil(self.total_size / count)
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, so that each one is shuffled differently."""
        self.epoch = epoch
