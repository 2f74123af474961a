"""Sentences find their partners among a batch's and among hard negatives (multiple negatives ranking, arXiv 1705.00652, section 4.4).

    l_i = -s(a_i, p_i)/tau + log sum_k e^{s(a_i, k)/tau}

over the positives of all rows and every hard negative of all rows. Decoupled (arXiv 2110.06848, eq. 6), the positive is left out of
the sum. Keys that say the same as the anchor or its positive are no negatives, where numbers of texts are given. Shapes: n local
rows, N rows of all ranks, K hard negatives of each, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import different, similarity_logsumexp
from counterpoint.objectives.in_batch import own_rows, scale_of, unit


@dataclass(frozen=True)
class Side:
    """Keys that an anchor is compared with.

    Attributes:
        rows: [M, D]. text: [M] numbers of the keys' texts. partner: [M] those of the texts that they belong to.
    """

    rows: Tensor
    text: Tensor
    partner: Tensor


def sentence_ranking(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.05,
    symmetric: bool = False,
    decoupled: bool = False,
    both_sides: bool = False,
    candidates: tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None] | None = None,
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
    _check(anchors, positives, negatives)
    if normalize:
        anchors, positives = unit(anchors), unit(positives)
        negatives = None if negatives is None else unit(negatives)
    all_a, all_p, all_n = _everyone((anchors, positives, negatives) if candidates is None else candidates)
    if normalize and candidates is not None:
        all_a, all_p, all_n = unit(all_a), unit(all_p), None if all_n is None else unit(all_n)
    own = own_rows(len(anchors), len(all_a), offset, anchors.device)
    number_a, number_p, number_n = _numbers(len(all_a), all_n, anchors.device) if texts is None else texts
    sides = Side(all_a, number_a, number_p), Side(all_p, number_p, number_a)
    hard = []
    if all_n is not None:
        assert number_n is not None
        nobody = torch.full_like(number_n, -1).flatten()
        hard = [Side(all_n.flatten(0, 1), number_n.flatten(), nobody)]
    scale = scale_of(temperature)
    alike = (anchors * positives).sum(-1) * scale
    mine = number_a[own], number_p[own]
    forward = _joined([sides[1], *hard, *([sides[0]] if both_sides else [])])
    losses = [_against(anchors, forward, mine, alike, scale, decoupled)]
    if symmetric:
        backward = _joined([sides[0], *([sides[1]] if both_sides else [])])
        losses.append(_against(positives, backward, mine, alike, scale, decoupled))
    return torch.stack(losses).mean(0)


def _against(
    rows: Tensor,
    keys: Side,
    mine: tuple[Tensor, Tensor],
    alike: Tensor,
    scale: float | Tensor,
    decoupled: bool,
) -> Tensor:
    include = [different(number, of_keys) for number in mine for of_keys in (keys.text, keys.partner)]
    against = similarity_logsumexp(rows, keys.rows, scale=scale, include=include)
    alone = against == -torch.inf
    against = against.masked_fill(alone, 0.0)
    if decoupled:
        return torch.where(alone, alike * 0.0, against - alike)
    return torch.where(alone, alike * 0.0, torch.logaddexp(alike, against) - alike)


def _numbers(
    count: int, negatives: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Every text is its own."""
    rows = torch.arange(count, device=device)
    if negatives is None:
        return rows, rows + count, None
    hard = torch.arange(count * negatives.shape[1], device=device).view(count, -1)
    return rows, rows + count, hard + 2 * count


def _joined(sides: list[Side]) -> Side:
    return Side(*(torch.cat([getattr(side, name) for side in sides]) for name in ("rows", "text", "partner")))


def _everyone(
    rows: tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None],
) -> tuple[Tensor, Tensor, Tensor | None]:
    return rows if len(rows) == 3 else (rows[0], rows[1], None)


def _check(anchors: Tensor, positives: Tensor, negatives: Tensor | None) -> None:
    fits = anchors.dim() == 2 and anchors.shape == positives.shape
    if negatives is not None:
        fits = fits and negatives.dim() == 3 and negatives.shape[::2] == anchors.shape
    if not fits:
        shapes = [tuple(each.shape) for each in (anchors, positives, negatives) if each is not None]
        raise CounterpointError(
            f"sentence_ranking: shapes {', '.join(map(str, shapes))}; expected anchors and positives [n, D], and negatives [n, K, D]"
        )
