"""Sentences find their partners among a batch's and among hard negatives (multiple negatives ranking, arXiv 1705.00652, section 4.4).

    l_i = -s(a_i, p_i)/tau + log sum_k e^{s(a_i, k)/tau}

over the positives of all rows and every hard negative of all rows. Decoupled (arXiv 2110.06848, eq. 6), the positive is left out of
the sum. Keys that say the same as the anchor or its positive are no negatives, where numbers of texts are given. Shapes: n local
rows, N rows of all ranks, K hard negatives of each, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.kernels.similarity import similarity_logsumexp
from counterpoint.objectives.contrast.sentence_sides import Candidates, Side, Sides, joined, sides_of
from counterpoint.objectives.in_batch import scale_of


def sentence_ranking(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.05,
    symmetric: bool = False,
    decoupled: bool = False,
    both_sides: bool = False,
    candidates: Candidates | None = None,
    offset: int = 0,
    texts: tuple[Tensor, Tensor, Tensor | None] | None = None,
    normalize: bool = True,
) -> Tensor:
    """Loss of each row.

    Args:
        anchors, positives: [n, D]. negatives: [n, K, D], hard negatives; those of all rows stand against every anchor.
        temperature: tau, a number or a scalar tensor.
        symmetric: mean with the other direction, each positive against all anchors.
        decoupled: leave the positive out of the denominator.
        both_sides: an anchor is compared with the other rows' anchors, too, and a positive with their positives.
        candidates: (anchors, positives, negatives) of all ranks, [N, D] and [N, K, D], or the first two; default the local rows.
        offset: where the local rows lie among the candidates.
        texts: numbers of the candidates' texts, [N], [N] and [N, K], the same for equal texts: keys with the text of the anchor, of its
            positive, or of a partner of either, are no negatives; None counts all of them.
        normalize: rows to length 1 first.

    Returns:
        [n]. Decoupled losses may be negative; they are 0 for a row without any negative.

    Raises:
        CounterpointError: shapes that do not fit.

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in sentence_ranking(z, z, temperature=1.0).tolist()]     # log(e + 1) - 1
    [0.3133, 0.3133]
    >>> sentence_ranking(z, z, temperature=1.0, decoupled=True).tolist()            # log 1 - 1
    [-1.0, -1.0]
    """
    sides = sides_of(
        "sentence_ranking", anchors, positives, negatives, candidates=candidates, offset=offset, texts=texts, normalize=normalize
    )  # fmt: skip
    scale = scale_of(temperature)
    alike = (sides.anchors * sides.positives).sum(-1) * scale
    forward = joined([sides.all_positives, *sides.hard, *([sides.all_anchors] if both_sides else [])])
    losses = [_against(sides.anchors, forward, sides, alike, scale, decoupled)]
    if symmetric:
        backward = joined([sides.all_anchors, *([sides.all_positives] if both_sides else [])])
        losses.append(_against(sides.positives, backward, sides, alike, scale, decoupled))
    return torch.stack(losses).mean(0)


def _against(
    rows: Tensor, keys: Side, sides: Sides, alike: Tensor, scale: float | Tensor, decoupled: bool
) -> Tensor:
    against = similarity_logsumexp(rows, keys.rows, scale=scale, include=sides.rules(keys))
    alone = against == -torch.inf
    against = against.masked_fill(alone, 0.0)
    if decoupled:
        return torch.where(alone, alike * 0.0, against - alike)
    return torch.where(alone, alike * 0.0, torch.logaddexp(alike, against) - alike)
