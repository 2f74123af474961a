"""Good rationales against bad ones: contrastive distillation of explanations, weighted by a judge (QCRD, arXiv 2405.13014).

With l(r) the mean token cross-entropy of generating rationale r, s its score by a judge in (0, 1), delta a margin,

    L+ = s+ min_j l(r_j+)                                 (eq. 4, 6)
    L- = (1 - s-) max_j min(l(r_j-) - delta, 0)           (eq. 5, 7; the margin kept in 7, without which it is unbounded)
    L_cl = L+ - beta L-                                   (eq. 3)

The gradient goes through the chosen rationale alone; scores are constants. A negative that is unlikelier than delta gives 0;
one that is likelier is pushed up to delta, and no further. N items, K rationales each.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.reduction import Loss

Choice = Literal["min", "max", "mean"]
Form = Literal["nce", "ratio"]


def chosen(values_NK: Tensor, valid_NK: Tensor, how: Choice) -> tuple[Tensor, Tensor]:
    """The value that stands for each row, [N], and the position of it, [N]; 0 and 0 where none is valid.

    Args:
        values_NK: one value a rationale.
        valid_NK: bool, which rationales there are.
        how: the smallest, the largest, or the mean (whose position is that of the first valid one).

    >>> values, valid = torch.tensor([[2.0, 1.0, 0.0], [5.0, 5.0, 5.0]]), torch.tensor([[True, True, False], [False] * 3])
    >>> [each.tolist() for each in chosen(values, valid, "min")]
    [[1.0, 0.0], [1, 0]]
    """
    if not values_NK.shape[1]:
        none = values_NK.new_zeros(len(values_NK))
        return none + values_NK.sum(1), none.long()
    if how == "mean":
        total_N = torch.where(valid_NK, values_NK, 0.0).sum(1)
        return total_N / valid_NK.sum(1).clamp(min=1), valid_NK.long().argmax(1)
    worst = torch.inf if how == "min" else -torch.inf
    ranked_NK = values_NK.detach().masked_fill(~valid_NK, worst)
    index_N = ranked_NK.argmin(1) if how == "min" else ranked_NK.argmax(1)
    value_N = values_NK.gather(1, index_N[:, None]).squeeze(1)
    return torch.where(valid_NK.any(1), value_N, 0.0), index_N


def contrasted(
    positive_NK: Tensor,
    negative_NJ: Tensor,
    positive_valid: Tensor,
    negative_valid: Tensor,
    *,
    positive_scores: Tensor | None = None,
    negative_scores: Tensor | None = None,
    beta: float = 0.2,
    margin: float = 3.0,
    choose_positive: Choice = "min",
    choose_negative: Choice = "max",
) -> Loss:
    """L_cl of each item; an item without rationales of a kind has no term of that kind.

    Args:
        positive_NK, negative_NJ: mean token cross-entropy of every rationale.
        positive_valid, negative_valid: bool, which rationales there are.
        positive_scores, negative_scores: by a judge, in (0, 1), of the same shapes; None weighs all alike, without a judge.
        beta: weight of the negatives. margin: delta, nats a token.
        choose_positive, choose_negative: which rationale of an item counts; the paper's are the likeliest of the positive ones
            and, after the margin, the one nearest to it of the negative ones.

    Raises:
        CounterpointError: a margin that is not above 0, a negative beta.

    >>> l, there = torch.tensor([[1.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)
    >>> contrasted(l, l, there, there, beta=0.2, margin=3.0).values   # 1 - 0.2 (2 - 3)
    tensor([1.2000])
    """
    if margin <= 0 or beta < 0:
        raise CounterpointError(f"margin={margin}, beta={beta}; expected a margin above 0 and beta from 0 on")
    good_N, at_N = chosen(positive_NK, positive_valid, choose_positive)
    bad_N, against_N = chosen(margined(negative_NJ, margin), negative_valid, choose_negative)
    if positive_scores is not None:
        good_N = good_N * _score(positive_scores, positive_valid, at_N, choose_positive)
    if negative_scores is not None:
        bad_N = bad_N * (1 - _score(negative_scores, negative_valid, against_N, choose_negative))
    return Loss(good_N - beta * bad_N, stats={"positive": good_N.detach(), "negative": bad_N.detach()})


def margined(negative: Tensor, margin: float) -> Tensor:
    """min(l - margin, 0): nothing for a rationale that is unlikely already."""
    return (negative - margin).clamp(max=0)


def _score(scores_NK: Tensor, valid_NK: Tensor, index_N: Tensor, how: Choice) -> Tensor:
    """The judge's score of the chosen rationale, or of all where all count; a constant, or the judge could lower the loss."""
    if how == "mean" or not scores_NK.shape[1]:
        return chosen(scores_NK.detach(), valid_NK, "mean")[0]
    return scores_NK.detach().gather(1, index_N[:, None]).squeeze(1)


def judged(
    positive_NK: Tensor,
    negative_NJ: Tensor,
    positive_valid: Tensor,
    negative_valid: Tensor,
    *,
    form: Form = "nce",
) -> Loss:
    """The judge's own loss (eq. 2), averaged over the items that have rationales of both kinds.

    Args:
        positive_NK, negative_NJ: scores s.
        positive_valid, negative_valid: bool, which rationales there are.
        form: "nce", -log(sum+ e^s / (sum+ e^s + sum- e^s)); "ratio", as printed, -log(sum+ e^s / sum- e^s), which has no lower
            bound where s has none.

    >>> s, there = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    >>> round(float(judged(s, s, there, there).mean()), 4), float(judged(s, s, there, there, form="ratio").mean())
    (0.6931, 0.0)
    """
    good_N = (
        positive_NK.masked_fill(~positive_valid, -torch.inf).logsumexp(1) if positive_NK.shape[1] else None
    )
    bad_N = (
        negative_NJ.masked_fill(~negative_valid, -torch.inf).logsumexp(1) if negative_NJ.shape[1] else None
    )
    if good_N is None or bad_N is None:
        none = positive_NK.sum(1) * 0 + negative_NJ.sum(1) * 0
        return Loss(none, counts=none.detach())
    both_N = positive_valid.any(1) & negative_valid.any(1)
    good_N, bad_N = (torch.where(both_N, each, 0.0) for each in (good_N, bad_N))
    values_N = (torch.logaddexp(good_N, bad_N) if form == "nce" else bad_N) - good_N
    return Loss(torch.where(both_N, values_N, 0.0), counts=both_N.to(values_N.dtype))
