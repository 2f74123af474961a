"""Advantages: how a scalar reward becomes the sign and size of a push. Constants for the optimiser, never differentiated.

B responses, G per prompt, rows of a prompt contiguous. A response nobody could score (reward NaN) takes no part in any
mean or deviation and gets 0; so does the only scorable response of a group. Deviations have Bessel's correction.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError

EPSILON = 1e-4
"""Added to every deviation: a group of equal rewards then has advantage 0, not NaN."""


def combine(rewards_BK: Tensor, weights_K: Tensor | None = None) -> Tensor:
    """Return [B], the weighted sum over K reward functions; a function that gave NaN is left out, all NaN stays NaN.

    >>> combine(torch.tensor([[1.0, 2.0], [float("nan"), 4.0]]), torch.tensor([1.0, 0.5])).tolist()
    [2.0, 2.0]
    """
    weights_K = torch.ones_like(rewards_BK[0]) if weights_K is None else weights_K.to(rewards_BK)
    total_B = (rewards_BK * weights_K).nansum(-1)
    return total_B.masked_fill(rewards_BK.isnan().all(-1), float("nan"))


def _groups(rewards_B: Tensor, group: int) -> Tensor:
    if group < 1 or rewards_B.shape[0] % group:
        raise CounterpointError(
            f"{rewards_B.shape[0]} rewards do not divide into groups of {group}; give every prompt the same number of "
            "responses, rows of a prompt next to each other"
        )
    return rewards_B.detach().reshape(-1, group)


def _moments(rewards_PG: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rewards less their mean with NaN zeroed, valid mask, mean, and Bessel deviation per row (0 where fewer than two are valid).

    Of equal rewards both are 0 exactly: a mean that is off by its rounding would be a deviation of that size, and their quotient no
    small number.
    """
    valid = ~rewards_PG.isnan()
    count = valid.sum(-1, keepdim=True)
    filled = torch.where(valid, rewards_PG, 0.0)
    mean = filled.sum(-1, keepdim=True) / count.clamp(min=1)
    first = filled.gather(-1, valid.long().argmax(-1, keepdim=True)) if valid.shape[-1] else filled
    unlike = (valid & (rewards_PG != first)).any(-1, keepdim=True)
    centred = torch.where(valid & unlike, rewards_PG - mean, 0.0)
    deviation = (centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred, valid, mean, deviation


def standardise(values_B: Tensor) -> Tensor:
    """Return values standardised over the whole batch; NaN becomes 0.

    >>> standardise(torch.tensor([1.0, 3.0])).mul(1000).round().tolist()
    [-707.0, 707.0]
    """
    centred, _, _, deviation = _moments(values_B.detach()[None])
    return (centred / (deviation + EPSILON))[0]


def group_relative(
    rewards_B: Tensor, group: int, scale: Literal["group", "batch", "none"] = "group"
) -> Tensor:
    """Return [B], reward minus its group's mean (GRPO 2402.03300), divided by a deviation.

    Args:
        rewards_B: one scalar reward per response.
        group: G, responses per prompt.
        scale: ``group`` deviation (GRPO), ``batch`` deviation, or ``none`` (Dr. GRPO 2503.20783).

    >>> group_relative(torch.tensor([1.0, 1.0, 0.0, 2.0]), 2, scale="none").tolist()
    [0.0, 0.0, -1.0, 1.0]
    """
    rewards_PG = _groups(rewards_B, group)
    centred_PG, _, _, deviation_P1 = _moments(rewards_PG)
    if scale == "none":
        return centred_PG.reshape(-1)
    if scale == "batch":
        deviation_P1 = _moments(rewards_PG.reshape(1, -1))[3]
    elif scale != "group":
        raise CounterpointError(f"scale={scale!r}; expected 'group', 'batch' or 'none'")
    return (centred_PG / (deviation_P1 + EPSILON)).reshape(-1)


def normalise_then_sum(rewards_BK: Tensor, group: int, weights_K: Tensor | None = None) -> Tensor:
    """Return [B]: each reward function standardised inside its group, weighted, summed, standardised over the batch."""
    each_BK = torch.stack(
        [group_relative(rewards_BK[:, k], group) for k in range(rewards_BK.shape[1])], dim=-1
    )
    unscored_B = rewards_BK.isnan().all(-1)
    total_B = combine(each_BK, weights_K).masked_fill(unscored_B, float("nan"))
    return standardise(total_B)


def leave_one_out(rewards_B: Tensor, group: int, normalise: bool = False) -> Tensor:
    """Return [B], reward minus the mean of the group's other rewards (RLOO 2402.14740); unbiased as a baseline.

    Equals G/(G-1) times ``group_relative(..., scale="none")``. With ``normalise``, standardised over the responses of the batch
    that have such a mean: neither one that nobody could score nor the only scored one of its group takes part.

    >>> leave_one_out(torch.tensor([1.0, 0.0, 2.0]), 3).tolist()
    [0.0, -1.5, 1.5]
    """
    rewards_PG = _groups(rewards_B, group)
    centred, valid, _, _ = _moments(rewards_PG)
    count = valid.sum(-1, keepdim=True)
    compared = (valid & (count > 1)).reshape(-1)
    advantage = (centred * count / (count - 1).clamp(min=1)).reshape(-1)
    if normalise:
        return standardise(advantage.masked_fill(~compared, float("nan")))
    return torch.where(compared, advantage, 0.0)


def penalised(
    rewards_B: Tensor, old_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, beta: float
) -> Tensor:
    """Return [B], reward minus beta times the sampled sequence KL (k1) to the reference: where RLOO puts its KL."""
    drift_B = torch.where(mask_BT.bool(), old_BT - reference_BT, 0.0).sum(-1)
    return (rewards_B - beta * drift_B).detach()


Kind = Literal["group", "batch", "none", "leave_one_out", "normalise_then_sum", "batch_mean"]
"""The ways from rewards to advantages that look at one batch only."""


def advantages(
    rewards_BK: Tensor, group: int, kind: Kind = "group", weights_K: Tensor | None = None
) -> Tensor:
    """Return [B], the advantages of K rewards by the name of the rule.

    Args:
        rewards_BK: what each of K reward functions gave, NaN where it had no opinion.
        group: G, responses per prompt.
        kind: ``group``, ``batch`` and ``none`` are ``group_relative`` with that scale; ``batch_mean`` subtracts the mean of
            the whole batch (REINFORCE with a baseline); the others are functions of this module.
        weights_K: of the weighted sum; 1 each when None.

    Raises:
        CounterpointError: another rule, or rewards that do not divide into groups.

    >>> advantages(torch.tensor([[1.0], [0.0], [1.0], [1.0]]), 2, "batch_mean").tolist()
    [0.25, -0.75, 0.25, 0.25]
    """
    if kind == "normalise_then_sum":
        return normalise_then_sum(rewards_BK, group, weights_K)
    rewards_B = combine(rewards_BK, weights_K)
    if kind == "leave_one_out":
        return leave_one_out(rewards_B, group)
    if kind == "batch_mean":
        return _moments(rewards_B.detach()[None])[0][0]
    if kind in ("group", "batch", "none"):
        return group_relative(rewards_B, group, kind)
    raise CounterpointError(
        f"advantage={kind!r}; expected 'group', 'batch', 'none', 'leave_one_out', 'normalise_then_sum' or 'batch_mean'"
    )
