"""Data sets, samplers and loaders, as in `torch.utils.data`; real data: `digits`, `shakespeare`."""

from __future__ import annotations

from kuai.data.collate import default_collate, default_convert
from kuai.data.dataloader import DataLoader
from kuai.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from kuai.data.digits import digits
from kuai.data.sampler import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from kuai.data.shakespeare import shakespeare
from kuai.data.worker import get_worker_info

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "digits",
    "get_worker_info",
    "random_split",
    "shakespeare",
]
