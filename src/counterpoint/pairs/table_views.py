"""Random views of rows with numeric targets: columns dropped from a table's rows, or an image's augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.pairs.views import Augmentation, Random, augmentation


def input_views(
    inputs: Tensor,
    random: Random,
    num_views: int,
    *,
    dropout: float,
    middle: Tensor | None,
    image: str | Augmentation = "auto",
) -> Tensor:
    """Views of [B, F] rows or [B, C, H, W] images, view-major: [V * B, ...].

    Args:
        random: the batch's source of random numbers.
        dropout: the share of a row's columns, drawn anew for every view, that become ``middle``; tables only.
        image: what happens to images; choose what leaves the target as it is.
        middle: [F] what stands for an unknown value, such as the columns' means; 0 if None.

    Raises:
        CounterpointError: a dropout that leaves nothing.
    """
    if inputs.ndim == 4:
        channels, height, width = inputs.shape[1:]
        return augmentation(image, (channels, height, width)).views(inputs, random, num_views)
    if not 0 <= dropout < 1:
        raise CounterpointError(
            f"dropout={dropout}; expected a share of the columns from 0 to below 1, such as 0.3"
        )
    gone = random.uniform(num_views, inputs.shape[1]).transpose(0, 1) < dropout
    filled = torch.zeros_like(inputs[:1]) if middle is None else middle.to(inputs)
    return torch.where(gone, filled, inputs).flatten(0, 1)
