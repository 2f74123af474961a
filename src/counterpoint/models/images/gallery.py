"""A grid of images as one PNG, where Pillow is installed; report pages embed those of a model's folder."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

GALLERY = "gallery.png"
SHOWN, SIDE = 100, 48
"""Images that a gallery shows at most, and the least pixels of a side there."""


def draw_gallery(images: Tensor, path: Path, columns: int | None = None) -> bool:
    """Draw up to a hundred images [M, C, H, W] in a grid, cut to [0, 1]; return whether there was a library to do so.

    Args:
        columns: images a row; None makes the grid about as wide as it is high.
    """
    try:
        from PIL import Image
    except ImportError:
        return False
    shown = images[:SHOWN].clamp(0, 1).nan_to_num(0.0)
    if shown.shape[1] != 3:
        shown = shown[:, :1].expand(-1, 3, -1, -1)
    factor = max(1, math.ceil(SIDE / max(shown.shape[2:])))
    shown = shown.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    count, _, height, width = shown.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = torch.ones(3, rows * (height + 2) - 2, columns * (width + 2) - 2)
    for number, image in enumerate(shown):
        top, left = number // columns * (height + 2), number % columns * (width + 2)
        canvas[:, top : top + height, left : left + width] = image
    pixels = (canvas * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(path)
    return True
