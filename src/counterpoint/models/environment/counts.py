"""A transition model of counted moves, and the policy planned on it.

Legend: H tables (1 when the world is stationary), S states, X = S A B pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.models.model_folders import Saved


class CountedModel(Saved):
    """Counts and policies.

    Args:
        states, actions, horizon, opponents, stationary: as in ``LowRankModel``.

    Attributes:
        counts: [H, X, S] how often each move was seen. first, second: as in ``LowRankModel``.
    """

    counts: Tensor
    first: Tensor
    second: Tensor

    def __init__(
        self,
        states: int,
        actions: int,
        horizon: int,
        opponents: int = 1,
        stationary: bool = False,
    ) -> None:
        super().__init__()
        self.states, self.actions, self.opponents, self.horizon = states, actions, opponents, horizon
        pairs = states * actions * opponents
        tables = 1 if stationary else horizon
        self.register_buffer("counts", torch.zeros(tables, pairs, states, dtype=torch.float64))
        self.register_buffer("first", torch.full((horizon, states, actions), 1.0 / actions))
        self.register_buffer("second", torch.full((horizon, states, opponents), 1.0 / opponents))

    @property
    def size(self) -> int:
        """Number of states."""
        return self.states

    def transition(self) -> Tensor:
        """[H or 1, X, S] shares of the counts; uniform where nothing was seen."""
        seen = self.counts.sum(-1, keepdim=True)
        return torch.where(seen > 0, self.counts / seen.clamp(min=1), 1.0 / self.states)
