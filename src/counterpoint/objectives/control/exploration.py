"""Elliptical bonus: how little a direction of the features has been seen (arXiv 2207.14800; linear bandits' confidence width).

``beta = min(gamma sqrt(phi^T Sigma^-1 phi), cap)`` with ``Sigma = (1/n) sum phi phi^T + ridge I`` or the plain sum. Solved
by Cholesky, so that no rounding makes a width negative. Legend: N items, T steps, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def covariance(phi_ND: Tensor, ridge: float, average: bool = False) -> Tensor:
    """``sum phi phi^T + ridge I`` [..., D, D] of features [..., N, D]; ``average`` divides the sum by N.

    The averaged form with (ridge / N, gamma / sqrt N) gives the same bonus as the sum with (ridge, gamma).
    """
    total = phi_ND.mT @ phi_ND
    if average:
        total = total / max(phi_ND.shape[-2], 1)
    return total + ridge * torch.eye(phi_ND.shape[-1], dtype=phi_ND.dtype, device=phi_ND.device)


def elliptical_bonus(phi_ND: Tensor, sigma_DD: Tensor, gamma: float, cap: float = math.inf) -> Tensor:
    """Bonus [..., N] of features [..., N, D] under covariances [..., D, D].

    >>> elliptical_bonus(torch.tensor([[2.0, 0.0]]), 4 * torch.eye(2), gamma=0.5)
    tensor([0.5000])
    """
    factor = torch.linalg.cholesky(sigma_DD)
    half = torch.linalg.solve_triangular(factor, phi_ND.mT, upper=False)
    return (gamma * half.square().sum(-2).sqrt()).clamp(max=cap)


def n_step(
    values_TB: Tensor, done_TB: Tensor, steps: int, discount: float, whole_window: bool = True
) -> Tensor:
    """n-step sums of rewards or bonuses, ``sum_{k<n} discount^k alive_k value_{t+k}``, for the first T - n steps; then 0.

    Args:
        done_TB: whether step t ended its episode.
        whole_window: alive_k says that no step before t + k ended the episode; False uses the first step's flag for the
            whole window, as the paper's program does for bonuses, which counts those of the next episode.

    Returns:
        [T, B].

    >>> n_step(torch.ones(3, 1), torch.zeros(3, 1, dtype=torch.bool), 2, 0.5).squeeze(1)
    tensor([1.5000, 0.0000, 0.0000])
    """
    result = torch.zeros_like(values_TB)
    rows = len(values_TB) - steps
    if rows < 1:
        return result
    weight = discount ** torch.arange(steps, dtype=values_TB.dtype, device=values_TB.device)
    windows = values_TB[: rows + steps - 1].unfold(0, steps, 1) * weight  # [rows, B, steps]
    going = (~done_TB).to(values_TB.dtype)
    if whole_window:
        windows[..., 1:] *= going[: rows + steps - 1].unfold(0, steps, 1)[..., :-1].cumprod(-1)
        result[:rows] = windows.sum(-1)
    else:
        result[:rows] = windows.sum(-1) * going[:rows]
    return result
