"""What further teachers are shown: other problems' references, an instruction, or a demonstration that misleads.

Each source answers ``(items, index_B, uniform_BK)`` with K lists of B prompts. B rows, K contexts, N problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from counterpoint.conversation import Prompt
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.pairs.demonstrations import as_example, others, with_demonstration


@dataclass(frozen=True)
class Examples:
    """Other problems with their references, one per context, drawn at random or given.

    Attributes:
        rows: the N problems they are taken from.
        near: [N, K] the contexts of every problem; None draws K others anew for each row.
        template, example: wording of the prompt and of the example in it.
    """

    rows: Sequence[Problem]
    near: Tensor | None
    template: str
    example: str

    def __call__(self, items: Sequence[Problem], index_B: Tensor, uniform_BK: Tensor) -> list[list[Prompt]]:
        """K lists of B prompts."""
        index_B = index_B.cpu()
        chosen_BK = others(index_B, uniform_BK, len(self.rows)) if self.near is None else self.near[index_B]
        return [
            [
                with_demonstration(item, as_example(self.rows[index], self.example), self.template)
                for item, index in zip(items, column)
            ]
            for column in chosen_BK.T.tolist()
        ]


@dataclass(frozen=True)
class Instructions:
    """The same K instructions for every problem, set in front of its prompt."""

    texts: Sequence[str]

    def __call__(self, items: Sequence[Problem], index_B: Tensor, uniform_BK: Tensor) -> list[list[Prompt]]:
        """K lists of B prompts."""
        wording = "{demonstration}\n\n{prompt}"
        return [[with_demonstration(item, text, wording) for item in items] for text in self.texts]


@dataclass(frozen=True)
class Misleading:
    """A demonstration that does not solve the problem: one written for it, or some other problem's reference.

    Attributes:
        rows: the N problems.
        wrong: wrong demonstrations of each problem; where there are none, another problem's reference is shown.
        template: wording of the prompt.
    """

    rows: Sequence[Problem]
    wrong: Sequence[Sequence[str]]
    template: str

    def __call__(self, items: Sequence[Problem], index_B: Tensor, uniform_B1: Tensor) -> list[Prompt]:
        """B prompts, each with one wrong demonstration drawn by the row's uniform number."""
        if len(self.rows) < 2:
            raise CounterpointError(
                "a misleading demonstration is another problem's, and there is only one problem"
            )
        prompts = []
        for item, index, draw in zip(items, index_B.tolist(), uniform_B1.flatten().tolist()):
            own = self.wrong[index]
            away = 1 + int(draw * (len(self.rows) - 1))
            text = own[int(draw * len(own))] if own else self.rows[(index + away) % len(self.rows)].reference
            prompts.append(with_demonstration(item, text, self.template))
        return prompts
