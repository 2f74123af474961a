"""One name for each contrastive term that labels give, reduced as it is used beside a classifier (arXiv 2406.15862).

    supcon:            mean over the anchors with a loss above 0 of SupCon's outer form
    triplet:           mean over the triplets that violate the margin, Euclidean distances of unit vectors
    multi-similarity:  mean over all anchors; with "+miner" over pairs that the miner keeps

Each is ``objectives.supervised``, ``.triplet`` or ``.pairwise`` itself. A batch without any positive gives 0 and gradient 0.
Shapes: n anchors, N candidates, D dimensions.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.labels.pairwise import multi_similarity
from counterpoint.objectives.labels.supervised import supcon_out
from counterpoint.objectives.labels.triplet import triplet
from counterpoint.objectives.reduction import Loss, nonzero_mean

ClassContrast = Literal["supcon", "triplet", "multi-similarity", "multi-similarity+miner"]


def class_contrast(
    name: ClassContrast,
    anchors: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.1,
    margin: float = 0.2,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
) -> Loss:
    """Contrastive term over rows scaled to length 1.

    Args:
        name: which.
        anchors: [n, D], with ``labels`` [n].
        temperature: of "supcon".
        margin: of "triplet".
        alpha, beta, base: sharpness over positives and negatives, and threshold, of "multi-similarity".
        candidates, candidate_labels, offset: all ranks' rows, as in ``supcon_out``.

    Returns:
        Loss with values [n], and counts [n] where not every anchor counts once.

    Raises:
        CounterpointError: an unknown name.

    >>> import torch
    >>> round(float(class_contrast("supcon", torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 1]), temperature=1.0).mean()), 4)
    0.3133
    """
    where = {"candidates": candidates, "candidate_labels": candidate_labels, "offset": offset}
    if name == "supcon":
        return nonzero_mean(supcon_out(anchors, labels, temperature=temperature, **where))  # type: ignore[arg-type]
    if name == "triplet":
        return triplet(anchors, labels, margin=margin, **where)  # type: ignore[arg-type]
    if name in ("multi-similarity", "multi-similarity+miner"):
        epsilon = 0.1 if name.endswith("miner") else None
        return multi_similarity(anchors, labels, alpha=alpha, beta=beta, base=base, epsilon=epsilon, **where)  # type: ignore[arg-type]
    raise CounterpointError(f"contrast '{name}'; {nearest(name, get_args(ClassContrast))}")
