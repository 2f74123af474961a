"""Grids of pictures before and after, as a durable stage: above the pictures, below what the generator makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.data.styles.sets import NONE, Styles
from counterpoint.generation.restyling import restyled
from counterpoint.models.styles.generator import COLUMNS, Generator
from counterpoint.training import Run

ROWS = 3


def before_after(model: Generator, data: Styles, run: Run) -> dict[str, Tensor]:
    """Grid -> uint8 pictures [K, C, H, W], row by row; of validation pictures, or of the training's where there are none."""

    def draw() -> dict[str, Tensor]:
        plain, styled = (
            (held if len(held) else trained)[: ROWS * COLUMNS]
            for held, trained in (
                (data.validation.plain, data.train.plain),
                (data.validation.styled, data.train.styled),
            )
        )
        grids = {
            "before_and_after_styled": stacked(plain, restyled(model, plain, "styled")),
            "before_and_after_plain": stacked(styled, restyled(model, styled, "plain")),
        }
        if (data.train.partners != NONE).any():
            grids["training_pairs"] = stacked(*data.train.pairs(ROWS * COLUMNS))
        return grids

    grids: dict[str, Tensor] = run.stage("grids", draw)
    return grids


def stacked(before: Tensor, after: Tensor) -> Tensor:
    """Rows of eight pictures before, each above the same eight after; a last row that is not full is left out where there are more.

    >>> one, two = (torch.full((1, 1, 1, 1), value, dtype=torch.uint8) for value in (1, 2))
    >>> stacked(one, two).flatten().tolist()
    [1, 2]
    """
    columns = min(COLUMNS, len(before))
    rows = len(before) // columns if columns else 0
    pairs = [part[row * columns : (row + 1) * columns] for row in range(rows) for part in (before, after)]
    filled = (
        [torch.cat([part, part.new_full((COLUMNS - columns, *part.shape[1:]), 255)]) for part in pairs]
        if len(before) > 1
        else pairs
    )
    return torch.cat(filled) if filled else before
