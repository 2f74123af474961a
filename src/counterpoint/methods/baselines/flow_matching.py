"""Flow matching (arXiv 2210.02747) on pictures: the velocity from noise to a picture, by regression.

    x_t = (1-t) x_0 + t e,   L = E ||V(x_t, t, t, c) - (e - x_0)||^2 = E ||x_0_hat - x_0||^2 / t^2

The network has the two times of ``self-e`` and always both alike; sampling in few steps lands on means of pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from counterpoint.data.pictures.load import Pictures
from counterpoint.generation.flow import clean_of, squared_norm
from counterpoint.generation.flow_sampler import Sampling
from counterpoint.methods.base import Method, Search
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.objectives.distillation.self_evaluation import time_weight
from counterpoint.pairs.picture_prompts import prompted
from counterpoint.phases.pictures.flow_training import (
    Times,
    average_of,
    averaged_result,
    flow_optimizer,
    flow_rows,
    follow,
    require_shares,
)
from counterpoint.training import Run


@dataclass(kw_only=True)
class PlainSampling(Sampling):
    """Sampling whose steps aim at the time they start from, as a plain flow's do."""

    landing: float = 1.0


@dataclass(kw_only=True)
class FlowMatching(Method[Denoiser, Pictures]):
    """Settings of flow matching; shapes: N pictures.

    Attributes:
        batch_size: pictures per step.
        epochs: passes over the pictures when the run has no budget.
        learning_rate, warmup: of Adam, falling along a line.
        prompt_dropout: which share of prompts is left out, for guidance.
        ema: how much of the averaged weights remains at a step.
        times, sampling: see ``phases.pictures.flow_training.Times`` and ``generation.flow_sampler.Sampling``.
    """

    key: ClassVar[str] = "flow-matching"
    search: ClassVar[Search] = {"learning_rate": (1e-4, 3e-3)}

    batch_size: int = 1024
    epochs: float = 1000
    learning_rate: float = 3e-4
    warmup: float = 0.0014
    prompt_dropout: float = 0.1
    ema: float = 0.9999
    times: Times = field(default_factory=Times)
    sampling: PlainSampling = field(default_factory=PlainSampling)

    def __post_init__(self) -> None:
        """Refuse shares outside of [0, 1], and times and steps that there are not."""
        super().__post_init__()
        self.demand(above_zero=("batch_size", "epochs", "learning_rate"))
        self.times.check()
        self.sampling.check()
        require_shares(self.key, prompt_dropout=self.prompt_dropout, ema=self.ema, warmup=self.warmup)

    def fit(self, model: Denoiser, data: Pictures, run: Run) -> Denoiser:
        """Train and return the averaged network."""
        data = prompted(data)
        net = run.state(model=model)
        average = average_of(model, run)
        run.optimize(net, flow_optimizer(self.learning_rate, self.warmup))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            rows = flow_rows(batch, model, self.times, self.prompt_dropout)
            velocity = run.forward(net, rows.noisy, rows.t, rows.t, rows.prompts)
            error = squared_norm(clean_of(rows.noisy, rows.t, velocity) - rows.clean)
            run.step(time_weight(rows.t) * error / math.prod(model.shape))
            follow(average, model, self.ema, batch.step)
        return averaged_result(average, data, self.sampling, run)
