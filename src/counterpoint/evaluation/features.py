"""Frozen features of many images: evaluation mode, no gradient, in pieces, on the model's device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def features(model: nn.Module, pixels: Tensor, size: int = 500, **options: Any) -> Tensor:
    """Run ``model`` over ``pixels`` and leave it in the mode it was in.

    Args:
        model: pixels in [0, 1] in, features out.
        pixels: [N, C, H, W], uint8 or floats.
        size: images per forward pass.
        options: passed to the model, such as ``project=True``.

    Returns:
        [N, F] float32 on the CPU.
    """
    first = next(model.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    training = model.training
    model.eval()
    try:
        parts = []
        for piece in pixels.split(size):
            piece = piece.to(device)
            piece = piece.float() / 255 if piece.dtype == torch.uint8 else piece
            parts.append(model(piece, **options).float().cpu())
        return torch.cat(parts)
    finally:
        model.train(training)
