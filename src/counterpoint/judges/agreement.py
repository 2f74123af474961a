"""Do two judges rank the same answers alike? Rank agreement per prompt, in [0, 1] (CREAM 2410.12735, section 3).

Kendall's tau over ordinal ranks, mapped by (tau + 1) / 2; Spearman's rho likewise; or whether the extremes coincide.
Ties are broken by position in both rankings, so rewards equal in both count as agreement: rank *unique* answers, or
duplicates will look like a confident judge. Which of equal rewards ranks better is a setting; the published rule is the
ascending ordinal rank, by which the last does. Shapes: P prompts, N answers; a mask says which answers take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError

Measure = Literal["kendall", "spearman", "top_order", "first_last"]
Ties = Literal["last", "first"]


def first_of_each(answers: Sequence[str]) -> list[bool]:
    """Say for each answer whether it is the first of its text (surrounding blanks ignored).

    >>> first_of_each(["7", "8", "7 "])
    [True, True, False]
    """
    seen: set[str] = set()
    return [not (text in seen or seen.add(text)) for text in (answer.strip() for answer in answers)]  # type: ignore[func-returns-value]


def ordinal_ranks(rewards_PN: Tensor, valid_PN: Tensor | None = None, ties: Ties = "last") -> Tensor:
    """Return ranks 1..n, 1 for the highest reward, all distinct, ties by position; 0 where not valid.

    Args:
        rewards_PN: one reward per answer; NaN takes no part.
        valid_PN: which answers take part.
        ties: which of equal rewards has the better rank: ``last``, as ascending ordinal ranks say (the published
            rule), or ``first``.

    Raises:
        CounterpointError: another rule.

    >>> ordinal_ranks(torch.tensor([[0.1, 0.9, 0.1]])).tolist()
    [[3, 1, 2]]
    >>> ordinal_ranks(torch.tensor([[0.1, 0.9, 0.1]]), ties="first").tolist()
    [[2, 1, 3]]
    """
    valid_PN = _valid(rewards_PN, valid_PN)
    if ties == "last":
        return ordinal_ranks(rewards_PN.flip(-1), valid_PN.flip(-1), "first").flip(-1)
    if ties != "first":
        raise CounterpointError(f"rule for ties {ties!r}; expected 'last' (the published one) or 'first'")
    filled = torch.where(valid_PN, rewards_PN, -torch.inf)
    # Two stable sorts, the valid ones first: an honest -inf reward must still rank before an answer that takes no part.
    order = torch.sort(filled, dim=-1, descending=True, stable=True).indices
    order = order.gather(
        -1, torch.sort(valid_PN.gather(-1, order).long(), dim=-1, descending=True, stable=True).indices
    )
    ranks = torch.empty_like(order).scatter_(
        -1, order, torch.arange(1, order.shape[-1] + 1, device=order.device).expand_as(order)
    )
    return torch.where(valid_PN, ranks, 0)


def _valid(rewards_PN: Tensor, valid_PN: Tensor | None) -> Tensor:
    judged = ~rewards_PN.isnan()
    return judged if valid_PN is None else judged & valid_PN.bool()


def agreement_rates(
    current_PN: Tensor,
    previous_PN: Tensor,
    measure: Measure = "kendall",
    valid_PN: Tensor | None = None,
    ties: Ties = "last",
) -> Tensor:
    """Return [P], how far two judges' rewards rank each prompt's answers alike; NaN where fewer than two take part.

    ``kendall`` and ``spearman`` are mapped from [-1, 1] to [0, 1]. ``top_order`` is 1 when best and worst answer coincide,
    else 0. ``first_last`` is 1 when the first and the last *sampled* answers have the same ranks, a variant that circulates
    in code under the name of the former. ``ties`` is the rule of ``ordinal_ranks``.

    >>> agreement_rates(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.0, 1.0, 2.0]])).mul(1000).round().tolist()
    [667.0]
    """
    if current_PN.shape != previous_PN.shape:
        raise CounterpointError(
            f"two judges' rewards have shapes {tuple(current_PN.shape)} and {tuple(previous_PN.shape)}; both must score the same answers"
        )
    valid = _valid(current_PN, valid_PN) & _valid(previous_PN, valid_PN)
    j, k = ordinal_ranks(current_PN, valid, ties), ordinal_ranks(previous_PN, valid, ties)
    n = valid.sum(-1).to(torch.float64)
    if measure == "kendall":
        sign = torch.sign((j[:, :, None] - j[:, None, :]) * (k[:, :, None] - k[:, None, :]))
        both = valid[:, :, None] & valid[:, None, :]
        tau = torch.where(both, sign, 0).sum((-1, -2)) / (n * (n - 1)).clamp(min=1)
        rate = (tau + 1) / 2
    elif measure == "spearman":
        rho = 1 - 6 * (j - k).square().sum(-1) / (n * (n.square() - 1)).clamp(min=1)
        rate = (rho + 1) / 2
    elif measure == "top_order":
        last = valid.sum(-1, keepdim=True)
        rate = (((j == 1) == (k == 1)) & ((j == last) == (k == last)) | ~valid).all(-1).to(torch.float64)
    elif measure == "first_last":
        rate = ((j[:, 0] == k[:, 0]) & (j[:, -1] == k[:, -1])).to(torch.float64)
    else:
        raise CounterpointError(
            f"agreement measure {measure!r}; expected kendall, spearman, top_order or first_last"
        )
    return torch.where(n >= 2, rate, torch.nan)


def best_and_worst(rewards_PN: Tensor, valid_PN: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ([P], [P]), indices of the highest and the lowest reward among those that take part, the first of equals.

    Equal indices mean there is no pair to make of that prompt.

    >>> [index.tolist() for index in best_and_worst(torch.tensor([[0.2, 0.9, -1.0], [1.0, 1.0, 1.0]]))]
    [[1, 0], [2, 0]]
    """
    valid = _valid(rewards_PN, valid_PN)
    best = torch.where(valid, rewards_PN, -torch.inf).argmax(-1)
    worst = torch.where(valid, rewards_PN, torch.inf).argmin(-1)
    return best, worst


def rank_correlation(one_PN: Tensor, other_PN: Tensor) -> Tensor:
    """Return [P], Spearman's rho of two judges' rewards of each prompt's answers, equal rewards sharing their mean rank.

    NaN where a judge finds all answers equal. An answer that a judge has no opinion on takes no part.

    >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), torch.tensor([[5.0, 5.0, 9.0], [1.0, 2.0, 3.0]]))
    tensor([0.8660,    nan], dtype=torch.float64)
    """
    valid = ~(one_PN.isnan() | other_PN.isnan())
    ranks = []
    for rewards in (one_PN, other_PN):
        less = (rewards[:, None, :] < rewards[:, :, None]) & valid[:, None, :]
        equal = (rewards[:, None, :] == rewards[:, :, None]) & valid[:, None, :]
        rank = torch.where(valid, less.sum(-1) + equal.sum(-1) / 2, torch.nan).double()
        ranks.append((rank - rank.nanmean(-1, keepdim=True)).nan_to_num())
    product = ranks[0].square().sum(-1) * ranks[1].square().sum(-1)
    return torch.where(product > 0, (ranks[0] * ranks[1]).sum(-1) / product.sqrt(), torch.nan)
