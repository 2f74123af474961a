"""A model as judge, absolutely: a mark from 0 to 10 for each answer by itself (LLM-as-a-judge, arXiv 2306.05685)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from counterpoint.data.language.answer import Answers, number
from counterpoint.data.language.problem import Problem
from counterpoint.judges.enclosed import CAUTION, enclosed, question_of, tag_of, verdict
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.writers import Writer

HIGHEST = 10


class Rated:
    """Rewards in [0, 1]: the mark over the highest one; NaN where the reply holds no mark.

    Args:
        writer: the judging model.
        criterion: what is wanted.
    """

    def __init__(self, writer: Writer, criterion: str = "correct, complete and clear") -> None:
        self.writer, self.criterion, self.costly = writer, criterion, writer.costly

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """One reply an answer; the whole reply is the verdict's text."""
        shown = [(p, a["text"]) for p, row in zip(problems, answers, strict=True) for a in row]
        tags = [tag_of(question_of(p), text) for p, text in shown]
        replies = self.writer([self._prompt(p, text, tag) for (p, text), tag in zip(shown, tags)])
        rest = iter([(mark(reply, tag), reply) for reply, tag in zip(replies, tags, strict=True)])
        rows = [[next(rest) for _ in row] for row in answers]
        return Verdicts.of(
            [[m for m, _ in row] for row in rows], [[reply for _, reply in row] for row in rows]
        )

    def _prompt(self, problem: Problem, text: str, tag: str) -> str:
        parts = [
            f"Judge how {self.criterion} the answer to a question is. {CAUTION.format(tag=tag)}",
            f"Question:\n{question_of(problem)}",
            *([f"A reference answer:\n{problem.reference}"] if problem.reference else []),
            enclosed("Answer:", text, tag),
            f"Say in a sentence what is right or wrong. Then end with a line of its own, a whole number from 0 (useless) to "
            f"{HIGHEST} (perfect):\nVerdict {tag}: NUMBER",
        ]
        return "\n\n".join(parts)


def mark(reply: str, tag: str) -> float:
    """The mark of a reply in [0, 1]; NaN where there is none, or none in range.

    >>> mark("Right.\\nVerdict ab: 7/10", "ab"), mark("Verdict: 10", "ab")
    (0.7, nan)
    """
    value = number(verdict(reply, tag).partition("/")[0])
    return float(value) / HIGHEST if value is not None and 0 <= value <= HIGHEST else math.nan
