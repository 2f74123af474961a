"""Pair losses: every positive and every negative pair is held against a margin or a threshold, no softmax over candidates.

Shapes: n anchors, N candidates, D dimensions. Multi-similarity works in bounded memory; the others (and mining) form
the [n, N] table.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.kernels.similarity import similarity_logsumexp, where
from counterpoint.objectives.in_batch import Relation, relate, softplus
from counterpoint.objectives.labels.triplet import distances
from counterpoint.objectives.reduction import Loss


def multi_similarity(
    anchors: Tensor,
    labels: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    epsilon: float | None = None,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """Multi-similarity (arXiv 1904.06627, eq. 15), with its miner (eq. 11-12) when ``epsilon`` is given.

    ``(1/alpha) log(1 + sum_P e^{-alpha (s - base)}) + (1/beta) log(1 + sum_N e^{beta (s - base)})``; an empty sum gives 0.

    Args:
        anchors: [n, D].
        labels: [n].
        alpha, beta: sharpness over positives and negatives.
        base: the threshold lambda.
        epsilon: None, or the miner's margin (0.1).
        candidates: [N, D], all ranks' rows; default the anchors.
        candidate_labels: [N].
        offset: where the anchors lie among the candidates.
        normalize: rows to length 1 first.

    Returns:
        Loss with values [n]; with the miner also the statistic ``mined_pairs`` [n].

    >>> loss = multi_similarity(torch.eye(2), torch.tensor([0, 1]), base=0.0, beta=1.0)
    >>> [round(x, 4) for x in loss.values.tolist()]                         # log(1 + e^0)
    [0.6931, 0.6931]
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    stats = relation.stats()
    if epsilon is None:
        positive_rules = [relation.of_same_class(), relation.not_own()]
        negative_rules = [relation.of_other_class()]
    else:
        positives, negatives = _mine(relation, epsilon)
        positive_rules, negative_rules = [where(positives)], [where(negatives)]
        stats["mined_pairs"] = (positives.sum(1) + negatives.sum(1)).to(stats["has_positive"].dtype)
    a, b = relation.anchors, relation.columns
    pulled = similarity_logsumexp(a, b, scale=-alpha, include=positive_rules) + alpha * base
    pushed = similarity_logsumexp(a, b, scale=beta, include=negative_rules) - beta * base
    return Loss(softplus(pulled) / alpha + softplus(pushed) / beta, stats=stats)


@torch.no_grad()
def mine_multi_similarity(
    anchors: Tensor, labels: Tensor, epsilon: float = 0.1, *, normalize: bool = True
) -> tuple[Tensor, Tensor]:
    """Pairs that the multi-similarity miner keeps: masks of positives and of negatives, [n, n] each.

    A negative stays if it is nearer than the farthest positive by more than ``-epsilon``; a positive if it is farther
    than the nearest negative allows. An anchor that lacks one side keeps nothing.
    """
    return _mine(relate(anchors, labels, normalize=normalize), epsilon)


@torch.no_grad()
def _mine(relation: Relation, epsilon: float) -> tuple[Tensor, Tensor]:
    similarities = relation.anchors @ relation.candidates.T
    positives, negatives = relation.positives(), relation.negatives()
    both = (positives.any(1) & negatives.any(1))[:, None]
    farthest = similarities.masked_fill(~positives, torch.inf).amin(1, keepdim=True)
    nearest = similarities.masked_fill(~negatives, -torch.inf).amax(1, keepdim=True)
    keep_positive = positives & both & (similarities - epsilon < nearest)
    keep_negative = negatives & both & (similarities + epsilon > farthest)
    return keep_positive, keep_negative


def circle(
    anchors: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.4,
    gamma: float = 80.0,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """Circle loss (arXiv 2002.10857, eq. 6): each pair weighted, without gradient, by its distance from its optimum.

    ``softplus(lse_P(-gamma [1 + m - s]_+ (s - 1 + m)) + lse_N(gamma [s + m]_+ (s - m)))``. Arguments as in
    ``multi_similarity``.

    Returns:
        Loss with values [n] and counts [n]: 1 for anchors that have both sides and a loss above 0.
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    similarities = relation.anchors @ relation.candidates.T
    fixed = similarities.detach()
    pull = -gamma * (1 + margin - fixed).relu() * (similarities - (1 - margin))
    push = gamma * (fixed + margin).relu() * (similarities - margin)
    pulled, has_positive = masked_logsumexp(pull, relation.positives())
    pushed, has_negative = masked_logsumexp(push, relation.negatives())
    values = torch.where(has_positive & has_negative, softplus(pulled + pushed), 0.0)
    return Loss(values, counts=(values.detach() > 0).to(values.dtype), stats=relation.stats())


def generalized_lifted(
    anchors: Tensor,
    labels: Tensor,
    *,
    positive_margin: float = 0.0,
    negative_margin: float = 1.0,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """Generalised lifted structure (arXiv 1703.07737, eq. 6) on Euclidean distances d.

    ``[log sum_P e^{d - m_pos} + log sum_N e^{m_neg - d}]_+``, an empty sum giving 0. Arguments as in ``multi_similarity``.

    Returns:
        Loss with values [n].
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    gaps = distances(relation.anchors, relation.candidates)
    pulled, _ = masked_logsumexp(gaps - positive_margin, relation.positives())
    pushed, _ = masked_logsumexp(negative_margin - gaps, relation.negatives())
    return Loss((pulled + pushed).relu(), stats=relation.stats())


def contrastive_pair(
    anchors: Tensor,
    labels: Tensor,
    *,
    positive_margin: float = 0.0,
    negative_margin: float = 1.0,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> dict[str, Loss]:
    """Hadsell's pair loss on Euclidean distances d: ``[d - m_pos]_+`` for positives, ``[m_neg - d]_+`` for negatives.

    Arguments as in ``multi_similarity``. Each side is averaged over its own pairs with a loss above 0; the objective is
    the sum of the two means.

    Returns:
        Two Losses, "positive" and "negative", with values [n] summed over an anchor's pairs and counts [n] of active pairs.

    >>> sides = contrastive_pair(torch.eye(2), torch.tensor([0, 1]), negative_margin=2.0)
    >>> round(float(sides["negative"].mean()), 4), float(sides["positive"].mean())
    (0.5858, 0.0)
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    gaps = distances(relation.anchors, relation.candidates)
    sides = {
        "positive": torch.where(relation.positives(), (gaps - positive_margin).relu(), 0.0),
        "negative": torch.where(relation.negatives(), (negative_margin - gaps).relu(), 0.0),
    }
    return {
        name: Loss(pairs.sum(1), counts=(pairs.detach() > 0).sum(1).to(pairs.dtype), stats=relation.stats())
        for name, pairs in sides.items()
    }


def masked_logsumexp(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over a row's True entries [n], 0 with gradient 0 where there is none, and whether there is any [n]."""
    some = mask.any(1)
    filled = values.masked_fill(~mask & some[:, None], -torch.inf)
    return torch.where(some, filled.logsumexp(1), 0.0), some
