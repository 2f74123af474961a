"""Divergences to a mixture that one of both rows all but is: nothing cancels where the other's share w is as small as 1e-8.

``P log(P / M)`` with ``M = P + w (Q - P)`` sums up addends of order w to a sum of order w (Jensen-Shannon) or w^2 (skewed):
float32 has neither at w = 1e-6. With ``M - P`` added, which sums to 0, every addend is ``P (x - log(1 + x))``, not negative and
of the order of the sum, ``x = w (Q / P - 1)``.
Derivation from the definitions of arXiv 2306.13649 (section 3) and 2402.03898 (section 3). Rows [..., V].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHARE = 2.0**-6
"""Below this share of one row in the mixture its other form loses more than half of float32's digits."""
STEEP = 30.0
"""Log-ratio from which on the mixture is no longer near P."""
SMALL, TERMS = 1e-2, 10


def excess(log_p: Tensor, log_q: Tensor, w: float) -> Tensor:
    """``P log(P / M) - P + M`` of each entry, ``M = P + w (Q - P)`` and w small; differentiable by both, also where one is 0.

    >>> log_p, log_q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    >>> round(float(excess(log_p, log_q, 1e-6).sum() / 1e-12), 4)       # w^2 / 2 sum (Q - P)^2 / P
    0.125
    """
    empty = log_p == -math.inf
    ratio = torch.where(empty, 0.0, log_q - torch.where(empty, 0.0, log_p))
    steep = ratio > STEEP
    p, q = log_p.exp(), log_q.exp()
    gentle = p * _bend(w * torch.expm1(torch.where(steep, 0.0, ratio)))
    far = w * (q - p) - p * _log_mixed(torch.where(steep, ratio, STEEP), w)
    return torch.where(empty, w * q, torch.where(steep, far, gentle))


def log_gap(log_p: Tensor, log_q: Tensor, w: float) -> Tensor:
    """``log(M / P)`` of each entry where P is above 0, as accurate as w is small."""
    ratio = log_q - log_p
    near = torch.log1p(w * torch.expm1(ratio.clamp(max=STEEP)))
    return torch.where(ratio > STEEP, _log_mixed(ratio.clamp(min=STEEP), w), near)


def _log_mixed(ratio: Tensor, w: float) -> Tensor:
    """``log((1 - w) + w e^ratio)``."""
    return torch.logaddexp(torch.full_like(ratio, math.log1p(-w)), ratio + math.log(w))


def _bend(x: Tensor) -> Tensor:
    """``x - log(1 + x)``, by its series where x is small."""
    small = x.abs() < SMALL
    u = torch.where(small, x, 0.0)
    series = torch.full_like(u, 1 / (TERMS + 1))
    for n in range(TERMS, 1, -1):
        series = 1 / n - u * series
    rest = torch.where(small, 1.0, x)
    return torch.where(small, u * u * series, rest - torch.log1p(rest))
