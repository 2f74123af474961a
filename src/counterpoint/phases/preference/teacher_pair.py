"""A teacher before and after preference training: opened, or made here by DPO, and what the two say of answers, live or stored.

B rows, T answer positions, K stored entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.kernels.scores import Head
from counterpoint.models import passes
from counterpoint.models.language.language import Language, same_vocabulary
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.distillation.distribution_advantage import Top, top_of
from counterpoint.teachers.answering import completion_scores
from counterpoint.training import Run

Rows = Callable[[Sequence[int]], tuple[Tokens, Tokens]]
"""Makes prompts and answers of row numbers."""


@dataclass
class TeacherPair:
    """The two teachers.

    Args:
        after, before: after and before preference training; without the one before, advantages are log-probabilities.
        student: whose tokens they must share.

    Raises:
        CounterpointError: an id that means something else to a teacher than to the student.
    """

    after: Language
    before: Language | None
    student: Language

    def __post_init__(self) -> None:
        """See that every id means the same to all."""
        for teacher in (self.after, self.before):
            if teacher is not None:
                same_vocabulary(self.student, teacher)

    def live(self, prompts: Tokens, answers: Tokens, at_once: int | None) -> tuple[Head, Head | None]:
        """What the teachers put at every position [B, T]: after, and before."""
        after = completion_scores(self.after, prompts, answers, at_once)
        before = None if self.before is None else completion_scores(self.before, prompts, answers, at_once)
        return after, before

    def stored(self, run: Run, name: str, rows: Rows, count: int, k: int) -> StoredPair:
        """The K likeliest entries of all rows, in a durable stage; afterwards the teachers are not asked any more."""

        def made(shard: Sequence[int]) -> list[list[Tensor]]:
            result = []
            for part in passes.over(shard, len(shard)):
                prompts, answers = rows(part)
                top = top_of(*self.live(prompts, answers, None), k)
                assert top.advantages is not None
                for at, length in enumerate(answers.lengths.tolist()):
                    whole = (top.ids[at], top.probs[at], top.advantages[at])
                    result.append([each[:length].cpu() for each in whole])
            return result

        return StoredPair(run.stage(name, made, over=range(count), size=16))


@dataclass(frozen=True)
class StoredPair:
    """What was stored of every row: ids, probabilities and advantages, [T, K] each."""

    rows: Sequence[Sequence[Tensor]]

    def of(self, index: Sequence[int], like: Tensor) -> Top:
        """The entries of some rows, [B, T, K], on the device of ``like`` and padded to its width T.

        Args:
            index: B numbers of rows. like: [B, T] of the answers.
        """
        k = self.rows[0][0].shape[-1]
        shape = (len(index), like.shape[1], k)
        ids = torch.arange(k, device=like.device).repeat(*shape[:2], 1)  # distinct on padding, too
        probs, advantages = (torch.zeros(shape, device=like.device) for _ in range(2))
        for at, number in enumerate(index):
            for target, value in zip((ids, probs, advantages), self.rows[int(number)]):
                target[at, : len(value)] = value.to(target)
        return Top(ids, probs, advantages)
