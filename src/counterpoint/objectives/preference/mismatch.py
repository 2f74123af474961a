"""Weights for completions that another engine sampled: what the policy gives a token over what the engine gave it, truncated.

An inference engine rounds otherwise than training does, so the tokens it samples are not quite the policy's. Truncated
importance sampling (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training") weighs each
token's loss with min(pi(token) / engine(token), cap).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def engine_weights(
    own_BT: Tensor,
    engine_BT: Tensor,
    mask_BT: Tensor,
    cap: float = 3.0,
    level: Literal["token", "sequence"] = "token",
) -> Tensor:
    """Weights [B, T] without gradient; 1 off the mask, and where the engine gave no log-probability (NaN).

    Args:
        own_BT: log-probabilities under the policy that is trained, at the sampling temperature.
        engine_BT: the engine's, of the same tokens. mask_BT: tokens the policy wrote.
        cap: the largest weight. level: one a token, or of the whole completion for each of its tokens.

    >>> engine_weights(torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.0, -3.0]]), torch.ones(1, 2)).tolist()
    [[1.0, 3.0]]
    """
    gap_BT = own_BT.detach() - engine_BT.detach()
    gap_BT = torch.where(mask_BT.bool() & gap_BT.isfinite(), gap_BT, 0.0)
    if level == "sequence":
        gap_BT = torch.where(mask_BT.bool(), gap_BT.sum(-1, keepdim=True), 0.0)
    return gap_BT.exp().clamp(max=cap).masked_fill(~mask_BT.bool(), 1.0)
