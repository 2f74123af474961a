"""What is measured of models that tell which caption an image has: retrieval, choices, and Winoground's three scores.

Every comparison is strict: a tie is wrong. Shapes: K items.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.data.captioned.items import Captioned, CaptionedSet, ChoiceItems
from counterpoint.data.images.captions import same
from counterpoint.evaluation.matching import matching_recall
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.models.captioned.clip import TwoTowers
from counterpoint.models.captioned.denoiser import Denoiser
from counterpoint.models.captioned.paired import PairedTowers
from counterpoint.pairs.repeats import repeats_of

ROWS = 256
DRAWS = 16
"""Noises and steps that a denoiser's score is the mean over."""

Towers = TwoTowers | PairedTowers
Measured = Subject[Towers, Captioned]


def winoground(scores: Tensor) -> dict[str, Tensor]:
    """Winoground's three judgements of items (2204.03162).

    Args:
        scores: [K, 2, 2], of caption i with image j; image j shows caption j.

    Returns:
        "text" (both images prefer their caption), "image" (both captions prefer their image) and "group" (both), [K] bool.

    >>> winoground(torch.tensor([[[2.0, 1.9], [1.0, 2.0]]]))
    {'text': tensor([True]), 'image': tensor([True]), 'group': tensor([True])}
    """
    own, other = scores.diagonal(dim1=1, dim2=2), scores.flip(1).diagonal(dim1=1, dim2=2)
    text = (own > other).all(1)  # the other caption, with the same image
    image = (own > scores.flip(2).diagonal(dim1=1, dim2=2)).all(1)
    return {"text": text, "image": image, "group": text & image}


@torch.no_grad()
def image_vectors(model: Towers, pixels: Tensor) -> Tensor:
    """[N, D] of length 1, float32 on the CPU."""
    device = next(model.parameters()).device
    parts = [model.images(piece.to(device)).float().cpu() for piece in pixels.split(ROWS)]
    return normalize(torch.cat(parts), dim=1)


@torch.no_grad()
def text_vectors(model: Towers, texts: Sequence[str]) -> Tensor:
    """[N, D] of length 1, float32 on the CPU; equal texts have equal vectors."""
    device = next(model.parameters()).device
    different = sorted(set(texts))
    row_of = {text: row for row, text in enumerate(different)}
    ids = model.read(different)
    vectors = torch.cat([model.texts(piece.to(device)).float().cpu() for piece in ids.split(ROWS)])
    return normalize(vectors, dim=1)[[row_of[text] for text in texts]]


def retrieval(subject: Measured) -> dict[str, float]:
    """``image_recall@k``: images whose caption is among the k nearest; ``text_recall@k`` the other way. Equal captions are one."""
    part: CaptionedSet = subject.part
    texts = [row[0] for row in part.captions]
    sides = image_vectors(subject.model, part.pixels), text_vectors(subject.model, texts)
    alike = repeats_of(frozenset(same(row)) for row in part.captions)
    result: dict[str, float] = {}
    for k in (1, 5):
        shares = matching_recall(*sides, k=k, same=alike)
        result |= {f"image_recall@{k}": shares[0], f"text_recall@{k}": shares[1]}
    return result


def choices(model: Towers, pixels: Tensor, true: Sequence[str], false: Sequence[Sequence[str]]) -> Tensor:
    """[K] whether an image is nearer to its caption than to any of its wrong ones."""
    images = image_vectors(model, pixels)
    right = (images * text_vectors(model, true)).sum(1)
    rows = torch.tensor([row for row, each in enumerate(false) for _ in each])
    wrong = (images[rows] * text_vectors(model, [text for each in false for text in each])).sum(1)
    highest = torch.full_like(right, -torch.inf).scatter_reduce(0, rows, wrong, "amax")
    return right > highest


def negatives(subject: Measured) -> dict[str, float]:
    """``negative_accuracy``: images of the split that are nearer to their caption than to captions that are nearly right."""
    part: CaptionedSet = subject.part
    rows = [row for row, each in enumerate(part.negatives) if each]
    if not rows:
        return {}
    chosen = part.subset(rows)
    right = choices(subject.model, chosen.pixels, [row[0] for row in chosen.captions], chosen.negatives)
    return {"negative_accuracy": float(right.float().mean())}


def pair_items(subject: Measured) -> dict[str, float]:
    """``text_score``, ``image_score`` and ``group_score`` of Winoground's items; of the test split alone, none is tuned on."""
    items = subject.data.winoground
    if items is None or subject.split != "test":
        return {}
    images = image_vectors(subject.model, items.pixels.flatten(0, 1)).unflatten(0, (-1, 2))
    texts = text_vectors(subject.model, [text for pair in items.captions for text in pair])
    return scores_of(torch.einsum("kid,kjd->kij", texts.unflatten(0, (-1, 2)), images))


def scores_of(scores: Tensor) -> dict[str, float]:
    """The shares of items that ``winoground`` judges right."""
    return {f"{name}_score": float(flags.float().mean()) for name, flags in winoground(scores).items()}


def choice_items(subject: Measured) -> dict[str, float]:
    """``aro_accuracy`` over items, and ``aro_macro_accuracy``, the mean over relations or attributes; of the test split alone."""
    items: ChoiceItems | None = subject.data.aro
    if items is None or subject.split != "test":
        return {}
    right = choices(subject.model, items.pixels, items.true, items.false).float()
    groups: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(items.groups, right.tolist(), strict=True):
        groups[name].append(value)
    macro = sum(sum(each) / len(each) for each in groups.values()) / len(groups)
    return {"aro_accuracy": float(right.mean()), "aro_macro_accuracy": macro}


@torch.no_grad()
def denoising_errors(
    denoiser: Denoiser, pixels: Tensor, texts: Tensor, draws: int = DRAWS, seed: int = 0
) -> Tensor:
    """[K, J] how well a denoiser removes noise from each image under each of J captions: less is a better match.

    Steps and noises are drawn once an image and are the same for all its captions.

    Args:
        pixels: [K, C, H, W] uint8. texts: [K, J, ...] as ``denoiser.read`` makes them. seed: of the draws.
    """
    device = denoiser.alpha_bar.device
    g = torch.Generator().manual_seed(seed)
    errors = torch.zeros(texts.shape[:2], dtype=torch.float64)
    several = texts.shape[1]
    for start in range(0, len(pixels), ROWS):
        rows = slice(start, start + ROWS)
        clean = denoiser.encode(pixels[rows].to(device))
        words = texts[rows].to(device).flatten(0, 1)
        for _ in range(draws):
            t = torch.randint(len(denoiser.alpha_bar), (len(clean),), generator=g).to(device)
            noise = torch.randn(clean.shape, generator=g).to(device)
            a = denoiser.alpha_bar[t].to(clean.dtype).view(-1, 1, 1, 1)
            z = (a.sqrt() * clean + (1 - a).sqrt() * noise).repeat_interleave(several, 0)
            answer = denoiser(z, t.repeat_interleave(several), words)
            error = (answer - noise.repeat_interleave(several, 0)).flatten(1).square().mean(1)
            errors[rows] += error.unflatten(0, (-1, several)).double().cpu() / draws
    return errors


def denoiser_scores(
    denoiser: Denoiser, data: Captioned, draws: int = DRAWS, seed: int = 0
) -> dict[str, float]:
    """Winoground's scores of the denoiser itself as a matcher, ``denoiser_text_score`` and its like; {} without items.

    Both images of an item get the same draws.
    """
    items = data.winoground
    if items is None:
        return {}
    texts = denoiser.read([text for pair in items.captions for text in pair]).unflatten(0, (-1, 2))
    by_image = [denoising_errors(denoiser, items.pixels[:, image], texts, draws, seed) for image in (0, 1)]
    return {f"denoiser_{name}": value for name, value in scores_of(-torch.stack(by_image, 2)).items()}


MEASUREMENTS: tuple[Measurement[Any, Captioned], ...] = tuple(
    Measurement(applies=is_a(TwoTowers, PairedTowers), measure=measure)
    for measure in (retrieval, negatives, pair_items, choice_items)
)
