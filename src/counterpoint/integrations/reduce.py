"""One number from an objective's losses per item, the same on one process and on many under DistributedDataParallel.

DDP averages gradients over R processes. Each process therefore returns ``R sum(its values) / (count of all)``: the mean of these
over processes is the mean over all items, however many rows each has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from counterpoint.objectives.contrast.global_contrast import Robust
from counterpoint.objectives.reduction import Loss
from counterpoint.training import distributed


def reduced(result: Any, together: bool = True) -> Tensor:
    """The scalar loss.

    Args:
        result: what an objective returns: losses per item, a ``Loss``, several by name or in a tuple (added).
        together: count the items of all processes.

    >>> float(reduced(torch.tensor([1.0, 3.0])))
    2.0
    >>> float(reduced(Loss(torch.tensor([6.0, 2.0]), counts=torch.tensor([3.0, 1.0]), weight=0.5)))
    1.0
    """
    if isinstance(result, Mapping):
        return torch.stack([reduced(each, together) for each in result.values()]).sum()
    if isinstance(result, tuple):
        return torch.stack([reduced(each, together) for each in result]).sum()
    if isinstance(result, Robust):
        result = result.values
    if isinstance(result, Tensor):
        result = Loss(result)
    ranks = distributed.world()[1] if together else 1
    if ranks == 1:
        return result.weight * result.mean()
    counts = torch.tensor(float(result.values.numel())) if result.counts is None else result.counts.sum()
    all_counts = distributed.total(counts.detach().to(result.values.device, result.values.dtype))
    return result.weight * ranks * result.values.sum() / all_counts.clamp(min=1)
