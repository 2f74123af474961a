"""Items a user has not interacted with, drawn uniformly without rejection.

With a user's positives sorted, p_0 < p_1 < ..., the free item of rank r is ``r + #{k : p_k - k <= r}``. The shifted
keys of all users form one sorted vector, so one binary search answers a whole batch, one uniform number per draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Interactions:
    """Observed pairs, sorted for look-ups; make it with ``interactions``.

    Attributes:
        keys: [E] sorted ``user * num_items + item``, each once.
        shifted: [E] sorted ``user * num_items + item - rank of the item among the user's own``.
        start: [num_users + 1] where each user's keys begin.
        num_items: number of items.
    """

    keys: Tensor
    shifted: Tensor
    start: Tensor
    num_items: int

    @property
    def degree(self) -> Tensor:
        """[num_users] how many items each user has."""
        return self.start.diff()


def interactions(users: Tensor, items: Tensor, num_users: int, num_items: int) -> Interactions:
    """Sort observed pairs [E], [E] for ``sample_negatives`` and ``observed``."""
    if users.numel() and not (int(users.min()) >= 0 and int(users.max()) < num_users):
        raise CounterpointError(
            f"user ids up to {int(users.max())} were given; expected 0 to {num_users - 1}"
        )
    if items.numel() and not (int(items.min()) >= 0 and int(items.max()) < num_items):
        raise CounterpointError(
            f"item ids up to {int(items.max())} were given; expected 0 to {num_items - 1}"
        )
    keys = torch.unique(users.long() * num_items + items.long())
    degree = torch.bincount(keys // num_items, minlength=num_users)
    start = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    rank = torch.arange(len(keys), device=keys.device) - start[keys // num_items]
    return Interactions(keys, keys - rank, start, num_items)


def observed(positives: Interactions, users: Tensor, items: Tensor) -> Tensor:
    """Say for each pair whether it is among the interactions: bool, broadcast shape of users and items.

    >>> observed(interactions(torch.tensor([0]), torch.tensor([2]), 1, 3), torch.tensor([0, 0]), torch.tensor([1, 2])).tolist()
    [False, True]
    """
    wanted = users.long() * positives.num_items + items.long()
    if not len(positives.keys):
        return torch.zeros_like(wanted, dtype=torch.bool)
    index = torch.searchsorted(positives.keys, wanted).clamp(max=len(positives.keys) - 1)
    return positives.keys[index] == wanted


def sample_negatives(positives: Interactions, users: Tensor, draws: Tensor | torch.Generator) -> Tensor:
    """Return for each user an item uniformly from those not observed.

    Args:
        known: the observed pairs.
        users: [B] user ids.
        draws: uniform numbers in [0, 1), [B] or [B, K] (any trailing shape); or a generator for one draw per user.

    Returns:
        Item ids in the shape of ``draws``; with given draws a pure function, so a batch can be drawn in parts.

    >>> known = interactions(torch.tensor([0, 0]), torch.tensor([0, 2]), 1, 4)
    >>> sample_negatives(known, torch.tensor([0, 0]), torch.tensor([0.0, 0.99])).tolist()
    [1, 3]
    """
    if isinstance(draws, torch.Generator):
        draws = torch.rand(users.shape, generator=draws, dtype=torch.float64, device=draws.device).to(
            users.device
        )
    if draws.shape[: users.dim()] != users.shape:
        raise CounterpointError(
            f"draws of shape {tuple(draws.shape)} were given for users {tuple(users.shape)}; expected [B] or [B, K]"
        )
    free = positives.num_items - positives.degree[users]
    if free.numel() and int(free.min()) <= 0:
        full = int(users[free <= 0][0])
        raise CounterpointError(
            f"user {full} has interacted with all {positives.num_items} items, so it has no negative; leave such users out of training"
        )
    trailing = (slice(None),) * users.dim() + (None,) * (draws.dim() - users.dim())
    free, user = free[trailing], users.long()[trailing]
    rank = torch.minimum((draws.double() * free).long(), free - 1)
    before = (
        torch.searchsorted(positives.shifted, user * positives.num_items + rank, right=True)
        - positives.start[user]
    )
    return rank + before
