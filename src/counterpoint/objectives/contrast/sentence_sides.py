"""Who is compared with whom where rows are sentences: all ranks' anchors, positives and hard negatives, without what says the same.

A key is no negative of a row when its text, or the text that it belongs to, is the row's anchor or positive. Shapes: n local rows, N rows
of all ranks, K hard negatives of each, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import Rule, different
from counterpoint.objectives.in_batch import own_rows, unit

Candidates = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Side:
    """Keys that a row is compared with.

    Attributes:
        rows: [M, D]. text: [M] numbers of the keys' texts. partner: [M] those of the texts that they belong to.
    """

    rows: Tensor
    text: Tensor
    partner: Tensor


@dataclass(frozen=True)
class Sides:
    """Local rows and everything that they may be compared with; make it with ``sides_of``.

    Attributes:
        anchors, positives: [n, D], local rows. mine: [n] and [n], the numbers of their texts.
        all_anchors, all_positives: of all ranks. hard: their negatives, in a list that is empty where there are none.
    """

    anchors: Tensor
    positives: Tensor
    mine: tuple[Tensor, Tensor]
    all_anchors: Side
    all_positives: Side
    hard: list[Side]

    def rules(self, keys: Side) -> list[Rule]:
        """What leaves out the keys that repeat a row, its own partner among them."""
        return [different(number, of_keys) for number in self.mine for of_keys in (keys.text, keys.partner)]


def joined(sides: list[Side]) -> Side:
    """The keys of several sides, one behind another."""
    return Side(*(torch.cat([getattr(side, name) for side in sides]) for name in ("rows", "text", "partner")))


def sides_of(
    name: str,
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None,
    *,
    candidates: Candidates | None,
    offset: int,
    texts: tuple[Tensor, Tensor, Tensor | None] | None,
    normalize: bool,
) -> Sides:
    """Check and gather; arguments as of ``sentence_ranking``, ``name`` is the objective's for its messages.

    Raises:
        CounterpointError: shapes that do not fit.
    """
    _check(name, anchors, positives, negatives)
    if normalize:
        anchors, positives = unit(anchors), unit(positives)
        negatives = None if negatives is None else unit(negatives)
    all_a, all_p, all_n = _everyone((anchors, positives, negatives) if candidates is None else candidates)
    if normalize and candidates is not None:
        all_a, all_p, all_n = unit(all_a), unit(all_p), None if all_n is None else unit(all_n)
    own = own_rows(len(anchors), len(all_a), offset, anchors.device)
    number_a, number_p, number_n = _numbers(len(all_a), all_n, anchors.device) if texts is None else texts
    hard = []
    if all_n is not None:
        assert number_n is not None
        nobody = torch.full_like(number_n, -1).flatten()
        hard = [Side(all_n.flatten(0, 1), number_n.flatten(), nobody)]
    return Sides(
        anchors,
        positives,
        (number_a[own], number_p[own]),
        Side(all_a, number_a, number_p),
        Side(all_p, number_p, number_a),
        hard,
    )


def _numbers(
    count: int, negatives: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Every text is its own."""
    rows = torch.arange(count, device=device)
    if negatives is None:
        return rows, rows + count, None
    hard = torch.arange(count * negatives.shape[1], device=device).view(count, -1)
    return rows, rows + count, hard + 2 * count


def _everyone(rows: Candidates) -> tuple[Tensor, Tensor, Tensor | None]:
    return rows if len(rows) == 3 else (rows[0], rows[1], None)


def _check(name: str, anchors: Tensor, positives: Tensor, negatives: Tensor | None) -> None:
    fits = anchors.dim() == 2 and anchors.shape == positives.shape
    if negatives is not None:
        fits = fits and negatives.dim() == 3 and negatives.shape[::2] == anchors.shape
    if not fits:
        shapes = [tuple(each.shape) for each in (anchors, positives, negatives) if each is not None]
        raise CounterpointError(
            f"{name}: shapes {', '.join(map(str, shapes))}; expected anchors and positives [n, D], and negatives [n, K, D]"
        )
