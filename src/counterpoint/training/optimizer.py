"""The optimiser of a run as plain settings: which rule, how fast, on what schedule. Builds torch's own optimisers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Optimizer:
    """Settings of an optimiser and its learning-rate schedule over a loop.

    Attributes:
        schedule: "steps" divides the rate by ten at one half and at three quarters.
        warmup: fraction of the loop over which the rate rises linearly from 0.
        decay_all: whether weight decay also acts on biases and normalisation parameters (one-dimensional tensors).
        max_grad_norm: clip the global gradient norm to this; None leaves it alone.
        fused: Adam's and AdamW's update as one operation for all parameters, the same up to rounding; for small networks,
            whose many small tensors cost more to visit than to change.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "linear", "steps"] = "constant"
    warmup: float = 0.0
    max_grad_norm: float | None = None
    decay_all: bool = False
    fused: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build the torch optimiser over the trainable ones of ``parameters``."""
        trainable = [p for p in parameters if p.requires_grad]
        if not trainable:
            raise CounterpointError(
                "there is nothing to train: no parameter of the model has requires_grad=True"
            )
        decayed = [p for p in trainable if self.decay_all or p.ndim > 1]
        spared = [p for p in trainable if not (self.decay_all or p.ndim > 1)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}] if decayed else []
        groups += [{"params": spared, "weight_decay": 0.0}] if spared else []
        if self.name == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum)
        rule = torch.optim.AdamW if self.name == "adamw" else torch.optim.Adam
        return rule(groups, lr=self.learning_rate, betas=self.betas, fused=self.fused or None)

    def rate(self, progress: float) -> float:
        """Learning rate at ``progress`` in [0, 1] of the loop.

        >>> Optimizer(learning_rate=2.0, schedule="linear", warmup=0.5).rate(0.25)
        1.0
        >>> round(Optimizer(learning_rate=2.0, schedule="cosine").rate(0.5), 9)
        1.0
        """
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        left = (progress - self.warmup) / max(1.0 - self.warmup, 1e-12)
        if self.schedule == "linear":
            return self.learning_rate * max(1.0 - left, 0.0)
        if self.schedule == "steps":
            return self.learning_rate * 0.1 ** ((left >= 0.5) + (left >= 0.75))
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(left, 1.0)))
        return self.learning_rate
