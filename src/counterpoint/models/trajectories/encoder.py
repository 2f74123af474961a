"""Reads a flattened trajectory into an embedding, and an embedding into a reward.

Legend: M raw numbers, D dimensions of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from counterpoint.kernels.spread import units
from counterpoint.models.model_folders import Saved


def perceptron(sizes: Sequence[int], seed: int) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them, initialised from a seed of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for number, (inner, outer) in enumerate(pairwise(sizes)):
            layers += [nn.Linear(inner, outer)] + ([nn.ReLU()] if number < len(sizes) - 2 else [])
        return nn.Sequential(*layers)


class TrajectoryEncoder(Saved):
    """A perceptron over standardised raw numbers; its output is not normalised.

    Args:
        inputs: M.
        dimension: D.
        hidden: widths of the hidden layers.
        end_to_end: a reward is learnt through the whole network, not on a frozen embedding (the preferences-only baseline).
        seed: of the initialisation.

    Attributes:
        mean, deviation: [M] of the training split. reward: [D], a linear reward on the embedding; zeros until learnt.
    """

    mean: Tensor
    deviation: Tensor
    reward: Tensor

    def __init__(
        self,
        inputs: int,
        dimension: int = 6,
        hidden: Sequence[int] = (64, 64),
        end_to_end: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.inputs, self.dimension, self.hidden, self.seed = inputs, dimension, tuple(hidden), seed
        self.end_to_end = end_to_end
        self.network = perceptron((inputs, *hidden, dimension), seed)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.register_buffer("reward", torch.zeros(dimension))

    def standardised_by(self, inputs: Tensor) -> TrajectoryEncoder:
        """Set mean and deviation from raw inputs [N, M] and return the encoder; numbers that never vary stay 0."""
        self.mean.copy_(inputs.mean(0))
        spread = inputs.std(0, unbiased=False)
        self.deviation.copy_(units(inputs, spread))
        return self

    def scaled(self, inputs: Tensor) -> Tensor:
        """[..., M] standardised inputs."""
        return (inputs - self.mean) / self.deviation

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed raw inputs [..., M] as [..., D]."""
        return self.network(self.scaled(inputs))

    def score(self, inputs: Tensor) -> Tensor:
        """Reward [...] of raw inputs [..., M]; compare it between trajectories, its zero means nothing."""
        return self(inputs) @ self.reward
