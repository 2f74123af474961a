"""Triplets: a positive must be nearer than a negative by a margin, ``D(a, p) - D(a, q) + m`` (arXiv 1703.07737).

Shapes: n anchors, N candidates, D dimensions, T (anchor, positive) pairs. All distances are formed, [n, N], and for all
triplets [T, N]; mining by batch keeps one triplet per anchor.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.in_batch import Relation, relate, softplus
from counterpoint.objectives.reduction import Loss

Distance = Literal["euclidean", "squared"]
Mining = Literal["all", "semihard", "hard"]


def distances(a: Tensor, b: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Distances [n, N] between rows; without cancellation, and with gradient 0 (not NaN) between equal rows."""
    euclidean = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return euclidean if distance == "euclidean" else euclidean.square()


def triplet(
    anchors: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.05,
    distance: Distance = "euclidean",
    mining: Mining = "all",
    soft: bool = False,
    swap: bool = False,
    average: Literal["active", "all"] = "active",
    normalize: bool = True,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
) -> Loss:
    """Triplet loss over labelled rows, summed per anchor and counted by triplets.

    Args:
        anchors: [n, D].
        labels: [n].
        margin: m; in semihard mining also the band ``0 < D(a, q) - D(a, p) <= m``.
        distance: "euclidean" or "squared".
        mining: "all" triplets; "semihard"; "hard" (per anchor the farthest positive and the nearest negative, chosen
            without gradient).
        soft: ``log(1 + e^v)`` instead of ``max(v, 0)``.
        swap: use ``min(D(a, q), D(p, q))`` for the negative.
        average: count the triplets with a loss above 0, or all mined ones.
        normalize: rows to length 1 first.
        candidates: [N, D], all ranks' rows; default the anchors.
        candidate_labels: [N].
        offset: where the anchors lie among the candidates.

    Returns:
        Loss with values [n] (sums over the anchor's triplets), counts [n] and statistics.

    >>> z = torch.tensor([[0.0], [1.0], [1.5]])
    >>> float(triplet(z, torch.tensor([0, 0, 1]), margin=0.0, normalize=False).mean())   # only 1-0 against 1-2: 1 - 0.5
    0.5
    """
    for name, given, allowed in (
        ("distance", distance, ("euclidean", "squared")),
        ("mining", mining, ("all", "semihard", "hard")),
        ("average", average, ("active", "all")),
    ):
        if given not in allowed:
            raise CounterpointError(f"triplet: unknown {name}='{given}'; {nearest(given, allowed)}")
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    a, b = relation.anchors, relation.candidates
    gaps = distances(a, b, distance)
    if mining == "hard":
        anchor, positive, negative = _hardest(gaps.detach(), relation)
        far = gaps[anchor, negative]
        if swap:
            far = torch.minimum(far, paired_distances(b[positive], b[negative], distance))
        values = gaps[anchor, positive] - far + margin
        mined = torch.ones_like(values, dtype=torch.bool)
    else:
        anchor, positive = relation.positive_pairs()
        near, far = gaps[anchor, positive][:, None], gaps[anchor]
        if swap:
            far = torch.minimum(far, distances(b[positive], b, distance))
        values = near - far + margin
        mined = relation.negatives()[anchor]
        if mining == "semihard":
            lead = (far - near).detach()
            mined = mined & (lead > 0) & (lead <= margin)
    losses = softplus(values) if soft else values.relu()
    losses = torch.where(mined, losses, 0.0)
    counted = (losses.detach() > 0) if average == "active" else mined
    while losses.dim() > 1:
        losses, counted = losses.sum(-1), counted.sum(-1)
    empty = a.sum(-1) * 0.0  # keeps a valid graph when no triplet exists
    sums = empty.index_add(0, anchor, losses)
    counts = empty.detach().index_add(0, anchor, counted.to(empty.dtype))
    return Loss(sums, counts=counts, stats={**relation.stats(), "triplets": counts})


def _hardest(gaps: Tensor, relation: Relation) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors that have both sides, with their farthest positive and nearest negative."""
    same, other = relation.positives(), relation.negatives()
    positive = gaps.masked_fill(~same, -torch.inf).argmax(1)
    negative = gaps.masked_fill(~other, torch.inf).argmin(1)
    anchor = (same.any(1) & other.any(1)).nonzero().squeeze(1)
    return anchor, positive[anchor], negative[anchor]


def paired_distances(a: Tensor, b: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Distance of row i of one to row i of the other; gradient 0 between equal rows, as in ``distances``."""
    squared = (a - b).square().sum(-1)
    if distance == "squared":
        return squared
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
