"""Global contrast of sentences (arXiv 2305.11965, the form of two modalities): anchors and positives have temperatures of their own.

An anchor is compared with all positives and all hard negatives, a positive with all anchors; keys that say the same are left out.
Shapes: n local rows, N rows of all ranks, K hard negatives of each, D dimensions.
"""

from __future__ import annotations

from torch import Tensor

from counterpoint.objectives.contrast.global_contrast import Robust, robust_pairs
from counterpoint.objectives.contrast.sentence_sides import Candidates, joined, sides_of


def robust_sentences(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperatures: tuple[Tensor, Tensor],
    log_averages: tuple[Tensor, Tensor],
    gamma: float = 0.8,
    rho: float = 6.0,
    candidates: Candidates | None = None,
    offset: int = 0,
    texts: tuple[Tensor, Tensor, Tensor | None] | None = None,
    normalize: bool = True,
) -> tuple[Robust, Robust]:
    """What a batch says about its anchors, and about its positives; the loss is the sum of both values.

    Args:
        temperatures, log_averages: [n] of the anchors and [n] of the positives, as in ``robust_pairs``.
        anchors, positives, negatives, candidates, offset, texts, normalize: as in ``sentence_ranking``.
        gamma, rho: as in ``robust_pairs``.

    Raises:
        CounterpointError: shapes that do not fit, or a batch of one row.

    >>> import torch
    >>> z = torch.eye(2)
    >>> tau, never = torch.ones(2), torch.full((2,), -torch.inf)
    >>> first, second = robust_sentences(z, z, temperatures=(tau, tau), log_averages=(never, never), gamma=1.0)
    >>> [round(x, 4) for x in first.log_average.tolist()]     # log(e^(0 - 1) + e^0)
    [0.3133, 0.3133]
    """
    sides = sides_of(
        "robust_sentences", anchors, positives, negatives, candidates=candidates, offset=offset, texts=texts, normalize=normalize
    )  # fmt: skip
    forward = joined([sides.all_positives, *sides.hard])
    first, second = (
        robust_pairs(
            mine, theirs, tau, log_average, gamma=gamma, rho=rho, candidates=keys.rows, offset=offset, normalize=False,
            include=sides.rules(keys),
        )
        for mine, theirs, keys, tau, log_average in (
            (sides.anchors, sides.positives, forward, temperatures[0], log_averages[0]),
            (sides.positives, sides.anchors, sides.all_anchors, temperatures[1], log_averages[1]),
        )
    )  # fmt: skip
    return first, second
