"""A model as judge, by comparison: two answers in both orders, against each other or against an anchor (arXiv 2306.05685).

A judge that prefers whatever stands first contradicts itself when the order is turned; such a comparison is a tie.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.enclosed import CAUTION, enclosed, question_of, tag_of, verdict
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.writers import Writer

Duel = tuple[Problem, str, str]


def duel_prompt(problem: Problem, one: str, other: str) -> tuple[str, str]:
    """The prompt that shows two answers, the first as A, and its tag."""
    tag = tag_of(question_of(problem), one, other)
    parts = [
        f"Two answers to a question are to be compared. {CAUTION.format(tag=tag)}",
        f"Question:\n{question_of(problem)}",
        enclosed("Answer A:", one, tag),
        enclosed("Answer B:", other, tag),
        "Say in a sentence which answer is better and why; which of them stands first means nothing. Then end with a line of its "
        f"own that names A, B or tie:\nVerdict {tag}: LETTER",
    ]
    return "\n\n".join(parts), tag


def outcomes(writer: Writer, duels: Sequence[Duel]) -> list[tuple[float, str]]:
    """How far the first of two answers won, in both orders: 1, 0, 0.5 for a tie or a contradiction, NaN without a verdict."""
    prompts = [
        duel_prompt(problem, *pair) for problem, one, other in duels for pair in ((one, other), (other, one))
    ]
    replies = writer([prompt for prompt, _ in prompts])
    worth = {"a": 1.0, "b": 0.0, "tie": 0.5}
    named = [verdict(r, tag).split(" ")[0].casefold() for r, (_, tag) in zip(replies, prompts, strict=True)]
    every = []
    for at in range(0, len(named), 2):
        first, second = worth.get(named[at], math.nan), 1 - worth.get(named[at + 1], math.nan)
        won = math.nan if math.isnan(first + second) else first if first == second else 0.5
        every.append((won, f"first: {replies[at].strip()}\nturned: {replies[at + 1].strip()}"))
    return every


class Compared:
    """Rewards in [0, 1]: the share of the other answers to the prompt that an answer beats, a tie being half.

    Args:
        writer: the judging model, asked twice for each pair of different answers.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer, self.costly = writer, writer.costly

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Every pair in both orders; equal texts are a tie without being asked about."""
        pairs, duels = [], []
        for row, (problem, each) in enumerate(zip(problems, answers, strict=True)):
            for one, other in itertools.combinations(range(len(each)), 2):
                if each[one]["text"].strip() != each[other]["text"].strip():
                    pairs.append((row, one, other))
                    duels.append((problem, each[one]["text"], each[other]["text"]))
        won = {(row, one, one): (0.5, "") for row, each in enumerate(answers) for one in range(len(each))}
        for (row, one, other), (value, text) in zip(pairs, outcomes(self.writer, duels), strict=True):
            won[row, one, other] = value, f"against answer {other + 1}: {text}"
            won[row, other, one] = 1 - value, f"against answer {one + 1}: {text}"
        rewards, texts = [], []
        for row, each in enumerate(answers):
            mine = [
                [won.get((row, one, other), (0.5, "")) for other in range(len(each)) if other != one]
                for one in range(len(each))
            ]
            rewards.append([_mean([value for value, _ in rest]) for rest in mine])
            texts.append(["\n".join(text for _, text in rest if text) for rest in mine])
        return Verdicts.of(rewards, texts)


class Anchored:
    """Rewards of an answer against the problem's reference solution: 1 when it is better, 0.5 as good, 0 worse.

    Args:
        writer: the judging model, asked twice for each answer.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer, self.costly = writer, writer.costly

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Every answer in both orders.

        Raises:
            CounterpointError: a problem without a reference.
        """
        for problem in problems:
            if not problem.reference:
                raise CounterpointError(
                    f"'{problem.question[:60]}' has no reference to compare answers with; give the data a 'completion' or an "
                    "'answer' column, or compare answers with each other: judge=compared:..."
                )
        duels = [(p, a["text"], p.reference) for p, row in zip(problems, answers, strict=True) for a in row]
        rest = iter(outcomes(self.writer, duels))
        rows = [[next(rest) for _ in row] for row in answers]
        return Verdicts.of([[v for v, _ in row] for row in rows], [[text for _, text in row] for row in rows])


def _mean(values: Sequence[float]) -> float:
    valid = [value for value in values if not math.isnan(value)]
    return sum(valid) / len(valid) if valid else math.nan
