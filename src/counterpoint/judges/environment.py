"""A judge for episodes with tools that keep a state: the reward that the state itself names when the episode is over."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Verdicts


class Environment:
    """Hands on rewards that are set before it is called, one for each answer in their order.

    >>> judge = Environment()
    >>> judge.rewards = [1.0, 0.0]
    >>> answers = [{"ids": [], "text": text, "ended": True} for text in ("a", "b")]
    >>> judge([Problem("x")], [answers]).rewards.tolist()
    [[1.0, 0.0]]
    """

    def __init__(self) -> None:
        self.rewards: list[float] = []

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Give every answer its episode's reward.

        Raises:
            CounterpointError: there was no episode with a state.
        """
        if len(self.rewards) != sum(map(len, answers)):
            raise CounterpointError(
                "judge=environment hands on what an episode's tools say it was worth, and there are none with a state; name a "
                "class that has a 'reward', e.g. --episode.tools mine.py:Shop"
            )
        rest = iter(self.rewards)
        rewards = [[next(rest) for _ in row] for row in answers]
        return Verdicts.of(rewards, [[f"environment: {value:g}" for value in row] for row in rewards])
