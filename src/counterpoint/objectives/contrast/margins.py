"""Pairs and triplets that come row by row, held against a margin (as arXiv 2102.12982 surveys them).

    pair_margin   same d^2 + (1 - same) [m - d]_+^2,  d = |a - b|           (Hadsell et al. 2006)
    row_triplet   [D(a, p) - D(a, n) + m]_+,  D Euclidean, or minus the cosine

Where labels decide who belongs together, ``pairwise.contrastive_pair`` and ``triplet.triplet`` take whole batches.
n rows, D dimensions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.in_batch import unit
from counterpoint.objectives.labels.triplet import paired_distances


def pair_margin(first: Tensor, second: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Loss of each pair; rows are taken as they are.

    Args:
        first, second: [n, D]. same: [n], 1 where a pair belongs together. margin: m.

    >>> pair_margin(torch.tensor([[0.0], [0.0]]), torch.tensor([[0.5], [0.5]]), torch.tensor([1, 0]))
    tensor([0.2500, 0.2500])
    """
    _same_shape(first, second)
    # The squared distance itself where rows belong together: its gradient needs no square root near 0.
    together = (first - second).square().sum(-1)
    apart = (margin - paired_distances(first, second)).relu().square()
    return torch.where(same.bool(), together, apart)


def row_triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    distance: Literal["euclidean", "cosine"] = "euclidean",
) -> Tensor:
    """Loss of each triplet; a mean over all of them counts the zeros.

    Args:
        anchor, positive, negative: [n, D]. margin: m. distance: "cosine" scales rows to length 1 first.

    >>> a, p, n = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    >>> row_triplet(a, p, n, margin=0.5).tolist(), row_triplet(a, p, n, margin=0.5, distance="cosine").tolist()
    ([0.08578646183013916], [0.0])
    """
    _same_shape(anchor, positive, negative)
    if distance not in ("euclidean", "cosine"):
        raise CounterpointError(
            f"row_triplet: distance='{distance}'; {nearest(distance, ['euclidean', 'cosine'])}"
        )
    if distance == "cosine":
        a = unit(anchor)
        return ((a * unit(negative)).sum(-1) - (a * unit(positive)).sum(-1) + margin).relu()
    return (paired_distances(anchor, positive) - paired_distances(anchor, negative) + margin).relu()


def _same_shape(*rows: Tensor) -> None:
    if rows[0].dim() != 2 or any(r.shape != rows[0].shape for r in rows):
        raise CounterpointError(
            f"rows of shapes {', '.join(str(tuple(r.shape)) for r in rows)}; expected [n, D] of one shape, row by row"
        )
