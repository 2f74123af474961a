"""Groups of completions that are there before training: sampled once and judged, or the pairs that data bring along.

P prompts, N completions to each (those of a prompt are neighbours), T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from counterpoint.conversation import text_of
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.preferences import Preference, Preferences
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.generation.samplers import Samples
from counterpoint.judges.weighted import Weighted
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import sampled
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.advantage import combine
from counterpoint.objectives.tokens import sequence_sum
from counterpoint.phases.self_training import judge_answers, record_answers, sample_answers
from counterpoint.training import Run


@dataclass(frozen=True)
class Group:
    """Completions to the same prompts with what they earned.

    Attributes:
        prompts: [P N] left-padded. completions: [P N, T].
        rewards_PN: NaN where nobody could tell.
    """

    prompts: Tokens
    completions: Tokens
    rewards_PN: Tensor

    @property
    def count(self) -> int:
        """N."""
        return self.rewards_PN.shape[1]


Groups = Callable[[Any], Group]
"""A batch's groups."""


def offline_groups(
    policy: Language,
    rows: Sequence[Any],
    run: Run,
    sampler: Samples | None = None,
    judges: Sequence[Weighted] = (),
    count: int = 2,
) -> Groups:
    """Groups that do not change while training goes on; sampling and judging are durable stages.

    Args:
        rows: problems to answer; or ``Preferences`` with no sampler, whose chosen answers earn their margin (1 where there is none) and
            rejected ones 0; in a tie both earn 0.
        sampler: of the model as it was given. judges: whose weighted sum is the reward. count: N.
    """
    if isinstance(rows, Preferences):
        return _given(policy, rows, run)
    assert sampler is not None
    problems: list[Problem] = list(rows)
    drawn = sample_answers(run, sampler, problems, count, 0)
    rewards = []
    for each in judges:
        verdicts = judge_answers(run, each.judge, problems, drawn)
        record_answers(run, problems, drawn, each.name, verdicts.rewards, verdicts.texts)
        rewards.append(verdicts.rewards)
    weights = torch.tensor([each.weight for each in judges], dtype=torch.float64)
    total = combine(torch.stack(rewards, -1).flatten(0, 1), weights).reshape(len(problems), count)

    def group(batch: Any) -> Group:
        numbers = [int(number) for number in batch.index]
        prompts = policy.prompts([problems[n].prompt for n in numbers for _ in range(count)])
        completions = sampled(policy, [answer["ids"] for n in numbers for answer in drawn[n]])
        return Group(prompts, completions, total[numbers].float().to(run.device))

    return group


def _given(policy: Language, rows: Preferences, run: Run) -> Groups:
    if not rows.paired:
        raise CounterpointError(
            "these preferences are single answers with a label, and the loop compares answers to one prompt; give pairs, or use dpo with "
            "--loss kto"
        )

    def group(batch: Any) -> Group:
        pairs = batch.items
        prompts, answers = policy.rows(
            [pair.prompt for pair in pairs for _ in range(2)],
            [answer for pair in pairs for answer in (pair.chosen, pair.rejected)],
        )
        earned = [0.0 if pair.tie else 1.0 if pair.margin is None else pair.margin for pair in pairs]
        rewards = torch.tensor([[reward, 0.0] for reward in earned], device=run.device).reshape(len(pairs), 2)
        return Group(prompts, answers, rewards)

    return group


def given_answers(model: Language, rows: Sequence[Problem | Preference]) -> list[list[Answer]]:
    """The pair that each row brings along, chosen and rejected, in the model's tokens; empty for problems, which bring none.

    Raises:
        CounterpointError: an answer of several turns, whose other words are nobody's to learn.
    """
    pairs: list[list[Answer]] = []
    for row in rows:
        if isinstance(row, Problem):
            pairs.append([])
            continue
        _, answers = model.rows([row.prompt] * 2, [row.chosen, row.rejected])
        if bool((answers.authored != answers.mask.bool()).any()):
            raise CounterpointError(
                "an answer of these pairs has several turns, with words of others among the model's; give pairs whose answers are one turn"
            )
        texts = [text_of(answer) for answer in (row.chosen, row.rejected)]
        pairs.append([Answer(ids=ids, text=text, ended=True) for ids, text in zip(answers.rows(), texts)])
    return pairs


@torch.no_grad()
def report_mass(run: Run, step: int, group: Group, now_NT: Tensor, initial_NT: Tensor) -> None:
    """Report where the mass is, in a row of the table ``mass`` and in the step's event; over all processes, which all call it.

    Of the completions to a prompt: the probability of the best, of the other distinct ones, and of everything else; and log-ratios
    to the initial model of the best, the worst, and all (whose mean over the policy's own samples estimates the KL).

    Args:
        step: number of the batch. now_NT, initial_NT: token log-probabilities under the policy and the initial model.
    """
    shape, mask = group.rewards_PN.shape, group.completions.authored
    tokens = group.completions.ids.masked_fill(~group.completions.mask.bool(), -1)
    tokens = tokens.reshape(*shape, group.completions.width)
    same = (tokens[:, :, None] == tokens[:, None]).all(-1)  # an answer that was drawn twice has its mass once
    columns = [
        group.rewards_PN.double(),
        sequence_sum(now_NT.double(), mask).reshape(shape),
        sequence_sum(initial_NT.double(), mask).reshape(shape),
        (~same.tril(-1).any(-1)).double(),
    ]
    rewards, now, before, once = run.gather_constant(torch.stack(columns, -1)).unbind(-1)
    judged = ~rewards.isnan().all(-1)
    if not bool(judged.any()):
        return
    rewards, ratio, mass, once = rewards[judged], (now - before)[judged], now[judged].exp(), once[judged]
    best = rewards.nan_to_num(nan=-torch.inf).argmax(-1, keepdim=True)
    worst = rewards.nan_to_num(nan=torch.inf).argmin(-1, keepdim=True)
    seen = (mass * once).sum(-1).clamp(max=1.0)
    figures = {
        "reward": rewards.nanmean(),
        "best": mass.gather(1, best).mean(),
        "others": (seen - mass.gather(1, best)[:, 0]).mean(),
        "elsewhere": (1.0 - seen).mean(),
        "log_ratio_best": ratio.gather(1, best).mean(),
        "log_ratio_worst": ratio.gather(1, worst).mean(),
        "log_ratio": ratio.mean(),
    }
    named = {name: float(value) for name, value in figures.items()}
    run.report(mass=[{"step": step, **named}])
    run.log(**{f"mass/{name}": value for name, value in named.items()})
