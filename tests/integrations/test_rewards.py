"""Judges with the signature of TRL's reward functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.integrations import reward_function
from counterpoint.judges.choose import NAMES
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.reward_function import RewardFunction

TALK = [{"role": "user", "content": "2+2="}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_a_verifier_reads_trls_columns() -> None:
    reward = reward_function("verifier:number")
    assert reward.__name__ == "verifier:number"
    given = reward(
        prompts=[TALK, TALK, TALK], completions=[said("4"), said("it is 5"), said("four, so 4")],
        completion_ids=[[1], [2], [3]], answer=["4", "4", "4"], trainer_state=object(), log_metric=print,
    )  # fmt: skip
    assert given == [1.0, 0.0, 1.0]


def test_a_vote_is_among_the_completions_to_one_prompt() -> None:
    reward = reward_function("majority")
    prompts = ["a"] * 3 + ["b"] * 3
    assert reward(prompts=prompts, completions=["1", "1", "2", "2", "3", "3"]) == [1, 1, 0, 0, 1, 1]


def test_none_is_no_opinion_and_a_judge_may_be_handed_over() -> None:
    seen: list[tuple[Sequence[Problem], Answers]] = []

    class Half:
        name = "half"

        def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
            seen.append((problems, answers))
            rewards = [[0.5 if a["text"] else math.nan for a in row] for row in answers]
            return Verdicts.of(rewards, [["" for _ in row] for row in answers])

    reward = reward_function(Half())
    assert reward.__name__ == "half"
    assert reward(prompts=["p", "p", "q"], completions=["x", "", "y"], level=[1, 1, 2]) == [0.5, None, 0.5]
    [(problems, answers)] = seen
    assert [(problem.prompt, problem.meta) for problem in problems] == [
        ("p", {"level": 1}),
        ("q", {"level": 2}),
    ]
    assert [[a["text"] for a in row] for row in answers] == [["x", ""], ["y"]]


def test_there_and_back_it_is_the_same_function() -> None:
    def brevity(completions: list[str], **columns: object) -> list[float]:
        return [-float(len(text)) for text in completions]

    assert reward_function(RewardFunction(brevity))(prompts=["p", "q"], completions=["abc", "d"]) == [
        -3.0,
        -1.0,
    ]


@pytest.mark.parametrize("name", ["intrinsic", "rated:self", "compared:self", "anchored:self"])
def test_what_judges_with_a_model_needs_one(name: str) -> None:
    assert name in NAMES or name.partition(":")[0] in " ".join(NAMES)
    with pytest.raises(CounterpointError, match="needs? .*model|judges with a model, and none was given"):
        reward_function(name)


def test_another_judge_is_the_nearest_name() -> None:
    with pytest.raises(CounterpointError, match="did you mean 'verifier'"):
        reward_function("verifer")
