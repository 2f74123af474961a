"""Pictures as a step of restyling sees them: enlarged a little, cut at random, turned over by chance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from counterpoint.generation.pictures import as_clean


def cropped(pixels_NCHW: Tensor, draws_N3: Tensor, enlarge: float, flip: bool) -> Tensor:
    """uint8 pictures as floats in [-1, 1] of the same size.

    Args:
        draws_N3: in [0, 1), a row a picture: where the cut begins, downwards and to the right, and whether to mirror it.
        enlarge: how much larger pictures are made before they are cut to their size; 1 cuts nothing.
        flip: whether half of them are mirrored.

    >>> cropped(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.tensor([[0.0, 0.0, 0.1]]), 1.0, True).tolist()
    [[[[1.0, -1.0]]]]
    """
    clean = as_clean(pixels_NCHW)
    height, width = clean.shape[2:]
    tall, wide = round(height * enlarge), round(width * enlarge)
    if (tall, wide) != (height, width) and len(clean):
        large = functional.interpolate(clean, (tall, wide), mode="bilinear", antialias=True)
        top = (draws_N3[:, 0] * (tall - height + 1)).long()
        left = (draws_N3[:, 1] * (wide - width + 1)).long()
        rows = top[:, None] + torch.arange(height, device=top.device)
        columns = left[:, None] + torch.arange(width, device=left.device)
        number = torch.arange(len(clean), device=top.device)
        clean = large.permute(0, 2, 3, 1)[
            number[:, None, None], rows[:, :, None], columns[:, None, :]
        ].permute(0, 3, 1, 2)
    if not flip:
        return clean
    return torch.where((draws_N3[:, 2] < 0.5)[:, None, None, None], clean.flip(3), clean)
