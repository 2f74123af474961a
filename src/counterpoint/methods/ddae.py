"""DDAE++ (arXiv 2505.10999): a diffusion model that conditions on its own features, good at making pictures and at knowing them.

    z = LN(pool(h_l*)),   c = e + u(z, e) for the layers behind l*,   L = L_diffusion + lambda (ctr(q1, k2) + ctr(q2, k1))

One forward pass, no second network: the layers behind l* are steered by what the layers before found. Contrast with the averaged
weights' view of a little-noised picture puts what a picture is of into z. Either part can be left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.pictures.load import Pictures
from counterpoint.errors import CounterpointError
from counterpoint.generation.diffusion import Diffusion
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.pictures.denoiser import Conditioning, Denoiser
from counterpoint.models.pictures.prompts import no_prompt
from counterpoint.models.pictures.read import Read
from counterpoint.objectives.contrast.momentum_contrast import momentum_contrast
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.picture_prompts import prompted
from counterpoint.pairs.views import Augmentation, augmentation
from counterpoint.phases.pictures.denoising import (
    NoisyRows,
    denoising_error,
    denoising_optimizer,
    drawn_result,
    noisy_rows,
)
from counterpoint.phases.pictures.flow_training import follow, require_shares
from counterpoint.teachers.ema import Ema
from counterpoint.training import Run
from counterpoint.training.batches import Batch


@dataclass(kw_only=True)
class Contrast:
    """Contrastive self-distillation of z.

    Attributes:
        weight: lambda; 0 leaves it out.
        temperature: tau.
        level: the noise of the pictures that the averaged weights see, as EDM counts it.
        hidden, dim, norm: of the heads.
        augmentation: of the second view, see ``pairs.views``; the first is the picture itself.
    """

    weight: float = 0.1
    temperature: float = 0.2
    level: float = 0.06
    hidden: int = 256
    dim: int = 128
    norm: Literal["batch", "none"] = "batch"
    augmentation: str | Augmentation = "auto"


@dataclass(kw_only=True)
class DDAE(Method[Denoiser, Pictures]):
    """Settings of DDAE++; shapes: n pictures of this rank, N of all, P of a projection.

    Attributes:
        batch_size: pictures per step.
        epochs: passes over the pictures when the run has no budget.
        learning_rate, warmup: of Adam, falling along a line.
        prompt_dropout: which share of prompts is left out, for guidance.
        ema: how much of the averaged weights, which are kept and teach, remains at a step.
        tap: l*, the layer whose pooled state is z; 0 takes the one of the kind of network.
        conditioning: "gated" by time, "plain", or "none", where z is read and steers nothing.
        contrast: see ``Contrast``. diffusion: see ``generation.diffusion.Diffusion``.
    """

    key: ClassVar[str] = "ddae"
    search: ClassVar[Search] = {"learning_rate": (1e-4, 3e-3), "contrast.weight": (0.01, 1.0)}
    ablations: ClassVar[Ablations] = {
        "without contrast": {"contrast.weight": 0.0},
        "conditioning without gates": {"conditioning": "plain"},
        "without self-conditioning": {"conditioning": "none"},
    }

    batch_size: int = 512
    epochs: float = 2000
    learning_rate: float = 1e-4
    warmup: float = 0.1
    prompt_dropout: float = 0.1
    ema: float = 0.9993
    tap: int = 0
    conditioning: Conditioning = "gated"
    contrast: Contrast = field(default_factory=Contrast)
    diffusion: Diffusion = field(default_factory=Diffusion)

    def __post_init__(self) -> None:
        """Refuse shares outside of [0, 1], and levels and steps that there are not."""
        super().__post_init__()
        positive = ("contrast.temperature", "contrast.level", "contrast.hidden", "contrast.dim")
        self.demand(above_zero=("batch_size", "epochs", "learning_rate", *positive))
        self.diffusion.check()
        require_shares(self.key, prompt_dropout=self.prompt_dropout, ema=self.ema, warmup=self.warmup)

    def fit(self, model: Denoiser, data: Pictures, run: Run) -> Denoiser:
        """Train and return the averaged network."""
        data, how = prompted(data), self.diffusion
        model.read_at(self.tap or model.usual_tap(), self.conditioning, run.seed)
        contrasts = self.contrast.weight > 0
        if contrasts and self.batch_size < 2:
            raise CounterpointError(
                f"{self.key}: batch_size={self.batch_size}, and a picture is told from the others of its batch; give at least 2, or "
                "contrast.weight=0"
            )
        own, student = self.contrast, model
        if contrasts:
            self._require_whole_batches(run)
            student = Read(model, own.hidden, own.dim, own.norm, run.seed)  # type: ignore[assignment]
        net = run.state(model=student)
        average: Ema[nn.Module] = run.state(average=Ema(student, 1.0))
        run.optimize(net, denoising_optimizer(self.learning_rate, self.warmup))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs, drop_last=contrasts):
            rows = noisy_rows(batch, model, how, self.prompt_dropout)
            x = how.noised(rows.clean, rows.noise, rows.level)
            if contrasts:
                output, contrast = self._contrast(net, average, batch, rows, run)
                terms = {"contrast": Loss(own.weight * contrast)}
            else:
                given, time = how.given(x, rows.level)
                output, terms = run.forward(net, given, time, time, rows.prompts), {}
            denoised = how.clean(x, rows.level, output)
            run.step({"diffusion": Loss(denoising_error(rows.clean, denoised, rows.level, how)), **terms})
            follow(average, student, self.ema, batch.step)  # type: ignore[arg-type]
        averaged = average.model.denoiser if isinstance(average.model, Read) else average.model
        assert isinstance(averaged, Denoiser)
        return drawn_result(averaged, data, how, run)

    def _require_whole_batches(self, run: Run) -> None:
        """Refuse heads that average over the batch where only a part of it is in sight."""
        if self.contrast.norm != "batch":
            return
        shared = run.world > 1 and run.device.type != "cuda"  # GPUs exchange their statistics
        size = run.micro_batch_size
        why = (
            f"{run.world} processes without GPUs hold a share of it each"
            if shared
            else f"micro_batch_size={size} has a part of it in sight at a time"
            if size is not None and size < self.batch_size
            else ""
        )
        if why:
            raise CounterpointError(
                f"{self.key}: contrast.norm=batch normalises the heads over the whole batch, and {why}; give contrast.norm=none"
            )

    def _contrast(
        self, net: nn.Module, average: nn.Module, batch: Batch, rows: NoisyRows, run: Run
    ) -> tuple[Tensor, Tensor]:
        """The network's output for the pictures [n, *], and how well it finds each in the teacher's sight [n].

        Both views go through the student at the picture's level, through the teacher at one low level; the teacher is given no prompt,
        which would tell it the class.
        """
        own, how = self.contrast, self.diffusion
        channels, height, width = rows.clean.shape[1:]
        draw = augmentation(own.augmentation, (channels, height, width))
        warped = 2 * draw.views(batch.items.pixels, batch.random, 1) - 1
        views = torch.cat([rows.clean, warped.to(rows.clean)])
        noise = torch.cat([rows.noise, batch.random.normal(*rows.clean.shape[1:])])
        x = how.noised(views, noise, rows.level.repeat(2))
        prompts = rows.prompts.repeat(2, *(1,) * (rows.prompts.ndim - 1))
        given = how.given(x, rows.level.repeat(2))
        output, q = run.forward(net, *given, prompts)
        level = torch.full_like(rows.level, how.near(own.level)).repeat(2)
        noise = batch.random.normal(2, *rows.clean.shape[1:]).transpose(0, 1).flatten(0, 1)
        with torch.no_grad():
            given = how.given(how.noised(views, noise, level), level)
            _, k = run.forward(average, *given, no_prompt(prompts), predicted=False)
        keys = run.gather_constant(k.unflatten(0, (2, -1)).transpose(0, 1).contiguous())
        first, second = q.chunk(2)
        loss = momentum_contrast(
            first, second, keys[:, 0], keys[:, 1], temperature=own.temperature, offset=run.row_offset
        )
        return output.chunk(2)[0], loss
