"""Data sets, samplers and loaders under PyTorch's names; they live in `kuai.data`."""

from __future__ import annotations

import sys

from kuai.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    collate,
    dataloader,
    dataset,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
    sampler,
)

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
    "get_worker_info",
    "random_split",
]

# Programs also import from `torch.utils.data.dataset` and its kin: the same modules, not copies,
# so that each class exists once.
for _module in (collate, dataloader, dataset, sampler):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module
sys.modules[f"{__name__}.distributed"] = sampler
distributed = sampler
