"""Optimizers, which change parameters so that a loss falls, and schedules of their rates."""

from __future__ import annotations

from typing import Any

from kuai.optim import lr_scheduler
from kuai.optim.adadelta import Adadelta
from kuai.optim.adafactor import Adafactor
from kuai.optim.adagrad import Adagrad
from kuai.optim.adam import Adam, AdamW
from kuai.optim.adamax import Adamax
from kuai.optim.asgd import ASGD
from kuai.optim.lbfgs import LBFGS
from kuai.optim.muon import Muon
from kuai.optim.nadam import NAdam
from kuai.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from kuai.optim.radam import RAdam
from kuai.optim.rmsprop import RMSprop
from kuai.optim.rprop import Rprop
from kuai.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "swa_utils",
]


def __getattr__(name: str) -> Any:
    if name == "swa_utils":  # it needs blocks, the other optimizers do not
        import importlib

        return importlib.import_module("kuai.optim.swa_utils")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
