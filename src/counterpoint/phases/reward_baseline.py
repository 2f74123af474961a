"""A baseline that is remembered from batch to batch, for REINFORCE, and a deviation beside it.

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


class RunningScore(nn.Module):
    """Rewards standardised by all that came before them, one after the other (the bandits of 2404.14367).

    A_k = (r_k - mean(r_1 .. r_k)) / (deviation(r_1 .. r_k) + 1e-12), over everything seen since training began: the first has 0.
    Register it with ``run.state``; call it once a batch.

    >>> RunningScore().advantages(torch.tensor([1.0, 3.0, 2.0])).tolist()
    [0.0, 1.0, 0.0]
    """

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(3, dtype=torch.float64))  # of 1, r and r squared

    @torch.no_grad()
    def advantages(self, rewards_B: Tensor) -> Tensor:
        """Return [B] in their order, 0 where a reward is NaN.

        Args:
            rewards_B: of all processes.
        """
        valid_B, values_B = ~rewards_B.isnan(), rewards_B.double().nan_to_num()
        sums_B3 = torch.stack([valid_B.double(), values_B, values_B.square()], -1).cumsum(0) + self.sums
        if len(sums_B3):
            self.sums.copy_(sums_B3[-1])
        count_B, total_B, squares_B = sums_B3.unbind(-1)
        mean_B = total_B / count_B.clamp(min=1)
        # The difference of two near squares can round to below 0.
        deviation_B = (squares_B / count_B.clamp(min=1) - mean_B.square()).clamp(min=0).sqrt()
        score_B = (values_B - mean_B) / (deviation_B + 1e-12)
        return torch.where(valid_B, score_B, 0.0).to(rewards_B)
