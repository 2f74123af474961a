"""The shape of an embedding: how close positives lie, how evenly the sphere is used, how many directions are used.

Alignment and uniformity after Wang and Isola (arXiv 2005.10242), effective rank after Roy and Vetterli (2007).
N rows of width D.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of positives on the unit sphere; 0 is perfect, 2 is chance.

    Args:
        first: [N, D], ``second``: [N, D]; row i of one is the positive of row i of the other.

    >>> alignment(torch.eye(2), 3 * torch.eye(2))
    0.0
    """
    return float(
        (normalize(first.double(), dim=1) - normalize(second.double(), dim=1)).square().sum(1).mean()
    )


def uniformity(rows: Tensor, t: float = 2.0, piece: int = 1024) -> float:
    """``log mean exp(-t |u - v|^2)`` over all pairs of distinct rows on the unit sphere; lower is more even.

    Computed in pieces of ``piece`` rows, so that no N x N matrix is held. A single row has no pair: NaN.

    >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 6)   # one pair at distance 2
    -8.0
    """
    unit = normalize(rows.double(), dim=1)
    if len(unit) < 2:
        return float("nan")
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(unit), piece):
        close = (2 * t * (unit[start : start + piece] @ unit.T - 1)).exp()
        total += close.sum() - close.diagonal(start).sum()
    return float((total / (len(unit) * (len(unit) - 1))).log())


def effective_rank(rows: Tensor) -> float:
    """``exp`` of the entropy of the normalised squared singular values of the centred unit rows: directions in use.

    Between 1 (a line) and D (an even cloud); 0 when all rows are the same.

    >>> round(effective_rank(torch.cat([torch.eye(3), -torch.eye(3)])), 6)
    3.0
    """
    unit = normalize(rows.double(), dim=1)
    unit = unit - unit.mean(0)
    power = torch.linalg.eigvalsh(unit.T @ unit).clamp(min=0)
    if float(power.sum()) <= 1e-12 * len(unit):
        return 0.0
    share = power / power.sum()
    return float(torch.special.entr(share).sum().exp())
