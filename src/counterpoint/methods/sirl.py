"""SIRL: a representation from a person's answers to "which two are alike?" (arXiv 2301.00810).

``L = mean over queries of t(A, P, N) + t(P, A, N)``, ``t(a, p, n) = max(|a - p|^2 - |a - n|^2 + margin, 0)``. People answer
through the features they care about, so the embedding keeps those and drops what varies for no reason; the reward of a
task is then learnt on the frozen embedding from few preferences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.reward import learn_reward
from counterpoint.judges.simulated import most_alike
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.objectives.labels.similarity_query import answered_query
from counterpoint.pairs.queries import Grouped, random_groups
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class SIRL(Method[TrajectoryEncoder, TrajectoryData]):
    """Settings of SIRL.

    Attributes:
        margin: of the triplet; the embedding is not normalised, so it sets the unit.
        both_orders: push the third away from both of the pair, as the paper does.
        queries: how many a simulated person answers, where the data holds no answers of a person.
        rationality: of the simulated person; None never errs, 1.0 errs often on close calls.
        ridge: of the linear reward, learnt when the data holds preferences.
    """

    key: ClassVar[str] = "sirl"
    search: ClassVar[Search] = {
        "margin": [0.3, 1.0, 3.0],
        "weight_decay": [0.0, 0.01, 0.1],
        "learning_rate": (3e-4, 3e-3),
    }
    ablations: ClassVar[Ablations] = {
        "one order of a query": {"both_orders": False},
    }

    margin: float = 1.0
    both_orders: bool = True
    queries: int = 500
    rationality: float | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 75
    ridge: float = 1.0

    def check(self, data: TrajectoryData) -> None:
        """Refuse a margin of 0, and a simulated person who answers nothing."""
        if not self.margin > 0:
            raise CounterpointError(
                f"margin={self.margin}: expected a number above 0, since with 0 a constant embedding has no loss"
            )
        if not len(data.train.answers):
            self.demand(above_zero=["queries"])

    def fit(self, model: TrajectoryEncoder, data: TrajectoryData, run: Run) -> TrajectoryEncoder:
        """Train on ``data.train.answers``; without any, on a simulated person's, who sees ``data.train.features``."""
        self.check(data)
        model = run.state(model=model.standardised_by(data.train.inputs))
        run.optimize(
            model,
            Optimizer(name="adamw", learning_rate=self.learning_rate, weight_decay=self.weight_decay),
        )
        answers = (
            data.train.answers
            if len(data.train.answers)
            else run.stage("answers", lambda: self.answers_of(data))
        )
        for batch in run.batches(Grouped(data.train.inputs, answers), self.batch_size, epochs=self.epochs):
            trajectories, _ = batch.items
            anchor, positive, negative = run.forward(model, trajectories).unbind(1)
            run.step(answered_query(anchor, positive, negative, self.margin, self.both_orders))
        if len(data.train.preferences):
            run.once("reward", lambda: learn_reward(model, data, self.ridge))
        return model

    def answers_of(self, data: TrajectoryData) -> Tensor:
        """Put random triples of the training split before a simulated person: [queries, 3] rows."""
        part = data.train
        if part.features is None:
            raise CounterpointError(
                f"{data.source}: no answers in the training split and no features for a simulated person; collect answers with "
                "counterpoint.cli.query_session.ask_similarities(data, Path('answers.jsonl')), or add a file answers.jsonl with columns anchor, positive, negative"
            )
        groups = random_groups(len(part), self.queries, 3, torch.default_generator)
        return groups.gather(1, most_alike(part.features[groups], self.rationality))
