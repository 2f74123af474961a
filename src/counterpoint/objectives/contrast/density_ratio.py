"""Real against drawn: a contrast whose optimum is the ratio of two densities (arXiv 2207.14800, contrastive loss).

``l = y log(1 + 1/f) + (1 - y) log(1 + f)``: y = 1 keeps the observed next state, y = 0 puts one drawn from a fixed
distribution in its place. It is logistic regression with logit log f, so at the optimum f is the observed density over the
drawn one. Written with log f, because f near 0 is ordinary.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def density_ratio(log_ratio: Tensor, real: Tensor) -> Tensor:
    """Loss of each sample.

    Args:
        log_ratio: log f, any shape.
        real: same shape, 1 where the next state was observed, 0 where it was drawn.

    Returns:
        Losses of that shape.

    >>> import torch
    >>> density_ratio(torch.tensor([0.0, 3.0]), torch.tensor([1, 0]))
    tensor([0.6931, 3.0486])
    """
    return -logsigmoid(log_ratio * (2 * real.to(log_ratio.dtype) - 1))
