"""No representation learnt before the task: SIRL's baselines SinglePref (a reward end to end) and the untrained encoder.

For a person's own preferences ``L = -log sigmoid(R(chosen) - R(rejected))`` through the whole network, ``R = w . phi``. Simulated
people come with the evaluation, which then learns each reward through a copy of this network, or on its frozen output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.methods.base import Method, Search
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.objectives.control.ranking import bpr
from counterpoint.pairs.queries import Grouped
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class PreferencesOnly(Method[TrajectoryEncoder, TrajectoryData]):
    """Settings; ``end_to_end=False`` is the untrained encoder, whose output is frozen."""

    key: ClassVar[str] = "preferences-only"
    search: ClassVar[Search] = {}

    end_to_end: bool = True
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    batch_size: int = 64
    epochs: int = 150

    def fit(self, model: TrajectoryEncoder, data: TrajectoryData, run: Run) -> TrajectoryEncoder:
        """Learn ``data.train.preferences`` through the network; without any, hand it on as it is."""
        fresh = TrajectoryEncoder(model.inputs, model.dimension, model.hidden, self.end_to_end, model.seed)
        fresh.load_state_dict(model.state_dict())
        model = run.state(model=fresh.standardised_by(data.train.inputs))
        if not (self.end_to_end and len(data.train.preferences)):
            return model
        head = torch.randn(model.dimension, generator=torch.Generator().manual_seed(model.seed))
        run.once("reward", lambda: model.reward.copy_(0.1 * head))
        run.optimize(
            model, Optimizer(name="adamw", learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        )
        source = Grouped(data.train.inputs, data.train.preferences)
        for batch in run.batches(source, self.batch_size, epochs=self.epochs):
            chosen, rejected = (run.forward(model, batch.items[0]) @ model.reward).unbind(1)
            run.step(bpr(chosen, rejected, constant=0))
        return model
