"""What a denoiser knows: a linear probe on the pooled state of every layer, and how well it tells pictures from noise.

Both at fixed draws of noise. Levels are counted as EDM does; on the straight path l stands for l / (1 + l), where as much of the
picture is left. Shapes: N pictures, D of a layer's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.images.sets import ImageSet
from counterpoint.data.pictures.load import Pictures
from counterpoint.evaluation.measurement import Subject
from counterpoint.evaluation.probe import linear_probe
from counterpoint.generation.diffusion import Diffusion
from counterpoint.generation.pictures import as_clean
from counterpoint.models.pictures.denoiser import Denoiser, Trace
from counterpoint.models.pictures.prompts import no_prompt
from counterpoint.pairs.picture_prompts import prompted

LEVELS = (0.06, 0.3)
"""Of the noise under which layers are probed, as EDM counts it."""
PIECE = 500
MOST = 4000
"""Training pictures that a probe learns from, at most."""

Denoising = Subject[Denoiser, Pictures]


def is_diffusion(model: nn.Module, data: Any) -> bool:
    """Whether a model denoises, and a method has left it the noise it was trained with."""
    return isinstance(model, Denoiser) and "path" in model.sampling


def reconstruction(subject: Denoising) -> dict[str, float]:
    """``denoising``: the weighted squared error of the split's pictures, with their prompts, at fixed levels and noise.

    Of a model that is steered by what it reads, also ``denoising_permuted``, each picture steered by another one's z: how much it
    relies on it. And their quotient, ``reliance``.
    """
    model, data = subject.model, prompted(subject.data)
    how, part = Diffusion(**model.sampling), data.splits()[subject.split]
    generator = torch.Generator().manual_seed(subject.seed)
    clean = as_clean(part.images.pixels)
    level = how.levels(torch.randn(len(clean), generator=generator))
    noise = torch.randn(clean.shape, generator=generator)

    def error(permuted: bool) -> float:
        values = []
        for trace, rows in traces(model, how, clean, noise, level, part.prompts, permuted):
            x = how.noised(clean[rows], noise[rows], level[rows])
            denoised = how.clean(x, level[rows], trace.output.float().cpu())
            values.append(how.weight(level[rows]) * (denoised - clean[rows]).square().flatten(1).mean(1))
        return float(torch.cat(values).mean())

    result = {"denoising": error(False)}
    if model.semantic is not None and len(clean) > 1:
        result["denoising_permuted"] = error(True)
        result["reliance"] = result["denoising_permuted"] / result["denoising"]
    return result


@torch.no_grad()
def traces(
    model: Denoiser,
    how: Diffusion,
    clean: Tensor,
    noise: Tensor,
    level: Tensor,
    prompts: Tensor,
    permuted: bool = False,
) -> Iterator[tuple[Trace, slice]]:
    """Passes over pieces of noisy pictures, in evaluation mode; ``permuted``: each steered by the z of the one before it."""
    first, training = next(model.parameters()), model.training
    model.eval()
    try:
        for start in range(0, len(clean), PIECE):
            rows = slice(start, min(start + PIECE, len(clean)))
            given, time = how.given(how.noised(clean[rows], noise[rows], level[rows]), level[rows])
            order = torch.arange(len(given)).roll(1).to(first.device) if permuted else None
            wanted = prompts[rows].to(first.device)
            yield model.traced(given.to(first), time.to(first), wanted, order), rows
    finally:
        model.train(training)


def states(model: Denoiser, images: ImageSet, prompts: Tensor, level: float, seed: int) -> list[np.ndarray]:
    """The pooled state of every layer, [N, D] each, of pictures noised to a level, with no prompt."""
    how = Diffusion(**model.sampling)
    clean = as_clean(images.pixels)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    levels = torch.full((len(clean),), how.near(level))
    passes = traces(model, how, clean, noise, levels, no_prompt(prompts))
    pieces = [[each.float().cpu() for each in trace.pooled] for trace, _ in passes]
    return [torch.cat(layer).numpy() for layer in zip(*pieces, strict=True)]


def layer_probes(subject: Denoising) -> dict[str, float]:
    """``probe_layer_k@l`` of each layer k and level l; ``probe``, at the one that is best on validation, and ``probe_layer``, which.

    The model is asked without prompts. Each probe's regularisation is chosen on validation, too. The first 4,000 labelled training
    pictures are learnt from.
    """
    model, data = subject.model, prompted(subject.data)
    parts = {name: part for name, part in data.splits().items()}
    labels = {name: part.images.labels.numpy() for name, part in parts.items()}
    has_label = {name: np.flatnonzero(each >= 0) for name, each in labels.items()}
    if any(len(has_label[name]) == 0 for name in ("train", "validation", subject.split)):
        return {}
    if len(np.unique(labels["train"][has_label["train"]])) < 2:
        return {}
    has_label["train"] = has_label["train"][:MOST]
    result: dict[str, float] = {}
    tried: list[tuple[float, int, float]] = []
    for level in LEVELS:
        layers: dict[str, list[np.ndarray]] = {}
        for name in dict.fromkeys(("train", "validation", subject.split)):
            rows = torch.from_numpy(has_label[name])
            images, prompts = parts[name].images, parts[name].prompts
            of_split = ("train", "validation", "test").index(name)
            layers[name] = states(
                model, images.subset(rows), prompts[rows], level, 3 * subject.seed + of_split
            )
        for number in range(model.depth):
            train, validation, evaluation = (
                (layers[name][number], labels[name][has_label[name]])
                for name in ("train", "validation", subject.split)
            )
            fitted = linear_probe(train, validation, evaluation)
            result[f"probe_layer_{number + 1}@{level}"] = fitted.accuracy
            tried.append((fitted.validation, number + 1, fitted.accuracy))
    _, layer, accuracy = max(tried, key=lambda each: each[0])
    return result | {"probe": accuracy, "probe_layer": float(layer)}
