"""Positive pairs of users and items, and a data set of them in three splits. P pairs, I items."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Pairs:
    """Positive pairs: ``users`` [P] and ``items`` [P], both int64 positions. Indexing by a tensor gives pairs again."""

    users: Tensor
    items: Tensor

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: Tensor) -> Pairs:
        return Pairs(self.users[index], self.items[index])


@dataclass(frozen=True)
class Interactions:
    """A data set of positives.

    Attributes:
        users, items: the ids as they stand in the file; a position in these lists is what the pairs speak of.
        train, validation, test: the pairs. Validation and test hold no training pair and no unknown user or item.
        notes: what was understood, dropped or suspicious, a line each.
    """

    users: list[str]
    items: list[str]
    train: Pairs
    validation: Pairs
    test: Pairs
    notes: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """What was understood: rows, columns, threshold, sizes, duplicates, leaks."""
        return list(self.notes)

    def fingerprint(self) -> str:
        """Return the sha256 of ids and pairs: two data sets with the same one train and rank alike."""
        digest = hashlib.sha256("\n".join([*self.users, "", *self.items]).encode())
        for pairs in (self.train, self.validation, self.test):
            for numbers in (pairs.users, pairs.items):
                digest.update(numbers.contiguous().numpy().data)
        return digest.hexdigest()

    def held_out(self, split: str) -> Pairs:
        """Pairs of an evaluation split; an error if there are none."""
        if split not in {"validation", "test"}:
            raise CounterpointError(f"split={split!r}: expected 'validation' or 'test'")
        pairs: Pairs = getattr(self, split)
        if not len(pairs):
            raise CounterpointError(
                f"there are no {split} pairs; load the data with {split}=0.1 or so to hold some out"
            )
        return pairs

    def interactions_before(self, split: str) -> Pairs:
        """Pairs that must not be recommended when ``split`` is ranked: training, and for the test also validation."""
        if split == "validation":
            return self.train
        both = (self.train, self.validation)
        return Pairs(torch.cat([pairs.users for pairs in both]), torch.cat([pairs.items for pairs in both]))

    @cached_property
    def popularity(self) -> Tensor:
        """[I], the number of training pairs of each item."""
        return torch.bincount(self.train.items, minlength=len(self.items))
