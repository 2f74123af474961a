"""A baseline that is remembered from batch to batch, for REINFORCE: it knows nothing of the sample it is subtracted from.

Moving average b <- decay b + (1 - decay) mean(r) (Williams 1992, "reinforcement comparison"), or the mean of all rewards so
far. The first batch has no past: its own mean stands in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RewardBaseline(nn.Module):
    """Register it with ``run.state``; call it once a step.

    Args:
        decay: how much of the average stays at each step; None takes the mean of everything seen.

    >>> baseline = RewardBaseline(decay=0.5)
    >>> baseline.advantages(torch.tensor([1.0, 3.0])).tolist()
    [-1.0, 1.0]
    >>> baseline.advantages(torch.tensor([4.0, 4.0])).tolist(), float(baseline.mean)
    ([2.0, 2.0], 3.0)
    """

    mean: Tensor
    count: Tensor

    def __init__(self, decay: float | None = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def advantages(self, rewards_B: Tensor) -> Tensor:
        """Rewards minus the baseline, 0 where a reward is NaN; then the baseline takes this batch in.

        Args:
            rewards_B: of all processes.
        """
        valid = rewards_B[~rewards_B.isnan()].double()
        if not len(valid):
            return torch.zeros_like(rewards_B)
        if not self.count:
            self.mean.copy_(valid.mean())
        centred = (rewards_B - self.mean.to(rewards_B)).nan_to_num()
        keep = self.count / (self.count + len(valid)) if self.decay is None else self.decay
        self.mean.mul_(keep).add_((1 - keep) * valid.mean())
        self.count.add_(len(valid))
        return centred
