"""Rendered rows as a batch: prompts padded on the left, completions on the right, with who wrote each token of these."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from counterpoint.models import tokens
from counterpoint.models.language.rendering import Rendered
from counterpoint.models.tokens import Replies, Tokens


def batch(rows: Sequence[Rendered], *, answers: int, cut: int | None, fill: int) -> tuple[Tokens, Replies]:
    """Prompts [B, P] and completions [B, T].

    Args:
        rows: as rendered. answers: they are this many answers to each prompt, all first ones, then all second ones; those to a
            prompt begin at one token, so that they differ in nothing but themselves.
        cut: longest row; None cuts none. fill: id on padding.

    >>> prompts, completions = batch([Rendered([5, 6, 7], [False, False, True], 2)], answers=1, cut=None, fill=0)
    >>> prompts.ids.tolist(), completions.ids.tolist(), completions.authored.tolist()
    ([[5, 6]], [[7]], [[True]])
    """
    each = len(rows) // answers
    starts = [min(rows[at].start for at in range(row % each, len(rows), each)) for row in range(len(rows))]
    before = tokens.pad([row.ids[:cut][:start] for row, start in zip(rows, starts)], side="left", fill=fill)
    after = tokens.pad([row.ids[:cut][start:] for row, start in zip(rows, starts)], side="right", fill=fill)
    author = torch.zeros_like(after.mask, dtype=torch.bool)
    for at, (row, start) in enumerate(zip(rows, starts)):
        # What stands between the common start and the row's own is the same text in every answer to the prompt.
        own = [True] * (row.start - start) + row.authored[row.start :]
        length = int(after.mask[at].sum())
        author[at, :length] = torch.tensor(own[:length], dtype=torch.bool)
    return before, Replies(after.ids, after.mask, author)
