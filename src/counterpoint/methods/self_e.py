"""Self-E (arXiv 2512.22374): a flow model that judges where it lands, and so makes pictures in any number of steps.

    x = x_t - t V(x_t, t, s, c),   x_s = (1-s) x + s e',   Delta = G(x_s, s, s, 0) - G(x_s, s, s, c)
    L = (1/t^2) || x - norm(x_0 + lambda (x - Delta)) ||^2,   lambda = t/(1-t) - s/(1-s)

The network has two times: now t, and the s <= t it aims at. Where s = t this is flow matching. Where s < t the picture it makes
is noised again and judged by the network itself with and without the prompt; what the prompt adds moves the target, whose norm
stays the picture's. Nothing is taught by another model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoint.data.pictures.load import Pictures
from counterpoint.errors import CounterpointError, data_option
from counterpoint.generation.flow import clean_of, noisy, squared_norm
from counterpoint.generation.flow_sampler import Sampling
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.models.pictures.prompts import asks, no_prompt
from counterpoint.objectives.distillation.self_evaluation import (
    Target,
    judged_picture,
    self_evaluation,
    time_weight,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.picture_prompts import prompted
from counterpoint.phases.pictures.flow_training import (
    FlowRows,
    Times,
    average_of,
    averaged_result,
    flow_optimizer,
    flow_rows,
    follow,
    require_shares,
)
from counterpoint.training import Run
from counterpoint.training.batches import Batch


@dataclass(kw_only=True)
class Evaluation:
    """The network's judgement of its own pictures.

    Attributes:
        plain_share: how many of the pictures are trained with s = t, plain flow matching.
        widening: over which share of the training s spreads from near t down to 0.
        target: "renormalised" (eq. 19-20), or "mixed" (eq. 16), which lets the judgement overpower the pictures.
        weight_limit: of lambda in "mixed".
        fake_start: after which share of the training the model also learns to tell its own pictures, as a prompt of their own, and
            moves away from them; 1 leaves that out.
        fake_k: how much of the judgement is then still against no prompt (eq. s.6).
    """

    plain_share: float = 0.5
    widening: float = 0.42
    target: Target = "renormalised"
    weight_limit: float | None = None
    fake_start: float = 0.77
    fake_k: float = 0.9


@dataclass(kw_only=True)
class SelfE(Method[Denoiser, Pictures]):
    """Settings of Self-E; shapes: n pictures of this rank, m of them judged.

    Attributes:
        batch_size: pictures per step.
        epochs: passes over the pictures when the run has no budget.
        learning_rate, warmup: of Adam, falling along a line.
        prompt_dropout: which share of prompts is left out.
        ema: how much of the averaged weights, which judge with the prompt, remains at a step.
        times, sampling: see ``phases.pictures.flow_training.Times`` and ``generation.flow_sampler.Sampling``.
        evaluation: see ``Evaluation``.
    """

    key: ClassVar[str] = "self-e"
    search: ClassVar[Search] = {"learning_rate": (1e-4, 3e-3)}
    ablations: ClassVar[Ablations] = {
        "without self-evaluation": {"evaluation.plain_share": 1.0},
        "target without renormalisation": {"evaluation.target": "mixed"},
        "without telling its own pictures": {"evaluation.fake_start": 1.0},
    }

    batch_size: int = 1024
    epochs: float = 1000
    learning_rate: float = 3e-4
    warmup: float = 0.0014
    prompt_dropout: float = 0.1
    ema: float = 0.9999
    times: Times = field(default_factory=Times)
    evaluation: Evaluation = field(default_factory=Evaluation)
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        """Refuse shares outside of [0, 1], and times and steps that there are not."""
        super().__post_init__()
        self.demand(above_zero=("batch_size", "epochs", "learning_rate"))
        self.times.check()
        self.sampling.check()
        require_shares(self.key, prompt_dropout=self.prompt_dropout, ema=self.ema, warmup=self.warmup)
        for name in ("plain_share", "widening", "fake_start", "fake_k"):
            require_shares(self.key, **{f"evaluation.{name}": getattr(self.evaluation, name)})

    def fit(self, model: Denoiser, data: Pictures, run: Run) -> Denoiser:
        """Train and return the averaged network."""
        if data.by == "none":
            raise CounterpointError(
                "self-e: the pictures have no prompts, and what a prompt adds is what the model learns from; give classes or captions: "
                + data_option("prompts", "classes")
                + ", or train without judging itself: counterpoint run flow-matching"
            )
        data = prompted(data, fakes=self.evaluation.fake_start < 1)
        net = run.state(model=model)
        average = average_of(model, run)
        run.optimize(net, flow_optimizer(self.learning_rate, self.warmup))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            rows = flow_rows(batch, model, self.times, self.prompt_dropout)
            s = self._aims(batch, rows.t, run.progress)
            clean = clean_of(rows.noisy, rows.t, run.forward(net, rows.noisy, rows.t, s, rows.prompts))
            judged, aim, fakes = self._judge(net, average, batch, rows, s, clean.detach(), run)
            own = self.evaluation
            error = self_evaluation(clean, rows.clean, judged, rows.t, aim, own.target, own.weight_limit)
            size = math.prod(model.shape)
            run.step({"picture": Loss(time_weight(rows.t) * error / size), **fakes})
            follow(average, model, self.ema, batch.step)
        return averaged_result(average, data, self.sampling, run)

    def _aims(self, batch: Batch, t: Tensor, progress: float) -> Tensor:
        """s of each picture: t itself, or between (1 - tau) t and t, with tau rising from 0 to 1."""
        plain = batch.random.uniform() < self.evaluation.plain_share
        widened = self.evaluation.widening
        tau = min(progress / widened, 1.0) if widened else 1.0
        return torch.where(plain, t, t * (1 - tau * batch.random.uniform()))

    def _judge(
        self,
        net: nn.Module,
        average: nn.Module,
        batch: Batch,
        rows: FlowRows,
        s: Tensor,
        clean: Tensor,
        run: Run,
    ) -> tuple[Tensor, Tensor, dict[str, Loss]]:
        """What the network thinks of its pictures x [n, *], noised again to s; and the loss of knowing them as its own.

        The averaged weights judge with the prompt, the live ones without. Only pictures with s < t and a prompt are judged.

        Returns:
            x_self [n, *]; the time that lambda is computed with [n], t where nothing was judged; a term "own" once it is time.
        """
        noise = batch.random.normal(*clean.shape[1:])
        chosen = torch.nonzero((s < rows.t) & asks(rows.prompts))[:, 0]
        aim = rows.t.index_copy(0, chosen, s[chosen])
        at, prompts = s[chosen], rows.prompts[chosen]
        again = noisy(clean[chosen], noise[chosen], at)
        with torch.no_grad():
            cond = clean_of(again, at, run.forward(average, again, at, at, prompts))
            uncond = clean_of(again, at, run.forward(net, again, at, at, no_prompt(prompts)))
        fake, terms, k = None, {}, 1.0
        if run.progress >= self.evaluation.fake_start and rows.fakes is not None:
            k = self.evaluation.fake_k
            fake = clean_of(again, at, run.forward(net, again, at, at, rows.fakes[chosen]))
            terms = {"own": Loss(squared_norm(fake - clean[chosen]) / math.prod(clean.shape[1:]))}
            fake = fake.detach()
        judged = judged_picture(clean[chosen], cond, uncond, fake, k)
        return clean.index_copy(0, chosen, judged), aim, terms
