"""Preferences from one good answer a prompt: scores of sampled candidates, softened into a label distribution (arXiv 2601.20687).

    d_i = exp(s_i / t) / sum_j exp(s_j / t)

d keeps the order of the scores, and candidates that are D or more below the best one hold at most (N - 1) exp(-D / t) of it. The
paper's text could not be read beyond its introduction: that a label distribution is formed of self-assigned scores is known, the
forms here are reconstructed. P prompts, N candidates; a score that is NaN takes no part.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.advantage import group_relative
from counterpoint.objectives.reduction import Loss

Relative = Literal["standardised", "uniform"]


def label_distribution(scores_PN: Tensor, temperature: float = 0.5) -> Tensor:
    """Return [P, N], the Gibbs distribution of each prompt's scores; NaN where a score is.

    Raises:
        CounterpointError: a temperature that is not above 0.

    >>> label_distribution(torch.tensor([[1.0, 1.0, float("nan")]]))
    tensor([[0.5000, 0.5000,    nan]])
    """
    if not temperature > 0:
        raise CounterpointError(
            f"temperature={temperature} of a label distribution; expected a number above 0, such as 0.5"
        )
    silent = scores_PN.isnan()
    given = scores_PN.masked_fill(silent, -torch.inf) / temperature
    return given.softmax(-1).masked_fill(silent, torch.nan)


def distribution_advantages(distribution_PN: Tensor, kind: Relative = "standardised") -> Tensor:
    """Return [P, N], how far above its prompt's mean a candidate's share is; 0 where it is NaN.

    Args:
        distribution_PN: from ``label_distribution``.
        kind: ``standardised`` divides by the deviation plus 1e-4, so that differences of the size of noise become advantages of
            size 1. ``uniform`` compares with equal shares, N d - 1, and leaves small differences small.

    Raises:
        CounterpointError: another kind.

    >>> distribution_advantages(torch.tensor([[0.75, 0.25]]), "uniform").tolist()
    [[0.5, -0.5]]
    """
    if kind == "standardised":
        return group_relative(distribution_PN.flatten(), distribution_PN.shape[1]).reshape(
            distribution_PN.shape
        )
    if kind == "uniform":
        count_P1 = (~distribution_PN.isnan()).sum(-1, keepdim=True)
        return (count_P1 * distribution_PN - 1).nan_to_num()
    raise CounterpointError(f"advantage={kind!r}; expected 'standardised' or 'uniform'")


def distinguished(scores_PN: Tensor) -> Tensor:
    """Return [P] bool, whether two of a prompt's candidates have different scores: without, there is nothing to learn.

    >>> distinguished(torch.tensor([[1.0, 1.0], [1.0, 2.0], [1.0, float("nan")]])).tolist()
    [False, True, False]
    """
    silent = scores_PN.isnan()
    highest = scores_PN.masked_fill(silent, -torch.inf).amax(-1)
    return highest > scores_PN.masked_fill(silent, torch.inf).amin(-1)


def listwise(logp_PN: Tensor, reference_PN: Tensor, distribution_PN: Tensor, strength: float = 1.0) -> Tensor:
    """Return [P], KL(d || softmax_i(strength (log pi - log ref)(y_i))): the policy's own ranking becomes the label distribution.

    Args:
        logp_PN: log pi of whole candidates; carries the gradient. reference_PN: the reference's.
        distribution_PN: NaN takes no part.
        strength: of the log-ratios; 1, or less for long texts.

    >>> listwise(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])).tolist()
    [0.0]
    """
    silent = distribution_PN.isnan()
    ratios_PN = (strength * (logp_PN - reference_PN.detach())).masked_fill(silent, -torch.inf)
    # A prompt without any score: of equal ratios there is a softmax, and nothing of it counts.
    ratios_PN = ratios_PN.masked_fill(silent.all(-1, keepdim=True), 0.0)
    log_q_PN = ratios_PN.log_softmax(-1).masked_fill(silent, 0.0)
    target_PN = distribution_PN.detach().masked_fill(silent, 0.0).to(log_q_PN)
    return (torch.xlogy(target_PN, target_PN) - target_PN * log_q_PN).sum(-1)


def of_prompts(values_P: Tensor, counted_P: Tensor, stats: dict[str, Tensor] | None = None) -> Loss:
    """The mean of one loss a prompt over the prompts that count, on all ranks."""
    keep = counted_P.to(values_P)
    return Loss(values_P.masked_fill(~counted_P, 0.0), counts=keep, stats=stats or {})
