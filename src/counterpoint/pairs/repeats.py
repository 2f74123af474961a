"""Which rows repeat one another, so that a contrast need not push a thing away from itself. Shapes: N rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor

from counterpoint.data.images.captions import same
from counterpoint.data.images.load import Images


def repeats_of(things: Iterable[Hashable]) -> Tensor:
    """[N] int64: a number for each thing, the same for equal ones.

    >>> repeats_of(["a dog", "a cat", "a dog"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(thing, len(numbers)) for thing in things], dtype=torch.int64)


def text_repeats(texts: Iterable[str]) -> Tensor:
    """[N] int64: the same for texts that differ by capitals and blanks only."""
    return repeats_of(" ".join(text.casefold().split()) for text in texts)


def partner_repeats(images: Images) -> Tensor | None:
    """[N] int64 over the training images: the same for equal partners; None without partners and captions.

    Partners are equal where their vectors are, or, where captions stand for them, where the images have the same captions but
    for capitals. Images of several captions that share only some of them are different.
    """
    train = images.train
    if train.partners is not None:
        return repeats_of(row.tobytes() for row in train.partners.numpy() + 0.0)  # -0 equals 0
    if train.captions is not None:
        return repeats_of(frozenset(same(captions)) for captions in train.captions)
    return None
