"""Decoupled contrast: no positive in the denominator, so no factor shrinks an easy anchor's gradient (arXiv 2110.06848).

InfoNCE's gradient of anchor i carries ``q_i``, the mass off its positive; ``-p_i/tau + log sum_{others} e^{s/tau}``
(eq. 6) has the same gradient with ``q_i = 1``. The weighted form lets dissimilar positives pull harder. Shapes: n local
instances with two views, N instances of all ranks, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.kernels.similarity import different, similarity_logsumexp
from counterpoint.objectives.contrast.infonce import require_negatives, require_same_shape
from counterpoint.objectives.in_batch import own_rows, scale_of, unit


def decoupled(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    sigma: float | None = None,
    weight_gradient: bool = False,
    symmetric: bool = True,
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
    normalize: bool = True,
) -> Tensor:
    """DCL, and DCLW when ``sigma`` is given: both views of all other instances are the negatives.

    Args:
        first, second: [n, D], two views of the same instances.
        temperature: tau, a number or a scalar tensor.
        sigma: None, or the bandwidth of the positives' weights (the paper's 0.5).
        weight_gradient: let the gradient flow through the weights.
        symmetric: mean of both views as anchors; else the first view alone.
        candidates: (all firsts, all seconds), each [N, D]; default the local rows.
        offset: where the local rows lie among the candidates.
        normalize: rows to length 1 first.

    Returns:
        [n]; may be negative (unbounded below in small batches).

    Raises:
        CounterpointError: fewer than 2 instances, or views that do not pair up.

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in decoupled(z, z, temperature=1.0).tolist()]    # log(1 + 1) - 1
    [-0.3069, -0.3069]
    """
    scale = scale_of(temperature)
    if normalize:
        first, second = unit(first), unit(second)
        candidates = None if candidates is None else (unit(candidates[0]), unit(candidates[1]))
    against = _others(first, second, scale, symmetric, candidates, offset)
    positive = (first * second).sum(-1)
    if sigma is None:
        return against - positive * scale
    all_first, all_second = (first, second) if candidates is None else candidates
    all_positive = (all_first * all_second).sum(-1)
    weights = positive_weights(all_positive if weight_gradient else all_positive.detach(), sigma)
    own = own_rows(len(first), len(all_first), offset, first.device)
    return against - weights[own] * positive * scale


def positive_weights(similarities: Tensor, sigma: float = 0.5) -> Tensor:
    """Weights [N] of DCLW, ``2 - e^{p_i/sigma} / mean_m e^{p_m/sigma}``: mean 1, above 1 for dissimilar positives.

    >>> positive_weights(torch.tensor([0.5, 0.5])).tolist()
    [1.0, 1.0]
    """
    return 2 - len(similarities) * torch.softmax(similarities / sigma, 0)


@torch.no_grad()
def negative_mass(
    first: Tensor, second: Tensor, *, temperature: float = 0.1, normalize: bool = True
) -> Tensor:
    """InfoNCE's multiplier q [n] of the first view as anchor: its softmax mass off the positive. A statistic, no loss."""
    if normalize:
        first, second = unit(first), unit(second)
    scale = scale_of(temperature)
    against = _others(first, second, scale, symmetric=False, candidates=None, offset=0)
    return torch.sigmoid(against - (first * second).sum(-1) * scale)


def _others(
    first: Tensor,
    second: Tensor,
    scale: float | Tensor,
    symmetric: bool,
    candidates: tuple[Tensor, Tensor] | None,
    offset: int,
) -> Tensor:
    """Log-sum-exp [n] over both views of all other instances, for the first view or the mean of both."""
    require_same_shape(first, second)
    all_first, all_second = (first, second) if candidates is None else candidates
    require_negatives(len(all_first) - 1)
    own = own_rows(len(first), len(all_first), offset, first.device)
    instances = torch.arange(len(all_first), device=first.device).repeat(2)
    columns = torch.cat([all_first, all_second])
    if not symmetric:
        return similarity_logsumexp(first, columns, scale=scale, include=[different(own, instances)])
    if candidates is None:
        against = similarity_logsumexp(columns, scale=scale, include=[different(instances)])
    else:
        rows = torch.cat([first, second])
        against = similarity_logsumexp(
            rows, columns, scale=scale, include=[different(own.repeat(2), instances)]
        )
    return against.view(2, -1).mean(0)
