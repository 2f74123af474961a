"""The Run: batches, steps, rounds, durable stages, checkpoints, budget, events."""

from counterpoint.training.batches import Batch, ItemRandom
from counterpoint.training.budget import Budget
from counterpoint.training.optimizer import Optimizer
from counterpoint.training.per_sample import PerSample
from counterpoint.training.run import Interrupted, Run

__all__ = ["Batch", "Budget", "Interrupted", "ItemRandom", "Optimizer", "PerSample", "Run"]
