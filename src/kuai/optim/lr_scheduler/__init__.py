"""Schedules of the learning rate. Call `scheduler.step()` after `optimizer.step()`."""

from __future__ import annotations

from kuai.optim.lr_scheduler.by_function import LambdaLR, MultiplicativeLR
from kuai.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from kuai.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from kuai.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from kuai.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from kuai.optim.lr_scheduler.plateau import ReduceLROnPlateau
from kuai.optim.lr_scheduler.scheduler import LRScheduler, _LRScheduler

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "_LRScheduler",
]
