"""MultiPref: a shared trunk that predicts what many people prefer, one linear reward each. SIRL's task-driven baseline.

``L = -log sigmoid(R_i(chosen) - R_i(rejected))``, ``R_i = w_i . phi`` for person i (Bradley-Terry). The trunk is the embedding;
it learns what those people's rewards happened to need, from one bit an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.reward import learn_reward
from counterpoint.judges.simulated import preferred, tastes
from counterpoint.methods.base import Method, Search
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.objectives.control.ranking import bpr
from counterpoint.pairs.queries import Grouped, random_groups
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class MultiPreference(Method[TrajectoryEncoder, TrajectoryData]):
    """Settings: ``people`` whose tastes are drawn at random answer ``queries`` preference questions together."""

    key: ClassVar[str] = "multi-preference"
    search: ClassVar[Search] = {
        "people": [10, 50],
        "weight_decay": [0.0, 0.01, 0.1],
        "learning_rate": (3e-4, 3e-3),
    }

    people: int = 10
    queries: int = 500
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 75
    ridge: float = 1.0

    def check(self, data: TrajectoryData) -> None:
        """Refuse simulated people of whom there are none, or who answer nothing."""
        if not len(data.train.preferences):
            self.demand(above_zero=["people", "queries"])

    def fit(self, model: TrajectoryEncoder, data: TrajectoryData, run: Run) -> TrajectoryEncoder:
        """Train on ``data.train.preferences`` as those of one person; without any, on simulated people's."""
        self.check(data)
        model = model.standardised_by(data.train.inputs)
        own = len(data.train.preferences)
        heads = run.state(heads=Heads(model, 1 if own else self.people))
        run.optimize(
            heads, Optimizer(name="adamw", learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        )
        if own:
            source = Grouped(data.train.inputs, data.train.preferences)
        else:
            queries = run.stage("preferences", lambda: self.preferences_of(data))
            source = Grouped(data.train.inputs, queries["pairs"], queries["person"])
        for batch in run.batches(source, self.batch_size, epochs=self.epochs):
            trajectories, person = batch.items
            rewards = run.forward(heads, trajectories, person)
            run.step(bpr(rewards[:, 0], rewards[:, 1], constant=0))
        if own:
            run.once("reward", lambda: learn_reward(heads.encoder, data, self.ridge))
        return heads.encoder

    def preferences_of(self, data: TrajectoryData) -> dict[str, Tensor]:
        """Pairs [queries, 2] (chosen, rejected) and the person [queries] who answered."""
        part = data.train
        if part.features is None:
            raise CounterpointError(
                f"{data.source}: no preferences in the training split and no features for simulated people; add a file "
                "preferences.jsonl with columns chosen, rejected"
            )
        rewards = tastes(self.people, part.features.shape[1], torch.default_generator) @ part.features.T
        pairs = random_groups(len(part), self.queries, 2, torch.default_generator)
        person = torch.arange(self.queries) % self.people
        first = preferred(rewards[person, pairs[:, 0]], rewards[person, pairs[:, 1]])
        return {"pairs": torch.where(first[:, None], pairs, pairs.flip(1)), "person": person}


class Heads(nn.Module):
    """The encoder and one linear reward per person."""

    def __init__(self, encoder: TrajectoryEncoder, people: int) -> None:
        super().__init__()
        self.encoder = encoder
        draws = torch.Generator().manual_seed(encoder.seed + 3)
        self.weights = nn.Parameter(0.1 * torch.randn(people, encoder.dimension, generator=draws))

    def forward(self, trajectories: Tensor, person: Tensor) -> Tensor:
        """[B, 2] rewards of pairs of raw inputs [B, 2, M] to the persons [B]."""
        return (self.encoder(trajectories) * self.weights[person][:, None]).sum(-1)
