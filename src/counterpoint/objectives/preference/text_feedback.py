"""Reinforcement learning with text feedback: advantages of two turns, and the second answer learnt as a first one (2602.02482).

A question is answered (y0, reward r0), criticised, and answered again (y1, r1) where the first answer failed. Over the rollouts of a
question, without a deviation,

    A0 = r0 + gamma r1 - mean,   A1 = r1 - mean over second turns,   A_sd = r1 - mean r0        (eq. 7, first-turn baseline)

and y1 is learnt under the question alone with A_sd (RLTF-SD), or the critique is predicted (RLTF-FM). P questions, G rollouts, B
sequences, T tokens; a reward that is NaN is a turn that was not taken.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.policy import clipped, ratio
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import sequence_sum

Baseline = Literal["first_turn", "second_turn", "none"]
Ratio = Literal["own", "ppo", "cispo"]


def turn_advantages(rewards_PG2: Tensor, discount: float = 0.1) -> Tensor:
    """Return [P, G, 2], each turn's discounted return minus its mean over the question's rollouts; NaN where no turn was taken.

    >>> turn_advantages(torch.tensor([[[0.0, 1.0], [1.0, float("nan")]]]), 0.5)
    tensor([[[-0.2500,  0.0000],
             [ 0.2500,     nan]]])
    """
    first, second = rewards_PG2.unbind(-1)
    whole = first + discount * second.nan_to_num()
    return torch.stack([whole - whole.nanmean(1, keepdim=True), second - second.nanmean(1, keepdim=True)], -1)


def distillation_advantages(rewards_PG2: Tensor, baseline: Baseline = "first_turn") -> Tensor:
    """Return [P, G], how far a second answer is better than the baseline; NaN where there is none.

    Args:
        rewards_PG2: of both turns.
        baseline: ``first_turn``, the mean of all first rewards: what is to be improved, and never gone when all second
            answers succeed. ``second_turn``, the mean of the second rewards, as the authors' program has it. ``none``, the
            reward itself: with rewards of 0 and 1 it is learning from the answers that succeeded.

    Raises:
        CounterpointError: another baseline.

    >>> rewards = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> [distillation_advantages(rewards, name).tolist() for name in ("first_turn", "second_turn")]
    [[[1.0, 1.0]], [[0.0, 0.0]]]
    """
    first, second = rewards_PG2.unbind(-1)
    if baseline == "first_turn":
        return second - first.nanmean(1, keepdim=True)
    if baseline == "second_turn":
        return second - second.nanmean(1, keepdim=True)
    if baseline == "none":
        return second
    raise CounterpointError(f"baseline={baseline!r}; expected 'first_turn', 'second_turn' or 'none'")


def possible(logp_BT: Tensor, mask_BT: Tensor, threshold: float = -5.0) -> Tensor:
    """Return [B, T], the counted tokens that the policy would not find next to impossible without the critique.

    >>> possible(torch.tensor([[-1.0, -6.0]]), torch.ones(1, 2)).tolist()
    [[True, False]]
    """
    return mask_BT.bool() & (logp_BT.detach() >= threshold)


def turn_loss(
    logp_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    old_BT: Tensor | None = None,
    weight_BT: Tensor | None = None,
) -> Loss:
    """Return per sequence -sum_t exp(lp - old) A: the policy gradient of a turn, sums over tokens.

    Args:
        logp_BT: log pi of the sampled tokens; carries the gradient.
        old_BT: when they were sampled; None for one update per sample, where the ratio is 1 and its gradient grad lp.
        weight_BT: factor on every token's loss, without gradient (``mismatch.engine_weights``).

    >>> lp = torch.zeros(1, 2, requires_grad=True)
    >>> turn_loss(lp, torch.tensor([3.0]), torch.ones(1, 2)).mean().backward()
    >>> lp.grad.tolist()
    [[-3.0, -3.0]]
    """
    return _summed(-advantage_B.detach()[:, None] * ratio(logp_BT, old_BT, mask_BT), mask_BT, weight_BT)


def distillation_loss(
    logp_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    kind: Ratio = "own",
    *,
    denominator_BT: Tensor | None = None,
    low: float = 0.2,
    high: float = 0.2,
    weight_BT: Tensor | None = None,
) -> Loss:
    """Return per sequence the loss that makes second answers likelier under the question alone, sums over tokens.

    Args:
        logp_BT: log pi(y1 | x0); carries the gradient.
        mask_BT: the tokens that are learnt from: ``possible``.
        kind: ``own``, -exp(lp - old) A with the policy's own earlier log-probabilities under the question: advantage-weighted
            regression, the paper's choice. ``ppo``, the clipped ratio to the denominator. ``cispo``, -sg[clip(ratio)] A lp.
        denominator_BT: the policy's own for ``own`` (None: this update's), log pi(y1 | x1) for the others.
        low, high: the ratio is clipped to [1 - low, 1 + high].
        weight_BT: as of ``turn_loss``.

    Raises:
        CounterpointError: a ratio to another distribution without its log-probabilities.
    """
    if kind == "own":
        return turn_loss(logp_BT, advantage_B, mask_BT, denominator_BT, weight_BT)
    if denominator_BT is None:
        raise CounterpointError(
            f"ratio={kind!r} is to the answer's log-probability after the critique; give denominator_BT"
        )
    ratio_BT = ratio(logp_BT, denominator_BT, mask_BT, flat_B=advantage_B >= 0)
    if kind == "ppo":
        return _summed(clipped(ratio_BT, advantage_B, low, high), mask_BT, weight_BT)
    if kind == "cispo":
        factor_BT = ratio_BT.detach().clamp(1 - low, 1 + high) * advantage_B.detach()[:, None]
        return _summed(-factor_BT * logp_BT, mask_BT, weight_BT)
    raise CounterpointError(f"ratio={kind!r}; expected 'own', 'ppo' or 'cispo'")


def _summed(loss_BT: Tensor, mask_BT: Tensor, weight_BT: Tensor | None) -> Loss:
    return Loss(sequence_sum(loss_BT if weight_BT is None else loss_BT * weight_BT.detach(), mask_BT))


def critique_loss(logp_BT: Tensor, mask_BT: Tensor) -> Loss:
    """Return per critique -sum_t log pi(c_t | question, attempt): feedback modelling (RLTF-FM)."""
    return Loss(sequence_sum(-logp_BT, mask_BT))
