"""Pieces of trainings on captioned images: a caption a row for two readers, a denoiser taught by flow matching, how good it is.

Shapes: n rows of this rank, N training images, M different captions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.data.captioned.items import Captioned
from counterpoint.evaluation.pictures.captioned import denoising_errors
from counterpoint.generation.flow import noisy, squared_norm
from counterpoint.models.captioned.denoiser import CaptionDenoiser, Denoiser
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch, ItemRandom

CHECKED = 200
"""Images that a denoiser is tried on, at most."""


@dataclass(frozen=True)
class CaptionTable:
    """Captions of the training images, each read once.

    Attributes:
        texts: the M different ones. first, count: [N] which of ``order`` are an image's. order: numbers of captions.
    """

    texts: tuple[str, ...]
    first: Tensor
    count: Tensor
    order: Tensor

    @classmethod
    def of(cls, data: Captioned) -> CaptionTable:
        """The table of the training split."""
        number_of: dict[str, int] = {}
        order = [number_of.setdefault(text, len(number_of)) for row in data.train.captions for text in row]
        count = torch.tensor([len(row) for row in data.train.captions])
        return cls(tuple(number_of), count.cumsum(0) - count, count, torch.tensor(order))

    def drawn(self, rows: Tensor, random: ItemRandom) -> Tensor:
        """[n] the number of one of the captions of each row."""
        which = (random.uniform().cpu() * self.count[rows]).long()
        return self.order[self.first[rows] + which.clamp(max=self.count[rows] - 1)]

    def others(self, random: ItemRandom) -> Tensor:
        """[n] the number of the first caption of any training image: a control."""
        rows = (random.uniform().cpu() * len(self.first)).long().clamp(max=len(self.first) - 1)
        return self.order[self.first[rows]]


def phase_steps(
    run: Run, data: Captioned, size: int, steps: int, name: str, step: Callable[[Batch], None]
) -> None:
    """Exactly ``steps`` steps over the training images, of which the run's budget counts each."""
    epochs = steps / max(math.ceil(len(data.train) / size), 1)
    for batch in run.batches(data.train, size, epochs=epochs, name=name):
        step(batch)
        if batch.step + 1 >= steps:
            break


def teach_denoiser(
    denoiser: CaptionDenoiser,
    data: Captioned,
    table: CaptionTable,
    run: Run,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Flow matching on the training images with their captions; the rate falls along a line.

    Args:
        denoiser: registered with the run; trained in place. steps, batch_size, learning_rate: of Adam.
    """
    ids = denoiser.read(table.texts)
    run.optimize(denoiser, Optimizer(name="adam", learning_rate=learning_rate, fused=True), name="denoising")

    def step(batch: Batch) -> None:
        clean = denoiser.encode(batch.items)
        noise, t = (
            batch.random.normal(*denoiser.shape).to(clean.dtype),
            batch.random.uniform().to(clean.dtype),
        )
        texts = ids[table.drawn(batch.index, batch.random)].to(clean.device)
        answer = run.forward(denoiser.velocity, noisy(clean, noise, t), t, texts)
        error = squared_norm(answer - (noise - clean)) / math.prod(denoiser.shape)
        run.step({"denoiser": Loss(error)}, optimizer="denoising")

    phase_steps(run, data, batch_size, steps, "denoiser", step)


def denoiser_accuracy(denoiser: Denoiser, data: Captioned, seed: int = 0) -> float:
    """On validation: how often a caption denoises its image better than a wrong one does; any other caption where none is given."""
    part = data.validation
    rows = [row for row, wrong in enumerate(part.negatives) if wrong][:CHECKED]
    wrong: Sequence[str] = [part.negatives[row][0] for row in rows]
    if not rows:
        rows = list(range(min(len(part), CHECKED)))
        wrong = [part.captions[(row + 1) % len(part)][0] for row in rows]
    texts = denoiser.read(
        [text for row, other in zip(rows, wrong) for text in (part.captions[row][0], other)]
    )
    errors = denoising_errors(denoiser, part.pixels[rows], texts.unflatten(0, (-1, 2)), seed=seed)
    return float((errors[:, 0] < errors[:, 1]).double().mean())
