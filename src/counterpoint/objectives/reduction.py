"""Reduction, apart from every objective: objectives return one loss per item, and this says how items become a number.

A loss is ``sum(values) / sum(counts)`` over *all* items of the global batch, on every rank. Micro-batches and ranks
add their sums and counts before the division, so neither can change a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A named term's per-item losses together with its reduction.

    Attributes:
        values: [N], one loss per item of this rank's batch (a sum over the item's tokens when ``counts`` is given).
        counts: [N], how many units (tokens, pairs) each value stands for; None means one each. Never carries gradient.
        weight: factor of this term in the total loss.
        stats: detached per-item statistics to log, each [N] (or a scalar).

    >>> import torch
    >>> float(Loss(torch.tensor([6.0, 2.0]), counts=torch.tensor([3.0, 1.0])).mean())   # token mean
    2.0
    """

    values: Tensor
    counts: Tensor | None = None
    weight: float = 1.0
    stats: dict[str, Tensor] = field(default_factory=dict)

    def mean(self) -> Tensor:
        """Reduce on one process: ``sum(values) / max(sum(counts), 1)``; 0 with a valid graph when nothing counts."""
        if self.counts is None:
            return self.values.sum() / max(self.values.numel(), 1)
        return self.values.sum() / self.counts.sum().clamp(min=1)


def nonzero_mean(loss: Loss) -> Loss:
    """Average over the items with a value above 0 only (anchors without positives then do not dilute the mean).

    Where the statistics say which items had a negative, one without teaches nothing and has value 0: in a batch of a single
    class, where that is all of them, nothing is set against anything.

    >>> import torch
    >>> float(nonzero_mean(Loss(torch.tensor([2.0, 0.0]))).mean())
    2.0
    >>> float(nonzero_mean(Loss(torch.tensor([2.0, 1.0]), stats={"has_negative": torch.zeros(2)})).mean())
    0.0
    """
    values = loss.values
    if "has_negative" in loss.stats:
        values = torch.where(loss.stats["has_negative"] > 0, values, 0.0)
    return replace(loss, values=values, counts=(values.detach() > 0).to(values.dtype))


def total(losses: Mapping[str, Tensor | Loss]) -> Tensor:
    """Sum of the named terms' weighted means on one process, as a run's step adds them.

    >>> import torch
    >>> float(total({"a": torch.tensor([1.0, 3.0]), "b": Loss(torch.tensor([4.0]), weight=0.5)}))
    4.0
    """
    terms = [term if isinstance(term, Loss) else Loss(term) for term in losses.values()]
    return torch.stack([term.weight * term.mean() for term in terms]).sum()
