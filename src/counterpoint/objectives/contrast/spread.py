"""Alignment and uniformity as quantities to train on (arXiv 2005.10242); ``evaluation.geometry`` measures the same.

    alignment = |u_i - v_i|^2         uniformity = log mean_{i<j} e^{-t |u_i - u_j|^2}        u, v of length 1

n rows, D dimensions.
"""

from __future__ import annotations

import math

from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import not_self, similarity_logsumexp
from counterpoint.objectives.in_batch import unit


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """[n] squared distances of partners on the unit sphere, 0 to 4.

    >>> import torch
    >>> alignment(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
    tensor([2.])
    """
    return (unit(first) - unit(second)).square().sum(-1)


def uniformity(rows: Tensor, t: float = 2.0) -> Tensor:
    """A scalar, at most 0; lower is more even. Distances on the sphere are ``2 - 2 cos``, so this is a log-sum-exp.

    Raises:
        CounterpointError: fewer than two rows, which have no distance.

    >>> import torch
    >>> round(float(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))), 6)
    -8.0
    """
    if len(rows) < 2:
        raise CounterpointError(f"uniformity is of pairs of rows and got {len(rows)} row; give at least 2")
    u = unit(rows)
    each = similarity_logsumexp(u, u, scale=2 * t, include=[not_self(len(u))])
    return each.logsumexp(0) - 2 * t - math.log(len(u) * (len(u) - 1))
