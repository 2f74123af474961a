"""How much gradient InfoNCE still has: the mean, along a run, of the factor q that multiplies each anchor's gradient.

``q_i`` is the softmax mass off anchor i's positive (arXiv 2110.06848, eq. 4). Near 0 the anchor teaches nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.objectives.contrast.decoupled import negative_mass


class Coupling(nn.Module):
    """Running mean of q; a module, so that the Run keeps it over a crash.

    >>> meter = Coupling()
    >>> _ = meter.update(torch.eye(4), torch.eye(4), temperature=1.0)
    >>> round(meter.mean, 3)                # six negatives at similarity 0: 6 / (6 + e)
    0.688
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, first: Tensor, second: Tensor, temperature: float) -> float:
        """Add one batch of two views, each [N, D], and return its mean q."""
        q = float(negative_mass(first, second, temperature=temperature).mean())
        self.get_buffer("total").add_(q)
        self.get_buffer("count").add_(1)
        return q

    @property
    def mean(self) -> float:
        """Mean over all updates; NaN before the first."""
        count = float(self.get_buffer("count"))
        return float(self.get_buffer("total")) / count if count else float("nan")
