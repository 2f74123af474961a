"""Agreement weights: tokens on which teachers in different contexts disagree count less (UniSD 2605.06597, eq. 2).

K contexts give l_t^k, the log-probability of the sampled token at temperature 1. Disagreement is their variance (or
range); the weight falls with it, 1/(1 + gamma min(delta/q, cap)) per token or exp(-gamma delta) per sequence. The
variance has denominator K-1 per token and K per sequence, as in the authors' code; the paper says only "decreasing".
Shapes: K contexts, B sequences, T tokens. Everything here is a constant for the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.tokens import masked, sequence_mean


def _spread(logp_K: Tensor, stat: str, correction: int) -> Tensor:
    if logp_K.shape[0] < 2:
        raise CounterpointError(f"agreement compares contexts and got {logp_K.shape[0]}; give at least 2")
    if stat == "var":
        return logp_K.var(0, correction=correction)
    if stat == "range":
        return logp_K.amax(0) - logp_K.amin(0)
    raise CounterpointError(f"agreement statistic {stat!r}; expected 'var' or 'range'")


def token_agreement(
    context_logp_KBT: Tensor,
    mask_BT: Tensor,
    *,
    gamma: float = 0.01,
    stat: Literal["var", "range"] = "var",
    quantile: float = 0.95,
    cap: float = 10.0,
    gather: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (weights, disagreement), both [B, T]; what uncounted tokens hold means nothing, ``aggregate`` drops it.

    Args:
        context_logp_KBT: log-probabilities of the sampled tokens under K contexts.
        mask_BT: completion tokens.
        gamma: strength; 0 gives weight 1 everywhere.
        stat: how spread is measured.
        quantile: the batch quantile of disagreement that counts as one unit.
        cap: largest number of units.
        gather: [n] -> [N], joins the values of all ranks, so that the quantile is the global batch's.

    >>> same = torch.zeros(3, 1, 2)
    >>> token_agreement(same, torch.ones(1, 2))[0].tolist()
    [[1.0, 1.0]]
    """
    floor = 0.01  # smallest weight
    mask = mask_BT.bool()
    delta_BT = _spread(context_logp_KBT.detach(), stat, correction=1)
    counted = delta_BT[mask].float()
    counted = counted if gather is None else gather(counted)
    if not counted.numel():
        return torch.ones_like(delta_BT), delta_BT
    unit = torch.quantile(counted, quantile).clamp(min=1e-6).to(delta_BT.dtype)
    weight_BT = (1.0 / (1.0 + gamma * (delta_BT / unit).clamp(max=cap))).clamp(min=floor)
    return weight_BT, delta_BT


def sequence_agreement(
    context_logp_KBT: Tensor,
    mask_BT: Tensor,
    *,
    gamma: float = 0.01,
    stat: Literal["var", "range"] = "var",
) -> tuple[Tensor, Tensor]:
    """Return (weights [B, T], disagreement [B]): one weight for all counted tokens of a sequence.

    Under a per-sequence weighted mean a constant weight cancels, so it acts only when tokens are pooled over the batch
    (``aggregate(..., "token_mean", weights_BT=...)``).
    """
    floor = 1e-6  # smallest weight
    mask = mask_BT.bool()
    means_KB = torch.stack([sequence_mean(each_BT, mask) for each_BT in context_logp_KBT.detach()])
    delta_B = _spread(means_KB, stat, correction=0)
    weight_B = torch.exp(-gamma * delta_B).clamp(min=floor)
    return masked(weight_B[:, None].expand(mask.shape), mask), delta_B
