"""A diffusion model of pictures by EDM's recipe (arXiv 2206.00364), or on the straight path: the network that ``ddae`` starts from.

L = E w(l) || D(a x_0 + b e, l) - x_0 ||^2,   w = (l^2 + s^2) / (l s)^2 (EDM) or 1 / l^2 (velocities)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from counterpoint.data.pictures.load import Pictures
from counterpoint.generation.diffusion import Diffusion
from counterpoint.methods.base import Method, Search
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.pairs.picture_prompts import prompted
from counterpoint.phases.pictures.denoising import (
    denoising_error,
    denoising_optimizer,
    drawn_result,
    noisy_rows,
)
from counterpoint.phases.pictures.flow_training import average_of, follow, require_shares
from counterpoint.training import Run


@dataclass(kw_only=True)
class EDM(Method[Denoiser, Pictures]):
    """Settings of EDM; shapes: n pictures of this rank.

    Attributes:
        batch_size: pictures per step.
        epochs: passes over the pictures when the run has no budget.
        learning_rate, warmup: of Adam, falling along a line.
        prompt_dropout: which share of prompts is left out, for guidance.
        ema: how much of the averaged weights remains at a step.
        diffusion: see ``generation.diffusion.Diffusion``.
    """

    key: ClassVar[str] = "edm"
    search: ClassVar[Search] = {"learning_rate": (1e-4, 3e-3)}

    batch_size: int = 512
    epochs: float = 2000
    learning_rate: float = 1e-4
    warmup: float = 0.1
    prompt_dropout: float = 0.1
    ema: float = 0.9993
    diffusion: Diffusion = field(default_factory=Diffusion)

    def __post_init__(self) -> None:
        """Refuse shares outside of [0, 1], and levels and steps that there are not."""
        super().__post_init__()
        self.demand(above_zero=("batch_size", "epochs", "learning_rate"))
        self.diffusion.check()
        require_shares(self.key, prompt_dropout=self.prompt_dropout, ema=self.ema, warmup=self.warmup)

    def fit(self, model: Denoiser, data: Pictures, run: Run) -> Denoiser:
        """Train and return the averaged network."""
        data, how = prompted(data), self.diffusion
        net = run.state(model=model)
        average = average_of(model, run)
        run.optimize(net, denoising_optimizer(self.learning_rate, self.warmup))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            rows = noisy_rows(batch, model, how, self.prompt_dropout)
            x = how.noised(rows.clean, rows.noise, rows.level)
            given, time = how.given(x, rows.level)
            denoised = how.clean(x, rows.level, run.forward(net, given, time, time, rows.prompts))
            run.step(denoising_error(rows.clean, denoised, rows.level, how))
            follow(average, model, self.ema, batch.step)
        return drawn_result(average.model, data, how, run)
