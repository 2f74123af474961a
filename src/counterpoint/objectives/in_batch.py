"""Who is compared with whom: this rank's anchors, every rank's candidates, and which candidate is the anchor itself.

Shapes: n anchors, N candidates, D dimensions. On one process the candidates are the anchors. On several, pass the
gathered rows and where the anchors lie in them; each anchor's loss is then the one that a single process computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import Rule, different, same


def scale_of(temperature: float | Tensor) -> float | Tensor:
    """Return ``1 / temperature``: a number, a scalar tensor or one per row [n].

    Raises:
        CounterpointError: a number that is not above 0.
    """
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise CounterpointError(
            f"temperature={temperature} was given; expected a number above 0 (it divides the similarities), for example 0.1"
        )
    return 1 / temperature


def softplus(x: Tensor) -> Tensor:
    """``log(1 + e^x)`` without the switch to the identity that torch's own makes; 0 with gradient 0 at -inf."""
    return -F.logsigmoid(-x)


def unit(rows: Tensor) -> Tensor:
    """Scale rows [..., D] to length 1 (rows shorter than 1e-12 stay shorter).

    >>> unit(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return F.normalize(rows, dim=-1, eps=1e-12)


def own_rows(num_anchors: int, num_candidates: int, offset: int | Tensor, device: torch.device) -> Tensor:
    """Index [n] of each anchor among the candidates, from the first one's index or from all of them.

    Raises:
        CounterpointError: the anchors would lie outside the candidates.
    """
    own = torch.arange(num_anchors, device=device) + offset if isinstance(offset, int) else offset.to(device)
    if own.shape != (num_anchors,) or (
        num_anchors and not 0 <= int(own.min()) <= int(own.max()) < num_candidates
    ):
        raise CounterpointError(
            f"{num_anchors} anchors with offset={offset!r} do not lie in {num_candidates} candidates; "
            "offset is the index of this rank's first anchor in the gathered rows: "
            "f(z, labels, candidates=run.gather(z), candidate_labels=run.gather(labels), offset=run.row_offset)"
        )
    return own


def not_repeats(repeats: Tensor | None, own: Tensor, num_candidates: int) -> list[Rule]:
    """The rule that leaves out candidates that repeat an anchor's own, which is left out with them; none where nothing repeats.

    Args:
        repeats: [N] whole numbers, the same for candidates that repeat one thing; None: none does.
        own: [n], each anchor's row among the candidates.
        num_candidates: N.

    Raises:
        CounterpointError: not one number per candidate.
    """
    if repeats is None:
        return []
    if repeats.shape != (num_candidates,):
        raise CounterpointError(
            f"repeats {tuple(repeats.shape)} for {num_candidates} candidates; expected one number each, over all ranks' rows: "
            "repeats=run.gather_constant(numbers[batch.index])"
        )
    if len(torch.unique(repeats)) == num_candidates:
        return []  # the plain form, to the last bit
    return [different(repeats[own], repeats)]


@dataclass(frozen=True)
class Relation:
    """Anchors and candidates with their labels; make it with ``relate``.

    Attributes:
        anchors: [n, D].
        candidates: [N, D]; the very same tensor on one process, which the kernels turn into half the work.
        labels: [n], the anchors' classes (or instances).
        candidate_labels: [N].
        own: [n], each anchor's row among the candidates.
    """

    anchors: Tensor
    candidates: Tensor
    labels: Tensor
    candidate_labels: Tensor
    own: Tensor

    @property
    def columns(self) -> Tensor | None:
        """The candidates as the kernels take them: None when they are the anchors."""
        return None if self.candidates is self.anchors else self.candidates

    def not_own(self) -> Rule:
        """Every pair but an anchor with itself."""
        return different(self.own, None if self.columns is None else self._positions())

    def of_same_class(self) -> Rule:
        """Pairs of one label; with ``not_own`` the positives."""
        return same(self.labels, None if self.columns is None else self.candidate_labels)

    def of_other_class(self) -> Rule:
        """Pairs of two labels, the negatives."""
        return different(self.labels, None if self.columns is None else self.candidate_labels)

    def _positions(self) -> Tensor:
        return torch.arange(len(self.candidates), device=self.candidates.device)

    def positives(self) -> Tensor:
        """Positives as a mask [n, N]: same label, not the anchor itself."""
        mask = self.labels[:, None] == self.candidate_labels[None, :]
        mask[torch.arange(len(self.own), device=mask.device), self.own] = False
        return mask

    def negatives(self) -> Tensor:
        """Negatives as a mask [n, N]: another label."""
        return self.labels[:, None] != self.candidate_labels[None, :]

    def num_positives(self) -> Tensor:
        """Positives of each anchor, [n], without forming a mask."""
        classes, members = torch.unique(self.candidate_labels, return_counts=True)
        return members[torch.searchsorted(classes, self.labels)] - 1

    def positive_pairs(self) -> tuple[Tensor, Tensor]:
        """All (anchor, positive) index pairs, [T] and [T], anchor by anchor, in memory that grows with T only."""
        order = torch.argsort(self.candidate_labels, stable=True)
        classes, members = torch.unique_consecutive(self.candidate_labels[order], return_counts=True)
        first = torch.cumsum(members, 0) - members
        class_index = torch.searchsorted(classes, self.labels)
        size = members[class_index]
        anchor = torch.repeat_interleave(torch.arange(len(self.labels), device=size.device), size)
        within = torch.arange(len(anchor), device=size.device) - torch.repeat_interleave(
            torch.cumsum(size, 0) - size, size
        )
        positive = order[first[class_index][anchor] + within]
        keep = positive != self.own[anchor]
        return anchor[keep], positive[keep]

    def stats(self) -> dict[str, Tensor]:
        """What to log: which anchors had a positive and which a negative (1 or 0, [n]); all 0 says a batch teaches nothing."""
        positives = self.num_positives()
        negatives = len(self.candidate_labels) - 1 - positives
        return {"has_positive": (positives > 0).float(), "has_negative": (negatives > 0).float()}


def relate(
    anchors: Tensor,
    labels: Tensor,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Relation:
    """Check anchors [n, D] and labels [n] against the candidates [N, D] (default: the anchors); rows to length 1.

    Raises:
        CounterpointError: shapes that do not fit, candidates without labels, anchors outside the candidates.

    >>> relation = relate(torch.eye(3), torch.tensor([0, 0, 1]))
    >>> relation.positives().tolist()
    [[False, True, False], [True, False, False], [False, False, False]]
    >>> [index.tolist() for index in relation.positive_pairs()]
    [[0, 1], [1, 0]]
    """
    if (candidates is None) != (candidate_labels is None):
        raise CounterpointError(
            "candidates and candidate_labels go together and only one was given; "
            "for example f(z, labels, candidates=z_all, candidate_labels=labels_all, offset=first)"
        )
    if normalize:
        anchors, candidates = unit(anchors), None if candidates is None else unit(candidates)
    if candidates is None or candidate_labels is None:
        candidates, candidate_labels = anchors, labels
    checked: list[tuple[str, Any, str, Any]] = [("anchors", anchors, "labels", labels)]
    checked.append(("candidates", candidates, "candidate_labels", candidate_labels))
    for name, rows, label_name, given in checked:
        if rows.dim() != 2 or given.shape != rows.shape[:1]:
            raise CounterpointError(
                f"{name} {tuple(rows.shape)} with {label_name} {tuple(given.shape)}; expected [n, D] and [n]: "
                "one label per row (stack views first, see supcon_views)"
            )
    own = own_rows(len(anchors), len(candidates), offset, anchors.device)
    if not torch.equal(candidate_labels[own], labels):
        raise CounterpointError(
            "the candidates' labels at the anchors' own rows differ from the anchors' labels; "
            "offset must be the index of the first anchor among the candidates"
        )
    return Relation(anchors, candidates, labels, candidate_labels, own)
