"""Lower bounds of the mutual information of a student's and a teacher's vectors: MI-alpha (Distiller, arXiv 2109.11105, 3.1).

    I = 1 + J - R,   J = 1/(n(n-1)) sum_{i != j} (S_ii - D_ij),   R = 1/(n(n-1)) sum_{i != j} exp(S_ij - D_ii)
    D_ij = log(a exp(m_ij) + (1 - a) exp(b_i)),   m_ij = log 1/(n-1) sum_{k != j} exp S_ik

S_ij scores student i with teacher j. a = 1 is InfoNCE-like: little variance, at most about log n; a = 0 is TUBA: unbiased, of much
variance (Poole and others, arXiv 1905.06922). Row i needs only its own scores, so that each is an item's. n local rows, N in all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def interpolated_bound(scores_nN: Tensor, log_baseline_n: Tensor, alpha: float, offset: int = 0) -> Tensor:
    """Return each row's part of I_a, [n]; their mean over all rows is the bound. Everything is differentiable.

    Args:
        scores_nN: of this process's students with all teachers; row i belongs with column i + offset.
        log_baseline_n: b, of the rows' own teachers.
        alpha: a, from 0 to 1.

    Raises:
        CounterpointError: fewer than two columns, which have no pair that does not belong together; an alpha out of range.

    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> [round(float(v), 4) for v in interpolated_bound(scores, torch.zeros(2), 0.0)]
    [2.0, 2.0]
    """
    n, count = scores_nN.shape
    if count < 2 or not 0 <= alpha <= 1:
        raise CounterpointError(
            f"{count} columns, alpha={alpha}; expected at least two pairs in a batch, and an alpha from 0 to 1"
        )
    own = torch.arange(n, device=scores_nN.device)
    joint = scores_nN[own, own + offset]
    baseline = log_baseline_n[:, None].expand(n, count)
    if alpha == 0:
        interpolated = baseline
    else:
        mean = leave_one_out(scores_nN) - math.log(count - 1)
        interpolated = (
            mean if alpha == 1 else torch.logaddexp(math.log(alpha) + mean, math.log1p(-alpha) + baseline)
        )
    others = torch.ones_like(scores_nN, dtype=torch.bool)
    others[own, own + offset] = False
    first = torch.where(others, joint[:, None] - interpolated, 0).sum(1) / (count - 1)
    diagonal = interpolated[own, own + offset]
    # The pair itself is left out before exp, whose gradient would be infinite times zero where it overflows.
    exponent = (scores_nN - diagonal[:, None]).masked_fill(~others, -math.inf)
    return 1 + first - exponent.exp().sum(1) / (count - 1)


def leave_one_out(scores_nN: Tensor) -> Tensor:
    """log sum_{k != j} exp S_ik, [n, N], from sums before and after j, so that a score that dominates its row harms no other.

    >>> leave_one_out(torch.tensor([[0.0, 100.0]])).tolist()
    [[100.0, 0.0]]
    """
    edge = torch.full_like(scores_nN[:, :1], -math.inf)
    before = torch.cat([edge, torch.logcumsumexp(scores_nN, 1)[:, :-1]], 1)
    after = torch.cat([torch.logcumsumexp(scores_nN.flip(1), 1).flip(1)[:, 1:], edge], 1)
    return torch.logaddexp(before, after)


def infonce_bound(scores_NN: Tensor) -> Tensor:
    """log N + S_ii - lse_j S_ij of each row, [N]."""
    return math.log(len(scores_NN)) + scores_NN.diagonal() - scores_NN.logsumexp(1)


def tuba_bound(scores_NN: Tensor, log_baseline_N: Tensor) -> Tensor:
    """1 + S_ii - b_i - mean_{j != i} exp(S_ij - b_i) of each row, [N]; with b = 1 it is NWJ."""
    apart = scores_NN - log_baseline_N[:, None]
    others = ~torch.eye(len(scores_NN), dtype=torch.bool, device=scores_NN.device)
    return 1 + apart.diagonal() - apart.masked_fill(~others, -math.inf).exp().sum(1) / (len(scores_NN) - 1)
