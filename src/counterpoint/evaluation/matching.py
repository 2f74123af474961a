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
    (0.3333333432674408, 0.3333333432674408)
    """
    one, other = normalize(images, dim=1), normalize(partners, dim=1)
    own = (one * other).sum(1)
    found = []
    for rows, columns in ((one, other), (other, one)):
        better = torch.cat(
            [
                (piece @ columns.T >= mine[:, None]).sum(1)
                for piece, mine in zip(rows.split(size), own.split(size), strict=True)
            ]
        )
        found.append(float((better <= k).float().mean()))
    return found[0], found[1]
