"""A simulated person, who answers through features that a learner does not see.

Legend: Q queries, P pairs, K features, R people.
"""

from __future__ import annotations

import torch
from torch import Tensor

PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
"""A query's pairs in the order of ties, each with the third that it leaves out."""


def most_alike(
    features_Q3K: Tensor, rationality: float | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Which two of three are most alike: the pair with the nearest features; ties go to the first of 12, 13, 23.

    Args:
        rationality: a pair is chosen with probability proportional to exp(-rationality distance); None never errs.

    Returns:
        [Q, 3] positions in the query: anchor, positive, negative.

    >>> most_alike(torch.tensor([[[0.0], [5.0], [1.0]]]))
    tensor([[0, 2, 1]])
    """
    gaps = torch.stack([(features_Q3K[:, i] - features_Q3K[:, j]).norm(dim=-1) for i, j, _ in PAIRS], -1)
    if rationality is not None:
        choice = torch.multinomial((-rationality * gaps).softmax(-1), 1, generator=generator).squeeze(-1)
    else:
        first = gaps[:, 0] <= torch.minimum(gaps[:, 1], gaps[:, 2])
        second = gaps[:, 1] <= gaps[:, 2]
        choice = torch.where(first, 0, torch.where(second, 1, 2))
    return torch.tensor(PAIRS)[choice]


def preferred(rewards_P: Tensor, other_P: Tensor) -> Tensor:
    """Whether each first trajectory is preferred, [P] bool: the larger reward, ties to the first."""
    return rewards_P >= other_P


def tastes(people: int, num_features: int, generator: torch.Generator) -> Tensor:
    """[R, K] linear rewards of simulated people, uniform in direction."""
    drawn = torch.randn(people, num_features, generator=generator)
    return drawn / drawn.norm(dim=-1, keepdim=True).clamp(min=1e-12)
