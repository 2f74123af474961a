"""A second turn: answers that failed are criticised and tried again, in a prompt that holds the attempt and the critique.

Shapes: P prompts of this process, G answers to each, N = P G first answers, M second ones, T completion positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.conversation import Prompt
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.turns import with_feedback
from counterpoint.generation.sampler import Sampled
from counterpoint.generation.samplers import Samples
from counterpoint.judges.feedback import Feedback
from counterpoint.judges.weighted import Weighted
from counterpoint.objectives.preference.advantage import combine
from counterpoint.phases.rollouts import Rollouts, judge_answers, once_a_step
from counterpoint.training import Run


@dataclass(frozen=True)
class SecondTurn:
    """Answers that were tried again.

    Attributes:
        rows: [M] of the first answers.
        prompts: [M] of the second turn. critiques: [M] what was written about the first answers.
        completions: [M, T] second answers. texts: [M] decoded.
    """

    rows: Tensor
    prompts: list[Prompt]
    critiques: list[str]
    completions: Sampled
    texts: list[str]

    def column(self, values: Sequence[str], size: int) -> list[str]:
        """One text a first answer, empty where there was no second turn."""
        wide = [""] * size
        for row, value in zip(self.rows.tolist(), values, strict=True):
            wide[row] = value
        return wide


def criticise(run: Run, critic: Feedback, first: Rollouts, failed_N: Tensor) -> list[str]:
    """Return [N] what is written about each answer that failed, empty for the others; durable where it costs something."""
    flags = failed_N.reshape(-1, first.count).tolist()
    wrong = [
        [answer for answer, failed in zip(row, each) if failed] for row, each in zip(first.answers(), flags)
    ]

    def work() -> list[list[str]]:
        return critic(first.problems, wrong) if wrong else []

    texts = once_a_step(run, "feedback", work, durable=critic.costly)
    rest = iter([text for row in texts for text in row])
    return [next(rest) if failed else "" for row in flags for failed in row]


def try_again(
    sampler: Samples, first: Rollouts, critiques: Sequence[str], draws_NT: Tensor, template: str
) -> SecondTurn:
    """Answer again wherever something was written about the first answer."""
    numbers = [n for n, text in enumerate(critiques) if text.strip()]
    prompts = [
        with_feedback(first.prompts[n], first.texts[n], critiques[n].strip(), template) for n in numbers
    ]
    rows = torch.tensor(numbers, dtype=torch.long, device=first.completions.ids.device)
    completions = sampler(
        prompts, 1, draws_NT[rows]
    )  # also of none: weights and servers may need every process
    return SecondTurn(
        rows, prompts, [critiques[n].strip() for n in numbers], completions, sampler.model.texts(completions)
    )


def second_rewards(run: Run, judges: Sequence[Weighted], first: Rollouts, again: SecondTurn) -> Tensor:
    """Return [N] the weighted rewards of second answers, NaN where there is none; every process calls it."""
    rows = again.rows.tolist()
    problems = [first.problems[row // first.count] for row in rows]
    ended = again.completions.ended.tolist()
    answers = [
        [Answer(ids=ids, text=text, ended=end)]
        for ids, text, end in zip(again.completions.rows(), again.texts, ended, strict=True)
    ]
    rewards, _ = judge_answers(run, [each.judge for each in judges], problems, answers, "second-verdicts")
    total = combine(rewards, rewards.new_tensor([each.weight for each in judges]))
    wide = total.new_full((len(first.prompts),), torch.nan)
    return wide.index_copy(0, again.rows.to(wide.device), total)
