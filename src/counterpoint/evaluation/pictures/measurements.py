"""What is measured of a model that makes pictures: for each number of steps, agreement with the prompt, and nearness to real ones.

Drawn are ``data.samples`` pictures, by the prompts of the split in turn, from noise of the evaluation's seed; compared with the
split's own pictures, on the features of ``evaluation.pictures.judge``. A figure's name ends in the number of steps: agreement@4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.pictures.load import Pictures, PictureSet
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.evaluation.pictures.denoising import is_diffusion, layer_probes, reconstruction
from counterpoint.evaluation.pictures.frechet import frechet_distance, precision_recall
from counterpoint.evaluation.pictures.judge import Look, judge_of
from counterpoint.generation.pictures import pictures, way_of
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.pairs.picture_prompts import prompted

UNTRAINED = (1,)
"""Numbers of steps of a model that no method has left a way of sampling with: its pictures are noise in any number."""
MOST_NEIGHBOURED = 1000
"""Pictures of a side that precision and recall are computed on, at most: both need all distances."""

Drawn = Subject[Denoiser, Pictures]


def rows_drawn(count: int, samples: int, seed: int) -> Tensor:
    """[samples] rows of a split whose prompts are drawn for: all of them in a shuffled order, again and again.

    >>> sorted(rows_drawn(2, 5, 0).tolist())
    [0, 0, 0, 1, 1]
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order.repeat(-(-samples // count))[:samples].sort().values


def figures(subject: Drawn) -> dict[str, float]:
    """``agreement@n``, ``frechet@n``, ``precision@n``, ``recall@n`` for each number of steps n, and the means of the first and third."""
    model, data = subject.model, prompted(subject.data)
    part: PictureSet = data.splits()[subject.split]
    judge = judge_of(subject.data)
    real = judge(part.images.pixels)
    rows = rows_drawn(len(part), subject.data.samples, subject.seed)
    steps = way_of(model).steps if model.sampling else UNTRAINED
    result: dict[str, float] = {}
    for count in steps:
        drawn = judge(pictures(model, part.prompts[rows], steps=count, seed=subject.seed))
        share = agreement(subject.data, part, rows, drawn)
        if share is not None:
            result[f"agreement@{count}"] = share
        result[f"frechet@{count}"] = frechet_distance(real.features, drawn.features)
        few = real.features[:MOST_NEIGHBOURED], drawn.features[:: max(len(rows) // MOST_NEIGHBOURED, 1)]
        result[f"precision@{count}"], result[f"recall@{count}"] = precision_recall(*few)
    for name in ("agreement", "precision"):
        each = [value for figure, value in result.items() if figure.startswith(f"{name}@")]
        if each:
            result[name] = float(np.mean(each))
    if real.classes is not None:
        labels = part.images.labels.numpy()
        result["judge_accuracy"] = float((real.classes == labels)[labels >= 0].mean())
    return result


def agreement(data: Pictures, part: PictureSet, rows: Tensor, drawn: Look) -> float | None:
    """Which share of drawn pictures are of a class that their prompt stands for; None where nothing says so.

    With captions as prompts: of the class of the image whose caption it was.
    """
    if drawn.classes is None or data.by == "none":
        return None
    labels = part.images.labels[rows].numpy()
    counted = labels >= 0
    wanted, seen = labels, drawn.classes
    if data.by == "classes":
        table = np.array(data.prompt_of_class)
        wanted, seen = np.where(counted, table[labels], -1), table[drawn.classes]
        counted = wanted >= 0
    return float((wanted == seen)[counted].mean()) if counted.any() else None


MEASUREMENTS: tuple[Measurement[Any, Pictures], ...] = (
    Measurement(applies=is_a(Denoiser), measure=figures),
    Measurement(applies=is_diffusion, measure=reconstruction),
    Measurement(applies=is_diffusion, measure=layer_probes),
)
