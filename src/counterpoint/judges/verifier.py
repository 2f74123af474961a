"""A judge that knows the answers: exact, numeric, the last word, or a procedural task's own check."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.data.language.answer import Answers, final_answer
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.scorers import scorer


class Verifier:
    """Rewards in [0, 1] by a scorer.

    Args:
        name: of the scorer, as a split of problems has it: ``Verifier(data.train.scorer)``.

    >>> judge = Verifier("number")
    >>> judge.score("it is 4", Problem("2+2=", answer="4"))
    1.0
    """

    def __init__(self, name: str) -> None:
        self.name, self._scorer = name, scorer(name)

    def score(self, completion: str, problem: Problem) -> float:
        """The reward of one completion, in [0, 1]."""
        return self._scorer(completion, problem)

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Compare every answer with its problem's.

        Raises:
            CounterpointError: a problem without an answer.
        """
        for problem in problems:
            if not problem.answer:
                raise CounterpointError(
                    f"the verifier compares with the data's answers, and '{problem.question[:60]}' has none; give the data an "
                    "'answer' column, or use another judge, e.g. judge=intrinsic"
                )
        rewards = [[self.score(a["text"], p) for a in row] for p, row in zip(problems, answers, strict=True)]
        texts = [
            [f"{self.name}: '{final_answer(a['text'])}' against '{p.answer}'" for a in row]
            for p, row in zip(problems, answers, strict=True)
        ]
        return Verdicts.of(rewards, texts)
