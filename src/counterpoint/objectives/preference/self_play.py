"""Guided self-play's weights and losses: what a conjecture is worth, and who learns how much from what (SGS, 2604.20209).

    L_solver = L_conjecturer = - sum_y w_y sum_t log pi(y_t) / N_tokens        REINFORCE on selected rollouts (section 3; the authors' program)
    R(x~) = (1 - s) [0 < s <= q] (relevance + 2 - complexity + 1 - redundancy)                              (eq. 2-4)
    L_cispo = - 1/G sum_g 1/T_g sum_i sum_t sg(clip(ratio)) A_i log pi                                     (baseline)

s is a problem's solve rate, q a quantile of the rates within (0, 1). C conjectures, B rollouts, G groups of k of them, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.policy import cispo, ratio, reinforce
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate, masked, sequence_sum

LONG = 0.8
"""Share of the longest length from which a text is too long."""


def weighted_likelihood(
    logp_BT: Tensor, weight_B: Tensor, mask_BT: Tensor, factor_BT: Tensor | None = None
) -> Loss:
    """Return -w_y sum_t log pi(y_t), to be divided by the tokens of the whole batch: longer rollouts weigh more.

    Args:
        logp_BT: of the sampled tokens; carries the gradient.
        weight_B: of each rollout; negative ones push down.
        mask_BT: tokens that the model wrote.
        factor_BT: on every token's loss, without gradient (``mismatch.engine_weights``).

    >>> float(weighted_likelihood(torch.tensor([[-1.0, -2.0], [-4.0, 9.0]]), torch.tensor([1.0, 0.5]), torch.tensor([[1, 1], [1, 0]])).mean())
    1.6666666269302368
    """
    loss_BT = reinforce(masked(logp_BT, mask_BT), weight_B)
    return aggregate(loss_BT if factor_BT is None else loss_BT * factor_BT.detach(), mask_BT, "token_mean")


def group_cispo(
    logp_BT: Tensor,
    old_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    tokens_B: Tensor,
    group: int,
    *,
    low: float = 1.0,
    high: float = 3.0,
    factor_BT: Tensor | None = None,
) -> Loss:
    """Return CISPO with the mean over a group's tokens and then over groups.

    Args:
        logp_BT, old_BT: now and when sampled.
        advantage_B: of each rollout among its group.
        mask_BT: tokens that the model wrote.
        tokens_B: generated tokens of each rollout's whole group, also where some of it is not in this batch.
        group: k, rollouts of a group.
        low, high: the ratio is clipped to [1 - low, 1 + high].
        factor_BT: as of ``weighted_likelihood``.

    >>> logp = torch.zeros(2, 1, requires_grad=True)
    >>> group_cispo(logp, torch.zeros(2, 1), torch.tensor([1.0, -1.0]), torch.ones(2, 1), torch.tensor([2.0, 2.0]), 2).mean().backward()
    >>> logp.grad.tolist()
    [[-0.5], [0.5]]
    """
    if low < 0 or high < 0 or group < 1:
        raise CounterpointError(
            f"low={low}, high={high}, group={group}; the clip's bounds are distances from 1, at least 0, and a group has a rollout"
        )
    logp_BT, old_BT = masked(logp_BT, mask_BT), masked(old_BT, mask_BT)
    clipped_BT = ratio(logp_BT, old_BT, mask_BT).clamp(min=1.0 - low)
    loss_BT = cispo(logp_BT, clipped_BT, advantage_B, 1.0 + high)
    sums_B = sequence_sum(loss_BT if factor_BT is None else loss_BT * factor_BT.detach(), mask_BT)
    values_B = sums_B / tokens_B.clamp(min=1).to(sums_B)
    return Loss(values_B, counts=torch.full_like(values_B.detach(), 1.0 / group))


def group_advantages(reward_GK: Tensor) -> Tensor:
    """Return [G, k], rewards standardised in their group, with the population's deviation and 1e-6 beside it.

    >>> group_advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).round(decimals=3).tolist()
    [[1.0, -1.0], [0.0, 0.0]]
    """
    unlike = (reward_GK != reward_GK[:, :1]).any(
        1, keepdim=True
    )  # equal rewards have no advantage by rounding
    centred = torch.where(unlike, reward_GK - reward_GK.mean(1, keepdim=True), 0.0)
    return centred / (reward_GK.std(1, correction=0, keepdim=True) + 1e-6)


def overlong(lengths_B: Tensor, longest: int) -> Tensor:
    """Return [B], the reward of a text that is too long, 0 where it is not: -(n - 0.8 c) / (0.2 c), at least -1.

    >>> overlong(torch.tensor([80, 90, 120]), 100).tolist()
    [0.0, -0.5, -1.0]
    """
    begin = LONG * longest
    over_B = (lengths_B.double() - begin).clamp(min=0.0) / (longest - begin)
    return torch.where(over_B > 0, -over_B.clamp(max=1.0), 0.0)


def guide_score(relevance: Tensor, complexity: Tensor, redundancy: Tensor) -> Tensor:
    """Return a review's score, 0 to 8: relevance (0-5) + (2 - complexity (0-4)) + (1 - redundancy (0, 1)); 0 from complexity 3 on.

    >>> guide_score(torch.tensor([5, 5, 0]), torch.tensor([0, 3, 2]), torch.tensor([0, 0, 1])).tolist()
    [8.0, 0.0, 0.0]
    """
    score = (relevance + (2 - complexity) + (1 - redundancy)).double().clamp(min=0.0)
    return torch.where(complexity >= 3, 0.0, score)


@dataclass(frozen=True)
class Worth:
    """What conjectures are worth.

    Attributes:
        threshold: q. trained: [C] bool, those that are learnt from.
        reward: [C], 0 where not trained on. weight: [C] in [0, 1] among the trained, NaN elsewhere.
    """

    threshold: float
    trained: Tensor
    reward: Tensor
    weight: Tensor


def conjecture_worth(solve_rate_C: Tensor, score_C: Tensor | None = None, share: float = 0.7) -> Worth:
    """Return which conjectures are learnt from, and how much.

    Trained on are rates in (0, q], q the ``share`` quantile of the rates within (0, 1), ties included; the minimum, the maximum and so the
    weights are among these, the worst of which has weight 0 (all have 1 where their rewards are equal).

    Args:
        solve_rate_C: s. score_C: the guide's; None is 1 for all.

    >>> worth = conjecture_worth(torch.tensor([0.0, 0.25, 0.5, 0.875, 1.0]))
    >>> worth.threshold, worth.trained.tolist(), worth.weight.tolist()
    (0.875, [False, True, True, True, False], [nan, 1.0, 0.6, 0.0, nan])
    """
    if not 0 < share < 1:
        raise CounterpointError(f"share={share}; expected a quantile between 0 and 1, such as 0.7")
    rate = solve_rate_C.double()
    inside = rate[(rate > 0) & (rate < 1)].sort().values
    threshold = float(inside[int(share * len(inside))]) if len(inside) else 0.0
    trained = (rate > 0) & (rate <= threshold)
    score = torch.ones_like(rate) if score_C is None else score_C.double()
    reward = torch.where(trained, (1.0 - rate) * score, 0.0)
    weight = torch.full_like(rate, torch.nan)
    if bool(trained.any()):
        least, most = reward[trained].min(), reward[trained].max()
        spread = most - least
        weight[trained] = (reward[trained] - least) / spread if bool(spread > 0) else 1.0
    return Worth(threshold, trained, reward, weight)


def learnable(solve_rate: Tensor, most: float = 0.5) -> Tensor:
    """Return which problems the solver learns from: solved sometimes, at most ``most`` of the time.

    >>> learnable(torch.tensor([0.0, 0.125, 0.5, 0.625])).tolist()
    [False, True, True, False]
    """
    return (solve_rate > 0) & (solve_rate <= most)
