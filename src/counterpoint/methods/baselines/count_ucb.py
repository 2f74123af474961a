"""Count-based optimism: counted transitions and a bonus ``c / sqrt(n)`` (UCBVI, arXiv 1703.05449, with a simple bonus).

The upper bound that Contrastive UCB is compared with: where a world tells the true feature of its states, moves are counted by
feature, which is what the contrast has to find out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import one_hot

from counterpoint.data.environment.finite import FiniteWorld
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.control import worth
from counterpoint.generation.roll_in import example_row, mean_reward, roll_in
from counterpoint.methods.base import Method, Search
from counterpoint.models.environment.counts import CountedModel
from counterpoint.models.environment.planning import plan, plan_game
from counterpoint.models.environment.replay import Replay
from counterpoint.training import Run


@dataclass(kw_only=True)
class CountUCB(Method[nn.Module, FiniteWorld]):
    """Settings: ``bonus`` c, ``rounds`` of playing and planning, ``latent``: count by the true features where known."""

    key: ClassVar[str] = "count-ucb"
    search: ClassVar[Search] = {"bonus": (0.1, 4.0)}

    bonus: float = 0.5
    rounds: int = 150
    latent: bool = True

    def fit(self, model: nn.Module, data: FiniteWorld, run: Run) -> CountedModel:
        """Play ``data`` and count; the given model is not used."""
        self.demand(above_zero=["rounds"])
        if not isinstance(data, FiniteWorld):
            raise CounterpointError(
                f"{data.name} has continuous observations and count-ucb counts states: load it with --data-option bins=8"
            )
        sizes = (data.states, data.actions, data.horizon, data.opponents, data.stationary)
        counted = run.state(counted=CountedModel(*sizes))
        replay = run.state(replay=Replay(self.rounds, **example_row(data)))
        for number in run.rounds(self.rounds):
            run.once("play", lambda: replay.add(**roll_in(counted.first, counted.second, data)))
            run.once("plan", partial(self.plan, run, counted, replay, data, number))
        run.once("result", lambda: self.plan(run, counted, replay, data, None))
        return counted

    @torch.no_grad()
    def plan(
        self, run: Run, model: CountedModel, replay: Replay, data: FiniteWorld, number: int | None
    ) -> None:
        """Count what was played and set the model's policies: optimistic ones in a round, plain ones as the result."""
        seen = replay[torch.arange(len(replay))]
        steps = torch.arange(data.horizon)[:, None].expand(seen["pair"].shape)
        valid = seen["valid"] > 0
        cell = (
            (torch.zeros_like(steps) if data.stationary else steps)[valid],
            seen["pair"][valid],
            seen["state"][valid],
        )
        one = torch.ones(int(valid.sum()), dtype=torch.float64)
        model.counts.zero_().index_put_(cell, one, accumulate=True)
        joint = data.actions * data.opponents
        counts = model.counts.clone()
        if self.latent and data.latent is not None:
            same = one_hot(data.latent).double()
            by_feature = torch.einsum("sz,hsat->hzat", same, counts.unflatten(1, (data.states, joint)))
            counts = torch.einsum("sz,hzat->hsat", same, by_feature).flatten(1, 2)
        visits = counts.sum(-1)
        transition = torch.where(
            visits[..., None] > 0, counts / visits[..., None].clamp(min=1), 1.0 / data.states
        )
        width = visits.clamp(min=0.25).rsqrt() * (0.0 if number is None else self.bonus)
        if data.end is not None:
            rows = slice(data.end * joint, (data.end + 1) * joint)
            transition[:, rows], width[:, rows] = 0.0, 0.0
            transition[:, rows, data.end] = 1.0
        model.counts.copy_(counts)
        reward = data.reward if data.reward is not None else mean_reward(seen, data)
        cap = float(data.horizon)
        if data.opponents == 1:
            model.first.copy_(one_hot(plan(transition, reward, width, data.states, cap).action, data.actions))
        else:
            shape = (data.states, data.actions, data.opponents)
            first, second = plan_game(transition, reward, width, shape, cap).marginals()
            model.first.copy_(first)
            model.second.copy_(second)
        if number is not None:
            run.report(rounds=[{"round": number, "value": worth(model.first, model.second, data, seen)}])
