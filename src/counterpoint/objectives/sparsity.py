"""How sparse text encoders stay sparse: penalties on the entries of their vectors.

L1 and FLOPS as in SPLADE, arXiv 2109.10086 (section 2.2; FLOPS from 2004.05665); the guard against vectors of zeros is that of the program
of DiSCo (2410.14609). B vectors of this process, N of all, V entries.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def l1_norm(vectors_BV: Tensor) -> Tensor:
    """[B]: ||E||_1.

    >>> import torch
    >>> l1_norm(torch.tensor([[1.0, 0.5]])).tolist()
    [1.5]
    """
    return vectors_BV.abs().sum(-1)


def flops(vectors_BV: Tensor, gather: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """[B]: sum_v |E_bv| m_v with m_v the batch's mean of |E_v|; their mean is sum_v m_v^2, the expected products of a comparison.

    Args:
        vectors_BV: of this process. gather: [n, V] -> [N, V], joins the vectors of all, with gradient.

    >>> import torch
    >>> float(flops(torch.tensor([[2.0, 0.0], [0.0, 2.0]])).mean())
    2.0
    """
    sizes_BV = vectors_BV.abs()
    whole_NV = sizes_BV if gather is None else gather(sizes_BV)
    return (sizes_BV * whole_NV.sum(0) / max(len(whole_NV), 1)).sum(-1)


def not_all_zero(vectors_BV: Tensor, gather: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """[B], the same for all: 1 / (sum of all entries of the batch)^2, which is large where all vectors are near zero.

    Infinite where every entry is 0; then no loss has a gradient, and the run stops there.

    Args:
        vectors_BV, gather: as of ``flops``.

    >>> import torch
    >>> not_all_zero(torch.tensor([[1.0, 1.0]])).tolist()
    [0.25]
    """
    sums_B = vectors_BV.sum(-1)
    whole_N = sums_B if gather is None else gather(sums_B)
    return (1 / whole_N.sum() ** 2).expand(len(sums_B))


def rising_weight(weight: float, step: int, over: int) -> float:
    """min(w, w (s / (T + 1))^2) at step s, counted from 1: T = 0 has the whole weight from the start.

    >>> rising_weight(1.0, 1, 0), rising_weight(1.0, 1, 1), rising_weight(1.0, 5, 1)
    (1.0, 0.25, 1.0)
    """
    return min(weight, weight * (step / (over + 1)) ** 2)
