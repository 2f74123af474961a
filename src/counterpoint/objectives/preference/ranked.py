"""Losses on several ranked completions of each prompt: which of them are pushed up, and whether any is pushed down.

Best-of-N raises log pi of the best one; a *negative gradient* lowers that of others. Reward-weighted regression raises all of them,
by exp(r / temperature). All pairs of a prompt, ordered by reward, feed the losses of ``preference``. (2404.14367, sections 3 and 5.)
P prompts, N completions each, K pairs, T token positions. A reward of NaN means that nobody could tell: it wins and loses nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from counterpoint.errors import CounterpointError
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import log1mexp, masked

Lowered = Literal["none", "worst", "average", "sum"]


def ranked_pairs(rewards_PN: Tensor, threshold: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return (prompt, chosen, rejected), [K] each: every pair of a prompt's completions, the one with the higher reward first.

    Pairs whose rewards differ by less than ``threshold``, and ties, are left out.

    >>> [column.tolist() for column in ranked_pairs(torch.tensor([[0.0, 1.0, 0.1]]), threshold=0.5)]
    [[0, 0], [1, 1], [0, 2]]
    """
    gap_PNN = rewards_PN[:, :, None] - rewards_PN[:, None, :]
    prompt_K, chosen_K, rejected_K = ((gap_PNN > 0) & (gap_PNN >= threshold)).nonzero(as_tuple=True)
    return prompt_K, chosen_K, rejected_K


def best_of_n(
    logp_PN: Tensor,
    rewards_PN: Tensor,
    lowered: Lowered = "none",
    weight: float = 1.0,
    *,
    reference_PN: Tensor | None = None,
    bounded: bool = False,
) -> Loss:
    """Return the loss of each prompt, -log pi(best) + weight G, with G what is ``lowered``.

    Args:
        logp_PN: log pi of whole completions; carries the gradient.
        rewards_PN: ranks them; among equals the first is best.
        lowered: "worst", log pi of the worst one; "sum", of all but the best; "average", their mean; "none", nothing.
        weight: of G.
        reference_PN: log-probabilities that are taken off every log pi; the value changes, the gradient does not.
        bounded: G is -log(1 - pi) instead of log pi, which has no lower bound.

    Raises:
        CounterpointError: an unknown ``lowered``.

    >>> logp, rewards = torch.tensor([[-1.0, -2.0, -4.0]]), torch.tensor([[0.0, 1.0, 0.5]])
    >>> [float(best_of_n(logp, rewards, how).mean()) for how in ("none", "worst", "average", "sum")]
    [2.0, 1.0, -0.5, -3.0]
    """
    if lowered not in ("none", "worst", "average", "sum"):
        raise CounterpointError(f"lowered={lowered!r}; expected 'none', 'worst', 'average' or 'sum'")
    valid_PN = ~rewards_PN.isnan()
    value_PN = logp_PN if reference_PN is None else logp_PN - reference_PN.detach()
    best_P1 = rewards_PN.masked_fill(~valid_PN, -torch.inf).argmax(-1, keepdim=True)
    loss_P = -value_PN.gather(1, best_P1)[:, 0]
    if lowered != "none":
        others_PN = valid_PN.scatter(1, best_P1, False)
        if lowered == "worst":
            worst_P1 = rewards_PN.masked_fill(~others_PN, torch.inf).argmin(-1, keepdim=True)
            others_PN = others_PN & torch.zeros_like(others_PN).scatter(1, worst_P1, True)
        push_PN = -log1mexp(logp_PN.clamp(max=-torch.finfo(logp_PN.dtype).eps)) if bounded else value_PN
        sum_P = masked(push_PN, others_PN).sum(-1)
        loss_P = loss_P + weight * (sum_P / others_PN.sum(-1).clamp(min=1) if lowered == "average" else sum_P)
    ranked_P = valid_PN.any(-1)
    return Loss(torch.where(ranked_P, loss_P, torch.zeros_like(loss_P)), counts=ranked_P.to(loss_P.dtype))


def reward_weights(rewards: Tensor, temperature: float = 1.0, cap: float | None = None) -> Tensor:
    """Return exp(r / temperature), at most ``cap``, shaped like the rewards; 0 for NaN. A constant, without normaliser.

    >>> reward_weights(torch.tensor([0.0, 5.0, float("nan")]), cap=20.0).tolist()
    [1.0, 20.0, 0.0]
    """
    weights = (rewards.detach() / temperature).exp()
    weights = weights if cap is None else weights.clamp(max=cap)
    return torch.where(rewards.isnan(), torch.zeros_like(weights), weights)


def reward_weighted(
    logp_B: Tensor, rewards_B: Tensor, temperature: float = 1.0, cap: float | None = None
) -> Loss:
    """Return -exp(r / temperature) log pi of each of B completions: reward-weighted regression; those without a reward are not counted.

    >>> float(reward_weighted(torch.tensor([-2.0, -1.0]), torch.tensor([0.0, float("nan")])).mean())
    2.0
    """
    weights_B = reward_weights(rewards_B, temperature, cap).to(logp_B.dtype)
    judged_B = ~rewards_B.isnan()
    return Loss(masked(-weights_B * logp_B, judged_B), counts=judged_B.to(logp_B.dtype))


def token_paired(
    chosen_KT: Tensor,
    rejected_KT: Tensor,
    mask_KT: Tensor,
    beta: float = 0.1,
    kind: Literal["dpo", "ipo"] = "dpo",
) -> Loss:
    """Return each pair's sum over positions t of a loss of d_t, chosen's log-ratio minus rejected's at t, counted by positions.

    "dpo" is -log sigmoid(beta d), "ipo" (beta d - 1 / (2 beta))^2: what the published program trains language models with, in place of
    the pair's sums.

    Args:
        chosen_KT, rejected_KT: token log-ratios log pi - log ref, in one width; carry the gradient.
        mask_KT: positions that count.

    >>> one = torch.zeros(1, 2)
    >>> round(float(token_paired(one, one, torch.ones(1, 2)).mean()), 4)
    0.6931
    """
    score_KT = beta * (chosen_KT - rejected_KT)
    if kind == "dpo":
        loss_KT = -logsigmoid(score_KT)
    elif kind == "ipo":
        loss_KT = (score_KT - 1.0 / (2.0 * beta)).square()
    else:
        raise CounterpointError(f"kind={kind!r}; expected 'dpo' or 'ipo'")
    return Loss(masked(loss_KT, mask_KT).sum(-1), counts=mask_KT.bool().sum(-1).to(loss_KT.dtype))
