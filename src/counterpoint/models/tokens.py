"""Batches of token sequences of unequal length: prompts padded on the left, completions on the right.

B rows, P prompt positions, T completion positions. A mask is 1 on real tokens and 0 on padding; padding ids are never
read by anything that honours the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.transfer import sent


@dataclass(frozen=True)
class Tokens:
    """Token ids and their mask, both [B, L] int64.

    Attributes:
        ids: [B, L] token ids.
        mask: [B, L], 1 on tokens and 0 on padding.
    """

    ids: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.ids.shape != self.mask.shape or self.ids.dim() != 2:
            raise CounterpointError(
                f"Tokens got ids of shape {tuple(self.ids.shape)} and a mask of shape {tuple(self.mask.shape)}; "
                "both must be [batch, length]"
            )

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Tokens:
        return Tokens(self.ids[rows], self.mask[rows])

    @property
    def width(self) -> int:
        """Padded length L."""
        return self.ids.shape[1]

    @property
    def lengths(self) -> Tensor:
        """[B], how many real tokens each row has."""
        return self.mask.sum(1)

    @property
    def authored(self) -> Tensor:
        """[B, L] bool, the tokens that the assistant wrote: what a loss is about. All of them where nothing else is known."""
        return self.mask.bool()

    def to(self, device: torch.device | str) -> Tokens:
        """Move every tensor to a device."""
        return Tokens(sent(self.ids, device), sent(self.mask, device))

    def rows(self) -> list[list[int]]:
        """The rows as lists of ids without padding."""
        return [ids[mask.bool()].tolist() for ids, mask in zip(self.ids, self.mask)]


@dataclass(frozen=True)
class Replies(Tokens):
    """Completions of several turns: other people's words stand among the assistant's.

    Attributes:
        author: [B, L] bool, True on the assistant's tokens; False on others' and on padding.

    >>> found = Replies(torch.tensor([[5, 6]]), torch.tensor([[1, 1]]), torch.tensor([[True, False]]))
    >>> found.lengths.tolist(), found[:1].authored.sum(1).tolist()
    ([2], [1])
    """

    author: Tensor

    @property
    def authored(self) -> Tensor:
        """[B, L] bool, the tokens that the assistant wrote."""
        return self.author

    def __getitem__(self, rows: Tensor | slice) -> Replies:
        return Replies(self.ids[rows], self.mask[rows], self.author[rows])

    def to(self, device: torch.device | str) -> Replies:
        """Move every tensor to a device."""
        return Replies(sent(self.ids, device), sent(self.mask, device), sent(self.author, device))


def pad(rows: Sequence[Sequence[int]], *, side: str, fill: int = 0, width: int | None = None) -> Tokens:
    """Pad rows of ids to one width (the longest row's by default).

    >>> pad([[1, 2, 3], [4]], side="left").ids.tolist()
    [[1, 2, 3], [0, 0, 4]]
    >>> pad([[1, 2, 3], [4]], side="right").mask.tolist()
    [[1, 1, 1], [1, 0, 0]]
    """
    longest = max((len(row) for row in rows), default=0)
    width = longest if width is None else width
    if longest > width:
        raise CounterpointError(f"a row of {longest} tokens does not fit a width of {width}; raise the width")
    ids = torch.full((len(rows), width), fill, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        if row:
            columns = slice(width - len(row), width) if side == "left" else slice(0, len(row))
            ids[number, columns] = torch.tensor(row, dtype=torch.long)
            mask[number, columns] = 1
    return Tokens(ids, mask)


def join(prompts: Tokens, completions: Tokens) -> Tokens:
    """Set left-padded prompts in front of right-padded completions: [B, P + T].

    >>> both = join(pad([[1, 2], [3]], side="left"), pad([[7], [8, 9]], side="right"))
    >>> both.ids.tolist(), both.mask.tolist()
    ([[1, 2, 7, 0], [0, 3, 8, 9]], [[1, 1, 1, 0], [0, 1, 1, 1]])
    """
    if len(prompts) != len(completions):
        raise CounterpointError(
            f"join got {len(prompts)} prompts and {len(completions)} completions; it takes one completion a prompt"
        )
    return Tokens(
        torch.cat([prompts.ids, completions.ids], 1), torch.cat([prompts.mask, completions.mask], 1)
    )


def positions(mask: Tensor) -> Tensor:
    """Position of each token in its own row, counted without padding: [B, L].

    >>> positions(torch.tensor([[0, 0, 1, 1]])).tolist()
    [[0, 0, 0, 1]]
    """
    return (mask.cumsum(1) - 1).clamp(min=0)


def left(batch: Tokens) -> Tokens:
    """Move each row's tokens to its beginning, in their order; padding is behind them.

    >>> left(Tokens(torch.tensor([[0, 7, 0, 8]]), torch.tensor([[0, 1, 0, 1]]))).ids.tolist()
    [[7, 8, 0, 0]]
    """
    order = (batch.mask == 0).to(torch.uint8).argsort(dim=1, stable=True)
    return Tokens(batch.ids.gather(1, order), batch.mask.gather(1, order))


def trim(batch: Tokens) -> Tokens:
    """Cut off the columns at either end that are padding in every row; one column stays where all are.

    >>> trim(Tokens(torch.tensor([[0, 7, 8, 0], [0, 0, 9, 0]]), torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0]]))).ids.tolist()
    [[7, 8], [0, 9]]
    """
    filled = batch.mask.any(0).nonzero().flatten()
    first, last = (0, 0) if not len(filled) else (int(filled[0]), int(filled[-1]))
    return Tokens(batch.ids[:, first : last + 1], batch.mask[:, first : last + 1])


def stack(parts: Sequence[Tokens], *, side: str, fill: int = 0) -> Tokens:
    """Set batches of tokens on top of one another, padded to one width on the given side."""
    width = max(part.width for part in parts)

    def widen(x: Tensor, value: int = 0) -> Tensor:
        missing = width - x.shape[1]
        return torch.nn.functional.pad(x, (missing, 0) if side == "left" else (0, missing), value=value)

    return Tokens(
        torch.cat([widen(part.ids, fill) for part in parts]), torch.cat([widen(part.mask) for part in parts])
    )
