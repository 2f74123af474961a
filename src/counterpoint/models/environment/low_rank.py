"""A low-rank transition model learnt by contrast, and the policy planned on it (arXiv 2207.14800).

``f(s, a, s') = psi(s')^T phi(s, a) > 0`` estimates ``P(s'|s, a) / p_neg(s')``. Normalised, ``phi_hat = phi / Z`` and
``psi_hat = p_neg psi`` with ``Z = sum_s' p_neg psi^T phi``, so that ``P_hat = psi_hat^T phi_hat`` sums to 1 exactly.

Legend: H tables (1 when the world is stationary), S states, X = S A B pairs, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from counterpoint.models.model_folders import Saved


def log_ratio(phi_HXD: Tensor, psi_HSD: Tensor, step: Tensor, pair: Tensor, state: Tensor) -> Tensor:
    """log f at index tensors that broadcast together; f is kept above 1e-8."""
    step, pair, state = torch.broadcast_tensors(step, pair, state)
    rows = (step * phi_HXD.shape[1] + pair).flatten()
    columns = (step * psi_HSD.shape[1] + state).flatten()
    f = (phi_HXD.flatten(0, 1).index_select(0, rows) * psi_HSD.flatten(0, 1).index_select(0, columns)).sum(-1)
    return f.clamp(min=1e-8).log().view(step.shape)


@dataclass(frozen=True)
class Normalised:
    """``phi`` [H, X, D], ``psi`` [H, S, D], ``transition`` [H, X, S] with rows that sum to 1."""

    phi: Tensor
    psi: Tensor
    transition: Tensor


def normalised(phi_HXD: Tensor, psi_HSD: Tensor, p_neg_S: Tensor) -> Normalised:
    """Turn positive factors into a transition model.

    >>> model = normalised(torch.rand(1, 4, 2) + 0.1, torch.rand(1, 3, 2) + 0.1, torch.full((3,), 1 / 3))
    >>> torch.allclose(model.transition.sum(-1), torch.ones(1, 4))
    True
    """
    psi = p_neg_S[:, None] * psi_HSD
    phi = phi_HXD / (phi_HXD @ psi.sum(-2, keepdim=True).mT)
    return Normalised(phi, psi, phi @ psi.mT)


class LowRankModel(Saved):
    """Factors, kept positive by a softplus, and what was planned on them.

    Args:
        states, actions, horizon, dimension: S, A, steps of an episode, D.
        opponents: B, 1 for a world of one player.
        stationary: one table for all steps.
        seed: of the initialisation.

    Attributes:
        negatives: [S] the distribution that next states are contrasted with.
        first, second: [steps, S, A] and [steps, S, B], the players' policies; uniform until planned.
    """

    negatives: Tensor
    first: Tensor
    second: Tensor

    def __init__(
        self,
        states: int,
        actions: int,
        horizon: int,
        dimension: int = 3,
        opponents: int = 1,
        stationary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.states, self.actions, self.opponents = states, actions, opponents
        self.horizon, self.dimension, self.stationary, self.seed = horizon, dimension, stationary, seed
        tables = 1 if stationary else horizon
        draws = torch.Generator().manual_seed(seed)
        pairs = states * actions * opponents
        self.raw_phi = nn.Parameter(0.5 * torch.randn(tables, pairs, dimension, generator=draws))
        self.raw_psi = nn.Parameter(0.5 * torch.randn(tables, states, dimension, generator=draws))
        self.register_buffer("negatives", torch.full((states,), 1.0 / states))
        self.register_buffer("first", torch.full((horizon, states, actions), 1.0 / actions))
        self.register_buffer("second", torch.full((horizon, states, opponents), 1.0 / opponents))

    @property
    def size(self) -> int:
        """Number of states."""
        return self.states

    def factors(self) -> tuple[Tensor, Tensor]:
        """phi [H, X, D] and psi [H, S, D], positive."""
        return softplus(self.raw_phi), softplus(self.raw_psi)

    def forward(self, pair: Tensor, state: Tensor) -> Tensor:
        """log f [n, steps, J] of pairs and next states [n, steps, J]."""
        steps = torch.zeros(1, dtype=torch.long) if self.stationary else torch.arange(pair.shape[1])
        return log_ratio(*self.factors(), steps.to(pair.device)[:, None], pair, state)

    @torch.no_grad()
    def normalised(self) -> Normalised:
        """The transition model in float64."""
        phi, psi = self.factors()
        return normalised(phi.double(), psi.double(), self.negatives.double())

    def transition(self) -> Tensor:
        """[H or 1, X, S] the learnt transitions in float64."""
        return self.normalised().transition
