"""Batches of rows of like length: an order for ``run.batches(..., order=...)``, so that little of a batch is padding.

Rows are shuffled, sorted by length within windows of several batches, and the batches shuffled again: which rows meet is drawn
anew in each epoch, and the longest ones do not come last. A function of epoch and seed alone, so that a run resumes in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from counterpoint.conversation import Completion, Prompt
from counterpoint.models.language.language import Language
from counterpoint.models.language.rows_fit import lengths

WINDOW = 32
"""Batches whose rows are sorted together."""


class LengthBatches:
    """An order of rows in which a batch's are of like length.

    Args:
        lengths: of each row, in tokens. batch_size: rows of a batch.

    >>> order = LengthBatches([9, 1, 8, 2, 1], batch_size=2)(0, torch.Generator().manual_seed(0)).tolist()
    >>> sorted(order), len(order)
    ([0, 1, 2, 3, 4], 5)
    """

    def __init__(self, lengths: Sequence[int], batch_size: int) -> None:
        self.lengths, self.batch_size = lengths, batch_size

    @classmethod
    def of(
        cls, model: Language, rows: Iterable[tuple[Prompt, Sequence[Completion]]], size: int
    ) -> LengthBatches:
        """Count the tokens of prompts with their longest answers, as the model reads them."""
        return cls([length.whole for length in lengths(model, "train", rows)], size)

    def __call__(self, epoch: int, generator: torch.Generator) -> Tensor:
        """[N] positions of one pass; only the last batch may be smaller than the others."""
        size = self.batch_size
        drawn = torch.randperm(len(self.lengths), generator=generator).tolist()
        whole = len(drawn) - len(drawn) % size
        batches: list[list[int]] = []
        for start in range(0, whole, size * WINDOW):
            window = sorted(
                drawn[start : min(start + size * WINDOW, whole)], key=lambda row: self.lengths[row]
            )
            batches += [window[at : at + size] for at in range(0, len(window), size)]
        order = [row for at in torch.randperm(len(batches), generator=generator) for row in batches[int(at)]]
        return torch.tensor(order + drawn[whole:])
