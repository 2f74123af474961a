"""Contrastive UCB: learn transitions by contrast, explore where the learnt features are new (arXiv 2207.14800).

``L_h = E[y log(1 + 1/f) + (1 - y) log(1 + f)]``, ``f = psi(s')^T phi(s, a)``: telling real next states from drawn ones recovers the
transition and its features. ``min(gamma |phi_hat|_{Sigma^-1}, 2H)`` is added to the reward, and the plan on the learnt model is
optimistic; with two players, upper and lower values meet in a coarse correlated equilibrium. A round: roll in, learn, plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from counterpoint.data.environment.finite import FiniteWorld
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.control import worth
from counterpoint.generation.roll_in import example_row, mean_reward, roll_in
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.environment.low_rank import LowRankModel, Normalised
from counterpoint.models.environment.planning import plan, plan_game
from counterpoint.models.environment.replay import Replay
from counterpoint.objectives.contrast.density_ratio import density_ratio
from counterpoint.objectives.control.exploration import covariance, elliptical_bonus
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Optimizer, Run

EPISODE = 16
"""Transitions an episode of a stationary world is taken to hold when a batch of ``samples`` is cut in episodes."""


@dataclass(kw_only=True)
class ContrastiveUCB(Method[LowRankModel, FiniteWorld]):
    """Settings of the low-rank algorithm; the paper gives orders of magnitude that are far too large in practice.

    Attributes:
        bonus: gamma, the size of the bonus; 0 turns exploration off.
        ridge: lambda. average: divide the sum in Sigma by its count, as the paper writes it; both mean the same with
            (ridge / n, bonus / sqrt n).
        rounds: of playing, learning and planning.
        steps: of the optimiser in a round. samples: transitions of each step h in one of them.
        epsilon: share of uniform actions while rolling in (the epsilon-greedy baseline).
    """

    key: ClassVar[str] = "contrastive-ucb"
    search: ClassVar[Search] = {
        "bonus": (0.1, 4.0),
        "learning_rate": [0.03, 0.1],
    }
    ablations: ClassVar[Ablations] = {
        "without a bonus": {"bonus": 0.0},
    }

    bonus: float = 0.5
    ridge: float = 1.0
    average: bool = False
    rounds: int = 150
    steps: int = 15
    samples: int = 256
    learning_rate: float = 0.1
    epsilon: float = 0.0

    def fit(self, model: LowRankModel, data: FiniteWorld, run: Run) -> LowRankModel:
        """Play ``data``, learn its transitions, and leave the plan without bonus in the model."""
        self.demand(above_zero=("rounds", "steps", "samples"))
        if not isinstance(data, FiniteWorld):
            raise CounterpointError(
                f"{data.name} has continuous observations, and contrastive-ucb counts states: load it with --data-option bins=8 (cells for each "
                "number; states without one_hot), or run its deep variant, spr-ucb"
            )
        model = run.state(model=model)
        replay = run.state(replay=Replay(self.rounds, **example_row(data)))
        run.optimize(model, Optimizer(name="adam", learning_rate=self.learning_rate))
        size = max(self.samples // (EPISODE if data.stationary else 2), 1)
        for number in run.rounds(self.rounds):
            run.once("play", lambda: replay.add(**roll_in(model.first, model.second, data, self.epsilon)))
            passes = max(len(replay) // size, 1)
            for batch in run.batches(replay, size, epochs=self.steps / passes, drop_last=len(replay) > size):
                pair, state, valid = (batch.items[name] for name in ("pair", "state", "valid"))
                shape = pair.shape[1:]
                drawn = torch.searchsorted(model.negatives.cumsum(0), batch.random.uniform(*shape))
                real = batch.random.uniform(*shape) < 0.5
                shown = torch.where(real, state, drawn.clamp(max=data.states - 1))
                losses = density_ratio(run.forward(model, pair, shown), real)
                if data.stationary:
                    run.step(Loss((losses * valid).sum((1, 2)), counts=valid.sum((1, 2))))
                else:  # the sum over h of each step's mean
                    run.step((losses * valid).sum(-1).div(valid.sum(-1)).sum(-1))
            run.once("plan", partial(self.plan, run, model, replay, data, number))
        run.once("result", lambda: self.plan(run, model, replay, data, None))
        return model

    @torch.no_grad()
    def plan(
        self, run: Run, model: LowRankModel, replay: Replay, data: FiniteWorld, number: int | None
    ) -> None:
        """Set the model's policies: optimistic ones in a round, those of the plain model as the result."""
        learnt = model.normalised()
        if data.end is not None:
            learnt = with_end(learnt, data.end, data.actions * data.opponents)
        seen = replay[torch.arange(len(replay))]
        reward = data.reward if data.reward is not None else mean_reward(seen, data)
        bonus: Tensor | float = 0.0
        if number is not None and self.bonus > 0:
            pairs = seen["pair"][seen["valid"] > 0][None] if data.stationary else seen["pair"][:, :, 0].T
            covered = learnt.phi.gather(1, pairs[..., None].expand(-1, -1, learnt.phi.shape[-1]))
            sigma = covariance(covered, self.ridge, self.average)
            bonus = elliptical_bonus(learnt.phi, sigma, self.bonus, cap=2.0 * data.horizon)
        cap = float(data.horizon)
        if data.opponents == 1:
            solution = plan(learnt.transition, reward, bonus, data.states, cap)
            model.first.copy_(one_hot(solution.action, data.actions))
        else:
            shape = (data.states, data.actions, data.opponents)
            both = plan_game(learnt.transition, reward, bonus, shape, cap)
            first, second = both.marginals()
            model.first.copy_(first)
            model.second.copy_(second)
        if number is not None:
            run.report(rounds=[{"round": number, "value": worth(model.first, model.second, data, seen)}])


def with_end(learnt: Normalised, end: int, joint: int) -> Normalised:
    """The model with what is known of the end: whoever is there stays, and there is nothing new to see."""
    rows = slice(end * joint, (end + 1) * joint)
    phi, transition = learnt.phi.clone(), learnt.transition.clone()
    phi[:, rows], transition[:, rows] = 0.0, 0.0
    transition[:, rows, end] = 1.0
    return Normalised(phi, learnt.psi, transition)
