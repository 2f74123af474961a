"""What another engine sampled, weighed for losses over the tokens of a policy. B sequences, T tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from counterpoint.generation.sampler import Sampled
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.objectives.preference.mismatch import engine_weights
from counterpoint.objectives.tokens import sequence_mean

if TYPE_CHECKING:
    from counterpoint.kernels.scores import Scores
    from counterpoint.models.tokens import Tokens


def engine_weighing(
    cap: float | None, scores: Scores, completions: Tokens, temperature: float
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Factors [B, T] on the tokens' losses and figures to log (``weighed``); None and none where the policy sampled itself.

    Args:
        cap: the largest weight, ``PolicySource.largest_weight``.
        scores: of the policy that learns, [B, T] over the vocabulary.
        completions: that were sampled. temperature: of sampling.
    """
    if cap is None or not isinstance(completions, Sampled):
        return None, {}
    with torch.no_grad():
        mask = completions.authored
        own = log_probs(scores, completions.ids, temperature=temperature, mask=mask)
    return weighed(own, completions.log_probs.to(own), mask, cap)


def scaled(per_token_BT: Tensor, weight_BT: Tensor | None) -> Tensor:
    """Losses of tokens times their factors; as they are without any."""
    return per_token_BT if weight_BT is None else per_token_BT * weight_BT.to(per_token_BT)


def weighed(
    own_BT: Tensor, engine_BT: Tensor, mask_BT: Tensor, cap: float = 3.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return (``engine_weights`` [B, T], figures [B] to log: the mean difference of log-probabilities, ``engine_gap``, which grows
    where an engine has stale weights, and the mean weight, ``engine_weight``).
    """
    weight_BT = engine_weights(own_BT, engine_BT, mask_BT, cap)
    gap_BT = (own_BT.detach() - engine_BT.detach()).abs().nan_to_num(0.0)
    means = {
        name: sequence_mean(each, mask_BT)
        for name, each in (("engine_gap", gap_BT), ("engine_weight", weight_BT))
    }
    return weight_BT, means
