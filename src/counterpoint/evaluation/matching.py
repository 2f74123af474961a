"""Whether the two sides of pairs find each other: recall of the own partner among all, in both directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


@torch.no_grad()
def matching_recall(
    images: Tensor, partners: Tensor, k: int = 1, size: int = 1000, same: Tensor | None = None
) -> tuple[float, float]:
    """Shares of rows with a partner of theirs among the ``k`` most similar of the other side: (from images, from partners).

    Args:
        images, partners: [N, D]; row i of one belongs to row i of the other. Ties count against.
        size: rows compared at once.
        same: [N] integers; rows of one number belong to each other, such as images that share a caption. None: rows whose
            ``partners`` are equal to the last bit, unless all are: a model that makes everything equal finds nothing.

    >>> matching_recall(torch.eye(3), torch.eye(3)[[0, 2, 1]])
    (0.3333333333333333, 0.3333333333333333)
    >>> matching_recall(torch.eye(2)[[0, 0, 1]], torch.eye(2)[[0, 0, 1]], same=torch.tensor([0, 0, 1]))
    (1.0, 1.0)
    """
    if same is None:
        same = equal_rows(partners)
        if len(same) and not same.any():
            same = torch.arange(len(partners))
    same = same.to(images.device)
    one, other = normalize(images, dim=1), normalize(partners, dim=1)
    shares = []
    for rows, columns in ((one, other), (other, one)):
        hits = 0
        for start in range(0, len(rows), size):
            table = rows[start : start + size] @ columns.T
            own = same[start : start + size, None] == same[None, :]
            # The partner's own entry of this very product: computed otherwise it may round to less than itself.
            best = table.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
            hits += int(((~(table < best) & ~own).sum(1) < k).sum())  # not a number counts against, as a tie
        shares.append(hits / len(rows))
    return shares[0], shares[1]


def equal_rows(values: Tensor) -> Tensor:
    """[N, ...] -> [N] numbers from 0, the same for rows that are equal to the last bit.

    >>> equal_rows(torch.tensor([[1.0], [0.5], [1.0]])).tolist()
    [1, 0, 1]
    """
    if not len(values):
        return torch.zeros(0, dtype=torch.long)
    return values.flatten(1).unique(dim=0, return_inverse=True)[1]
