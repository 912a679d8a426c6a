"""Optimisers, learning-rate schedules and clipping."""

from lazyarray.optim.optimizer import Optimizer, clip_global_norm
from lazyarray.optim.rules import SGD, Adam, AdamW
from lazyarray.optim.schedule import CosineScheduler, FactorScheduler, MultiStepScheduler, Scheduler

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineScheduler",
    "FactorScheduler",
    "MultiStepScheduler",
    "Optimizer",
    "Scheduler",
    "clip_global_norm",
]
