"""Negative log-likelihood of given completions, with the normalisation named instead of implied.

Frameworks differ: token-pooled (every token weighs the same) or the mean of per-sequence means. At unequal lengths
the two have different gradients.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from counterpoint.objectives.reduction import Loss


def nll(
    logp_B: Tensor,
    length_B: Tensor,
    how: Literal["token_mean", "sequence_mean"] = "token_mean",
    weight: float = 1.0,
) -> Loss:
    """Return the negative log-likelihood of B completions from their summed log-probabilities.

    Args:
        logp_B: log pi(y|x), sums over completion tokens.
        length_B: completion lengths; a length of 0 contributes nothing.
        how: ``token_mean`` pools all tokens of the batch, ``sequence_mean`` averages per-sequence means.
        weight: factor of this term beside others, for instance alpha of RPO (2404.19733).

    >>> import torch
    >>> logp, n = torch.tensor([-6.0, -1.0]), torch.tensor([3, 1])
    >>> float(nll(logp, n).mean()), float(nll(logp, n, "sequence_mean").mean())
    (1.75, 1.5)
    """
    if how == "token_mean":
        return Loss(-logp_B, counts=length_B.to(logp_B.dtype), weight=weight)
    return Loss(-logp_B / length_B.clamp(min=1), weight=weight)
