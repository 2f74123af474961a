"""SPR-UCB: the deep variant of Contrastive UCB, for vector observations (arXiv 2207.14800, experiments).

C51 with n-step returns, double estimation, noisy nets and prioritised replay; self-prediction of the latent K jumps ahead,
``2 - 2 cos``; and ``c sqrt(phi^T Lambda^-1 phi)`` added to the return, where phi is the taken action's value distribution and
Lambda sums phi phi^T over every replayed batch. A round plays whole episodes, then learns from the replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoint.data.environment.gymnasium import VectorWorld
from counterpoint.data.environment.play import play_steps
from counterpoint.errors import CounterpointError
from counterpoint.kernels.spread import units
from counterpoint.methods.base import Method, Search
from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.replay import Replay
from counterpoint.objectives.control.distributional import categorical_loss, categorical_target, priority
from counterpoint.objectives.control.exploration import covariance, elliptical_bonus, n_step
from counterpoint.objectives.control.self_prediction import self_prediction
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class SPRUCB(Method[CategoricalQ, VectorWorld]):
    """Settings of SPR-UCB.

    Attributes:
        bonus: c; 0 is SPR itself. ridge: Lambda starts at ridge I.
        frames: steps played in all. warmup: the first of them, at random. segment: least steps of a round.
        updates: per step played. window: n of the n-step return. jumps: K. prediction: weight of the self-prediction; 0 is plain C51 without it.
        reward_scale: rewards are multiplied by it, so that returns fit the atoms.
        alpha: exponent of the priorities.
        as_published: score the action before the one taken, and look only at the first step's end, as the paper's
            program does.
    """

    key: ClassVar[str] = "spr-ucb"
    search: ClassVar[Search] = {"bonus": (0.01, 1.0)}

    bonus: float = 1.0
    ridge: float = 1e-5
    frames: int = 100_000
    warmup: int = 2000
    segment: int = 200
    updates: float = 2.0
    batch_size: int = 32
    window: int = 10
    discount: float = 0.99
    jumps: int = 5
    prediction: float = 5.0
    learning_rate: float = 1e-4
    reward_scale: float = 1.0
    alpha: float = 0.5
    as_published: bool = False

    def fit(self, model: CategoricalQ, data: VectorWorld, run: Run) -> CategoricalQ:
        """Play and learn until ``frames`` steps are played (and the budget, if there is one, is used up)."""
        self.demand(above_zero=("frames", "segment", "window"))
        if not isinstance(data, VectorWorld) or not isinstance(model, CategoricalQ):
            raise CounterpointError(
                f"{data.name} is a world of finitely many states; run contrastive-ucb on it, or load a gymnasium environment "
                "of vectors without bins (CartPole-v1), or of states with --data-option one_hot=true"
            )
        row = {"observation": torch.zeros(data.width), "action": torch.tensor(0), "reward": torch.tensor(0.0)}
        flags = {"done": torch.tensor(False), "cut": torch.tensor(False), "priority": torch.tensor(0.0)}
        capacity = self.frames + self.segment + data.horizon
        rounds = -(-self.frames // self.segment)
        model, replay = run.state(model=model.train(), replay=Replay(capacity, **row, **flags))
        seen = run.state(seen=Seen(model.atoms, self.ridge))
        run.optimize(
            model, Optimizer(name="adam", learning_rate=self.learning_rate, max_grad_norm=10.0, fused=True)
        )
        length = self.window + self.jumps + 1
        jumps = self.jumps if self.prediction > 0 else 0
        for number in run.rounds(rounds):
            run.once("play", partial(self.play, run, model, replay, data, number))
            if len(replay) < max(self.warmup, length + 1):
                continue
            draws = Positions(max(round(self.updates * self.segment), 1) * self.batch_size)
            for batch in run.batches(draws, self.batch_size, epochs=1, shuffle=False):
                chance = replay.column("priority")[:-length].pow(self.alpha).double()
                rows = torch.searchsorted(chance.cumsum(0), batch.random.uniform().double() * chance.sum())
                rows = rows.clamp(max=len(chance) - 1)
                model.renoise()
                past = replay[rows + torch.arange(length)[:, None]]  # [T, B, ...]
                logits, predicted = run.forward(model, past["observation"][0], past["action"][:jumps].T)
                with torch.no_grad():
                    latents = model.encode(past["observation"])  # [T, B, D]
                    wanted = model.project(latents[1 : jumps + 1])
                target = self.target(model, seen, past, latents, run)
                over = (past["done"] | past["cut"]).float()
                value = categorical_loss(logits, past["action"][0], target)
                whole = (past["cut"][: self.window] & (over[: self.window].cumsum(0) <= 1)).any(0)
                weight = (len(chance) * chance[rows] / chance.sum()).pow(-run.progress).float()
                weight = weight / run.gather_constant(weight).amax() * ~whole
                terms: dict[str, Tensor | Loss] = {"value": weight * value}
                if jumps:
                    alive = 1 - over[:jumps].cumsum(0).clamp(max=1)
                    ahead = self_prediction(predicted, wanted.transpose(0, 1)) * alive.T
                    terms["prediction"] = Loss(ahead.mean(1), weight=self.prediction)
                run.step(terms)
                fresh = priority(logits, past["action"][0], target)
                replay.get_buffer("priority")[run.gather_constant(rows)] = run.gather_constant(fresh)
        return model.eval()

    @torch.no_grad()
    def play(self, run: Run, model: CategoricalQ, replay: Replay, data: VectorWorld, number: int) -> None:
        """Add whole episodes of at least ``segment`` steps: at random while warming up, then greedy under the noise."""
        played = len(replay)
        if played >= self.frames:
            return
        model.renoise()

        def choose(observation: Tensor) -> Tensor:
            if played < self.warmup:
                return torch.randint(data.actions, (len(observation),))
            return model.values(observation).argmax(-1)

        steps = play_steps(data, choose, self.segment, int(torch.randint(2**31 - 1, ())))
        over = steps["done"] | steps["cut"]
        episode = over.cumsum(0) - over.long()
        returns = torch.zeros(int(episode[-1]) + 1).index_add_(0, episode, steps["reward"])
        run.report(
            rounds=[
                {"round": number, "return_over_steps": float(returns[episode].sum()), "steps": len(episode)}
            ]
        )
        steps["reward"] = steps["reward"] * self.reward_scale
        highest = replay.column("priority").amax() if played else torch.tensor(1.0)
        replay.add(**steps, priority=highest.expand(len(steps["action"])))
        if played < self.warmup and data.state is None:
            observed = replay.column("observation")
            spread = observed.std(0)
            model.mean.copy_(observed.mean(0))
            # A number that never moved keeps its unit.
            model.deviation.copy_(units(observed, spread))

    @torch.no_grad()
    def target(
        self, model: CategoricalQ, seen: Seen, past: dict[str, Tensor], latents: Tensor, run: Run
    ) -> Tensor:
        """[B, P] the projected n-step return with its bonus; also counts the batch's features as seen."""
        near = slice(self.window + 1)  # what the return of the first step needs
        total = n_step(past["reward"][near], past["done"][near], self.window, self.discount)[0]
        if self.bonus > 0:
            probabilities = model.logits(latents).softmax(-1)  # [T, B, A, P]
            action = past["action"].roll(1, 0) if self.as_published else past["action"]
            phi = probabilities.gather(2, action[..., None, None].expand(-1, -1, 1, model.atoms)).squeeze(2)
            seen.add(run.gather_constant(phi.transpose(0, 1)).flatten(0, 1))
            bonus = elliptical_bonus(phi[near].flatten(0, 1).double(), seen.sigma, self.bonus)
            gained, whole = bonus.float().view_as(past["reward"][near]), not self.as_published
            total = total + n_step(gained, past["done"][near], self.window, self.discount, whole)[0]
            online = probabilities[self.window]
        else:
            online = model.logits(latents[self.window]).softmax(-1)
        done = past["done"][: self.window].any(0)
        return categorical_target(online, None, total, done, model.support, self.discount**self.window)


class Seen(nn.Module):
    """Lambda [P, P]: how much of each direction of the features was replayed."""

    sigma: Tensor

    def __init__(self, size: int, ridge: float) -> None:
        super().__init__()
        self.register_buffer("sigma", ridge * torch.eye(size, dtype=torch.float64))

    def add(self, phi: Tensor) -> None:
        """Add the features [N, P] of a batch."""
        self.sigma += covariance(phi.double(), 0.0)


class Positions:
    """A source of nothing but positions: the rows are drawn by priority."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Tensor) -> Tensor:
        """The positions themselves."""
        return index
