"""Several answers to one prompt, ranked: by scores, or by their order, the best first. They are learnt from as pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from counterpoint.conversation import Completion, Prompt
from counterpoint.data.language.preference_rows import Preference, answer_of, prompt_of
from counterpoint.data.language.prompted import prompt_key
from counterpoint.errors import CounterpointError

Pairs = Literal["all", "adjacent", "best", "extremes"]
"""Which pairs are made of a ranking: every two, neighbours in it, the best against each other, the best against the worst."""
SCORES = ("scores", "ratings", "rewards")
"""Columns that say how good each of ``completions`` is."""


@dataclass(frozen=True)
class Ranking:
    """A prompt with its answers.

    Attributes:
        prompt: text of one user turn, or a list of messages.
        answers: the best first where there are no scores.
        scores: how good each is; equal scores are ties. None: the order is all that is known.
        origin: its file and row, for messages.
    """

    prompt: Prompt
    answers: Sequence[Completion]
    scores: Sequence[float] | None = None
    origin: str = field(default="", compare=False, repr=False)

    def key(self) -> str:
        """The prompt, normalised, for splitting."""
        return prompt_key(self.prompt)

    def pairs(self, how: Pairs = "all") -> list[Preference]:
        """The pairs, with the difference of the scores as margin.

        >>> [(p.chosen, p.rejected, p.margin) for p in Ranking("1?", ["a", "b", "c"], [1.0, 3.0, 2.0]).pairs("adjacent")]
        [('b', 'c', 1.0), ('c', 'a', 1.0)]
        """
        order = list(range(len(self.answers)))
        if self.scores is not None:
            order.sort(key=lambda at: -self.scores[at])  # type: ignore[index]
        last = len(order) - 1
        ranks = {
            "all": [(one, other) for one in range(len(order)) for other in range(one + 1, len(order))],
            "adjacent": [(one, one + 1) for one in range(last)],
            "best": [(0, other) for other in range(1, len(order))],
            "extremes": [(0, last)],
        }[how]
        return [self._pair(order[one], order[other]) for one, other in ranks]

    def _pair(self, one: int, other: int) -> Preference:
        margin = None if self.scores is None else self.scores[one] - self.scores[other]
        return Preference(
            self.prompt, self.answers[one], self.answers[other], margin, margin == 0, self.origin
        )


def parse_ranking(row: dict[str, Any], columns: dict[str, str | None], path: Path, number: int) -> Ranking:
    """Understand a row with ``prompt`` and ``completions``, and perhaps ``scores`` (or ``ratings``, ``rewards``).

    Raises:
        CounterpointError: fewer than two completions, an empty one, scores that are no numbers or of another number.
    """
    where = f"{path}, row {number}"
    given = row["completions"]
    if not isinstance(given, list) or len(given) < 2:
        raise CounterpointError(
            f"{where}: completions={given!r}; expected a list of at least two answers, the best first or with 'scores'"
        )
    answers = [answer_of(each, where) for each in given]
    scores = next((row[name] for name in SCORES if row.get(name) is not None), None)
    if scores is not None:
        fits = isinstance(scores, list) and len(scores) == len(answers)
        if not fits or not all(_is_number(each) for each in scores):
            raise CounterpointError(
                f"{where}: scores={scores!r} beside {len(answers)} completions; expected as many numbers"
            )
        scores = [float(each) for each in scores]
    return Ranking(prompt_of(row.get(columns["prompt"] or "prompt"), row, where, path), answers, scores)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
