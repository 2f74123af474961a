"""What a classifier with heads says of images: from one pass, or averaged over transformed copies."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.evaluation.features import features
from counterpoint.models.images.classifier import Classified
from counterpoint.objectives.labels.label_augmentation import aggregated_logits, single_logits
from counterpoint.pairs.transformations import transformations


def class_logits(model: Classified, pixels: Tensor, aggregated: bool = False, size: int = 500) -> Tensor:
    """Logits of the classes.

    Args:
        model: trained by ``sla`` in any of its modes.
        pixels: [Q, C, H, W], uint8 or floats in [0, 1].
        aggregated: average over all transformed copies that the model was trained on, at their cost; else one pass. A
            model trained on the images as they are has one copy.
        size: rows per forward pass.

    Returns:
        [Q, N] float32 on the CPU.
    """
    heads = model.heads
    plain, num = "plain" in heads.widths, heads.num_transforms
    if not aggregated and plain:
        return heads.split(features(model, pixels, size, classify=True))["plain"]
    copies = transformations(heads.transformations) if num > 1 else lambda pixels: pixels
    parts = []
    for piece in pixels.split(max(1, size // num)):
        rows = heads.split(features(model, copies(piece), size, classify=True))
        if "joint" not in rows:
            parts.append(rows["plain"].unflatten(0, (-1, num)).mean(1))
        elif aggregated:
            parts.append(aggregated_logits(rows["joint"], num))
        else:
            parts.append(single_logits(rows["joint"], num))
    return torch.cat(parts)


def class_accuracy(model: Classified, pixels: Tensor, labels: Tensor) -> dict[str, float]:
    """``accuracy`` of one pass and ``aggregated_accuracy`` of all copies, over images with a label."""
    pixels, labels = pixels[labels >= 0], labels[labels >= 0]
    variants = {"accuracy": False, "aggregated_accuracy": True}
    return {
        name: float((class_logits(model, pixels, aggregated).argmax(1) == labels).float().mean())
        for name, aggregated in variants.items()
    }
