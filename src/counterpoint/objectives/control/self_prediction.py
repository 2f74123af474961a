"""Self-prediction of latents (SPR, arXiv 2007.05929, eq. 3): squared distance of normalised vectors, ``2 - 2 cos``.

The target carries no gradient. There are no negatives: a moving latent and the predictor keep it from collapsing.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

FLOOR = 1e-3


def self_prediction(prediction: Tensor, target: Tensor) -> Tensor:
    """Loss [...] of predictions [..., D]; lengths below 1e-3 count as 1e-3.

    >>> import torch
    >>> self_prediction(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.])
    """
    gap = normalize(prediction, dim=-1, eps=FLOOR) - normalize(target.detach(), dim=-1, eps=FLOOR)
    return gap.square().sum(-1)


def unit_range(latent: Tensor, dims: int = 1) -> Tensor:
    """Rescale each item's latent (its last ``dims`` axes) to [0, 1]; a constant latent becomes 0, not NaN.

    >>> import torch
    >>> unit_range(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    tensor([[0., 1.],
            [0., 0.]])
    """
    flat = latent.flatten(-dims)
    low = flat.amin(-1, keepdim=True)
    span = flat.amax(-1, keepdim=True) - low
    safe = span.where(span > 0, 1.0)
    return ((flat - low) / safe).view_as(latent)
