"""Counterparts: for each question about an image the most similar other image with nearly the same question (arXiv 2603.02556, eq. 1).

With gamma(a, b) = 1 - cos(a, b), rows i and j of one data set and of different images are a valid pair where

    gamma(v_i, v_j) < phi_v   and   gamma(q_i, q_j) < phi_q,

v an embedding of the image, q of the question. N rows, d wide; a block of B rows is compared with all N at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError

BLOCK = 2**22
"""Pairs that are compared at a time."""
NONE, EASY, MEDIAN, HARD = -1, 0, 1, 2
"""No counterpart; right alone; right beside the counterpart; wrong either way."""


@dataclass(frozen=True)
class Counterparts:
    """One counterpart a row.

    Attributes:
        index: [N] int64, -1 where there is none.
        positive: [N] int64, 1 where both answers are the same, 0 where they differ, -1 without a counterpart.
        visual, question: [N] distances to the counterpart, NaN without one.
        valid: how many valid counterparts each row has, [N] int64.
    """

    index: Tensor
    positive: Tensor
    visual: Tensor
    question: Tensor
    valid: Tensor


def distances(one_Bd: Tensor, other_Nd: Tensor) -> Tensor:
    """Cosine distances [B, N], 1 - a.b / (|a| |b|), in float64 and never below 0.

    >>> distances(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0]]
    """
    return (1.0 - _unit(one_Bd) @ _unit(other_Nd).T).clamp(min=0.0)


def valid_pairs(
    visual_BN: Tensor,
    question_BN: Tensor,
    start: int,
    datasets_N: Tensor,
    images_N: Tensor,
    *,
    visual_limit_N: Tensor,
    question_limit: float,
    closest: float = 0.0,
) -> Tensor:
    """Which of N rows are counterparts of rows ``start`` to ``start + B``: [B, N] bool.

    Args:
        visual_BN, question_BN: distances. start: number of the block's first row.
        datasets_N, images_N: numbers of each row's data set and image.
        visual_limit_N: phi_v of each row, by its own kind of image. question_limit: phi_q. Both are exclusive.
        closest: images nearer than this are taken for the same one.
    """
    here = torch.arange(start, start + len(visual_BN))
    other_BN = here[:, None] != torch.arange(len(datasets_N))
    return (
        other_BN
        & (datasets_N[here][:, None] == datasets_N)
        & (images_N[here][:, None] != images_N)
        & (visual_BN < visual_limit_N[here][:, None])
        & (visual_BN >= closest)
        & (question_BN < question_limit)
    )


def counterparts(
    images_Nd: Tensor,
    questions_Nd: Tensor,
    datasets_N: Tensor,
    ids_N: Tensor,
    answers_N: Tensor,
    *,
    visual_limit_N: Tensor,
    question_limit: float = 0.15,
    closest: float = 0.0,
    only: str = "both",
) -> Counterparts:
    """The nearest valid counterpart of each row by its image, ties to the lower number; bounded memory.

    Args:
        images_Nd, questions_Nd: embeddings, finite and of some length.
        datasets_N, ids_N, answers_N: int64 numbers of each row's data set, image and answer.
        visual_limit_N, question_limit, closest: as of ``valid_pairs``.
        only: "both", or counterparts with the same answer alone ("positive"), or with another ("negative").

    Raises:
        CounterpointError: an embedding that is not finite, or has no length.

    >>> found = counterparts(
    ...     torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), torch.ones(3, 1), torch.zeros(3), torch.arange(3), torch.tensor([5, 6, 5]),
    ...     visual_limit_N=torch.full((3,), 0.5),
    ... )
    >>> found.index.tolist(), found.positive.tolist()
    ([1, 0, -1], [0, 0, -1])
    """
    count = len(images_Nd)
    index = torch.full((count,), NONE)
    visual, question = torch.full((2, count), torch.nan, dtype=torch.float64)
    valid = torch.zeros(count, dtype=torch.int64)
    for name, rows in (("image", images_Nd), ("question", questions_Nd)):
        bad = (~rows.isfinite().all(1) | (rows == 0).all(1)).nonzero()
        if len(bad):
            raise CounterpointError(
                f"the {name} embedding of row {int(bad[0]) + 1} is no direction (not finite, or all zeros); give another encoder for it"
            )
    for name in datasets_N.unique():
        mine = (datasets_N == name).nonzero().squeeze(1)
        for block in _blocks(len(mine)):
            here = mine[block]
            visual_BN = distances(images_Nd[here], images_Nd[mine])
            question_BN = distances(questions_Nd[here], questions_Nd[mine])
            valid_BN = valid_pairs(
                visual_BN, question_BN, block.start, datasets_N[mine], ids_N[mine],
                visual_limit_N=visual_limit_N[mine], question_limit=question_limit, closest=closest,
            )  # fmt: skip
            if only != "both":
                same_BN = answers_N[here][:, None] == answers_N[mine]
                valid_BN &= same_BN if only == "positive" else ~same_BN
            near = _first_least(visual_BN.masked_fill(~valid_BN, torch.inf))[:, None]
            some = valid_BN.any(1)
            index[here[some]] = mine[near[some].squeeze(1)]
            visual[here[some]] = visual_BN.gather(1, near)[some].squeeze(1)
            question[here[some]] = question_BN.gather(1, near)[some].squeeze(1)
            valid[here] = valid_BN.sum(1)
    positive = torch.where(index < 0, NONE, (answers_N == answers_N[index.clamp(min=0)]).long())
    return Counterparts(index, positive, visual, question, valid)


def difficulty(alone_N: Tensor, contrasted_N: Tensor) -> Tensor:
    """0 easy (right alone), 1 median (right beside the counterpart only), 2 hard (wrong either way): [N] int64.

    Args:
        alone_N, contrasted_N: bool, whether the model was right.

    >>> difficulty(torch.tensor([True, False, False]), torch.tensor([False, True, False])).tolist()
    [0, 1, 2]
    """
    return torch.where(alone_N, EASY, torch.where(contrasted_N, MEDIAN, HARD))


def numbered(names: list[str]) -> Tensor:
    """Equal names get equal numbers, in the order of their first sight: [N] int64.

    >>> numbered(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.int64)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.double(), dim=-1, eps=0.0)


def _first_least(rows_BN: Tensor) -> Tensor:
    """The place of each row's least value, of equal ones the first: [B]."""
    return (rows_BN == rows_BN.amin(1, keepdim=True)).to(torch.uint8).argmax(1)


def _blocks(count: int) -> Iterator[slice]:
    size = max(BLOCK // max(count, 1), 1)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
