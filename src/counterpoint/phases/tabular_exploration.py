"""Optimistic online preference learning on answers that can be counted: the algorithm of SELM's theory (2405.19332, Algorithm 2).

A log-linear policy pi(y | x) ~ exp(phi(x, y) theta) over Y answers with d features. In every round one answer comes from the policy and
one from the reference, a Bradley-Terry judge of the true reward orders them, all pairs so far are fitted by DPO's loss, and alpha
times the reference's expected log pi is added, exactly. Nothing is sampled but the pairs. P prompts of a round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.optimism import expected_optimism

Prompts = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""A round's number to features [P, Y, d] and true rewards [P, Y] of fresh prompts."""


@dataclass(frozen=True)
class TabularExploration:
    """Settings of the tabular algorithm.

    Attributes:
        alpha: optimism, not multiplied by beta here; 0 is iterative DPO. beta: tie to the reference.
        rounds: of sampling and fitting. steps, rate: gradient steps of each fit.
        noiseless: the better answer always wins, instead of with Bradley and Terry's probability.
    """

    alpha: float = 0.0
    beta: float = 0.1
    rounds: int = 10
    steps: int = 60
    rate: float = 10.0
    noiseless: bool = False

    def run(self, start_D: Tensor, prompts: Prompts, seed: int = 0) -> tuple[Tensor, list[float]]:
        """Return (theta [d], the expected true reward on each round's prompts after it).

        Args:
            start_D: theta of the reference.

        Raises:
            CounterpointError: beta is not above 0, or alpha is below.

        >>> def same(number, generator):
        ...     return torch.eye(3).expand(4, 3, 3), torch.tensor([[0.0, 1.0, 2.0]]).expand(4, 3)
        >>> theta, rewards = TabularExploration(rounds=2, steps=5, rate=1.0).run(torch.zeros(3), same)
        >>> theta.shape, rewards[1] > rewards[0]
        (torch.Size([3]), True)
        """
        if not self.beta > 0 or self.alpha < 0:
            raise CounterpointError(
                f"alpha={self.alpha}, beta={self.beta}; expected alpha from 0 on and beta above 0"
            )
        draw, theta_D = torch.Generator().manual_seed(seed), start_D.detach().clone()
        seen: list[tuple[Tensor, Tensor, Tensor]] = []
        expected = []
        for number in range(self.rounds):
            features_PYD, rewards_PY = prompts(number, draw)
            reference_PY = (features_PYD @ start_D).log_softmax(-1)
            policy_PY = (features_PYD @ theta_D).log_softmax(-1)
            first, second = (
                torch.multinomial(logp.exp(), 1, generator=draw)[:, 0] for logp in (policy_PY, reference_PY)
            )
            rows = torch.arange(len(rewards_PY))
            gap_P = rewards_PY[rows, first] - rewards_PY[rows, second]
            share_P = (gap_P > 0).to(gap_P) + 0.5 * (gap_P == 0) if self.noiseless else gap_P.sigmoid()
            wins = torch.rand(len(rows), generator=draw).to(share_P) < share_P
            seen.append((features_PYD, torch.where(wins, first, second), torch.where(wins, second, first)))
            theta_D = self._fitted(theta_D, start_D, seen)
            after_PY = (features_PYD @ theta_D).softmax(-1)
            expected.append(float((after_PY * rewards_PY).sum(-1).mean()))
        return theta_D, expected

    def _fitted(self, theta_D: Tensor, start_D: Tensor, seen: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Gradient steps on all pairs so far."""
        features = torch.cat([features for features, _, _ in seen])
        chosen, rejected = (torch.cat([part[side] for part in seen])[:, None] for side in (1, 2))
        reference = (features @ start_D).log_softmax(-1)
        for _ in range(self.steps):
            theta_D = theta_D.detach().requires_grad_()
            logp = (features @ theta_D).log_softmax(-1)
            ratio = logp - reference
            margin = (ratio.gather(1, chosen) - ratio.gather(1, rejected))[:, 0]
            loss = -logsigmoid(self.beta * margin) + expected_optimism(logp, reference, self.alpha)
            (grad,) = torch.autograd.grad(loss.mean(), [theta_D])
            theta_D = theta_D - self.rate * grad
        return theta_D.detach()
