"""Triples for ranking: an observed pair and an item the user has not met, drawn uniformly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.kernels.negatives import Interactions, interactions, sample_negatives


@dataclass(frozen=True)
class Triples:
    """[B] each: a user, an item the user has met, an item the user has not met; and the nodes they are in a graph.

    Attributes:
        nodes: [n] the distinct nodes of all three, sorted, users first; item i is node ``num_users + i``.
        user, positive, negative: [B], places in ``nodes``.
        users, positives: places in ``nodes`` of the distinct users and of the distinct positive items.

    >>> t = triples(torch.tensor([1, 1]), torch.tensor([0, 2]), torch.tensor([3, 0]), num_users=2)
    >>> t.nodes.tolist(), t.user.tolist(), t.negative.tolist(), t.users.tolist(), t.positives.tolist()
    ([1, 2, 4, 5], [0, 0], [3, 1], [0], [1, 2])
    """

    nodes: Tensor
    user: Tensor
    positive: Tensor
    negative: Tensor
    users: Tensor
    positives: Tensor

    def __len__(self) -> int:
        return len(self.user)


def triples(users: Tensor, positives: Tensor, negatives: Tensor, num_users: int) -> Triples:
    """Find the distinct nodes of a batch of [B] users, observed and unobserved items."""
    together = torch.cat([users, positives + num_users, negatives + num_users])
    nodes, places = together.unique(return_inverse=True)
    user, positive, negative = places.chunk(3)
    return Triples(
        nodes, user, positive, negative, _distinct(user, len(nodes)), _distinct(positive, len(nodes))
    )


def _distinct(places: Tensor, size: int) -> Tensor:
    marked = torch.zeros(size, dtype=torch.bool, device=places.device)
    marked[places] = True
    return marked.nonzero().squeeze(1)


class UniformNegatives:
    """Completes observed pairs to triples; the same draw always gives the same item.

    Args:
        pairs_2E: users and items of the training pairs. num_users, num_items: sizes.
    """

    def __init__(self, pairs_2E: Tensor, num_users: int, num_items: int) -> None:
        self.positives: Interactions = interactions(pairs_2E[0], pairs_2E[1], num_users, num_items)
        self.num_users = num_users

    def __call__(self, users: Tensor, items: Tensor, uniform: Tensor) -> Triples:
        """Complete a batch [B] with draws from [0, 1), [B]."""
        return triples(users, items, sample_negatives(self.positives, users, uniform), self.num_users)
