"""What every judge is: ``judge(problems, answers) -> verdicts``, rewards [problems, answers] with what was written beside them.

P problems, N answers to the problem that has most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem


@dataclass(frozen=True)
class Verdicts:
    """A judge's result.

    Attributes:
        rewards: [P, N] float64, higher is better; NaN where there is no answer, or none that the judge has an opinion on.
        texts: for each problem and answer what the judge wrote: the comparison it made, its critique; perhaps empty.
    """

    rewards: Tensor
    texts: list[list[str]]

    @classmethod
    def of(cls, rewards: Sequence[Sequence[float]], texts: Sequence[Sequence[str]]) -> Verdicts:
        """From rows of different lengths.

        >>> Verdicts.of([[1.0], [0.0, 1.0]], [["yes"], ["no", "yes"]]).rewards
        tensor([[1., nan],
                [0., 1.]], dtype=torch.float64)
        """
        width = max((len(row) for row in rewards), default=0)
        padded = [[*row, *[math.nan] * (width - len(row))] for row in rewards]
        matrix = torch.tensor(padded, dtype=torch.float64).reshape(len(padded), width)
        return cls(matrix, [list(row) for row in texts])

    def rows(self) -> list[tuple[list[float], list[str]]]:
        """(rewards, texts) of each problem, as plain data for a durable stage; ``of`` puts them together again."""
        return [
            (row[: len(texts)], texts) for row, texts in zip(self.rewards.tolist(), self.texts, strict=True)
        ]


class Judge(Protocol):
    """A noun with one verb. A judge is called outside training steps, in a durable stage."""

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Judge several answers to each of P problems.

        Args:
            problems: P of them.
            answers: for each problem its answers.
        """
        ...
