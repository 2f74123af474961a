"""A judge of form alone: whether a completion is written as a pattern asks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Verdicts

PATTERNS = {
    "boxed": r"(?s).*\\boxed\{[^{}]+\}.*",
    "answer": r"(?si).*answer\s*(?:is)?\s*:\s*\S.*",
    "tags": r"(?s)\s*<think>.*</think>\s*<answer>.*</answer>\s*",
    "json": r"(?s)\s*[\[{].*[\]}]\s*",
}
"""Patterns with a name."""


class AnswerFormat:
    """Reward 1 for answers that match a pattern as a whole and came to their end.

    Args:
        pattern: a name of ``PATTERNS``, or a regular expression.

    Raises:
        CounterpointError: no regular expression.

    >>> answers = [{"ids": [], "text": text, "ended": True} for text in ("Answer: 4", "4")]
    >>> AnswerFormat("answer")([Problem("2+2=")], [answers]).rewards.tolist()
    [[1.0, 0.0]]
    """

    def __init__(self, pattern: str) -> None:
        try:
            self.pattern = re.compile(PATTERNS.get(pattern, pattern))
        except re.error as error:
            raise CounterpointError(
                f"format:{pattern} is no regular expression ({error}); give one, or a name: {', '.join(PATTERNS)}"
            ) from None
        self.name = pattern

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Match every answer."""
        rewards = [
            [float(a["ended"] and bool(self.pattern.fullmatch(a["text"]))) for a in row] for row in answers
        ]
        texts = [
            [f"{self.name}: {'matches' if value else 'does not match'}" for value in row] for row in rewards
        ]
        return Verdicts.of(rewards, texts)
