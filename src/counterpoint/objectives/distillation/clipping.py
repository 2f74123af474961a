"""Clipping token divergences: a few tokens must not dominate the loss (UniSD 2605.06597, eq. 9).

d <- min(d, cap), after the sum over the vocabulary and before weights and masks: a token above the cap has no gradient.
The cap is a number, or a quantile of the batch's own divergences; either way it is a constant.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def clip(values_BT: Tensor, cap: float | Tensor) -> Tensor:
    """Return min(values, cap).

    >>> clip(torch.tensor([[0.5, 30.0]]), 10.0).tolist()
    [[0.5, 10.0]]
    """
    return values_BT.clamp(max=cap.detach().to(values_BT.dtype) if isinstance(cap, Tensor) else cap)


def adaptive_cap(
    values_BT: Tensor, mask_BT: Tensor, quantile: float, *, gather: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the scalar max(quantile of counted values, 1e-6), computed in float32, detached; infinite when none count.

    ``gather`` ([n] -> [N]) joins the values of all ranks, so that the quantile is the global batch's.

    >>> round(float(adaptive_cap(torch.tensor([[1.0, 2.0, 3.0, 99.0]]), torch.tensor([[1, 1, 1, 0]]), 0.5)), 4)
    2.0
    """
    counted = values_BT.detach()[mask_BT.bool()].float()
    counted = counted if gather is None else gather(counted)
    if counted.numel() == 0:
        return torch.full((), float("inf"), device=values_BT.device)
    return torch.quantile(counted, quantile).clamp(min=1e-6)
