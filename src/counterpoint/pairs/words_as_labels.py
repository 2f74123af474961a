"""Words of a text as its labels: some drawn from the text itself, some from the other texts of the batch.

No augmentation and no annotation is needed. A word drawn from another text may occur in this one, too: then it is true
as well, and is called true or left out. n texts of this rank, N of all, L token positions, g true and b drawn words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest

Collisions = Literal["true", "leave out", "ignore"]


class Draws(Protocol):
    """The part of ``batch.random`` that is needed; both return [n, *shape]."""

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniformly from [0, 1)."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw from 0 to high - 1."""


class BatchRange(Protocol):
    """The part of a batch that is needed: its size over all processes, and where this one's rows start."""

    @property
    def size(self) -> int:
        """N."""

    @property
    def offset(self) -> int:
        """Place of this process's first row."""

    @property
    def random(self) -> Draws:
        """Random numbers per row."""


class Gathers(Protocol):
    """The part of a run that is needed."""

    def gather_constant(self, rows: Tensor) -> Tensor:
        """All processes' rows [N, ...] from this one's [n, ...], without gradient."""


@dataclass(frozen=True)
class PseudoLabels:
    """Words as labels of texts: ids [n, g + b], the true ones first; targets [n, g + b]; valid [n, g + b] bool."""

    ids: Tensor
    targets: Tensor
    valid: Tensor
    true: int


def word_labels(
    ids: Tensor,
    mask: Tensor,
    words: Tensor,
    batch: BatchRange,
    run: Gathers,
    *,
    true: int = 5,
    drawn: int = 15,
    collisions: Collisions = "true",
) -> PseudoLabels:
    """Draw words for the texts of a batch; the draws do not depend on how many processes share it.

    Args:
        ids, mask: [n, L] of this rank's texts. words: [V] bool, ids that may be labels.
        true, drawn: g and b. A word may come up twice.
        collisions: what a drawn word is that occurs in the text: "true", "leave out", or "ignore" to call it false.

    Raises:
        CounterpointError: counts below 1, a batch of a single text (there is no other to draw from).
    """
    if true < 1 or drawn < 1:
        raise CounterpointError(f"positives={true}, negatives={drawn}; expected at least one word each")
    if collisions not in ("true", "leave out", "ignore"):
        raise CounterpointError(
            f"collisions='{collisions}'; {nearest(collisions, ['true', 'leave out', 'ignore'])}"
        )
    if batch.size < 2:
        raise CounterpointError(
            "a batch of one text has no other texts to draw words from; use a batch_size of at least 2"
        )
    usable = mask.bool() & words.to(ids.device)[ids]
    own, own_valid = _draw(ids, usable, batch.random.uniform(true))
    offered, offered_valid = _draw(ids, usable, batch.random.uniform(drawn))
    offered_all, offered_all_valid = run.gather_constant(offered), run.gather_constant(offered_valid)
    here = batch.offset + torch.arange(len(ids), device=ids.device)
    # Another text than one's own: a step of 1 to N - 1 around the batch; of what it offers, any.
    other = (here[:, None] + 1 + batch.random.integers(batch.size - 1, drawn)) % batch.size
    column = batch.random.integers(drawn, drawn)
    alien, alien_valid = offered_all[other, column], offered_all_valid[other, column]
    shared = ((ids[:, None, :] == alien[:, :, None]) & usable[:, None, :]).any(-1)
    if collisions == "leave out":
        alien_valid = alien_valid & ~shared
    truth = shared.float() if collisions == "true" else torch.zeros_like(alien, dtype=torch.float)
    targets = torch.cat([torch.ones_like(own, dtype=torch.float), truth], 1)
    # A text without a word of its own says nothing about others' words either.
    valid = torch.cat([own_valid, alien_valid & own_valid[:, :1]], 1)
    return PseudoLabels(torch.cat([own, alien], 1), targets, valid, true)


def _draw(ids: Tensor, usable: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """[n, k] ids at random usable positions of each row, and whether the row has any."""
    count = usable.sum(1, keepdim=True)
    places = usable.int().argsort(dim=1, descending=True, stable=True)
    chosen = (uniform * count).long().clamp(max=ids.shape[1] - 1)
    drawn = ids.gather(1, places.gather(1, chosen))
    return drawn, (count > 0).expand_as(drawn)


def log_frequency(ids: Tensor, mask: Tensor, words: Tensor, smooth: float = 1.0) -> Tensor:
    """[V] log share of each word among the usable positions: the distribution that words are drawn from, smoothed.

    >>> ids = torch.tensor([[0, 1, 1, 2]])
    >>> log_frequency(ids, torch.ones(1, 4), torch.tensor([True, True, True]), smooth=0.0).exp().tolist()
    [0.25, 0.5, 0.25]
    """
    return log_shares(occurrences(ids, mask, len(words)), words, smooth)


def occurrences(ids: Tensor, mask: Tensor, size: int) -> Tensor:
    """[size] how often each id occurs.

    >>> occurrences(torch.tensor([[0, 1, 1]]), torch.tensor([[1, 1, 0]]), 3).tolist()
    [1, 1, 0]
    """
    return torch.bincount(ids[mask.bool()], minlength=size)


def log_shares(counts_V: Tensor, words: Tensor, smooth: float = 1.0) -> Tensor:
    """As ``log_frequency``, of how often each id occurs."""
    counts = torch.where(words, counts_V, 0).double() + smooth
    return (counts / counts.sum()).log().float()


def uncommon(ids: Tensor, mask: Tensor, words: Tensor, share: float) -> Tensor:
    """[V] bool: ``words`` without the commonest ``share`` of those that occur, which say nothing about a text.

    Raises:
        CounterpointError: a share that leaves no word.

    >>> ids = torch.tensor([[0, 1, 1, 2]])
    >>> uncommon(ids, torch.ones(1, 4), torch.tensor([True, True, True]), share=0.4).tolist()
    [True, False, True]
    """
    return without_common(occurrences(ids, mask, len(words)), words, share)


def without_common(counts_V: Tensor, words: Tensor, share: float) -> Tensor:
    """As ``uncommon``, of how often each id occurs."""
    counts = torch.where(words, counts_V, 0)
    present = int((counts > 0).sum())
    if not present or not 0 <= share < 1:
        raise CounterpointError(
            f"common={share} of {present} words that may be labels; expected a share from 0 to below 1, and texts with whole words"
        )
    rare = words.clone()
    rare[counts.argsort(descending=True, stable=True)[: int(share * present)]] = False
    return rare
