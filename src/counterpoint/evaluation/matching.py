"""Whether the two sides of pairs find each other: recall of the own partner among all, in both directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


@torch.no_grad()
def matching_recall(images: Tensor, partners: Tensor, k: int = 1, size: int = 1000) -> tuple[float, float]:
    """Shares of rows whose partner is among the ``k`` most similar of the other side: (from images, from partners).

    Args:
        images, partners: [N, D]; row i of one belongs to row i of the other. Ties count against.
        size: rows compared at once.

    >>> matching_recall(torch.eye(3), torch.eye(3)[[0, 2, 1]])
    (0.3333333333333333, 0.3333333333333333)
    """
    one, other = normalize(images, dim=1), normalize(partners, dim=1)
    found = []
    for rows, columns in ((one, other), (other, one)):
        hits = 0
        for start in range(0, len(rows), size):
            table = rows[start : start + size] @ columns.T
            # The partner's own entry of this very product: computed otherwise it may round to less than itself.
            own = table.diagonal(start).unsqueeze(1)
            hits += int(((table >= own).sum(1) <= k).sum())
        found.append(hits / len(rows))
    return found[0], found[1]
